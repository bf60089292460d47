from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from parking_core.districts import District, LaneRecord, LotRecord, OperatorRecord, SpaceRecord
from parking_core.errors import InvalidInputError, NotFoundError
from parking_core.flows.close_month import close_month, month_before, month_of, set_revenue_share
from parking_core.flows.follow_lanes import Desk, follow_lanes
from parking_core.flows.reconcile import audit_money, reconcile_bills, reconcile_hours
from parking_core.flows.report_month import report_month
from parking_core.flows.seed_district import seed_district
from parking_core.reconciliation import Difference, DifferenceName
from parking_core.reports import OneDifference
from parking_core.reports.page import page, yuan
from parking_core.reports.tables import csv_files
from parking_core.settlement import postings
from parking_core.store import differences, journal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parking_core.settlement.entries import Entry

pytestmark = pytest.mark.services

ZONE = ZoneInfo("Asia/Shanghai")
NOON = datetime(2026, 10, 5, 12, tzinfo=ZONE)
NOW = datetime(2026, 11, 3, 12, tzinfo=ZONE)


@pytest.fixture
def db(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    lot = LotRecord(
        code="P1",
        name="太湖里",
        kind="off_street",
        lat=31.5,
        lon=120.3,
        operator="op",
        spaces=[SpaceRecord("1")],
        lanes=[LaneRecord("P1-E1", direction="entry"), LaneRecord("P1-X1", direction="exit")],
    )
    seed_district(database_url, District(name="t", operators=[OperatorRecord("op", "经营者甲")], lots=[lot]))
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


class Ledger:
    """Writes rows as the gateway would."""

    def __init__(self, db: psycopg.Connection[Any]) -> None:
        self.db = db
        self.lot = self._id("SELECT id FROM lots WHERE code = 'P1'")
        self.lane = self._id("SELECT id FROM devices WHERE code = 'P1-X1'")
        self.number = 0

    def _id(self, query: str) -> int:
        row = self.db.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])

    def put(self, event: str, at: datetime, **more: Any) -> int:
        self.number = more.pop("record_no", self.number + 1)
        columns = {
            "device_id": self.lane,
            "lot_id": self.lot,
            "record_no": self.number,
            "event": event,
            "source": "anpr",
            "occurred_at": at,
            "received_at": at,
            "vehicle": "苏BAB123",
            "payload": b"{}",
            "digest": hashlib.sha256(str(self.number).encode()).digest(),
            "processed_at": at,
            **more,
        }
        names, marks = ", ".join(columns), ", ".join(["%s"] * len(columns))
        query = f"INSERT INTO lane_events ({names}) VALUES ({marks}) RETURNING id"
        row = self.db.execute(query.encode(), list(columns.values())).fetchone()
        assert row is not None
        return int(row[0])

    def total(self, hour: datetime, records: int, fen: int) -> None:
        at = hour + timedelta(hours=1)
        self.put("hour_total", at, hour_at=hour, hour_records=records, hour_amount_fen=fen)

    def visit(self, at: datetime) -> int:
        event = self.put("exit", at)
        row = self.db.execute(
            "INSERT INTO visits (lot_id, vehicle, state, exit_event_id, entered_at, exited_at, matters_until)"
            " VALUES (%s, 'v', 'closed', %s, %s, %s, %s) RETURNING id",
            (self.lot, event, at - timedelta(hours=2), at, at),
        ).fetchone()
        assert row is not None
        return int(row[0])

    def book(self, *entries: Entry) -> None:
        with self.db.transaction():
            journal.book(self.db, entries)


def open_differences(db: psycopg.Connection[Any]) -> dict[str, tuple[str, int, int]]:
    rows = db.execute("SELECT name, state, records, amount_fen FROM differences").fetchall()
    return {name: (state, records, fen) for name, state, records, fen in rows}


