"""What follows from each message of the clearing centre. In the caller's transaction; nothing here commits.

Whoever applies a message first holds its package's row, so that bookkeeping and response of one package never cross.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from parking_core.clearing.packages import POLICIES, Consequence, PackageState, later, may_become
from parking_core.clearing.results import DISPUTE_REASONS
from parking_core.errors import ParkingError
from parking_core.flows.pack_transactions import send_again
from parking_core.reconciliation import Difference, DifferenceName, DifferenceState
from parking_core.settlement import EtcState, EtcTransaction
from parking_core.settlement.postings import day_cleared, etc_changed
from parking_core.store import clearing, clearing_records, differences, journal
from parking_core.store.clearing import DayTotal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.clearing.envelope import Parties
    from parking_core.clearing.messages import Bookkeeping, ClearingTotals, DisputeDecisions, Response
    from parking_core.clearing.results import PackageResult
    from parking_core.store.clearing import PackageRow
    from parking_core.store.clearing_records import PackedTransaction

ETC: Final = "etc"  # channel of differences
_STATE_AFTER: Final = {
    Consequence.ACCEPT: PackageState.ACCEPTED,
    Consequence.LATER: PackageState.PACKED,
    Consequence.HALVE: PackageState.REFUSED,
    Consequence.HOLD: PackageState.HELD,
}
_UNANSWERED: Final = frozenset({PackageState.PACKED, PackageState.SENT})


class NotYetError(ParkingError):
    """A message that came before the one it builds on: it is kept, and applied after that one."""

    code = "not_yet"


def apply_response(
    connection: Connection[Any], message: Response, now: datetime, *, zone: ZoneInfo, parties: Parties
) -> str | None:
    """The centre's judgement of a package; gives what is odd about it, or None.

    packages.POLICIES says what follows. A package that is settled already stays so: responses repeat.
    """
    package = clearing.lock_package(connection, message.answers)
    if package is None:
        return f"it answers message {message.answers}, which is none of our packages"
    if package.state not in _UNANSWERED:
        return None
    number, result = package.number, message.result
    consequence = POLICIES[result]
    if consequence is Consequence.HALVE and package.records == 1:
        consequence = Consequence.HOLD
    clearing.change_package(
        connection,
        number,
        _STATE_AFTER[consequence],
        now,
        result=result,
        again_at=later(now) if consequence is Consequence.LATER else None,
    )
    key = f"package_refused:{number}"
    if consequence is Consequence.ACCEPT:
        differences.end(connection, [key], DifferenceState.SETTLED, "The centre has taken the package.")
        return None
    differences.open_all(connection, [_refused(package, result)])
    if consequence is Consequence.HALVE:
        halves = send_again(connection, package, now, zone=zone, parties=parties, parts=2)
        then = f"Its records go again as packages {', '.join(map(str, halves))}."
        differences.end(connection, [key], DifferenceState.EXPLAINED, then)
    return None


def _refused(package: PackageRow, result: PackageResult) -> Difference:
    return Difference(
        key=f"package_refused:{package.number}",
        name=DifferenceName.PACKAGE_REFUSED,
        day=package.clearing_day,
        channel=ETC,
        records=package.records,
        amount_fen=package.amount_fen,
        detail={"package": package.number, "result": int(result), "meaning": result.name.lower()},
    )


def apply_bookkeeping(connection: Connection[Any], message: Bookkeeping, now: datetime) -> str | None:
    """A package is booked: once, however often it is said. Disputed records leave clearing by an entry each.

    Gives what is odd about it, or None.
    """
    package = clearing.lock_package(connection, message.package)
    if package is None:
        return f"it books package {message.package}, which is none of ours"
    if package.state is PackageState.BOOKED:
        return None
    if not may_become(package.state, PackageState.BOOKED):
        return f"it books package {package.number}, which is {package.state.value} and cannot be booked"
    records = clearing_records.of_packages(connection, [package.number])
    disputed = [one for one in records if one.trans_id in message.disputed]
    _dispute(connection, disputed, message.disputed, now, package.clearing_day)
    clearing_records.book_package(connection, package.number, package.clearing_day, now)
    clearing.change_package(connection, package.number, PackageState.BOOKED, now)
    compare_day(connection, package.clearing_day)
    confirmed = package.amount_fen - sum(one.transaction.amount_fen for one in disputed)
    if (message.records, message.amount_fen) != (package.records, confirmed):
        return (
            f"it confirms {message.amount_fen} fen of {message.records} records; package {package.number} has "
            f"{package.records}, {confirmed} fen without the disputed ones"
        )
    return None


def _dispute(
    connection: Connection[Any],
    disputed: Sequence[PackedTransaction],
    reasons: dict[int, int],
    now: datetime,
    day: date,
) -> None:
    entries, found = [], []
    for one in disputed:
        reason = reasons[one.trans_id]
        detail = {"package": one.package, "reason": reason, "meaning": DISPUTE_REASONS.get(reason, "unknown reason")}
        entries.append(etc_changed(one.transaction, EtcState.DISPUTED, now, detail))
        found.append(_disputed_difference(one.transaction, day, detail))
    journal.book(connection, [entry for entry in entries if entry is not None])
    clearing_records.move(connection, [one.transaction.id for one in disputed], EtcState.DISPUTED, now)
    differences.open_all(connection, found)


def _disputed_difference(transaction: EtcTransaction, day: date, detail: dict[str, Any]) -> Difference:
    return Difference(
        key=f"disputed:{transaction.name}",
        name=DifferenceName.DISPUTED,
        day=day,
        lot_id=transaction.lot_id,
        device_id=transaction.device_id,
        visit_id=transaction.visit_id,
        event_id=transaction.event_id,
        channel=ETC,
        records=1,
        amount_fen=transaction.amount_fen,
        detail=detail,
    )


def apply_disputes(connection: Connection[Any], message: DisputeDecisions, now: datetime) -> str | None:
    """Final decisions: paid ones are cleared with the file's day, others are bad debts. Each transaction once.

    Gives what is odd about it, or None: a decision of a record that nobody disputes, or that was decided otherwise.

    Raises:
        NotYetError: a package's bookkeeping, which must have disputed the record, has not come.
    """
    numbers = sorted({decision.package for decision in message.decisions})
    for number in numbers:
        package = clearing.lock_package(connection, number)
        if package is not None and may_become(package.state, PackageState.BOOKED):
            raise NotYetError(f"The bookkeeping of package {number} has not come.")
    places = {(one.package, one.trans_id): one.transaction for one in clearing_records.of_packages(connection, numbers)}
    paid, bad, odd = list[EtcTransaction](), list[EtcTransaction](), list[str]()
    for decision in message.decisions:
        transaction = places.get((decision.package, decision.trans_id))
        target = EtcState.BOOKED if decision.paid else EtcState.BAD_DEBT
        if transaction is not None and transaction.state is EtcState.DISPUTED:
            (paid if decision.paid else bad).append(transaction)
        elif transaction is None or transaction.state is not target:
            stands = "unknown" if transaction is None else transaction.state.value
            odd.append(f"record {decision.trans_id} of package {decision.package} is {stands}")
    _settle(connection, paid, EtcState.BOOKED, now, message)
    _settle(connection, bad, EtcState.BAD_DEBT, now, message)
    compare_day(connection, message.clearing_day)
    return "; ".join(odd[:10]) or None


def _settle(
    connection: Connection[Any],
    decided: Sequence[EtcTransaction],
    state: EtcState,
    now: datetime,
    message: DisputeDecisions,
) -> None:
    detail = {"file": message.file}
    entries = [etc_changed(transaction, state, now, detail) for transaction in decided]
    journal.book(connection, [entry for entry in entries if entry is not None])
    day = message.clearing_day if state is EtcState.BOOKED else None
    clearing_records.move(connection, [transaction.id for transaction in decided], state, now, day)
    ends = (
        (DifferenceState.SETTLED, f"Decided in file {message.file}: paid.")
        if state is EtcState.BOOKED
        else (DifferenceState.WRITTEN_OFF, f"Decided in file {message.file}: bad debt.")
    )
    differences.end(connection, [f"disputed:{transaction.name}" for transaction in decided], *ends)


def apply_clearing_totals(connection: Connection[Any], message: ClearingTotals, now: datetime) -> bool:
    """What the centre pays for a day comes to the bank account, as much as it says; gives whether our books agree.

    A corrected total books the difference to the one before.
    """
    day = message.clearing_day
    before = clearing.total_of(connection, day)
    theirs = DayTotal(message.records, message.amount_fen, message.packages, message.files, version=1)
    version = clearing.set_total(connection, day, theirs, now)
    delta = message.amount_fen - (before.amount_fen if before is not None else 0)
    if delta:
        journal.book(connection, [day_cleared(day=day, version=version, amount_fen=delta, at=now)])
    return compare_day(connection, day)


def compare_day(connection: Connection[Any], day: date) -> bool:
    """Our booked transactions of a clearing day against the centre's total, once there is one; whether they agree."""
    theirs = clearing.total_of(connection, day)
    if theirs is None:
        return True
    records, amount_fen = clearing.ours_of(connection, day)
    key = f"clearing_total:{day.isoformat()}:{theirs.version}"
    older = [f"clearing_total:{day.isoformat()}:{version}" for version in range(1, theirs.version)]
    differences.settle(connection, older, "The centre has corrected its total.")
    if (records, amount_fen) == (theirs.records, theirs.amount_fen):
        differences.settle(connection, [key], "Both sides count the same.")
        return True
    ours = clearing.packages_of(connection, day)
    found = Difference(
        key=key,
        name=DifferenceName.CLEARING_TOTAL,
        day=day,
        channel=ETC,
        records=records - theirs.records,
        amount_fen=amount_fen - theirs.amount_fen,
        detail={
            "ours": {"records": records, "amount_fen": amount_fen},
            "theirs": {"records": theirs.records, "amount_fen": theirs.amount_fen},
            "packages_only_ours": sorted(ours - theirs.packages)[:100],
            "packages_only_theirs": sorted(theirs.packages - ours)[:100],
        },
    )
    differences.open_again(connection, [found])
    return False
