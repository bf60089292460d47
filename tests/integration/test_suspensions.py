"""Owners take dates back: capacity falls at once, and everybody who was promised something gets an answer."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from parking_core.errors import ConflictError, InvalidInputError
from parking_core.flows.offers_in_force import read_offer
from parking_core.flows.resolve_suspensions import Resolved, resolve_suspensions
from parking_core.flows.roll_capacity import roll_capacity
from parking_core.flows.suspend_sharing import NoticeTooShortError, TakenBack, suspend_stretch
from parking_core.reservations import ReservationState
from parking_core.sharing import Terms
from parking_core.store import agreements, capacity, reservations, suspensions
from parking_core.tariffs import Interval
from tests.shared_town import EVENING, HOUR, ZONE, SharedTown

if TYPE_CHECKING:
    import psycopg

    from parking_core.reservations import Reservation

ALWAYS = {"windows": [{"days": ["any_day"], "from": "00:00", "until": "24:00"}]}
AT_ONCE = Terms(notice_h=0)


@pytest.fixture
def shared(db: psycopg.Connection[Any]) -> SharedTown:
    return SharedTown(db)


def roll(town: SharedTown) -> None:
    roll_capacity(town.db, read_offer(town.db, EVENING, ZONE, "hold:acq"), EVENING)


def stretch(begins_h: float, ends_h: float) -> Interval:
    return Interval(EVENING + begins_h * HOUR, EVENING + ends_h * HOUR)


def take_back(town: SharedTown, lot: str, begins_h: float, ends_h: float, **more: Any) -> TakenBack:
    values: dict[str, Any] = {"reason": "exam", "by": "operator:o1", "zone": ZONE, "now": EVENING} | more
    now = values.pop("now")
    return suspend_stretch(town.db, f"A-{lot}", stretch(begins_h, ends_h), now, **values)


def resolve(town: SharedTown) -> Resolved:
    return resolve_suspensions(town.db, town.offers, EVENING)


def stored(town: SharedTown, number: int) -> tuple[int, int, int]:
    ((affected, moved, refunded),) = town.rows(
        "SELECT affected, moved, refunded FROM suspensions WHERE id = %s", number
    )
    return affected, moved, refunded


def test_a_promise_is_moved_to_the_nearest_lot_that_has_room_and_costs_no_more(shared: SharedTown) -> None:
    first = shared.lot([2], terms=AT_ONCE, windows=[ALWAYS])
    second = shared.lot([1], terms=Terms(price_fen_per_hour=900), windows=[ALWAYS])
    roll(shared)
    ann, bob = shared.person("u1", "苏B00001"), shared.person("u2", "苏B00002")
    kept, lost = shared.granted(ann, lot=first), shared.granted(bob, lot=first)
    taken = take_back(shared, first, 1.5, 20)
    assert (taken.suspension.affected, taken.short, taken.new, taken.inside) == (2, False, True, ())
    assert resolve(shared) == Resolved(moved=1, refunded=1)
    assert stored(shared, taken.suspension.id) == (2, 1, 1)
    moved = shared.standing(kept.code)
    assert moved.state is ReservationState.MOVED
    ((code,),) = shared.rows("SELECT code FROM reservations WHERE id = %s", moved.moved_to)
    promise = shared.standing(code)
    assert (promise.lot_id, promise.state, promise.price_fen) == (
        shared.lots[second],
        ReservationState.GRANTED,
        kept.price_fen,
    )
    assert shared.standing(lost.code).state is ReservationState.WITHDRAWN
    assert shared.rows("SELECT state FROM holds WHERE key = %s", f"reservation:{lost.code}") == [("released",)]
    assert shared.rows("SELECT kind FROM user_notices WHERE user_id = %s ORDER BY id DESC LIMIT 1", bob.id) == [
        ("reservation_withdrawn",)
    ]
    assert resolve(shared) == Resolved()


def test_what_meets_the_stretch_is_affected_and_what_only_touches_it_is_not(shared: SharedTown) -> None:
    lot = shared.lot([4], terms=AT_ONCE, windows=[ALWAYS])
    roll(shared)
    codes = [
        shared.granted(shared.person(f"u{n}", f"苏B0000{n}"), begins, hours, lot=lot)
        for n, (begins, hours) in enumerate([(1, 1), (1, 5), (5, 1), (10, 1)])
    ]
    buffer = codes[0].until_at - codes[0].depart_at
    begins_h = 2 + buffer / HOUR
    take_back(shared, lot, begins_h, 10)
    resolve(shared)
    states = [shared.standing(each.code).state.value for each in codes]
    assert states == ["granted", "withdrawn", "withdrawn", "granted"]


def test_nothing_is_promised_in_it_from_then_on_not_even_what_is_given_back(shared: SharedTown) -> None:
    lot = shared.lot([1], terms=AT_ONCE, windows=[ALWAYS])
    roll(shared)
    held = shared.granted(shared.person(), 3, 2, lot=lot)
    take_back(shared, lot, 2, 8)
    other = shared.person("u2", "苏B00002")
    assert shared.reserve(other, shared.ask(other, 5, 2, lot=lot)).state is ReservationState.REFUSED
    resolve(shared)
    assert shared.standing(held.code).state is ReservationState.WITHDRAWN
    assert shared.reserve(other, shared.ask(other, 3, 2, lot=lot)).state is ReservationState.REFUSED
    assert shared.reserve(other, shared.ask(other, 9, 2, lot=lot)).state is ReservationState.GRANTED
    roll(shared)  # the worker's next roll does not open it again
    assert shared.reserve(other, shared.ask(other, 3, 2, lot=lot)).state is ReservationState.REFUSED


def test_the_notice_of_the_terms_is_kept_unless_the_district_overrides_it(shared: SharedTown) -> None:
    lot = shared.lot([1], terms=Terms(notice_h=24), windows=[ALWAYS])
    roll(shared)
    with pytest.raises(NoticeTooShortError, match=r"24 hours of notice.*2026-11-24T18:00\+08:00"):
        take_back(shared, lot, 23.9, 30)
    assert shared.rows("SELECT FROM suspensions") == []
    assert take_back(shared, lot, 23.9, 30, override=True).short
    assert not take_back(shared, lot, 24, 30).short


def test_the_same_stretch_again_is_the_same_suspension(shared: SharedTown) -> None:
    lot = shared.lot([1], terms=AT_ONCE, windows=[ALWAYS])
    roll(shared)
    once = take_back(shared, lot, 5, 6)
    again = take_back(shared, lot, 5, 6)
    assert (once.new, again.new, again.suspension.id) == (True, False, once.suspension.id)
    assert len(shared.rows("SELECT FROM suspensions")) == 1


def test_a_stretch_that_is_over_or_an_agreement_that_promises_nothing_is_refused(shared: SharedTown) -> None:
    lot = shared.lot([1], terms=AT_ONCE)
    for begins, ends in ((5, 5), (6, 5), (-9, -1)):
        with pytest.raises(InvalidInputError, match="since before until"):
            take_back(shared, lot, begins, ends)
    shared.db.execute("UPDATE sharing_agreements SET state = 'signed'")
    with pytest.raises(ConflictError, match="is signed and promises nothing"):
        take_back(shared, lot, 5, 6)


def test_cars_that_are_inside_are_named_and_left_alone(shared: SharedTown) -> None:
    lot = shared.lot([2], terms=AT_ONCE, windows=[ALWAYS])
    roll(shared)
    inside = shared.granted(shared.person(), 0, 3, lot=lot)
    gone = shared.granted(shared.person("u2", "苏B00002"), 0, 1, lot=lot)
    shared.db.execute("UPDATE reservations SET state = 'arrived' WHERE id = ANY(%s)", ([inside.id, gone.id],))
    taken = take_back(shared, lot, 2, 8)
    assert [each.code for each in taken.inside] == [inside.code]
    assert taken.suspension.affected == 0
    assert resolve(shared) == Resolved()


def test_a_kill_between_two_promises_leaves_the_rest_for_the_next_pass(
    shared: SharedTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    lot = shared.lot([3], terms=AT_ONCE, windows=[ALWAYS])
    roll(shared)
    held = [shared.granted(shared.person(f"u{n}", f"苏B0000{n}"), lot=lot) for n in range(3)]
    taken = take_back(shared, lot, 1, 9)
    real, calls = suspensions.count, []

    def dies_the_second_time(connection: psycopg.Connection[Any], number: int, **counts: int) -> None:
        calls.append(counts)
        real(connection, number, **counts)
        if len(calls) == 2:
            raise KeyboardInterrupt  # after the promise was ended, before the commit

    monkeypatch.setattr(suspensions, "count", dies_the_second_time)
    with pytest.raises(KeyboardInterrupt):
        resolve(shared)
    monkeypatch.undo()
    assert [shared.standing(each.code).state.value for each in held] == ["withdrawn", "granted", "granted"]
    assert stored(shared, taken.suspension.id) == (3, 0, 1)
    assert resolve(shared) == Resolved(refunded=2)
    assert stored(shared, taken.suspension.id) == (3, 0, 3)


def test_a_promise_that_cannot_be_moved_does_not_keep_the_others_waiting(shared: SharedTown) -> None:
    lot = shared.lot([2], terms=AT_ONCE, windows=[ALWAYS])
    roll(shared)
    first, second = (shared.granted(shared.person(f"u{n}", f"苏B0000{n}"), lot=lot) for n in range(2))
    shared.db.execute("UPDATE holds SET state = 'captured' WHERE key = %s", (f"reservation:{first.code}",))
    take_back(shared, lot, 1, 9)
    assert resolve(shared) == Resolved(refunded=1, failed=1)
    assert shared.standing(second.code).state is ReservationState.WITHDRAWN
    assert shared.standing(first.code).state is ReservationState.GRANTED


def _grants(town: SharedTown, draw: random.Random, lots: list[str], people: int) -> list[Reservation]:
    found = []
    for number in range(people):
        person = town.person(f"u{number}", f"苏B{number:05}")
        ask = town.ask(person, draw.randrange(0, 40) / 2, draw.randrange(1, 16) / 2, lot=draw.choice([*lots, None]))
        reservation = town.reserve(person, ask)
        if reservation.state is ReservationState.GRANTED:
            found.append(reservation)
    return found


def _check_capacity(town: SharedTown) -> None:
    """In every slot of every class so much is promised as promises say."""
    for class_id in town.classes.values():
        used = np.zeros(3 * 288, np.int64)
        for begins, ends in town.rows(
            "SELECT arrive_at, until_at FROM reservations WHERE class_id = %s AND state = 'granted'", class_id
        ):
            first = (begins - EVENING.replace(hour=0)) // timedelta(minutes=5)
            until = -((EVENING.replace(hour=0) - ends) // timedelta(minutes=5))
            used[first:until] += 1
        offered = capacity.read_offered(town.db, [class_id], EVENING.date(), 3)[0]
        free = capacity.read(town.db, [class_id], EVENING.date(), 3).free[0]
        assert (offered - free).tolist() == used.tolist()


@pytest.mark.parametrize("seed", range(6))
def test_everybody_is_answered_whatever_was_promised_and_taken_back(shared: SharedTown, seed: int) -> None:
    draw = random.Random(seed)
    lots = [
        shared.lot([draw.randint(1, 3) for _ in range(draw.randint(1, 2))], terms=AT_ONCE, windows=[ALWAYS, ALWAYS])
        for _ in range(3)
    ]
    roll(shared)
    held = _grants(shared, draw, lots, 25)
    assert held
    taken = []
    for _ in range(3):
        begins = draw.randrange(0, 36) / 2
        taken.append(take_back(shared, draw.choice(lots), begins, begins + draw.randrange(1, 30) / 2))
    while resolve(shared).more:
        pass
    standing = suspensions.standing(shared.db, EVENING)
    assert all(not suspensions.meeting(shared.db, each, ReservationState.GRANTED, EVENING) for each in standing)
    for each in held:
        now = shared.standing(each.code)
        last = reservations.events(shared.db, each.id)[-1]
        told = {kind for (kind,) in shared.rows("SELECT kind FROM user_notices WHERE user_id = %s", each.user_id)}
        hold = shared.rows("SELECT state FROM holds WHERE key = %s", f"reservation:{each.code}")
        if now.state is ReservationState.GRANTED:
            assert hold == [("placed",)]
            continue
        assert hold == [("released",)]
        assert last.by.startswith("suspension:")
        assert f"reservation_{now.state.value}" in told
        assert now.state in {ReservationState.MOVED, ReservationState.WITHDRAWN}
    _check_capacity(shared)
    counts = [stored(shared, each.suspension.id) for each in taken if each.new]
    ended = shared.rows("SELECT state FROM reservations WHERE state IN ('moved', 'withdrawn')")
    assert sum(moved + refunded for _, moved, refunded in counts) == len(ended)


def test_agreements_know_what_was_taken_back(shared: SharedTown) -> None:
    lot = shared.lot([1], terms=AT_ONCE, windows=[ALWAYS])
    roll(shared)
    take_back(shared, lot, 5, 6)
    (event,) = agreements.events(shared.db, shared.agreements[lot])
    assert (event.kind, event.by, event.detail["reason"]) == ("exception", "operator:o1", "exam")
