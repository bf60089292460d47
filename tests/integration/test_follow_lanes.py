"""From lane records to visits, charges, postings and differences, over the real database."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from parking_core.flows import follow_lanes as flow
from parking_core.flows.charge_visits import review_visits
from parking_core.flows.follow_lanes import Followed, give_up_stays, take_back
from parking_core.flows.settle_transactions import settle_transactions
from parking_core.settlement.postings import qr_paid
from parking_core.store import journal, permits
from parking_core.store.permits import ListedPermit
from tests.visit_rows import CAR, HOUR, NOON, OTHER, THIRD, ZONE, Town

pytestmark = pytest.mark.services


def test_a_visit_from_entry_to_clearing(town: Town) -> None:
    town.enter(0)
    town.follow()
    assert town.visits() == [(CAR, "P01", "open", [], None, 0)]
    town.leave(2, paid=1000)
    done = town.follow()
    assert (done.events, done.new_visits, done.changed_visits, done.charges) == (1, 0, 1, 1)
    assert town.visits() == [(CAR, "P01", "closed", [], "etc", 0)]
    assert town.balances() == {"etc_clearing": 1000, "revenue:P01": -1000}
    assert town.differences() == []
    ((version, amount, lines, reason),) = town.rows("SELECT version, amount_fen, lines, reason FROM charges")
    assert (version, amount, reason) == (1, 1000, "exit")
    assert sum(line["amount_fen"] for line in lines) == 1000


def test_money_taken_on_the_way_in_is_the_visits_money(town: Town) -> None:
    town.enter(0, paid=1000)
    town.follow()
    assert town.visits() == [(CAR, "P01", "open", [], None, -1000)]
    town.leave(2)
    town.follow()
    assert town.visits() == [(CAR, "P01", "closed", [], "etc", 0)]
    assert town.balances() == {"etc_clearing": 1000, "revenue:P01": -1000}
    assert town.differences() == []


def test_following_again_changes_nothing(town: Town) -> None:
    for car in (CAR, OTHER):
        town.enter(0, car)
        town.leave(3, car, paid=1500)
    town.follow()
    before, rows = town.outcome(), town.rows("SELECT count(*) FROM journal")
    town.db.execute("UPDATE lane_events SET processed_at = NULL")
    again = town.follow()
    assert (again.events, again.new_visits, again.changed_visits, again.charges) == (4, 0, 0, 0)
    assert town.outcome() == before
    assert town.rows("SELECT count(*) FROM journal") == rows
    assert town.follow() == Followed()


def test_an_exit_without_an_entry_costs_what_the_lane_took_until_the_entry_comes(town: Town) -> None:
    town.leave(3, paid=1000)
    town.follow()
    assert town.visits() == [(CAR, "P01", "missing_entry", ["missing_entry"], "etc", 0)]
    assert town.balances() == {"etc_clearing": 1000, "revenue:P01": -1000}
    assert town.differences() == [("missing_entry", 0)]
    town.enter(0)
    town.follow()
    assert town.visits() == [(CAR, "P01", "closed", [], "etc", 500)]
    assert town.differences() == [("amount_differs", 500)]
    assert town.differences("settled") == [("missing_entry", 0)]
    assert town.rows("SELECT version, amount_fen, reason FROM charges ORDER BY version") == [
        (1, 1000, "missing_entry"),
        (2, 1500, "late_entry"),
    ]
    assert town.balances() == {"etc_clearing": 1000, "receivable:P01": 500, "revenue:P01": -1500}


def test_an_unpaid_exit_without_an_entry_is_not_charged(town: Town) -> None:
    town.leave(3)
    town.follow()
    assert town.visits() == [(CAR, "P01", "missing_entry", ["missing_entry"], None, 0)]
    assert town.rows("SELECT FROM charges") == []


def test_an_entry_that_comes_after_its_exit_and_another_entry_meet_in_one_row(town: Town) -> None:
    """Entry 1, exit 2 (lost), entry 3, exit 4; the first exit comes last."""
    town.enter(0)
    town.enter(5)
    town.leave(6)
    town.follow()
    assert [row[2] for row in town.visits()] == ["missing_exit", "closed"]
    assert town.differences() == [("arrears", 500), ("missing_exit", 0)]
    town.leave(1, paid=500)
    town.follow()
    assert [(row[2], row[4], row[5]) for row in town.visits()] == [("closed", "etc", 0), ("closed", "later", 500)]
    assert town.differences() == [("arrears", 500)]


def test_an_open_visit_and_a_lone_exit_become_one_and_the_other_is_void(town: Town) -> None:
    """The exit lane's camera misread the plate: a correction record names the vehicle."""
    town.enter(0)
    town.leave(2, "苏B12B45", paid=1000, record_no=900)
    town.follow()
    assert [(row[0], row[2]) for row in town.visits()] == [(CAR, "open"), ("苏B12B45", "missing_entry")]
    town.event("P01-out", "correction", 2.1, CAR, refers_to=900)
    town.follow()
    assert town.visits() == [(CAR, "P01", "closed", ["plate_corrected"], "etc", 0)]
    assert town.balances() == {"etc_clearing": 1000, "revenue:P01": -1000}
    assert town.differences() == []
    assert town.rows("SELECT vehicle, state, entry_event_id, exit_event_id FROM visits WHERE state = 'void'") == [
        ("苏B12B45", "void", None, None)
    ]
    assert town.rows("SELECT vehicle FROM lane_events WHERE record_no = 900") == [("苏B12B45",)]  # as it came
    assert town.rows("SELECT vehicle_before, vehicle_after, in_force FROM lane_amendments") == [("苏B12B45", CAR, True)]
    ((moved,),) = town.rows(
        "SELECT sum(p.amount_fen)::int FROM postings p JOIN accounts a ON a.id = p.account_id WHERE a.kind = 'moved'"
    )
    assert moved == 0


