"""What history says of the present: the newest event of every space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from parking_core.store.live_state import SPACE

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from parking_core.store.live_state import Columns

# One backward step in the unique index a space and chunk: cost grows with spaces, not with events.
_NEWEST = """
COPY (
    SELECT s.id, s.lot_id, e.occurred_us, e.seq, e.occupied::int,
           (q.space_id IS NULL)::int AS known
    FROM spaces s
    CROSS JOIN LATERAL (
        SELECT (extract(epoch FROM occurred_at) * 1000000)::bigint AS occurred_us, seq, occupied
        FROM occupancy_events WHERE space_id = s.id
        ORDER BY occurred_at DESC, seq DESC, occupied DESC LIMIT 1
    ) e
    LEFT JOIN space_silences q ON q.space_id = s.id AND q.ended_at IS NULL
) TO STDOUT
"""


@dataclass(frozen=True, slots=True)
class NewestStates:
    """Newest event of every space that has one; `known` is 0 while the space is silent."""

    spaces: Columns  # SPACE
    lot_ids: np.ndarray[Any, np.dtype[np.int32]]  # row by row


async def newest_states(connection: AsyncConnection[Any]) -> NewestStates:
    """Reads the newest event of every space."""
    async with connection.cursor() as cursor, cursor.copy(_NEWEST) as copy:
        text = b"".join([bytes(block) async for block in copy])
    rows = np.array(text.split(), "i8").reshape(-1, 6)
    spaces = np.zeros(len(rows), SPACE)
    for column, name in ((0, "space_id"), (2, "occurred_us"), (3, "seq"), (4, "occupied"), (5, "known")):
        spaces[name] = rows[:, column]
    # A device may claim a time before 1970; the live state's order has no sign.
    spaces["occurred_us"] = np.maximum(spaces["occurred_us"], 0)
    return NewestStates(spaces, rows[:, 1].astype("i4"))