def test_an_hour_that_lacks_a_record_is_found_and_settled_when_it_comes(db: psycopg.Connection[Any]) -> None:
    ledger = Ledger(db)
    ledger.put("exit", NOON, amount_fen=500)
    ledger.put("exit", NOON + timedelta(minutes=5), record_no=3, amount_fen=300)
    ledger.number = 3
    ledger.total(NOON, 3, 1000)
    first = reconcile_hours(db, NOON - timedelta(days=1), NOW, ZONE, NOW)
    assert first.hour_differences == 2
    assert open_differences(db) == {"hour_records": ("open", -1, 0), "hour_amount": ("open", 0, -200)} | {
        "hour_records": ("open", -1, -200),
        "hour_amount": ("open", -1, -200),
    }
    assert reconcile_hours(db, NOON - timedelta(days=1), NOW, ZONE, NOW).hour_differences == 2
    assert len(open_differences(db)) == 2  # found again: the same rows

    ledger.put("exit", NOON + timedelta(minutes=3), record_no=2, amount_fen=200)
    assert reconcile_hours(db, NOON - timedelta(days=1), NOW, ZONE, NOW).hour_differences == 0
    assert {state for state, _, _ in open_differences(db).values()} == {"settled"}


def test_a_repeat_that_the_lane_numbered_counts_for_the_lane(db: psycopg.Connection[Any]) -> None:
    ledger = Ledger(db)
    event = ledger.put("exit", NOON, amount_fen=500)
    db.execute(
        "INSERT INTO lane_repeats (device_id, record_no, event_id, reason, occurred_at, received_at, payload, digest)"
        " VALUES (%s, 2, %s, 'transaction_repeated', %s, %s, '', '')",
        (ledger.lane, event, NOON + timedelta(seconds=5), NOON),
    )
    ledger.number = 2
    ledger.total(NOON, 2, 1000)
    assert reconcile_hours(db, NOON, NOW, ZONE, NOW).hour_differences == 0


def test_an_hour_without_a_total_between_others_is_missing(db: psycopg.Connection[Any]) -> None:
    ledger = Ledger(db)
    ledger.put("entry", NOON)
    ledger.total(NOON, 1, 0)
    ledger.put("entry", NOON + timedelta(hours=1))
    ledger.total(NOON + timedelta(hours=2), 0, 0)
    found = reconcile_hours(db, NOON - timedelta(hours=5), NOW, ZONE, NOW)
    assert (found.hours, found.hour_differences) == (3, 1)
    (row,) = db.execute("SELECT name, hour_at, device_id FROM differences").fetchall()
    assert row == ("hour_total_missing", NOON + timedelta(hours=1), ledger.lane)


def a_bill(db: psycopg.Connection[Any], day: date, **rows: int) -> None:
    for reference, fen in rows.items():
        db.execute(
            "INSERT INTO acquirer_bills (acquirer, day, transaction_ref, order_id, kind, amount_fen, fee_fen)"
            " VALUES ('acq', %s, %s, 'o', 'payment', %s, 2)",
            (day, reference, fen),
        )
    db.execute(
        "INSERT INTO acquirer_bill_days VALUES ('acq', %s, %s, %s, 0, 0, %s, now())",
        (day, len(rows), sum(rows.values()), 2 * len(rows)),
    )


def test_a_bill_is_compared_and_booked_once(db: psycopg.Connection[Any]) -> None:
    ledger = Ledger(db)
    visit = ledger.visit(NOON)
    ledger.book(
        postings.charge_changed(visit_id=visit, version=1, lot="P1", delta_fen=1200, at=NOON),
        *(
            postings.qr_paid(acquirer="acq", reference=ref, visit_id=visit, lot="P1", amount_fen=fen, at=NOON)
            for ref, fen in (("t1", 500), ("t2", 300), ("t3", 400))
        ),
    )
    assert audit_money(db, ZONE).passes  # not billed yet: that explains the acquirer's account
    a_bill(db, NOON.date(), t1=500, t2=200, t9=70)
    assert reconcile_bills(db, ZONE).bill_differences == 3
    assert open_differences(db) == {
        "payment_amount": ("open", 1, 100),
        "payment_missing": ("open", 1, 400),
        "payment_unknown": ("open", 1, -70),
    }
    balances = {one.code: one.balance_fen for one in journal.trial_balance(db)}
    assert (balances["bank"], balances["acquirer_fees"], balances["acquirer:acq"]) == (764, 6, 430)
    assert reconcile_bills(db, ZONE).bills == 0
    assert audit_money(db, ZONE).passes, audit_money(db, ZONE).lines


