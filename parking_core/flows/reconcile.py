"""Reconciles: lanes with the ledger hour by hour, acquirers' bills day by day, and the journal with itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from parking_core.audit import Audit
from parking_core.bills import agreeing, compare_bill
from parking_core.lane_hours import compare_hours
from parking_core.settlement.postings import acquirer_paid_out
from parking_core.store import bills, differences, journal
from parking_core.store.audit import audit_lines
from parking_core.store.lane_hours import lane_hours

if TYPE_CHECKING:
    from datetime import date
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.reconciliation import Difference

_LATE_DAYS = 14  # of bills: acquirers repeat a notice for a day, and we ask for a payment as long as its link lives
LATE_AGREEMENT = "Late records have made both sides equal."


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a run has done."""

    hours: int = 0
    hour_differences: int = 0
    bills: int = 0
    bill_differences: int = 0


def reconcile_hours(
    connection: Connection[Any], since: datetime, until: datetime, zone: ZoneInfo, now: datetime
) -> Reconciled:
    """Compares all lanes and hours that begin in [since, until); what agrees now is settled.

    Both ends are cut to whole hours. Run again it finds the same differences under the same keys.
    """
    since, until = (end.replace(minute=0, second=0, microsecond=0) for end in (since, until))
    with connection.transaction():
        hours = lane_hours(connection, since, min(until, _this_hour(now)), str(zone))
        findings = compare_hours(hours, zone, now)
        differences.open_again(connection, findings.differences)
        differences.settle(connection, findings.agreeing, LATE_AGREEMENT)
    return Reconciled(hours=findings.compared, hour_differences=len(findings.differences))


def _this_hour(now: datetime) -> datetime:
    return now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def reconcile_bills(connection: Connection[Any], zone: ZoneInfo) -> Reconciled:
    """Books every fetched bill of acquirers once, and compares it, again where a payment may have come late.

    A transaction a bill. Gives the bills that are new, and what they differ in.
    """
    found = 0
    days = bills.unbooked_days(connection)
    again = [bill for bill in bills.compared_days(connection, _LATE_DAYS) if bill not in days]
    for bill in again:
        with connection.transaction():
            _compare(connection, bill, zone)
    for bill in days:
        with connection.transaction():
            findings = _compare(connection, bill, zone)
            if bill.amount_fen or bill.fee_fen:
                entry = acquirer_paid_out(
                    acquirer=bill.acquirer,
                    day=bill.day,
                    amount_fen=bill.amount_fen,
                    fee_fen=bill.fee_fen,
                    at=_end_of(bill.day, zone),
                )
                journal.book(connection, [entry])
            found += len(findings)
    return Reconciled(bills=len(days), bill_differences=found)


def _compare(connection: Connection[Any], bill: bills.BillDay, zone: ZoneInfo) -> list[Difference]:
    pairs = bills.pairs(connection, bill.acquirer, bill.day, str(zone))
    findings = compare_bill(pairs)
    differences.open_again(connection, findings)
    differences.settle(connection, agreeing(pairs), LATE_AGREEMENT)
    return findings


def _end_of(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time.max, zone)


def audit_money(connection: Connection[Any], zone: ZoneInfo) -> Audit:
    """Whether every fen is accounted for, as of one instant."""
    with connection.transaction():
        return Audit(audit_lines(connection, str(zone)))
