from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from parking_core.bills import BillPair, compare_bill
from parking_core.lane_hours import LaneHour, compare_hours
from parking_core.reconciliation import CHANGES, OWNERS, DifferenceName, DifferenceState, Owner

ZONE = ZoneInfo("Asia/Shanghai")
HOUR = datetime(2026, 10, 1, 17, tzinfo=UTC)  # 01:00 of the next day in China
LATER = HOUR + timedelta(days=1)
EQUAL = LaneHour(3, 1, HOUR, 12, 4500, 12, 4500)


def names(*hours: LaneHour, now: datetime = LATER) -> list[str]:
    return [one.name.value for one in compare_hours(hours, ZONE, now).differences]


def test_equal_sides_give_nothing_and_name_what_they_settle() -> None:
    findings = compare_hours([EQUAL], ZONE, LATER)
    assert not findings.differences
    assert set(findings.agreeing) == {
        f"{name}:3:{int(HOUR.timestamp())}" for name in ("hour_total_missing", "hour_records", "hour_amount")
    }


def test_records_and_money_are_two_findings() -> None:
    assert names(replace(EQUAL, ledger_records=11)) == ["hour_records"]
    assert names(replace(EQUAL, ledger_amount_fen=4400)) == ["hour_amount"]
    assert names(replace(EQUAL, ledger_records=11, ledger_amount_fen=4400)) == ["hour_records", "hour_amount"]


def test_a_finding_says_ours_minus_theirs_the_local_day_and_the_missing_numbers() -> None:
    hour = replace(EQUAL, ledger_records=10, ledger_amount_fen=4000, missing=(71, 72))
    records, amount = compare_hours([hour], ZONE, LATER).differences
    assert (records.records, amount.amount_fen) == (-2, -500)
    assert records.day.isoformat() == "2026-10-02"
    assert records.detail["missing_record_nos"] == [71, 72]
    assert records.owner is Owner.MAINTENANCE
    assert amount.owner is Owner.OPERATOR


@pytest.mark.parametrize(("after", "found"), [(119, []), (120, ["hour_total_missing"])])
def test_a_total_may_be_an_hour_late(after: int, found: list[str]) -> None:
    silent = replace(EQUAL, lane_records=None, lane_amount_fen=None)
    assert names(silent, now=HOUR + timedelta(minutes=after)) == found


def test_every_difference_has_an_owner_and_every_state_a_row_of_changes() -> None:
    assert set(OWNERS) == set(DifferenceName)
    assert set(CHANGES) == set(DifferenceState)


def pair(ours: int | None, theirs: int | None, kind: str = "payment") -> BillPair:
    return BillPair(
        acquirer="acq", day=HOUR.date(), kind=kind, transaction_ref="t1", ours_fen=ours, theirs_fen=theirs, visit_id=9
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "name", "fen"),
    [
        (500, None, "payment_missing", 500),
        (None, 500, "payment_unknown", -500),
        (500, 400, "payment_amount", 100),
        (None, -300, "payment_unknown", 300),
    ],
)
def test_each_way_a_bill_differs_has_its_name(ours: int | None, theirs: int | None, name: str, fen: int) -> None:
    (found,) = compare_bill([pair(ours, theirs)])
    assert (found.name.value, found.amount_fen, found.channel) == (name, fen, "acq")


def test_an_equal_bill_has_no_difference() -> None:
    assert compare_bill([pair(500, 500), pair(-200, -200, "refund")]) == []
