"""Each process may do with shared spaces what it has to, under its own role of the database, and book nothing beside."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from parking_core.flows.allocate_round import allocate_round
from parking_core.flows.cancel_reservation import cancel_reservation
from parking_core.flows.learn_buffers import learn_buffers
from parking_core.flows.price_capacity import PriceRuns
from parking_core.flows.resolve_suspensions import resolve_suspensions
from parking_core.flows.roll_capacity import roll_capacity
from parking_core.flows.suspend_sharing import suspend_stretch
from parking_core.flows.watch_promises import watch_promises
from parking_core.reservations import ReservationState
from parking_core.sharing import Terms
from parking_core.tariffs import Interval
from tests.shared_town import EVENING, HOUR, ZONE, SharedTown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onebox.services import RunningServices

_AT_ONCE = Terms(notice_h=0)


@pytest.fixture
def shared(services: RunningServices, database_url: str) -> Iterator[SharedTown]:
    """A town whose connection may become any role."""
    assert services.admin_url is not None
    url = urlunsplit(urlsplit(services.admin_url)._replace(path=urlsplit(database_url).path))
    with psycopg.connect(url, autocommit=True) as connection:
        yield SharedTown(connection)


def _as(town: SharedTown, role: str) -> None:
    town.db.execute(f"SET ROLE {role}")


def _suspend(town: SharedTown, lot: str) -> None:
    """Everything from half an hour on, for a day."""
    span = Interval(EVENING + HOUR / 2, EVENING + 24 * HOUR)
    suspend_stretch(town.db, f"A-{lot}", span, EVENING, reason="exam", by="operator:o1", zone=ZONE)


def test_the_api_may_promise_give_back_and_suspend(shared: SharedTown) -> None:
    first = shared.lot([1], terms=_AT_ONCE)
    shared.lot([1])
    ann, bob = shared.person(), shared.person("u2", "苏B22222")
    _as(shared, "api_role")
    kept = shared.granted(ann, lot=first)
    assert cancel_reservation(shared.db, ann, shared.granted(ann, begins_h=8).code, EVENING).state is (
        ReservationState.CANCELLED
    )
    waits = shared.reserve(bob, shared.ask(bob, waits=True))
    assert waits.state is ReservationState.WAITING
    _suspend(shared, first)
    assert resolve_suspensions(shared.db, shared.offers, EVENING).moved == 1
    assert shared.standing(kept.code).state is ReservationState.MOVED


def test_the_worker_may_roll_price_allocate_resolve_and_watch(shared: SharedTown) -> None:
    first, _ = shared.lot([1], terms=_AT_ONCE), shared.lot([2])
    ann, bob = shared.person(), shared.person("u2", "苏B22222")
    kept = shared.granted(ann, lot=first)
    waits = shared.reserve(bob, shared.ask(bob, waits=True))
    _suspend(shared, first)
    _as(shared, "worker_role")
    roll_capacity(shared.db, shared.offers.of(shared.db, EVENING), EVENING)
    assert PriceRuns(shared.offers).step(shared.db, EVENING) is not None
    assert allocate_round(shared.db, shared.offers, EVENING, until=EVENING + 38 * HOUR).served == 1
    assert shared.standing(waits.code).state is ReservationState.GRANTED
    assert resolve_suspensions(shared.db, shared.offers, EVENING).moved == 1
    assert shared.standing(kept.code).state is ReservationState.MOVED
    assert watch_promises(shared.db, shared.offers, EVENING + timedelta(hours=5)).lapsed == 2
    assert learn_buffers(shared.db, EVENING + timedelta(days=1), ZONE).lots == 2


@pytest.mark.parametrize("role", ["api_role", "gateway_role"])
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO journal (key, kind, occurred_at) VALUES ('k', 'charge', now())",
        "UPDATE capacity_prices SET solved_at = now()",
        "DELETE FROM reservations",
        "DELETE FROM reservation_events",
        "UPDATE reservation_events SET by = 'nobody'",
        "DELETE FROM violations",
    ],
)
def test_nobody_else_books_prices_or_rewrites_what_happened(shared: SharedTown, role: str, statement: str) -> None:
    _as(shared, role)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        shared.db.execute(statement)
