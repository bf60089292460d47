"""Gives every shared lot of a district file that has no agreement the one that the file describes, published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from parking_core.sharing import AgreementState, read_terms
from parking_core.store import agreements

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from psycopg import Connection

    from parking_core.districts import District, LotRecord
    from parking_core.store.agreements import LotSpaces, NewClass

BY: Final = "district file"


def seed_agreements(connection: Connection[Any], district: District, now: datetime) -> int:
    """Publishes an agreement for each lot with `sharing` that never had one; gives how many. One transaction.

    A lot without a lane is left out: nobody could be let in, and the desk would not publish it either.

    A lot that has an agreement, or had one that was terminated, keeps what it has: the file is where a district
    begins, not where its owners change their minds. The registry has the lots already.
    """
    count = 0
    with connection.transaction():
        for lot in district.lots:
            if lot.sharing is not None and lot.lanes:
                count += _publish(connection, lot, now)
        if count:
            agreements.announce(connection)
    return count


def _publish(connection: Connection[Any], lot: LotRecord, now: datetime) -> bool:
    """The caller's transaction holds it."""
    known = agreements.lot_spaces(connection, lot.code)
    new = agreements.NewAgreement(
        code=f"S-{lot.code}",
        lot_id=known.id,
        terms=read_terms(lot.sharing.terms if lot.sharing else {}),
        classes=tuple(_classes(lot, known)),
        state=AgreementState.PUBLISHED,
    )
    return agreements.add(connection, new, now, by=BY) is not None


def _classes(lot: LotRecord, known: LotSpaces) -> Iterator[NewClass]:
    """Classes with their spaces: named ones, and for quotas ordinary ones in the order of their codes."""
    records = lot.sharing.classes if lot.sharing else []
    named = {code for each in records for code in each.named}
    free = iter([number for code, number in known.spaces.items() if code in known.ordinary and code not in named])
    for each in records:
        picked = [known.spaces[code] for code in each.named] or [next(free) for _ in range(each.quota or 0)]
        yield agreements.NewClass(code=each.code, windows=each.windows, spaces=tuple(picked), named=bool(each.named))
