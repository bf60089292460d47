"""Capacity rolled ahead, by the worker's loop too: idempotent, kind to promises, permits first, and honest about holidays."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest

from parking_core.flows.agree_sharing import terminate
from parking_core.flows.offers_in_force import read_offer
from parking_core.flows.resolve_suspensions import Resolved, resolve_suspensions
from parking_core.flows.roll_capacity import Rolled, roll_capacity
from parking_core.flows.suspend_sharing import suspend_stretch
from parking_core.offers import LotBuffers
from parking_core.reservations import PermitState, ReservationState
from parking_core.sharing import Terms
from parking_core.slots import slots_of
from parking_core.store import agreements, buffers, capacity
from parking_core.store.buffers import LearnedBuffers
from parking_core.store.suspensions import meeting, standing
from parking_core.tariffs import Interval
from tests.permit_town import PermitTown
from tests.shared_town import EVENING, HOUR, ZONE, SharedTown
from worker.sharing import Sharing

if TYPE_CHECKING:
    from parking_core.reservations import Reservation

ALWAYS = {"windows": [{"days": ["any_day"], "from": "00:00", "until": "24:00"}]}
AT_ONCE = Terms(notice_h=0)
DAY = timedelta(days=1)


@pytest.fixture
def shared(db: psycopg.Connection[Any]) -> SharedTown:
    return SharedTown(db)


def roll(town: SharedTown, now: datetime = EVENING) -> Rolled:
    return roll_capacity(town.db, read_offer(town.db, now, ZONE, "hold:acq"), now)


def night(town: SharedTown, name: str) -> list[int]:
    """What a class offers in the first UTC day, whose last 14 hours are the night."""
    offered = capacity.read_offered(town.db, [town.classes[name]], EVENING.date(), 1)[0]
    return np.flatnonzero(offered).tolist()


def test_days_are_offered_to_the_horizon_and_rolling_again_changes_nothing(shared: SharedTown) -> None:
    shared.lot([2, 1], days=0)
    first = roll(shared)
    assert (first.classes, first.days_written, first.unannounced) == (2, 2 * 36, ())
    assert roll(shared).days_written == 0
    assert roll(shared, EVENING + DAY).days_written == 2
    slots = night(shared, "S01-A")
    assert slots[0] == 10 * 12  # 18:00
    assert slots == list(range(slots[0], slots[-1] + 1))
    offer = read_offer(shared.db, EVENING, ZONE, "hold:acq")
    morning = offer.buffers(offer.lots[0], datetime(2026, 11, 24, 7, tzinfo=ZONE))
    assert (slots[-1] + 1) * 5 <= 24 * 60 - morning.owner_min + morning.guest_min


def test_old_days_are_dropped_and_last_week_is_kept(shared: SharedTown) -> None:
    shared.lot([1], days=0)
    roll(shared, EVENING - 20 * DAY)
    assert roll(shared).days_dropped == 13
    ((oldest,),) = shared.rows("SELECT min(day) FROM capacity_days")
    assert oldest == (EVENING - 7 * DAY).date()


def test_years_without_announced_holidays_are_said(shared: SharedTown) -> None:
    shared.lot([1], days=0)
    assert roll(shared, datetime(2045, 12, 20, tzinfo=UTC)).unannounced == (2045, 2046)


def test_a_longer_buffer_offers_less_and_keeps_what_is_promised(shared: SharedTown) -> None:
    lot = shared.lot([1], days=0)
    learned = [
        LearnedBuffers(lot_id=shared.lots[lot], hour=hour, buffers=LotBuffers(5, 10, 15), expected_rate=0, departures=9)
        for hour in range(24)
    ]
    buffers.keep(shared.db, learned, EVENING)
    roll(shared)
    assert night(shared, "S01-A")[-1] == 288 - 2  # 07:55: 08:00 - 10 + 5
    shared.db.execute("UPDATE lot_buffers SET owner_min = 60")
    person = shared.person()
    late = shared.granted(person, 12, 1.8, lot=lot)  # until 07:48
    roll(shared)
    kept = {number for part in slots_of(late.arrive_at, late.until_at) for number in range(part.first, part.until)}
    assert set(night(shared, "S01-A")) == {*range(120, 288 - 11), *kept}
    assert shared.standing(late.code).state is ReservationState.GRANTED


def test_permits_draw_on_a_new_day_before_anybody_else(db: psycopg.Connection[Any]) -> None:
    town = PermitTown(db)
    town.lot([1], terms=Terms(most_permits_permille=1000), days=0)
    roll(town)
    _, permit = town.holder(months=2)
    drawn = len(town.draws(permit))
    roll(town, EVENING + DAY)
    assert len(town.draws(permit)) > drawn
    last = town.draws(permit)[-1]
    free = capacity.read(town.db, [town.classes["S01-A"]], (EVENING + 36 * DAY).date(), 1).free[0]
    assert last[2] == "drawn"
    assert not free.any()


def test_openings_of_permits_are_answered_and_permits_end_with_the_agreement(db: psycopg.Connection[Any]) -> None:
    town = PermitTown(db)
    town.lot([1], terms=Terms(most_permits_permille=1000, notice_h=0), days=0)
    roll(town)
    person, permit = town.holder()
    tuesday = Interval(EVENING + DAY, EVENING + DAY + 5 * HOUR)
    taken = suspend_stretch(db, "A-S01", tuesday, EVENING, reason="exam", by="operator:o", zone=ZONE)
    assert taken.suspension.affected == 1
    assert resolve_suspensions(db, town.offers, EVENING) == Resolved(refunded=1)
    assert [state for since, _, state in town.draws(permit) if since < EVENING + 1.2 * DAY][-1] == "refunded"
    terminate(db, "A-S01", 1, EVENING, by="operator:o", zone=ZONE, since=EVENING + HOUR)
    resolve_suspensions(db, town.offers, EVENING)
    assert town.now(permit).state is PermitState.ACTIVE
    resolve_suspensions(db, town.offers, EVENING + 2 * HOUR)
    assert town.now(permit).state is PermitState.ENDED_BY_OWNER
    assert "drawn" not in {state for _, _, state in town.draws(permit)}
    assert town.notices(person)


def test_the_worker_rolls_a_new_day_and_answers_whom_a_suspension_meets(shared: SharedTown, database_url: str) -> None:
    lot = shared.lot([1], terms=AT_ONCE, days=0, windows=[ALWAYS])
    clock = [EVENING]
    with psycopg.connect(database_url, autocommit=True) as connection:
        loop = Sharing(connection, ZONE, "hold:acq", clock=lambda: clock[0])
        agreements.announce(shared.db)
        asyncio.run(loop.step())
        assert shared.rows("SELECT count(*)::int FROM capacity_days") == [(36,)]
        held = shared.granted(shared.person(), 5, 2, lot=lot)
        suspend_stretch(
            shared.db,
            f"A-{lot}",
            Interval(EVENING + 4 * HOUR, EVENING + 8 * HOUR),
            EVENING,
            reason="exam",
            by="operator:o",
            zone=ZONE,
        )
        asyncio.run(loop.step())
        assert shared.standing(held.code).state is ReservationState.WITHDRAWN
        clock[0] += DAY
        asyncio.run(loop.step())
        assert shared.rows("SELECT count(*)::int FROM capacity_days") == [(37,)]


def test_who_books_while_a_date_is_taken_back_is_refused_or_answered(shared: SharedTown, database_url: str) -> None:
    """Whatever was granted in the end keeps clear of the stretch, or was moved or refunded."""
    lot = shared.lot([20], terms=AT_ONCE, days=0, windows=[ALWAYS])
    roll(shared)
    people = [shared.person(f"u{number}", f"苏B{number:05}") for number in range(24)]
    made: list[Reservation] = []
    start = threading.Barrier(5)

    def book(mine: slice) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            town = SharedTown.__new__(SharedTown)
            town.__dict__ = {**shared.__dict__, "db": connection}
            start.wait(20)
            made.extend(town.reserve(person, town.ask(person, 5, 3, lot=lot)) for person in people[mine])

    threads = [threading.Thread(target=book, args=(slice(part, None, 4),)) for part in range(4)]
    for each in threads:
        each.start()
    start.wait(20)
    stretch = Interval(EVENING + 6 * HOUR, EVENING + 7 * HOUR)
    suspend_stretch(shared.db, f"A-{lot}", stretch, EVENING, reason="exam", by="operator:o", zone=ZONE)
    for each in threads:
        each.join(60)
    assert len(made) == len(people)
    resolved = resolve_suspensions(shared.db, shared.offers, EVENING)
    (suspension,) = standing(shared.db, EVENING)
    assert meeting(shared.db, suspension, ReservationState.GRANTED, EVENING) == []
    assert suspension.affected == suspension.refunded == resolved.refunded
    states = {shared.standing(each.code).state for each in made}
    assert states <= {ReservationState.WITHDRAWN, ReservationState.REFUSED}