def test_a_correction_may_come_before_its_record_and_the_newest_is_in_force(town: Town) -> None:
    town.event("P01-in", "correction", 0.3, CAR, refers_to=901, record_no=903)
    town.event("P01-in", "correction", 0.2, OTHER, refers_to=901, record_no=902)
    town.follow()
    town.enter(0, THIRD, record_no=901)
    town.leave(1, paid=500)
    town.follow()
    assert town.visits() == [(CAR, "P01", "closed", ["plate_corrected"], "etc", 0)]
    assert town.rows("SELECT vehicle_after FROM lane_amendments WHERE in_force") == [(CAR,)]


def test_an_exit_at_another_lot_is_one_finding_on_both_sides(town: Town) -> None:
    entry = town.enter(0)
    leaving = town.leave(2, lot="P02", paid=300)
    town.follow()
    assert [(row[1], row[2]) for row in town.visits()] == [("P01", "missing_exit"), ("P02", "missing_entry")]
    assert town.differences() == [("exit_elsewhere", 0), ("exit_elsewhere", 0)]
    links = town.rows("SELECT detail ->> 'linked_event_id' FROM differences ORDER BY lot_id")
    assert links == [(str(leaving),), (str(entry),)]
    assert town.balances() == {"etc_clearing": 300, "revenue:P02": -300}


def test_close_behind_another_vehicle_is_tailgating_in_whatever_order_they_come(town: Town) -> None:
    town.enter(0, OTHER)
    town.enter(0)
    second = 1 / 3600
    town.leave(2 + 3 * second, OTHER)
    town.follow()
    assert town.differences() == [("arrears", 1000)]
    town.leave(2, paid=1000)
    town.follow()
    assert town.differences() == [("tailgated", 1000)]
    assert {row[0]: row[3] for row in town.visits()} == {CAR: [], OTHER: ["tailgated"]}


def test_a_barrier_opened_for_nobody_is_a_finding_until_a_correction_names_the_vehicle(town: Town) -> None:
    town.enter(0)
    town.event("P01-out", "manual_open", 1, None, record_no=800)
    town.follow()
    assert [row[2] for row in town.visits()] == ["open"]
    assert town.differences() == [("manual_open", 0)]
    town.event("P01-out", "correction", 1.1, CAR, refers_to=800)
    town.follow()
    assert [(row[2], row[3], row[5]) for row in town.visits()] == [("closed", ["manual", "plate_corrected"], 500)]
    assert town.differences() == [("arrears", 500)]
    assert town.differences("explained") == [("manual_open", 0)]


def test_a_barrier_opened_for_a_vehicle_closes_its_visit(town: Town) -> None:
    town.enter(0)
    town.event("P01-both", "manual_open", 1)
    town.follow()
    assert town.visits() == [(CAR, "P01", "closed", ["manual"], "later", 500)]


def test_stays_that_are_too_long_are_given_up_and_may_come_back(town: Town) -> None:
    town.enter(0)
    town.enter(100, OTHER)
    town.follow()
    assert give_up_stays(town.db, town.desk, NOON + timedelta(days=15)) == 0
    assert give_up_stays(town.db, town.desk, NOON + timedelta(days=15, seconds=1)) == 1
    assert [(row[0], row[2]) for row in town.visits()] == [(CAR, "missing_exit"), (OTHER, "open")]
    assert town.differences() == [("missing_exit", 0)]
    town.leave(14 * 24, paid=100)  # kept by a lane that was offline
    town.follow(NOON + timedelta(days=16))
    assert next(row[2] for row in town.visits()) == "closed"
    assert town.differences("settled") == [("missing_exit", 0)]