def test_the_audit_finds_what_nobody_explains(db: psycopg.Connection[Any]) -> None:
    ledger = Ledger(db)
    visit, other = ledger.visit(NOON), ledger.visit(NOON)
    ledger.book(
        postings.charge_changed(visit_id=visit, version=1, lot="P1", delta_fen=700, at=NOON),
        postings.charge_changed(visit_id=other, version=1, lot="P1", delta_fen=-700, at=NOON),
    )
    found = audit_money(db, ZONE)
    (line,) = [line for line in found.lines if line.subject == "receivable:P1"]
    assert (line.balance_fen, line.unexplained_items) == (0, 2)  # in sum nothing, one by one two
    assert not found.passes
    for fen, left in ((699, 1), (700, 0)):  # a difference explains the amount that it names
        for number, amount_fen in ((visit, fen), (other, -700)):
            found_at_exit = Difference(
                key=f"a:{number}", name=DifferenceName.ARREARS, day=NOON.date(), visit_id=number, amount_fen=amount_fen
            )
            differences.open_all(db, [found_at_exit])
        (line,) = [line for line in audit_money(db, ZONE).lines if line.subject == "receivable:P1"]
        assert line.unexplained_items == left


@pytest.mark.parametrize("event", ["entry", "exit"])
def test_the_audit_finds_money_that_was_never_booked(db: psycopg.Connection[Any], event: str) -> None:
    Ledger(db).put(event, NOON, amount_fen=900, terminal_no="T", terminal_serial="1")
    (line,) = [line for line in audit_money(db, ZONE).lines if line.subject == "not booked: lane_events"]
    assert (line.items, line.unexplained_fen) == (1, 900)


def a_paid_month(db: psycopg.Connection[Any]) -> Ledger:
    ledger = Ledger(db)
    visit = ledger.visit(NOON)
    ledger.book(
        postings.charge_changed(visit_id=visit, version=1, lot="P1", delta_fen=1001, at=NOON),
        postings.qr_paid(acquirer="acq", reference="t1", visit_id=visit, lot="P1", amount_fen=1001, at=NOON),
    )
    return ledger


def test_a_closed_month_shares_the_money_out_and_adds_a_version_when_it_changes(db: psycopg.Connection[Any]) -> None:
    ledger = a_paid_month(db)
    set_revenue_share(db, "op", date(2026, 10, 1), 150)
    month = month_of("2026-10", ZONE)
    closed = close_month(db, month, NOW)
    (statement,) = closed.statements
    assert closed.new_versions == {"op": 1}
    assert (statement.shared_fen, statement.district_fen, statement.operator_fen) == (1001, 150, 851)
    assert close_month(db, month, NOW).new_versions == {}

    late = ledger.visit(NOON + timedelta(hours=1))
    ledger.book(postings.qr_paid(acquirer="acq", reference="t2", visit_id=late, lot="P1", amount_fen=999, at=NOON))
    assert close_month(db, month, NOW).new_versions == {"op": 2}
    balances = {one.code: one.balance_fen for one in journal.trial_balance(db)}
    assert (balances["operator_payable:op"], balances["district_share"], balances["distributed:op"]) == (
        -1700,
        -300,
        2000,
    )


