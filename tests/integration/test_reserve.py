"""A request for a shared space: granted with all that belongs to it, or refused with reasons and alternatives."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from parking_core.allocation.choice import best_column, moved_columns, warm_up
from parking_core.errors import ConflictError, InvalidInputError
from parking_core.flows.end_reservation import end_reservation
from parking_core.flows.move_reservation import accommodate
from parking_core.flows.reserve import reserve
from parking_core.reservations import EventKind, Refusal, ReservationState
from parking_core.sharing import Terms
from parking_core.store import reservations
from tests.shared_town import EVENING, HOUR, SharedTown

if TYPE_CHECKING:
    from parking_core.reservations import Reservation

_AT_19 = 11 * 12  # slot of 19:00 in Shanghai: days begin at 08:00


@pytest.fixture
def shared(db: psycopg.Connection[Any]) -> SharedTown:
    return SharedTown(db)


def _refusal(town: SharedTown, found: Reservation) -> tuple[Refusal, list[dict[str, Any]]]:
    assert found.state is ReservationState.REFUSED
    detail = reservations.events(town.db, found.id)[-1].detail
    return Refusal(detail["reason"]), detail["alternatives"]


def test_a_grant_brings_all_that_belongs_to_it(shared: SharedTown) -> None:
    shared.lot([2])
    person = shared.person()
    found = shared.granted(person)
    assert shared.standing(found.code) == found
    buffer_slots = int((found.until_at - found.depart_at).total_seconds()) // 300
    assert buffer_slots > 0
    taken = slice(_AT_19, _AT_19 + 24 + buffer_slots)
    left = shared.free("S01-A")
    assert set(left[taken]) == {1}
    assert left.count(1) == 24 + buffer_slots
    assert shared.rows("SELECT state, amount_fen FROM holds WHERE key = %s", found.hold_key) == [("placed", 20_400)]
    assert shared.rows("SELECT kind, valid_from FROM permits WHERE code = %s", found.code) == [
        ("reservation", found.arrive_at - timedelta(minutes=15))
    ]
    [(kind, payload)] = shared.rows("SELECT kind, payload FROM commands WHERE cause = %s", f"reservation:{found.code}")
    assert (kind, payload["plate"]) == ("expect_vehicle", "苏B12345")
    assert shared.rows("SELECT kind FROM user_notices") == [("reservation_granted",)]
    assert shared.rows("SELECT granted FROM asked_demand") == [(True,)]


def test_the_same_key_gives_the_same_answer(shared: SharedTown) -> None:
    shared.lot([1])
    person, other = shared.person(), shared.person("u2", "苏B22222")
    ask = shared.ask(person)
    first = shared.reserve(person, ask, key="k")
    assert shared.reserve(person, ask, key="k") == first
    refused = shared.reserve(other, shared.ask(other), key="k")  # another person's key is another key
    assert shared.reserve(other, shared.ask(other), key="k") == refused
    assert refused.state is ReservationState.REFUSED
    with pytest.raises(ConflictError, match="another request"):
        shared.reserve(person, shared.ask(person, hours=3), key="k")
    assert shared.rows("SELECT count(*) FROM reservations") == [(2,)]


def test_a_refusal_says_why_and_what_would_be_granted(shared: SharedTown) -> None:
    near, far = shared.lot([1]), shared.lot([1])
    first, second = shared.person(), shared.person("u2", "苏B22222")
    shared.granted(first, walk_m=50)
    found = shared.reserve(second, shared.ask(second, walk_m=50))
    reason, alternatives = _refusal(shared, found)
    assert reason is Refusal.FULL
    assert alternatives[0]["lot"] == far
    assert {each["lot"] for each in alternatives} <= {near, far}
    best = alternatives[0]
    instead = shared.granted(second, lot=best["lot"], instead_of=found.code)
    assert instead.lot_id == shared.lots[far]
    assert shared.rows("SELECT count(*) FROM asked_demand") == [(2,)]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"lat": 31.6}, Refusal.NO_LOT_NEARBY),
        ({"arrive_at": EVENING - HOUR}, Refusal.PAST),
        ({"arrive_at": EVENING + 900 * HOUR, "depart_at": EVENING + 902 * HOUR}, Refusal.TOO_FAR_AHEAD),
        ({"depart_at": EVENING + HOUR + timedelta(minutes=5)}, Refusal.STAY_LENGTH),
        ({"arrive_at": EVENING + 62 * HOUR, "depart_at": EVENING + 63 * HOUR}, Refusal.OUTSIDE_WINDOWS),
    ],
)
def test_what_cannot_be_promised(shared: SharedTown, more: dict[str, Any], reason: Refusal) -> None:
    shared.lot([1])
    person = shared.person()
    found = shared.reserve(person, shared.ask(person, **more))
    assert _refusal(shared, found)[0] is reason
    assert shared.rows("SELECT reason FROM refused_demand") == [(reason.value,)]


def test_a_person_has_so_many_promises_at_once_and_a_car_one(shared: SharedTown) -> None:
    shared.lot([9])
    person = shared.person()
    shared.granted(person)
    again = shared.reserve(person, shared.ask(person, begins_h=2))
    assert _refusal(shared, again)[0] is Refusal.PLATE_EXPECTED
    shared.granted(person, begins_h=4)
    shared.granted(person, begins_h=8)
    assert _refusal(shared, shared.reserve(person, shared.ask(person, begins_h=12)))[0] is Refusal.TOO_MANY_ACTIVE


def test_lots_for_others_refuse(shared: SharedTown) -> None:
    shared.lot([1], terms=Terms(eligible=("patient",)))
    person, patient = shared.person(), shared.person("u2", "苏B22222", "patient")
    assert _refusal(shared, shared.reserve(person, shared.ask(person)))[0] is Refusal.NOT_ELIGIBLE
    shared.granted(patient, group="patient")
    with pytest.raises(InvalidInputError, match="not registered"):
        shared.reserve(person, shared.ask(person, group="patient"))
    with pytest.raises(InvalidInputError, match="none of yours"):
        shared.reserve(person, shared.ask(person, plate="苏B00000"))


def test_a_lot_that_makes_no_promises_at_present_shuts_nobody_out(shared: SharedTown) -> None:
    shared.lot([1], terms=Terms(eligible=("patient",)))
    shared.db.execute("UPDATE sharing_agreements SET state = 'suspended'")
    person, patient = shared.person(), shared.person("u2", "苏B22222", "patient")
    for somebody, group in ((person, "any"), (patient, "patient")):
        found = shared.reserve(somebody, shared.ask(somebody, group=group))
        assert _refusal(shared, found)[0] is Refusal.NO_LOT_NEARBY


def test_a_known_key_is_answered_also_when_the_plate_is_gone(shared: SharedTown) -> None:
    shared.lot([2])
    person = shared.person()
    ask = shared.ask(person)
    made = shared.reserve(person, ask, key="k")
    without = replace(person, plates=frozenset())
    assert shared.reserve(without, ask, key="k") == made
    with pytest.raises(InvalidInputError, match="none of yours"):
        shared.reserve(without, ask, key="new")


def test_an_ended_promise_leaves_nothing_behind(shared: SharedTown) -> None:
    shared.lot([1])
    person = shared.person()
    before = shared.free("S01-A")
    found = shared.granted(person)
    with shared.db.transaction():
        standing = reservations.lock(shared.db, found.id)
        end_reservation(shared.db, standing, EventKind.CANCELLED, EVENING, by="driver:u1")
    assert shared.standing(found.code).state is ReservationState.CANCELLED
    assert shared.free("S01-A") == before
    assert shared.rows("SELECT state FROM holds") == [("released",)]
    assert shared.rows("SELECT kind FROM commands ORDER BY created_at, kind")[-1] == ("forget_vehicle",)
    with pytest.raises(ConflictError), shared.db.transaction():
        end_reservation(shared.db, shared.standing(found.code), EventKind.LAPSED, EVENING, by="worker")


def test_a_promise_moves_to_the_nearest_equivalent_and_never_costs_more(shared: SharedTown) -> None:
    shared.lot([1])
    dearer = shared.lot([1], terms=Terms(price_fen_per_hour=900))
    person = shared.person()
    found = shared.granted(person)
    code = accommodate(shared.db, shared.offers, found.id, EVENING, by="worker", cause="suspension")
    assert code is not None
    moved = shared.standing(code)
    assert (moved.lot_id, moved.price_fen) == (shared.lots[dearer], found.price_fen)
    assert shared.standing(found.code).moved_to == moved.id
    assert accommodate(shared.db, shared.offers, found.id, EVENING, by="worker", cause="again") == code
    assert set(shared.free("S01-A")) == {1}
    assert sorted(shared.rows("SELECT state FROM holds")) == [("placed",), ("released",)]


def test_a_promise_without_an_equivalent_is_refunded(shared: SharedTown) -> None:
    shared.lot([1])
    found = shared.granted(shared.person())
    assert accommodate(shared.db, shared.offers, found.id, EVENING, by="worker", cause="suspension") is None
    assert shared.standing(found.code).state is ReservationState.WITHDRAWN
    assert shared.rows("SELECT state FROM holds") == [("released",)]
    assert shared.rows("SELECT kind FROM user_notices ORDER BY id")[-1] == ("reservation_withdrawn",)


def test_two_at_once_get_the_last_space_once(shared: SharedTown, database_url: str) -> None:
    shared.lot([3])
    people = [shared.person(f"u{number}", f"苏B{number:05}") for number in range(12)]
    answers: list[Reservation] = []

    def ask(number: int) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            town_ask = shared.ask(people[number])
            answers.append(reserve(connection, shared.offers, people[number], town_ask, key=f"k{number}", now=EVENING))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    states = sorted(answer.state.value for answer in answers)
    assert states == ["granted"] * 3 + ["refused"] * 9
    assert min(shared.free("S01-A")) == 0


def test_no_request_waits_for_a_compiler(shared: SharedTown) -> None:
    warm_up()
    before = [list(vars(kernel)["overloads"]) for kernel in (best_column, moved_columns)]
    shared.lot([1])
    shared.granted(shared.person())
    other = shared.person("u2", "苏B22222")
    assert (
        _refusal(shared, shared.reserve(other, shared.ask(other)))[0] is Refusal.FULL
    )  # after a look for alternatives
    assert [list(vars(kernel)["overloads"]) for kernel in (best_column, moved_columns)] == before
