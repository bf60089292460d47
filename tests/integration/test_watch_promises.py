"""Promises by the clock: no-shows, overstays, drivers sent elsewhere in time, holds that would expire."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from parking_core.flows.drop_old_history import LESSONS_KEPT, STAYS_KEPT
from parking_core.flows.hold_money import expire_holds
from parking_core.flows.learn_buffers import learn_buffers
from parking_core.flows.mask_old_plates import mask_old_plates
from parking_core.flows.offers_in_force import OffersInForce
from parking_core.flows.roll_capacity import roll_capacity
from parking_core.flows.watch_promises import Watched, watch_promises
from parking_core.offers import LotBuffers
from parking_core.sharing import Terms
from parking_core.slots import begins_of
from parking_core.store import buffers, learning, promises, reservations, retention
from tests.guest_town import CAR, OTHER, THIRD, GuestTown, at
from tests.shared_town import EVENING, ZONE

pytestmark = pytest.mark.services

DAY_MIN = 24 * 60


@pytest.fixture
def town(db: psycopg.Connection[Any]) -> GuestTown:
    return GuestTown(db)


def test_a_pass_with_nothing_due_does_nothing(town: GuestTown) -> None:
    town.lot([1])
    found = town.granted(town.person())
    assert not town.watch(0).anything
    assert not town.watch(60).anything
    assert town.state(found) == "granted"


def test_nobody_came_and_the_space_is_free_for_others(town: GuestTown) -> None:
    town.lot([1])
    found = town.granted(town.person(), hours=4)
    done = town.watch(121)
    assert done.lapsed == 1
    assert not town.watch(121).anything
    assert town.rows("SELECT kind, key FROM violations") == [("no_show", f"no_show:{found.code}")]
    assert town.granted(town.person("u2", OTHER), begins_h=2.1).state.value == "granted"


def test_the_grace_is_the_one_that_the_lot_has_learned(town: GuestTown) -> None:
    town.lot([1])
    buffers.keep(
        town.db,
        [
            buffers.LearnedBuffers(
                lot_id=town.lots["S01"], hour=19, buffers=LotBuffers(15, 30, 20), expected_rate=0.01, departures=9
            )
        ],
        EVENING,
    )
    town.granted(town.person())
    assert town.watch(79).lapsed == 0
    assert town.watch(80).lapsed == 1


def test_two_passes_at_once_do_everything_once(town: GuestTown, database_url: str) -> None:
    town.lot([3])
    for number, plate in enumerate((CAR, OTHER, THIRD)):
        town.granted(town.person(f"u{number}", plate))
    with psycopg.connect(database_url) as other:
        first = promises.due(other, at(125), 0, 1)
        assert promises.take(other, first[0]) is not None  # another worker has it
        assert watch_promises(town.db, town.offers, at(125)).lapsed == 2
    assert watch_promises(town.db, town.offers, at(125)).lapsed == 1
    assert town.rows("SELECT count(*) FROM violations") == [(3,)]


def test_whoever_finds_no_space_is_sent_elsewhere_before_he_comes(town: GuestTown) -> None:
    town.lot([1])
    town.lot([1])
    first = town.granted(town.person(), begins_h=1, hours=1, lot="S01")
    second = town.granted(town.person("u2", OTHER), begins_h=3.5, hours=1, lot="S01")
    town.enter(60)
    assert town.watch(200).moved == 0  # 10 minutes before: the late car may still leave in time
    assert town.state(second) == "granted"
    done = town.watch(201)
    assert done.moved == 1
    moved = town.standing(second.code)
    assert moved.state.value == "moved"
    assert reservations.lock(town.db, moved.moved_to or 0).lot_id == town.lots["S02"]
    assert town.rows("SELECT reservation_id, late_id, at_barrier FROM let_downs") == [(second.id, first.id, False)]
    assert town.watch(202).moved == 0


def test_a_car_that_is_late_lets_nobody_down_where_another_space_serves(town: GuestTown) -> None:
    town.lot([2])
    town.granted(town.person(), begins_h=1, hours=1)
    second = town.granted(town.person("u2", OTHER), begins_h=3.5, hours=1)
    town.enter(60)
    assert town.watch(205).moved == 0
    assert town.state(second) == "granted"
    town.enter(211, OTHER)
    assert town.state(second) == "arrived"


def test_a_request_whose_time_has_come_waits_no_longer(town: GuestTown) -> None:
    town.lot([1])
    person = town.person()
    waiting = town.reserve(person, town.ask(person, begins_h=14, waits=True))
    assert waiting.state.value == "waiting"
    assert town.watch(13 * 60).refused == 0
    assert town.watch(14 * 60).refused == 1
    assert town.state(waiting) == "refused"


def test_money_is_captured_before_its_hold_expires(town: GuestTown) -> None:
    town.lot([1])
    found = town.granted(town.person())
    town.enter(60)
    town.watch(5 * DAY_MIN)
    assert town.rows("SELECT state FROM holds") == [("placed",)]
    assert town.watch(180 + 6 * DAY_MIN).captured == 1
    assert town.rows("SELECT state, captured_fen FROM holds") == [("captured", 400 + 20_000)]
    assert not town.watch(181 + 6 * DAY_MIN).captured
    assert expire_holds(town.db, at(8 * DAY_MIN)) == 0
    town.leave(9 * DAY_MIN)
    done = town.standing(found.code)
    assert (done.state.value, done.fee_fen) == ("completed", 20_000)
    assert town.balances()["preauthorised:acq"] == 20_400


def test_a_hold_whose_promise_is_over_is_let_go(town: GuestTown) -> None:
    town.lot([1])
    town.granted(town.person())
    town.db.execute("UPDATE reservations SET state = 'cancelled'")  # as no flow does it
    assert len(promises.orphan_holds(town.db)) == 1
    assert watch_promises(town.db, town.offers, at(0)) == Watched(released=1)
    assert promises.orphan_holds(town.db) == []


def test_a_difference_of_capacity_is_found(town: GuestTown) -> None:
    town.lot([2])
    found = town.granted(town.person())
    assert promises.audit_capacity(town.db, EVENING) == []
    town.db.execute("UPDATE capacity_days SET free = shift_slots(free, 132, 134, 1)")
    odd = promises.audit_capacity(town.db, EVENING)
    first_day = [one for one in odd if one.at < EVENING + timedelta(hours=12)]
    assert [(one.at, one.offered, one.free, one.promises) for one in first_day] == [
        (found.arrive_at, 2, 2, 1),
        (found.arrive_at + timedelta(minutes=5), 2, 2, 1),
    ]
    assert begins_of(EVENING.date(), 132) == found.arrive_at


def _past(town: GuestTown, lot: str, late_min: list[int], *, hour: int = 21) -> None:
    """Departures of the weeks before."""
    for number, minutes in enumerate(late_min):
        promised = EVENING - timedelta(days=2 + number % 30) + timedelta(hours=hour - 18)
        left = promised + timedelta(minutes=minutes)
        town.db.execute(
            "INSERT INTO departures (lot_id, promised_at, kept_until, left_at) VALUES (%s, %s, %s, %s)",
            (town.lots[lot], promised, promised + timedelta(minutes=15), left),
        )


def test_buffers_are_learned_by_lot_and_hour(town: GuestTown) -> None:
    town.lot([1])
    town.lot([1], terms=Terms(failure_rate=0.1))
    before = town.offers.of(town.db, EVENING)
    lots = {lot.code: lot for lot in before.lots}
    prior = before.buffers(lots["S01"], at(180))
    _past(town, "S01", [0] * 4000)
    learned = learn_buffers(town.db, EVENING, ZONE)
    assert (learned.lots, learned.departures) == (2, 4000)
    after = town.offers.of(town.db, EVENING)
    punctual = after.buffers(lots["S01"], at(180))
    assert punctual.guest_min < prior.guest_min
    assert punctual.owner_min >= punctual.guest_min
    kept = town.rows("SELECT departures FROM lot_buffers WHERE lot_id = %s AND hour = 21", town.lots["S01"])
    assert kept == [(4000,)]
    _past(town, "S02", [40] * 400)
    learn_buffers(town.db, EVENING, ZONE)
    tardy = town.offers.of(town.db, EVENING).buffers(lots["S02"], at(180))
    assert tardy.owner_min >= 40  # none of them let anybody down: guests need less
    assert town.offers.of(town.db, EVENING).buffers(lots["S02"], at(180)) == tardy


def test_what_is_offered_is_cut_by_new_buffers_at_once(town: GuestTown) -> None:
    town.lot([1])
    _past(town, "S01", [0] * 4000)
    learn_buffers(town.db, EVENING, ZONE)
    cut = town.rows("SELECT day, offered, free FROM capacity_days ORDER BY day")
    assert roll_capacity(town.db, OffersInForce(ZONE, "hold:acq").of(town.db, EVENING), EVENING).days_written == 0
    assert town.rows("SELECT day, offered, free FROM capacity_days ORDER BY day") == cut


def test_what_was_expected_of_a_day_stands_beside_what_happened(town: GuestTown) -> None:
    town.lot([1], terms=Terms(failure_rate=0.02))
    learn_buffers(town.db, EVENING, ZONE)
    first = town.granted(town.person(), begins_h=1, hours=1)
    town.enter(60)
    town.granted(town.person("u2", OTHER), begins_h=3.5, hours=1)
    town.enter(211, OTHER)  # nowhere else to go: withdrawn and refunded
    town.leave(215)
    assert town.state(first) == "completed"
    assert learn_buffers(town.db, at(DAY_MIN), ZONE).days == 1
    learn_buffers(town.db, at(DAY_MIN + 60), ZONE)
    lot = town.lots["S01"]
    (day,) = learning.promise_days(town.db, lot, EVENING.date(), EVENING.date() + timedelta(days=2))
    assert day.chosen_rate == pytest.approx(0.02)
    assert day.expected_rate > 0
    assert (day.departures, day.late, day.let_down, day.seen_rate) == (1, 1, 1, 1.0)
    assert learning.overruns(town.db, EVENING)[lot].let_down == 1


def test_plates_of_promises_that_are_over_are_masked(town: GuestTown) -> None:
    town.lot([2])
    town.granted(town.person())
    town.granted(town.person("u2", OTHER), begins_h=24)
    town.enter(60)
    town.leave(100)
    assert mask_old_plates(town.db, at(20 * DAY_MIN), 0).promises == 0
    town.watch(26 * 60)
    town.db.execute("UPDATE commands SET state = 'expired'")
    done = mask_old_plates(town.db, at(200 * DAY_MIN), 180)
    assert done.promises >= 4
    for table in ("reservations", "permit_plates"):
        assert all("苏B" not in plate or "#" in plate for (plate,) in town.rows(f"SELECT plate FROM {table}"))
    assert not town.rows("SELECT FROM commands WHERE payload ? 'plate'")
    assert mask_old_plates(town.db, at(200 * DAY_MIN), 180).promises == 0


def test_where_cars_stood_is_forgotten(town: GuestTown) -> None:
    town.lot([2])
    town.granted(town.person())
    town.enter(60)
    town.leave(100)
    town.granted(town.person("u2", OTHER), begins_h=3)
    town.enter(180, OTHER)
    assert retention.drop_stays(town.db, at(100 + 60)) == 1
    assert [left for _, _, left in town.stays()] == [False]
    assert retention.drop_lessons(town.db, at(100)) == 0
    assert retention.drop_lessons(town.db, at(101)) == 1
    assert STAYS_KEPT < LESSONS_KEPT


def test_the_zone_decides_the_hour(town: GuestTown) -> None:
    town.lot([1])
    _past(town, "S01", [5] * 10)
    assert set(learning.departures(town.db, EVENING - timedelta(days=90), "Asia/Shanghai").hour.tolist()) == {21}
    utc = str(ZoneInfo("UTC"))
    assert set(learning.departures(town.db, EVENING - timedelta(days=90), utc).hour.tolist()) == {13}
