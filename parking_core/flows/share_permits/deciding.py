"""The operator of a lot decides on applications. One transaction each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parking_core.errors import ConflictError, NotFoundError
from parking_core.flows.share_permits.applying import look
from parking_core.flows.share_permits.drawing import activate
from parking_core.flows.share_permits.ending import end
from parking_core.reservations import PermitState
from parking_core.share_permits import PermitRefusal
from parking_core.store import share_permits

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

    from parking_core.flows.offers_in_force import OffersInForce
    from parking_core.people import Person
    from parking_core.share_permits import SharedPermit


def approve(
    connection: Connection[Any], offers: OffersInForce, person: Person, code: str, now: datetime
) -> SharedPermit:
    """Approves an application: it becomes a permit, or is refused where its class has no space for it any more.

    Raises:
        NotFoundError: no application of the operator's lots is called so.
        ConflictError: it is decided already.
    """
    with connection.transaction():
        offer = offers.of(connection, now)
        permit, class_id = _applied(connection, person, code)
        by = f"operator:{person.code}"
        reason: PermitRefusal | None = PermitRefusal.NOT_OFFERED
        if permit.valid_from <= now:
            reason = PermitRefusal.NOT_DECIDED
        elif class_id in offer.row_of:
            shared = offer.classes[offer.row_of[class_id]]
            found = look(connection, shared, permit, now, zone=offer.zone, lock=True, but=permit.id)
            reason = found.refusal
            if reason is None and found.days is not None:
                return activate(connection, permit, found.days, now, by=by, zone=offer.zone)
        why = (reason or PermitRefusal.NOT_OFFERED).value
        return end(connection, permit, PermitState.REFUSED, now, by=by, zone=offer.zone, reason=why)


def refuse(
    connection: Connection[Any], offers: OffersInForce, person: Person, code: str, now: datetime, *, why: str = ""
) -> SharedPermit:
    """Refuses an application, in words for its applicant.

    Raises:
        NotFoundError, ConflictError: as `approve`.
    """
    with connection.transaction():
        permit, _ = _applied(connection, person, code)
        reason = PermitRefusal.BY_OPERATOR.value
        by = f"operator:{person.code}"
        return end(connection, permit, PermitState.REFUSED, now, by=by, zone=offers.zone, reason=reason, why=why)


def _applied(connection: Connection[Any], person: Person, code: str) -> tuple[SharedPermit, int]:
    """An application of the operator's lots and its class, locked after the turn of the class."""
    found = share_permits.find(connection, code)
    if found is None or found.class_id is None or person.operator_id is None:
        raise NotFoundError(f"No application of your lots has the code {code!r}.")
    if share_permits.agreement(connection, found.class_id).names.operator_id != person.operator_id:
        raise NotFoundError(f"No application of your lots has the code {code!r}.")
    share_permits.take_turns(connection, [found.class_id])
    permit = share_permits.lock(connection, found.id)
    if permit.state is not PermitState.APPLIED:
        raise ConflictError(f"Permit {code} is {permit.state.value}; it was decided already.")
    return permit, found.class_id
