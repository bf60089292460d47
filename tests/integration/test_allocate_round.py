"""The day-ahead round: everybody who waits is answered, at best value, beside promises that stand."""

from __future__ import annotations

import asyncio
import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from parking_core.flows import allocate_round as round_flow
from parking_core.flows.allocate_round import DAY_AHEAD, LATECOMERS, allocate_round, answer_waiting
from parking_core.flows.end_reservation import end_reservation
from parking_core.flows.grant_reservation import grant
from parking_core.reservations import EventKind, Refusal, ReservationState
from parking_core.settings import Settings
from parking_core.slots import SLOTS
from parking_core.store import capacity, reservations, rounds
from tests.shared_town import EVENING, HOSPITAL, HOUR, ZONE, SharedTown
from worker import jobs

if TYPE_CHECKING:
    import psycopg

    from parking_core.people import Person
    from parking_core.reservations import Reservation

UNTIL = EVENING + 38 * HOUR
_DOOR_M = 1 / 111_195  # degrees of latitude
NUMBERS = itertools.count(1)


@pytest.fixture
def shared(db: psycopg.Connection[Any]) -> SharedTown:
    return SharedTown(db)


def person(shared: SharedTown, *groups: str) -> Person:
    number = next(NUMBERS)
    return shared.person(f"p{number}", f"苏B{number:05}", *groups)


def waits(
    shared: SharedTown, begins_h: float = 1, hours: float = 2, *, walk: float = 0, group: str = "any", **more: Any
) -> Reservation:
    """A request so many metres from the first lot that waits for the round."""
    who = person(shared, group)
    ask = shared.ask(who, begins_h, hours, waits=True, lat=HOSPITAL[0] + walk * _DOOR_M, group=group, **more)
    found = shared.reserve(who, ask)
    assert found.state is ReservationState.WAITING
    return found


def hold(shared: SharedTown) -> rounds.Round:
    return allocate_round(shared.db, shared.offers, EVENING, until=UNTIL)


def test_the_best_are_granted_whoever_asked_first(shared: SharedTown) -> None:
    shared.lot([2])
    asks = [waits(shared, walk=walk) for walk in (600, 500, 400, 10, 20)]
    found = hold(shared)
    states = [shared.standing(each.code).state for each in asks]
    assert states == [ReservationState.REFUSED] * 3 + [ReservationState.GRANTED] * 2
    assert (found.requests, found.served) == (5, 2)
    assert found.value_fen == found.upper_bound_fen > 0
    assert found.gap == 0
    [kept] = rounds.read(shared.db, EVENING, EVENING + HOUR, 9)
    assert (kept.kind, kept.served, kept.value_fen) == (DAY_AHEAD, 2, found.value_fen)
    reason = reservations.events(shared.db, asks[0].id)[-1].detail
    assert reason["reason"] == Refusal.FULL.value
    kinds: dict[str, int] = dict(shared.db.execute("SELECT kind, count(*) FROM user_notices GROUP BY 1").fetchall())
    assert kinds == {"reservation_waiting": 5, "reservation_refused": 3, "reservation_granted": 2}
    assert shared.rows("SELECT count(*), min(reason) FROM refused_demand") == [(3, "full")]
    assert shared.rows("SELECT count(*) FROM holds WHERE state = 'placed'") == [(2,)]


def test_promises_and_rights_that_stand_are_never_put_out(shared: SharedTown) -> None:
    """Cheap promises throughout one night, hours for late cars between them; dear requests want all of it."""
    shared.lot([3])
    kept = [shared.granted(person(shared), begins, 1, lat=HOSPITAL[0] + 600 * _DOOR_M) for begins in (1, 3, 5, 5, 7)]
    asks = [waits(shared, begins, hours) for begins, hours in ((0.5, 8), (0.5, 8), (0.5, 8), (2.3, 0.5), (4.2, 0.3))]
    before = shared.free("S01-A")
    found = hold(shared)
    for each in kept:
        assert shared.standing(each.code) == each
    after = shared.free("S01-A")
    assert min(after) >= 0
    states = [shared.standing(each.code).state for each in asks]
    assert states.count(ReservationState.GRANTED) == found.served == 2  # all that fits: one of the dear ones, and
    assert states[3:] == [ReservationState.GRANTED, ReservationState.REFUSED]  # one between two that stand
    assert found.gap < 0.001
    assert all(was >= left for was, left in zip(before, after, strict=True))


def test_nothing_shared_and_nobody_waiting_are_answers_too(shared: SharedTown) -> None:
    assert hold(shared).requests == 0
    lonely = waits(shared)
    found = hold(shared)
    assert (found.requests, found.served, found.upper_bound_fen) == (1, 0, 0)
    detail = reservations.events(shared.db, lonely.id)[-1].detail
    assert detail["reason"] == Refusal.NO_LOT_NEARBY.value