def test_a_month_is_closed_when_it_is_over(db: psycopg.Connection[Any]) -> None:
    with pytest.raises(InvalidInputError, match="is not over"):
        close_month(db, month_of("2026-11", ZONE), NOW)
    assert month_before(NOW, ZONE).first == date(2026, 10, 1)
    assert month_before(datetime(2026, 10, 31, 17, tzinfo=UTC), ZONE).first == date(2026, 10, 1)
    with pytest.raises(InvalidInputError, match="YYYY-MM"):
        month_of("October", ZONE)


def test_a_share_needs_an_operator_and_a_part(db: psycopg.Connection[Any]) -> None:
    with pytest.raises(NotFoundError):
        set_revenue_share(db, "nobody", date(2026, 10, 1), 150)
    with pytest.raises(InvalidInputError):
        set_revenue_share(db, "op", date(2026, 10, 1), 1500)


def test_the_report_shows_the_same_figures_on_the_page_and_in_its_tables(db: psycopg.Connection[Any]) -> None:
    ledger = a_paid_month(db)
    ledger.total(NOON, 7, 0)
    reconcile_hours(db, NOON, NOW, ZONE, NOW)
    report = report_month(db, month_of("2026-10", ZONE), ZONE, NOW)
    html = page(report)
    assert "太湖里" in html
    assert "hour_records" in html
    assert yuan(1001) in html
    assert "每一分钱都有出处" in html
    assert "苏B" not in html
    files = csv_files(report)
    rows = list(csv.DictReader(io.StringIO(files["differences.csv"].decode("utf-8-sig"))))
    assert [(row["name"], row["records"], row["lane"]) for row in rows] == [("hour_records", "-6", "P1-X1")]
    (lot,) = csv.DictReader(io.StringIO(files["statements.csv"].decode("utf-8-sig")))
    assert (lot["lot"], lot["paid_fen"], lot["certain_fen"]) == ("P1", '{"qr": 1001}', "1001")


def test_an_empty_month_is_a_page_too(db: psycopg.Connection[Any]) -> None:
    assert "本月没有入账" in page(report_month(db, month_of("2026-09", ZONE), ZONE, NOW))


@pytest.mark.parametrize(("fen", "text"), [(0, "0.00"), (5, "0.05"), (-1234567, "-12,345.67")])
def test_fen_are_shown_as_yuan(fen: int, text: str) -> None:
    assert yuan(fen) == text


def test_a_cell_that_looks_like_a_formula_is_text(db: psycopg.Connection[Any]) -> None:
    report = report_month(db, month_of("2026-10", ZONE), ZONE, NOW)
    odd = OneDifference(
        1, "=1+1", "operator", "open", NOON.date(), NOON, None, None, None, None, 0, -5, "-", {"lane": "P1"}
    )
    text = csv_files(replace(report, differences=[odd]))["differences.csv"].decode("utf-8-sig")
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["name"], row["explanation"], row["amount_fen"]) == ("'=1+1", "'-", "-5")
    assert (row["hour_at"], row["detail"]) == ("2026-10-05T12:00:00+08:00", '{"lane": "P1"}')


def test_money_under_a_reused_number_is_beside_the_ledger_and_needs_a_name(db: psycopg.Connection[Any]) -> None:
    ledger = Ledger(db)
    event = ledger.put("exit", NOON)
    db.execute(
        "INSERT INTO lane_repeats (device_id, record_no, event_id, reason, occurred_at, received_at, amount_fen, payload,"
        " digest) VALUES (%s, 1, %s, 'record_no_reused', %s, %s, 770, '', '')",
        (ledger.lane, event, NOON, NOON),
    )

    def beside() -> tuple[int, int, int]:
        (line,) = [one for one in audit_money(db, ZONE).lines if one.subject.startswith("beside the ledger")]
        return line.items, line.unexplained_fen, line.unexplained_items

    assert beside() == (1, 770, 1)
    follow_lanes(db, Desk(ZONE), NOW, 10)
    assert beside() == (1, 0, 0)
    (row,) = db.execute("SELECT name, amount_fen FROM differences").fetchall()
    assert row == ("record_no_reused", -770)