def test_a_lot_without_a_tariff_charges_nothing_and_says_so(town: Town) -> None:
    town.db.execute("DELETE FROM lot_tariffs")
    town.enter(0)
    town.leave(2, paid=700)
    town.follow()
    assert town.rows("SELECT FROM charges") == []
    assert town.differences() == [("no_tariff", -700)]


def test_another_amount_than_the_tariff_gives_is_named_and_stays_as_the_card_was_charged(town: Town) -> None:
    town.enter(0)
    town.leave(2, paid=1200)
    town.follow()
    assert town.visits() == [(CAR, "P01", "closed", [], "etc", -200)]
    assert town.differences() == [("amount_differs", -200)]


def test_arrears_that_are_paid_later_end_and_the_channel_follows(town: Town) -> None:
    town.enter(0)
    town.leave(2)
    town.follow()
    assert town.differences() == [("arrears", 1000)]
    ((visit,),) = town.rows("SELECT id FROM visits")
    paid = qr_paid(acquirer="tongpay", reference="R1", visit_id=visit, lot="P01", amount_fen=1000, at=NOON + 3 * HOUR)
    with town.db.transaction():
        journal.book(town.db, [paid])
        review_visits(town.db, [visit], ZONE)
    assert town.visits() == [(CAR, "P01", "closed", [], "qr", 0)]
    assert (town.differences(), town.differences("settled")) == ([], [("arrears", 1000)])
    with town.db.transaction():  # given back by the acquirer: owed again, a finding of its own
        back = qr_paid(acquirer="tongpay", reference="R2", visit_id=visit, lot="P01", amount_fen=-400, at=NOON)
        journal.book(town.db, [back])
        review_visits(town.db, [visit], ZONE)
    assert town.differences() == [("arrears", 400)]


def test_what_a_person_has_explained_stays_explained(town: Town) -> None:
    town.leave(3)
    town.follow()
    town.db.execute("UPDATE differences SET state = 'explained'")
    town.event("P01-out", "exit", 3.005)
    town.follow()
    assert town.visits()[0][3] == ["missing_entry", "repeated_exit"]
    assert (town.differences(), town.differences("explained")) == ([], [("missing_entry", 0)])


def test_a_repeated_transaction_and_a_reused_number_are_named(town: Town) -> None:
    entry = town.enter(0)
    for number, reason in ((500, "transaction_repeated"), (501, "record_no_reused")):
        town.db.execute(
            "INSERT INTO lane_repeats (device_id, record_no, event_id, reason, occurred_at, received_at, amount_fen,"
            " payload, digest) VALUES (%s, %s, %s, %s, %s, %s, 700, '', %s)",
            (town.lanes["P01-out"], number, entry, reason, NOON, NOON, reason.encode()),
        )
    done = town.follow()
    assert (done.events, done.repeats) == (1, 2)
    assert town.differences() == [("record_no_reused", -700), ("transaction_repeated", 0)]
    assert town.rows("SELECT detail ->> 'taken_at_lane_fen' FROM differences ORDER BY name") == [("700",), (None,)]
    assert town.rows("SELECT FROM lane_repeats WHERE processed_at IS NULL") == []


def test_a_late_stay_of_one_who_shares_a_permit_prices_the_other_again(town: Town) -> None:
    span = NOON - 100 * HOUR, NOON + 100 * HOUR
    assert permits.add_permit(town.db, ListedPermit("PM1", "P01", "resident", *span, 1, (CAR, OTHER)))
    town.enter(1)
    town.leave(3)
    town.follow()
    assert town.visits() == [(CAR, "P01", "closed", [], "permit", 0)]
    town.enter(0, OTHER)
    town.leave(4, OTHER)
    town.follow()
    assert {row[0]: (row[4], row[5]) for row in town.visits()} == {OTHER: ("permit", 0), CAR: ("later", 1000)}
    assert town.differences() == [("arrears", 1000)]


