"""Live state from history: from scratch, or merged into what Redis holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import psycopg

from parking_core.store import history
from parking_core.store.live_state import UPDATE

if TYPE_CHECKING:
    from parking_core.store.live_state import LiveState


async def rebuild_live_state(database_url: str, live: LiveState) -> int:
    """Replaces the live state by what history says; gives the number of spaces with a state.

    Gateways apply nothing meanwhile and keep what they commit pending, so nothing falls between.
    """
    epoch = await live.begin_rebuild()
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        newest = await history.newest_states(connection)
    await live.finish_rebuild(epoch, newest.spaces, newest.lot_ids)
    return len(newest.spaces)


async def merge_into_live_state(database_url: str, live: LiveState) -> int:
    """Applies every space's newest event by compare-and-set; gives how many Redis did not have.

    Raises:
        LiveStateMissingError: there is nothing to merge into; rebuild.
    """
    await live.require()  # asked first: history is read for nothing otherwise
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        newest = await history.newest_states(connection)
    known = newest.spaces["known"] == 1  # a silent space stays unknown
    spaces, lot_ids = newest.spaces[known], newest.lot_ids[known]
    updates = np.zeros(len(spaces), UPDATE)
    updates["lot_id"] = lot_ids
    for name in ("space_id", "occurred_us", "seq", "occupied"):
        updates[name] = spaces[name]
    applied = 0
    for first in range(0, len(updates), 4000):
        applied += await live.apply(updates[first : first + 4000])
    return applied
