"""Permits and single reservations want the same spaces at the same time; holders leave while owners take dates back."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from parking_core.flows.reserve import reserve
from parking_core.flows.resolve_suspensions import resolve_suspensions
from parking_core.flows.share_permits import apply, end_for_owner, withdraw
from parking_core.flows.suspend_sharing import suspend_stretch
from parking_core.reservations import PermitState, ReservationState
from parking_core.sharing import Terms
from parking_core.tariffs import Interval
from tests.permit_town import DAY, PermitTown
from tests.shared_town import EVENING, ZONE

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.services

_ALL = Terms(most_permits_permille=1000, notice_h=0)
_TOMORROW_19 = 25  # hours after EVENING


@pytest.fixture
def permits(db: psycopg.Connection[Any]) -> PermitTown:
    return PermitTown(db)


def together(*steps: Callable[[], object]) -> None:
    """Each in a thread of its own, begun at once; their errors are the caller's."""
    start, failed = threading.Barrier(len(steps)), list[BaseException]()

    def run(step: Callable[[], object]) -> None:
        start.wait(10)
        try:
            step()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []


def test_the_last_space_goes_to_a_permit_or_to_a_reservation(permits: PermitTown, database_url: str) -> None:
    permits.nights(1, terms=_ALL)
    people = [permits.driver(number) for number in range(8)]

    def applies(number: int) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            asked = permits.permit_ask(people[number])
            apply(connection, permits.offers, people[number], asked, key=f"k{number}", now=EVENING)

    def reserves(number: int) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            ask = permits.ask(people[number], _TOMORROW_19)
            reserve(connection, permits.offers, people[number], ask, key=f"k{number}", now=EVENING)

    together(*(lambda n=number: (applies if n % 2 else reserves)(n) for number in range(len(people))))
    granted = permits.rows("SELECT count(*) FROM reservations WHERE state = 'granted'")[0][0]
    active = permits.rows("SELECT count(*) FROM shared_permits WHERE state = 'active'")[0][0]
    assert granted + active == 1
    assert permits.rows("SELECT count(*) FROM reservations")[0][0] == len(people) / 2
    assert permits.rows("SELECT count(*) FROM shared_permits")[0][0] == len(people) / 2
    permits.check_law()


@pytest.mark.parametrize("at_once", [False, True])
def test_a_holder_who_withdraws_during_a_suspension_leaves_nothing_behind(
    permits: PermitTown, database_url: str, *, at_once: bool
) -> None:
    permits.nights(1, terms=_ALL)
    permits.nights(1, terms=_ALL)
    holder, permit = permits.holder()
    span = Interval(EVENING + DAY, EVENING + 5 * DAY)
    suspend_stretch(permits.db, "A-S01", span, EVENING, reason="exam", by="operator:o1", zone=ZONE)

    def resolves() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            resolve_suspensions(connection, permits.offers, EVENING)

    def withdraws() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            withdraw(connection, holder.id, permit.code, EVENING, zone=ZONE)

    if at_once:
        together(resolves, withdraws)
    else:
        resolves()
        assert permits.rows("SELECT count(*) FROM reservations WHERE state = 'granted'")[0][0] > 0
        withdraws()
    resolves()
    assert permits.now(permit).state is PermitState.WITHDRAWN
    assert permits.rows("SELECT count(*) FROM permit_draws WHERE state = 'drawn'") == [(0,)]
    assert permits.rows("SELECT count(*) FROM reservations WHERE state IN ('waiting', 'granted')") == [(0,)]
    assert permits.rows("SELECT count(*) FROM holds WHERE state = 'placed'") == [(0,)]
    permits.check_law()
    other = permits.driver(2)
    found = permits.reserve(other, permits.ask(other, _TOMORROW_19, lot="S02"))
    assert found.state is ReservationState.GRANTED, "what the holder had there is free again"
    assert permits.notices(holder)[-1] == "permit_withdrawn"


def test_what_stands_elsewhere_for_a_permit_that_its_owner_ends_is_kept(permits: PermitTown) -> None:
    permits.nights(1, terms=_ALL)
    permits.nights(1, terms=_ALL)
    _, permit = permits.holder()
    span = Interval(EVENING + DAY, EVENING + 5 * DAY)
    suspend_stretch(permits.db, "A-S01", span, EVENING, reason="exam", by="operator:o1", zone=ZONE)
    resolve_suspensions(permits.db, permits.offers, EVENING)
    kept = permits.rows("SELECT count(*) FROM reservations WHERE state = 'granted'")
    assert kept[0][0] > 0
    classes = [permits.classes["S01-A"]]
    assert end_for_owner(permits.db, classes, EVENING, by="o", cause="termination", zone=ZONE) == 1
    assert permits.now(permit).state is PermitState.ENDED_BY_OWNER
    assert permits.rows("SELECT count(*) FROM reservations WHERE state = 'granted'") == kept
    permits.check_law()