def test_a_bad_record_is_set_aside_and_holds_nobody_up(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        town.enter(number / 100, f"苏B1000{number}")
    bad = town.leave(1, "苏B10003", paid=500)
    for number in (1, 2, 4):
        town.leave(1, f"苏B1000{number}", paid=500)
    real = settle_transactions

    def breaks(connection: Any, events: Any, *given: Any, **named: Any) -> Any:
        if any(event.id == bad for event in events):
            raise ValueError(CAR)
        return real(connection, events, *given, **named)

    with monkeypatch.context() as broken:
        broken.setattr(flow, "settle_transactions", breaks)
        done = town.follow()
    assert (done.events, done.set_aside) == (11, 1)
    assert town.differences() == [("event_set_aside", 0)]
    assert [row[2] for row in town.visits()].count("closed") == 3
    ((error,),) = town.rows("SELECT error FROM lane_events_set_aside WHERE event_id = %s", bad)
    assert error == "ValueError"  # what it quoted is not told
    assert take_back(town.db, [bad]) == [bad]
    town.follow()
    assert [row[2] for row in town.visits()].count("closed") == 4
    assert town.differences() == []


def test_a_fault_of_ours_sets_nothing_more_aside(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "_MOST_SET_ASIDE", 0)

    def breaks(*_: Any, **__: Any) -> Any:
        raise ValueError

    monkeypatch.setattr(flow, "settle_transactions", breaks)
    town.enter(0)
    with pytest.raises(ValueError, match=r"^$"):
        town.follow()
    assert town.rows("SELECT FROM lane_events WHERE processed_at IS NOT NULL") == []


def test_a_kill_in_the_middle_leaves_nothing_and_the_next_run_does_all(
    town: Town, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.enter(0)
    town.leave(2, paid=1000)

    class Killed(BaseException):
        pass

    for step in ("attach_visits", "answer_fee_requests", "review_visits"):
        with psycopg.connect(database_url, autocommit=True) as dying, monkeypatch.context() as broken:

            def kill(*_: Any, **__: Any) -> Any:
                raise Killed

            broken.setattr(flow, step, kill)
            with pytest.raises(Killed):
                flow.follow_lanes(dying, town.desk, NOON + 9 * HOUR, 100)
        assert (
            town.rows("SELECT FROM visits UNION ALL SELECT FROM journal UNION ALL SELECT FROM etc_transactions") == []
        )
    town.follow()
    assert town.balances() == {"etc_clearing": 1000, "revenue:P01": -1000}


def fill(seed: int) -> list[tuple[Any, ...]]:
    """Records of a day of six cars with every kind of odd case, as arguments of `Town.event`."""
    chance = random.Random(seed)
    found: list[tuple[Any, ...]] = []
    number = 1000
    for car in range(6):
        at = chance.uniform(0, 3)
        for _ in range(4):
            number += 10
            vehicle = f"苏B2000{car}"
            lot, out = chance.choice([("P01", "P01"), ("P01", "P01"), ("P02", "P02"), ("P01", "P02")])
            stay = chance.choice([0.01, 0.5, 2.2, 30.0])
            if chance.random() > 0.15:
                found.append((f"{lot}-in", "entry", at, vehicle, {"record_no": number}))
            if chance.random() < 0.2:
                found.append((f"{lot}-in", "entry", at + 0.01, vehicle, {"record_no": number + 1}))
            if chance.random() > 0.15:
                paid = chance.choice([None, 500, 1500])
                read = vehicle if chance.random() > 0.2 else f"苏B3000{car}"
                found.append((f"{out}-out", "exit", at + stay, read, {"record_no": number + 2, "paid": paid}))
                if read != vehicle:
                    more = {"record_no": number + 3, "refers_to": number + 2}
                    found.append((f"{out}-out", "correction", at + stay + 0.1, vehicle, more))
            if chance.random() < 0.2:
                found.append((f"{out}-out", "exit", at + stay + 0.01, vehicle, {"record_no": number + 4, "paid": 700}))
            at += stay + chance.uniform(0.001, 5)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_arrival_ends_in_the_same_ledger(database_url: str, seed: int) -> None:
    outcomes = []
    for arrival in range(4):
        with psycopg.connect(database_url) as db:  # one transaction each, rolled back
            town = Town(db)
            chance = random.Random(arrival)
            records = fill(seed)
            if arrival:
                chance.shuffle(records)
            for lane, kind, hours, vehicle, more in records:
                town.event(lane, kind, hours, vehicle, **more)
                if arrival and chance.random() < 0.3:
                    town.follow(limit=chance.choice([1, 3, 500]))
            town.follow(NOON + timedelta(days=40))
            give_up_stays(db, town.desk, NOON + timedelta(days=40))
            db.execute("SET CONSTRAINTS ALL IMMEDIATE")
            outcomes.append(town.outcome())
            db.rollback()
    assert len(outcomes[0]["visits"]) > 15
    for other in outcomes[1:]:
        assert other == outcomes[0]
