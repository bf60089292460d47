"""From the barrier on: a car with a promise arrives, gets a space, leaves, and is charged once."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from parking_core.flows.close_month import close_month, month_of
from parking_core.flows.end_reservation import end_reservation
from parking_core.flows.reconcile import audit_money, reconcile_bills
from parking_core.reservations import EventKind
from parking_core.settlement import postings
from parking_core.sharing import Terms
from parking_core.store import guests, journal, reservations
from tests.guest_town import CAR, OTHER, THIRD, GuestTown, at
from tests.shared_town import ZONE

if TYPE_CHECKING:
    import psycopg

pytestmark = pytest.mark.services


@pytest.fixture
def town(db: psycopg.Connection[Any]) -> GuestTown:
    return GuestTown(db)


def test_a_guest_arrives_gets_a_space_and_is_charged_once(town: GuestTown) -> None:
    town.lot([2])
    town.tariff()
    found = town.granted(town.person())  # 19:00 to 21:00, 4 yuan
    town.enter(62)
    inside = town.standing(found.code)
    assert (inside.state.value, inside.arrived_at) == ("arrived", at(62))
    assert town.stays() == [("A000", found.code, False)]
    told = town.rows("SELECT detail FROM user_notices WHERE kind = 'reservation_arrived'")
    assert told == [({"reservation": found.code, "space": "A000", "outcome": "bound"},)]
    town.leave(150)
    assert town.state(found) == "completed"
    assert town.stays() == [("A000", found.code, True)]
    assert town.balances() == {"preauthorised:acq": 400, "owner_payable:S01": -280, "revenue:S01": -120}
    assert town.rows("SELECT state, captured_fen FROM holds") == [("captured", 400)]
    assert town.rows("SELECT amount_fen FROM charges") == [(0,)]
    assert town.rows("SELECT promised_at, left_at FROM departures") == [(at(180), at(150))]
    assert set(town.free("S01-A")[150 // 5 + 120 :]) == {2}
    assert town.rows("SELECT valid_until FROM permits") == [(at(150),)]
    # Following the records again changes nothing.
    town.db.execute("UPDATE lane_events SET processed_at = NULL")
    town.follow(151)
    assert town.balances()["preauthorised:acq"] == 400


def test_money_of_guests_is_audited_and_stated(town: GuestTown) -> None:
    town.lot([2], terms=Terms(price_fen_per_hour=333, owner_permille=655))
    town.tariff()
    town.granted(town.person())
    town.enter(60)
    town.leave(205)  # 25 minutes late: an hour's price three times
    audit = audit_money(town.db, ZoneInfo("Asia/Shanghai"))
    assert audit.passes, [line for line in audit.lines if line.unexplained_fen or line.unexplained_items]
    closed = close_month(town.db, month_of("2026-11", ZoneInfo("Asia/Shanghai")), at(60 * 24 * 30))
    (statement,) = closed.statements
    (lot,) = statement.lots
    taken = 2 * 333 + 3 * 333
    owner = (taken * 655 * 2 + 1000) // 2000
    assert (lot.charged_fen, dict(lot.paid_fen), lot.owner_fen) == (taken - owner, {"promises": taken - owner}, owner)
    assert statement.shared_fen == taken - owner
    assert statement.document()["lots"][0]["owner_fen"] == owner
    town.db.execute("UPDATE holds SET captured_fen = captured_fen - 1")
    assert not audit_money(town.db, ZoneInfo("Asia/Shanghai")).passes


def test_a_late_guest_pays_a_fee_and_not_the_tariff_as_well(town: GuestTown) -> None:
    town.lot([2])
    town.tariff()
    found = town.granted(town.person())
    town.enter(60)
    town.watch(171)
    assert town.standing(found.code).lateness.value == "warned"
    town.watch(191)
    assert (town.standing(found.code).lateness.value, town.standing(found.code).fee_fen) == ("charged", 600)
    town.watch(191)
    town.leave(250)
    done = town.standing(found.code)
    assert (done.state.value, done.lateness.value, done.fee_fen) == ("completed", "violation", 2 * 200 * 3)
    assert town.rows("SELECT kind FROM violations WHERE withdrawn_at IS NULL") == [("overstay",)]
    assert town.balances()["preauthorised:acq"] == 400 + 1200
    assert "receivable:S01" not in town.balances()
    assert [kind for kind in town.told() if kind.startswith("overstay")] == [
        "overstay_warned",
        "overstay_charged",
        "overstay_violation",
    ]


def test_who_comes_before_its_time_pays_the_tariff_until_then(town: GuestTown) -> None:
    town.lot([1])
    town.tariff()
    found = town.granted(town.person())
    town.enter(5)
    assert town.state(found) == "granted"
    assert town.watch(30).seated == 0
    assert town.watch(46).seated == 1
    assert town.state(found) == "arrived"
    town.leave(170)
    assert town.state(found) == "completed"
    assert town.rows("SELECT amount_fen FROM charges") == [(500,)]  # 18:05 to 18:45


def test_before_its_window_opens_a_guest_waits(town: GuestTown) -> None:
    town.lot([1])
    found = town.granted(town.person(), begins_h=0, hours=2)
    town.enter(-10)
    assert town.state(found) == "granted"
    assert town.watch(-5).seated == 0
    assert town.watch(0).seated == 1
    assert town.stays() == [("A000", found.code, False)]


def test_who_comes_after_his_promise_has_lapsed_is_a_visitor(town: GuestTown) -> None:
    town.lot([1])
    town.tariff()
    found = town.granted(town.person())
    assert town.watch(74).lapsed == 0
    assert town.watch(125).lapsed == 1
    assert town.rows("SELECT kind FROM violations WHERE withdrawn_at IS NULL") == [("no_show",)]
    assert town.rows("SELECT state FROM holds") == [("released",)]
    assert set(town.free("S01-A")[-288:]) == {1}
    town.enter(130)
    town.leave(150)
    assert town.state(found) == "lapsed"
    assert town.rows("SELECT amount_fen FROM charges") == [(500,)]


def test_a_record_that_comes_late_takes_the_no_show_back(town: GuestTown) -> None:
    town.lot([1])
    found = town.granted(town.person())
    town.watch(125)
    town.event("S01", "entry", 61)
    town.follow(130)
    assert town.state(found) == "lapsed"
    assert town.rows("SELECT withdrawn_at IS NOT NULL FROM violations") == [(True,)]
    assert "no_show_withdrawn" in town.told()


def test_entry_and_exit_that_come_at_once_are_a_stay_without_a_space(town: GuestTown) -> None:
    town.lot([1])
    town.tariff()
    found = town.granted(town.person())
    town.enter(61, follow=False)
    town.leave(170, follow=False)
    town.follow(172)
    done = town.standing(found.code)
    assert (done.state.value, done.left_at) == ("completed", at(170))
    assert town.stays() == []
    assert town.balances() == {"preauthorised:acq": 400, "owner_payable:S01": -280, "revenue:S01": -120}


def test_of_two_promises_the_nearest_is_meant_and_the_other_follows(town: GuestTown) -> None:
    town.lot([1])
    town.tariff()
    person = town.person()
    first = town.granted(person, begins_h=1, hours=1)
    second = town.granted(person, begins_h=3.5, hours=1)
    town.enter(58)
    assert (town.state(first), town.state(second)) == ("arrived", "granted")
    town.watch(200)  # within the second one's early minutes
    assert (town.state(first), town.state(second)) == ("arrived", "granted")
    town.watch(210)
    assert (town.state(first), town.state(second)) == ("completed", "arrived")
    assert town.standing(first.code).left_at == at(210)
    town.leave(265)
    assert town.state(second) == "completed"
    assert town.rows("SELECT amount_fen FROM charges") == [(0,)]
    fee = 2 * 200 * 3  # 90 minutes between them
    assert town.balances()["preauthorised:acq"] == 200 + fee + 200
    assert [left for _, _, left in town.stays()] == [True, True]


def test_a_reading_of_another_car_gives_the_promise_back(town: GuestTown) -> None:
    town.lot([1])
    found = town.granted(town.person())
    town.enter(61, number=900)
    assert town.state(found) == "arrived"
    town.event("S01", "correction", 62, OTHER, refers_to=900)
    town.follow(63)
    back = town.standing(found.code)
    assert (back.state.value, back.visit_id, back.arrived_at) == ("granted", None, None)
    assert town.stays() == [("A000", found.code, True)]
    town.enter(65)
    assert town.state(found) == "arrived"
    assert [left for _, _, left in town.stays()] == [True, False]


def test_a_corrected_visit_stays_with_its_promise(town: GuestTown) -> None:
    """The camera misread the plate at the entry; a correction names the car."""
    town.lot([1])
    found = town.granted(town.person())
    town.enter(61, THIRD, number=900)
    assert town.state(found) == "granted"
    town.event("S01", "correction", 62, CAR, refers_to=900)
    town.follow(63)
    assert town.state(found) == "arrived"


def test_an_exit_that_nobody_saw_costs_the_price(town: GuestTown) -> None:
    town.lot([1])
    found = town.granted(town.person())
    town.enter(61)
    town.watch(250)
    assert town.standing(found.code).lateness.value == "violation"
    town.enter(600)  # it must have left
    done = town.standing(found.code)
    assert (done.state.value, done.left_at, done.fee_fen) == ("completed", None, 0)
    assert town.rows("SELECT withdrawn_at IS NOT NULL FROM violations") == [(True,)]
    assert town.balances()["preauthorised:acq"] == 400
    assert town.rows("SELECT FROM departures") == []


def test_a_completed_promise_stays_completed_when_the_exit_is_corrected(town: GuestTown) -> None:
    town.lot([1])
    town.tariff()
    found = town.granted(town.person())
    town.enter(61)
    town.leave(100, number=901)
    assert town.state(found) == "completed"
    town.event("S01", "correction", 101, OTHER, refers_to=901)
    town.leave(160)
    assert town.state(found) == "completed"
    assert town.balances()["preauthorised:acq"] == 400
    assert town.rows("SELECT amount_fen FROM charges ORDER BY visit_id DESC, version DESC LIMIT 1") == [(500,)]


def test_the_space_is_of_another_class_and_is_counted_there(town: GuestTown) -> None:
    short: dict[str, Any] = {"windows": [{"days": ["any_day"], "from": "18:00", "until": "23:00"}]}
    town.lot([1, 1], windows=[{"windows": [{"days": ["any_day"], "from": "18:00", "until": "08:00"}]}, short])
    earlier = town.granted(town.person("u2", OTHER))
    found = town.granted(town.person())
    assert (earlier.class_id, found.class_id) == (town.classes["S01-B"], town.classes["S01-A"])
    with town.db.transaction():
        end_reservation(town.db, earlier, EventKind.CANCELLED, at(10), by="driver")
    town.enter(61)
    (_, code, _) = town.stays()[0]
    assert code == found.code
    assert town.standing(found.code).class_id == town.classes["S01-B"]


def test_a_guest_for_whom_there_is_no_space_is_sent_elsewhere_at_once(town: GuestTown) -> None:
    town.lot([1])
    town.lot([1])
    first = town.granted(town.person(), begins_h=1, hours=1)
    town.enter(60)
    second = town.granted(town.person("u2", OTHER), begins_h=3.5, hours=1, lot="S01")
    town.enter(211, OTHER)  # the first one is still there
    moved = town.standing(second.code)
    assert moved.state.value == "moved"
    instead = reservations.lock(town.db, moved.moved_to or 0)
    assert (instead.lot_id, instead.state.value) == (town.lots["S02"], "granted")
    assert town.rows("SELECT reservation_id, late_id, at_barrier FROM let_downs") == [(second.id, first.id, True)]
    assert "reservation_moved" in town.told()


def test_two_cars_never_stand_in_one_space(town: GuestTown) -> None:
    town.lot([1])
    found = town.granted(town.person())
    town.enter(60)
    space = town.spaces["S01-A"][0]
    with pytest.raises(Exception, match="one_car_a_space"):
        guests.take_space(
            town.db,
            space,
            town.classes["S01-A"],
            (at(61), at(62) + timedelta(hours=1)),
            reservation_id=found.id,
        )


def test_a_day_with_codes_promises_and_its_bill_opens_no_difference(town: GuestTown) -> None:
    town.lot([2])
    town.tariff()
    town.granted(town.person())
    town.enter(62)
    town.leave(150)
    town.enter(160, OTHER)  # without a promise: pays by code
    town.leave(220, OTHER)
    [(visit,)] = town.rows("SELECT id FROM visits WHERE vehicle = %s", OTHER)
    entry = postings.qr_paid(acquirer="acq", reference="t1", visit_id=visit, lot="S01", amount_fen=500, at=at(220))
    journal.book(town.db, [entry])
    day = at(220).astimezone(ZONE).date()
    town.db.execute(
        "INSERT INTO acquirer_bills (acquirer, day, transaction_ref, order_id, kind, amount_fen, fee_fen)"
        " VALUES ('acq', %s, 't1', 'o', 'payment', 500, 2)",
        (day,),
    )
    town.db.execute("INSERT INTO acquirer_bill_days VALUES ('acq', %s, 1, 500, 0, 0, 2, now())", (day,))
    done = reconcile_bills(town.db, ZONE)
    assert (done.bills, done.bill_differences) == (1, 0)
    assert town.rows("SELECT name FROM differences WHERE name LIKE 'payment_%%'") == []
    balances = town.balances()
    assert (balances["preauthorised:acq"], balances["bank"], "acquirer:acq" in balances) == (400, 498, False)
    audit = audit_money(town.db, ZONE)
    line = next(line for line in audit.lines if line.subject == "preauthorised:acq")
    assert (line.items, line.balance_fen, line.unexplained_fen, line.unexplained_items) == (1, 400, 0, 0)
    town.db.execute("UPDATE holds SET captured_fen = captured_fen - 1")
    line = next(line for line in audit_money(town.db, ZONE).lines if line.subject == "preauthorised:acq")
    assert line.unexplained_fen == 1