def test_a_round_that_is_killed_goes_on_where_it_stopped(shared: SharedTown, monkeypatch: pytest.MonkeyPatch) -> None:
    shared.lot([6])
    asks = [waits(shared) for _ in range(6)]
    real, calls = grant, itertools.count(1)

    def killed(*arguments: Any, **named: Any) -> Reservation:
        if next(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(round_flow, "grant", killed)
    with pytest.raises(KeyboardInterrupt):
        answer_waiting(shared.db, shared.offers, EVENING)
    assert shared.rows("SELECT count(*) FROM reservations WHERE state = 'granted'") == [(3,)]
    monkeypatch.undo()
    found = answer_waiting(shared.db, shared.offers, EVENING + HOUR / 6)
    assert found is not None
    assert (found.kind, found.requests, found.served) == (DAY_AHEAD, 3, 3)
    assert all(shared.standing(each.code).state is ReservationState.GRANTED for each in asks)
    assert answer_waiting(shared.db, shared.offers, EVENING + HOUR / 3) is None


def test_who_is_overtaken_is_decided_like_anybody_else(shared: SharedTown, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the allocation and its promises others took the space, and one gave up waiting."""
    shared.lot([1])
    shared.lot([1])
    asks = [waits(shared, walk_m=1000), waits(shared, begins_h=9)]
    real = round_flow._planned  # the moment after it is what this is about

    def planned(*arguments: Any) -> Any:
        found = real(*arguments)
        shared.granted(person(shared), 1, lot="S01")
        with shared.db.transaction():
            cancelled = reservations.lock(shared.db, asks[1].id)
            end_reservation(shared.db, cancelled, EventKind.CANCELLED, EVENING, by="driver")
        return found

    monkeypatch.setattr(round_flow, "_planned", planned)
    found = hold(shared)
    assert shared.standing(asks[0].code).lot_id == shared.lots["S02"]
    assert shared.standing(asks[1].code).state is ReservationState.CANCELLED
    assert (found.requests, found.served) == (2, 1)
    assert found.value_fen <= found.upper_bound_fen


def test_a_floor_serves_its_group_and_says_what_that_costs(shared: SharedTown) -> None:
    shared.lot([2])
    policy = '{"floors": {"patient": 0.5}}'
    shared.db.execute(
        "INSERT INTO allocation_policies (document, valid_from, by) VALUES (%s, %s, 'd')", (policy, EVENING)
    )
    patients = [waits(shared, walk=700, group="patient") for _ in range(2)]
    others = [waits(shared, walk=10) for _ in range(4)]
    found = hold(shared)
    served = [shared.standing(each.code).state is ReservationState.GRANTED for each in (*patients, *others)]
    assert (sum(served[:2]), sum(served[2:])) == (1, 1)
    assert found.fairness["cost_of_floors_fen"] == 690  # 690 m further
    [report] = found.fairness["members"]
    assert (report["group"], report["asked"], report["served"], report["outcome"]) == ("patient", 2, 1, "met")


def test_who_cannot_wait_for_the_next_round_is_answered_within_minutes(shared: SharedTown) -> None:
    shared.lot([2])
    noon = EVENING - 6 * HOUR
    who = person(shared)
    tonight = shared.reserve(who, shared.ask(who, 1, waits=True), now=noon)
    before = shared.reserve(who, shared.ask(who, -4, 1, waits=True), now=noon)
    found = answer_waiting(shared.db, shared.offers, noon + HOUR / 12)
    assert found is not None
    assert (found.kind, found.requests, found.served) == (LATECOMERS, 1, 1)
    assert shared.standing(before.code).state is ReservationState.GRANTED
    assert shared.standing(tonight.code).state is ReservationState.WAITING
    assert answer_waiting(shared.db, shared.offers, noon + HOUR) is None
    late = EVENING + timedelta(hours=1, minutes=30)  # nobody worked for a while
    found = answer_waiting(shared.db, shared.offers, late)
    assert found is not None
    assert (found.kind, found.requests, found.served) == (DAY_AHEAD, 1, 0)
    assert reservations.events(shared.db, tonight.id)[-1].detail["reason"] == Refusal.PAST.value


def test_the_round_runs_in_the_queue(shared: SharedTown, database_url: str) -> None:
    now = datetime.now(UTC)
    shared.lot([1])
    days = {now.date() + timedelta(days=ahead): np.ones(SLOTS, np.int16) for ahead in range(3)}
    capacity.offer(shared.db, shared.classes["S01-A"], days)
    shared.db.execute(
        "INSERT INTO allocation_policies (document, valid_from, by) VALUES (%s, %s, 'd')",
        (json.dumps({"day_ahead_at_hour": now.astimezone(ZONE).hour}), EVENING),
    )
    people = [person(shared) for _ in range(2)]
    asks = [shared.ask(who, waits=True, arrive_at=now + HOUR / 3, depart_at=now + HOUR) for who in people]
    waiting = [shared.reserve(who, ask, now=now) for who, ask in zip(people, asks, strict=True)]
    assert {each.state for each in waiting} == {ReservationState.WAITING}

    async def scenario() -> None:
        app = jobs.build(Settings(database_url=database_url, redis_url="redis://unused", mqtt_url="mqtt://unused"))
        async with app.open_async():
            await app.tasks["rounds"].defer_async(timestamp=0)
            await app.run_worker_async(wait=False, install_signal_handlers=False, delete_jobs="never")

    asyncio.run(scenario())
    states = sorted(shared.standing(each.code).state.value for each in waiting)
    assert states == ["granted", "refused"]
    [kept] = rounds.read(shared.db, now, datetime.now(UTC) + HOUR, 9)
    assert (kept.requests, kept.served, kept.gap) == (2, 1, 0)
    done = "SELECT count(*) FROM jobs.procrastinate_jobs WHERE task_name = 'rounds' AND status = 'succeeded'"
    assert shared.rows(done)[0][0] >= 1  # a second one where the fifth minute struck meanwhile
