"""A person explains a difference: its cause is known, and no money has to move for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parking_core.errors import InvalidInputError, NotFoundError
from parking_core.reconciliation import DifferenceState, is_ended_by_money
from parking_core.store import differences

if TYPE_CHECKING:
    from psycopg import Connection

    from parking_core.flows.correct_money import Decision


def explain_difference(connection: Connection[Any], difference_id: int, decision: Decision) -> bool:
    """Ends a difference as explained; gives False where it had been before. Who and why stay with it.

    Raises:
        NotFoundError: there is no such difference.
        InvalidInputError: it has ended otherwise, or only a decision about its money ends it.
    """
    with connection.transaction():
        known = differences.lock(connection, difference_id)
        if known is None:
            raise NotFoundError(
                f"There is no difference {difference_id}; `parking reconcile report` lists them, ids first."
            )
        if known.state is DifferenceState.EXPLAINED:
            return False
        if known.state is not DifferenceState.OPEN:
            raise InvalidInputError(
                f"Difference {difference_id} is {known.state.value}; only an open one is explained."
            )
        if is_ended_by_money(known.name, known.amount_fen):
            raise InvalidInputError(
                f"Difference {difference_id} ({known.name.value}) is about {known.amount_fen} fen that somebody still has to "
                "pay, give back or give up; decide it by `parking money`, and it ends by itself."
            )
        differences.end(connection, [known.key], DifferenceState.EXPLAINED, decision.explanation("Explained"))
    return True
