"""A person gives back what a promise of a shared space was wrongly charged. One transaction.

promise locked ─► at most what is left of what was taken ─► booked the other way, the owner's part with it ─► notice

Of a month of a permit less is left to be given back for openings that are lost later. The hold stays as it ended.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from parking_core.errors import InvalidInputError, NotFoundError
from parking_core.flows.correct_money import Corrected
from parking_core.settlement import account, postings
from parking_core.settlement.accounts import OF_A_LOT
from parking_core.store import holds, journal, notices, permit_months, reservations, share_permits

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.flows.correct_money import Decision
    from parking_core.store.journal import BookedEntry
    from parking_core.store.permit_months import PaidMonth

_MOST_TIMES: Final = 99  # of one promise; more is no correction


@dataclass(frozen=True, slots=True)
class _Taken:
    """What was taken for a promise, by whom, and what is left of it."""

    entry: BookedEntry
    user_id: int
    told: dict[str, Any]  # how a notice names the promise
    month: PaidMonth | None = None  # of a permit, locked

    def kept_fen(self, before: BookedEntry | None) -> int:
        """What was not given back; `before` is the correction before this one."""
        if self.month is not None:
            return self.month.charged_fen
        if before is None:
            return amount_of(self.entry)
        return int(before.detail["kept_fen"]) + amount_of(before)


def key_of(promise: str) -> str:
    """Key of the entry that took the money of a promise: a reservation's code, or a permit's with the month.

    >>> key_of("R-2345678923"), key_of("P-2345678923:2026-11")
    ('reservation:R-2345678923', 'permit:P-2345678923:2026-11')
    """
    return f"permit:{promise}" if ":" in promise else f"reservation:{promise}"


def amount_of(entry: BookedEntry) -> int:
    """What an entry of a promise took, below 0: gave back; fen."""
    return -sum(fen for code, fen in entry.postings if account(code).kind in OF_A_LOT)


def give_back(
    connection: Connection[Any],
    promise: str,
    amount_fen: int,
    decision: Decision,
    now: datetime,
    *,
    number: int = 1,
    zone: ZoneInfo,
) -> Corrected:
    """The driver of a promise gets `amount_fen` back, and the lot's owner and operator bear it by their parts.

    `promise` is a reservation's code, or "<code of a permit>:<yyyy-mm>"; `number` counts what is given back of it: the
    same one again is the same decision.

    Raises:
        NotFoundError: there is no such promise, or nothing was taken for it.
        InvalidInputError: it is more than is left, another amount was given back under this number, or one is left out.
    """
    with connection.transaction():
        taken = _taken(connection, promise, zone)
        if (earlier := journal.entry(connection, _key(promise, number))) is not None:
            return _the_same(earlier, promise, amount_fen, number)
        before = journal.entry(connection, _key(promise, number - 1))
        if not 1 <= number <= _MOST_TIMES or (before is None) is not (number == 1):
            raise InvalidInputError(f"Promise {promise} has no correction {number - 1}; count from 1 without a gap.")
        kept = taken.kept_fen(before)
        if not 0 < amount_fen <= kept:
            raise InvalidInputError(
                f"Promise {promise} has {kept} fen that can be given back; {amount_fen} fen cannot."
            )
        entry = postings.promise_paid(
            key=_key(promise, number),
            channel=str(taken.entry.detail["channel"]),
            lot=_lot(taken.entry),
            amount_fen=-amount_fen,
            owner_permille=int(taken.entry.detail["owner_permille"]),
            at=now,
            visit_id=taken.entry.visit_id,
            kept_fen=kept,
            detail={**decision.detail(), "promise": taken.entry.key},
        )
        journal.book(connection, [entry])
        if taken.month is not None:
            permit_months.stand(connection, replace(taken.month, charged_fen=kept - amount_fen))
        notices.tell(connection, taken.user_id, "promise_refunded", now, {**taken.told, "amount_fen": amount_fen})
    return Corrected(entry.key, amount_fen, new=True, channel=str(entry.detail["channel"]))


def _key(promise: str, number: int) -> str:
    return f"promise_refund:{promise}:{number}"


def _the_same(earlier: BookedEntry, promise: str, amount_fen: int, number: int) -> Corrected:
    given = -amount_of(earlier)
    if given != amount_fen:
        raise InvalidInputError(
            f"{given} fen of promise {promise} were given back as number {number}; give {amount_fen} fen another number."
        )
    return Corrected(earlier.key, given, new=False, channel=str(earlier.detail["channel"]))


def _lot(entry: BookedEntry) -> str:
    """Whose space it was: every entry of a promise names its lot's accounts."""
    return next(of.of for of in (account(code) for code, _ in entry.postings) if of.kind in OF_A_LOT)


def _taken(connection: Connection[Any], promise: str, zone: ZoneInfo) -> _Taken:
    """What was taken, with the promise locked against another who gives it back."""
    code, _, name = promise.partition(":")
    entry = journal.entry(connection, key_of(promise))
    if name:
        permit = share_permits.find(connection, code)
        if permit is None or entry is None:
            raise NotFoundError(nothing_taken(promise))
        share_permits.lock(connection, permit.id)
        months = permit_months.of_permit(connection, permit.id)
        month = next(each for each in months if f"{each.begins.astimezone(zone):%Y-%m}" == name)
        return _Taken(entry, permit.user_id, {"permit": code, "month": name}, month)
    reservation = reservations.find(connection, code)
    if reservation is None or entry is None:
        raise NotFoundError(nothing_taken(promise))
    holds.lock(connection, entry.key)
    return _Taken(entry, reservation.user_id, {"reservation": code})


def nothing_taken(promise: str) -> str:
    """What is said of a promise that cost nothing, or is none."""
    return (
        f"Nothing was taken for a promise {promise!r}; name a reservation by its code, or a month of a permit as "
        "<code>:<yyyy-mm>."
    )
