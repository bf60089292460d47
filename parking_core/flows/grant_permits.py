"""Grants and ends permits, gives coupons: one transaction each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parking_core.errors import InvalidInputError, NotFoundError
from parking_core.store import permits, tariffs

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

    from parking_core.store.permits import ListedPermit
    from parking_core.tariffs import Coupon


def grant_permit(connection: Connection[Any], permit: ListedPermit) -> None:
    """Adds a permit with its plates.

    Raises:
        NotFoundError: its lot is unknown.
        InvalidInputError: its code is taken, or it names no plate.
    """
    if not permit.plates:
        raise InvalidInputError(f"Permit {permit.code!r} names no plate; give at least one.")
    with connection.transaction():
        _require_lot(connection, permit.lot)
        if not permits.add_permit(connection, permit):
            raise InvalidInputError(f"There is a permit {permit.code!r} already; choose another code, or end it first.")


def end_permit(connection: Connection[Any], code: str, now: datetime) -> datetime:
    """Ends a permit; gives when it ends, which is earlier where it had ended before.

    Raises:
        NotFoundError: there is none of this code.
    """
    with connection.transaction():
        until = permits.end_permit(connection, code, now)
    if until is None:
        raise NotFoundError(f"There is no permit {code!r}; `parking permit list --ended` lists all.")
    return until


def give_coupon(
    connection: Connection[Any], coupon: Coupon, *, lot: str | None, plate: str, valid_until: datetime
) -> None:
    """Gives a coupon to a vehicle, for one lot or for any.

    Raises:
        NotFoundError: the lot is unknown.
        InvalidInputError: its code is taken.
    """
    with connection.transaction():
        if lot is not None:
            _require_lot(connection, lot)
        if not permits.add_coupon(connection, coupon, lot=lot, plate=plate, valid_until=valid_until):
            raise InvalidInputError(f"There is a coupon {coupon.code!r} already; choose another code.")


def _require_lot(connection: Connection[Any], code: str) -> None:
    if code not in tariffs.lots_by_code(connection, [code]):
        raise NotFoundError(f"There is no lot with the code {code!r}; `GET /v1/lots` lists all codes.")
