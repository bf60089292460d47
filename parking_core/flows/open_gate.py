"""A person raises a barrier from afar: a command that says who and why, and that is never deleted."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from parking_core.commands import CommandKind, CommandOrder
from parking_core.errors import InvalidInputError
from parking_core.store import commands, lane_overview

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

LONGEST_TEXT: Final = 200  # characters of a reason or a name


@dataclass(frozen=True, slots=True)
class ManualOpening:
    """Which barrier, why, and who answers for it."""

    lot: str  # code
    lane: str  # code
    reason: str
    by: str


def open_gate(connection: Connection[Any], opening: ManualOpening, now: datetime) -> uuid.UUID:
    """Queues the command and gives its id. Two calls raise the barrier twice.

    The row of `commands` is the record of who ordered it: body {"reason": "manual", "why", "by"}. The lane answers it, and
    reports a `manual_open` event of its own, which the ledger keeps and reconciliation looks for.

    Raises:
        NotFoundError: there is no such lane.
        InvalidInputError: nobody, or no reason, is named.
    """
    for name, text in (("reason", opening.reason), ("name of who orders it", opening.by)):
        if not text.strip() or len(text) > LONGEST_TEXT or "\0" in text:
            raise InvalidInputError(f"The {name} must be given, in at most {LONGEST_TEXT} characters.")
    with connection.transaction():
        device_id = lane_overview.lane_id(connection, opening.lot, opening.lane)
        body = {"reason": "manual", "why": opening.reason.strip(), "by": opening.by.strip()}
        order = CommandOrder(device_id, CommandKind.OPEN_GATE, body, f"manual:{uuid.uuid4()}")
        (command_id,) = commands.queue(connection, [order], now)
    return command_id
