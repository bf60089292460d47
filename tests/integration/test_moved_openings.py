"""Openings of permits that are not drawn any more: what pricing covers, and the promise elsewhere that stands for one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from parking_core.flows.move_reservation import accommodate
from parking_core.flows.price_visits import ToPrice, price_visits
from parking_core.flows.share_permits import give_back, resolve_draws
from parking_core.people import Person, Role
from parking_core.reservations import ReservationState
from parking_core.sharing import Terms
from parking_core.store import permit_draws
from tests.guest_town import GuestTown
from tests.permit_town import DAY, PermitTown
from tests.shared_town import EVENING, HOUR

if TYPE_CHECKING:
    import psycopg

    from parking_core.reservations import Reservation
    from parking_core.share_permits import SharedPermit

pytestmark = pytest.mark.services

_TUESDAY = EVENING + DAY
_TUESDAY_MIN = 24 * 60
_ALL = Terms(most_permits_permille=1000)
_NO_PERMITS = Terms(permit_fen_per_month=None)


class MovedTown(GuestTown, PermitTown):
    """Lots with permits, and lanes that report their cars."""

    def price(self, permit: SharedPermit, begins: datetime, hours: float, lot: str = "S01") -> int:
        """What a stay of the permit's car costs by the tariff, fen."""
        stay = ToPrice(lot_id=self.lots[lot], vehicle=permit.plate, entered_at=begins, exited_at=begins + hours * HOUR)
        (priced,) = price_visits(self.db, [stay], begins + 100 * DAY)
        return priced.bill.total_fen

    def suspend(self, begins: datetime, hours: float) -> None:
        span = begins, begins + hours * HOUR
        resolve_draws(self.db, self.offers, [self.classes["S01-A"]], *span, now=EVENING, by="operator:o")

    def promise(self) -> Reservation:
        """The one that stands."""
        [(code,)] = self.rows("SELECT code FROM reservations WHERE state IN ('granted', 'arrived', 'completed')")
        return self.standing(code)


@pytest.fixture
def town(db: psycopg.Connection[Any]) -> MovedTown:
    return MovedTown(db)


def _moved(town: MovedTown, lots: int = 1) -> SharedPermit:
    """A permit whose Tuesday night is in another lot."""
    town.nights(1, terms=_ALL)
    for _ in range(lots):
        town.nights(1, terms=_NO_PERMITS)
    town.tariff()
    _, permit = town.holder()
    town.suspend(_TUESDAY, 14)
    return permit


def test_an_opening_that_was_given_back_pays_the_tariff_and_the_next_one_does_not(town: MovedTown) -> None:
    town.nights(2)
    town.tariff()
    person, permit = town.holder()
    assert town.price(permit, _TUESDAY, 14) == 0
    give_back(town.db, person.id, permit.code, _TUESDAY, EVENING)
    assert town.price(permit, _TUESDAY, 14) == 14 * 500
    assert town.price(permit, _TUESDAY + 13 * HOUR, 1) == 500  # what was drawn may end before the windows do
    assert town.price(permit, _TUESDAY + DAY, 14) == 0
    assert town.price(permit, _TUESDAY, 38) == (14 + 10) * 500


def test_what_the_owner_takes_of_a_weekend_is_closed_alone(town: MovedTown) -> None:
    town.nights(1, terms=_ALL)
    town.tariff()
    _, permit = town.holder()
    friday = EVENING + 4 * DAY
    town.suspend(friday + 15 * HOUR, 2)  # of Saturday's opening: it is refunded
    assert town.price(permit, friday, 14) == 0
    assert town.price(permit, friday + 14 * HOUR, 24) == 24 * 500
    assert town.price(permit, friday + 38 * HOUR, 24) == 0


def test_a_moved_opening_is_covered_where_it_was_moved_to(town: MovedTown) -> None:
    permit = _moved(town)
    assert town.price(permit, _TUESDAY + HOUR, 4) == 4 * 500
    assert town.price(permit, _TUESDAY + HOUR, 4, lot="S02") == 0


def test_nothing_is_held_for_it_and_a_holder_who_does_not_come_violates_nothing(town: MovedTown) -> None:
    _moved(town)
    promise = town.promise()
    assert promise.hold_key is None
    assert town.rows("SELECT count(*)::int FROM holds WHERE key LIKE 'reservation:%%'") == [(0,)]
    ends = _TUESDAY_MIN + int((promise.depart_at - _TUESDAY).total_seconds()) // 60
    assert town.watch(ends - 1).lapsed == 0  # a permit's car may come at any hour of its night
    assert town.watch(ends).lapsed == 1
    assert town.state(promise) == "lapsed"
    assert town.rows("SELECT FROM violations") == []


def test_a_promise_of_the_same_kind_that_somebody_asked_for_is_missed(town: MovedTown) -> None:
    town.lot([1], terms=Terms(price_fen_per_hour=0))
    town.granted(town.person())
    assert town.watch(121).lapsed == 1
    assert town.rows("SELECT kind FROM violations") == [("no_show",)]


def test_who_overstays_it_takes_the_steps_and_pays_the_tariff_and_no_fee(town: MovedTown) -> None:
    permit = _moved(town)
    promise = town.promise()
    ends = _TUESDAY_MIN + int((promise.depart_at - _TUESDAY).total_seconds()) // 60
    town.enter(_TUESDAY_MIN + 60, permit.plate, lot="S02")
    assert town.state(promise) == "arrived"
    assert town.watch(ends + 70).stepped == 1
    town.leave(ends + 130, permit.plate, lot="S02")
    done = town.standing(promise.code)
    assert (done.state.value, done.lateness.value, done.fee_fen) == ("completed", "violation", 0)
    assert town.rows("SELECT kind FROM violations") == [("overstay",)]
    said = town.rows("SELECT DISTINCT detail ->> 'no_fee' FROM user_notices WHERE kind LIKE 'overstay%%'")
    assert said == [("no_hold",)]
    policy = town.offers.of(town.db, EVENING).policy
    late = timedelta(minutes=130 - policy.overstay.charged_from_min)
    assert town.rows("SELECT amount_fen FROM charges") == [(500 * -(-late // HOUR),)]


def test_it_counts_neither_as_one_of_the_persons_own_nor_where_it_is_moved_on(town: MovedTown) -> None:
    _moved(town, lots=2)
    first = town.promise()
    out = frozenset({town.classes["S01-A"]})
    assert accommodate(town.db, town.offers, first.id, EVENING, by="worker", cause="suspension", not_in=out)
    second = town.promise()
    assert second.id != first.id
    assert second.hold_key is None
    assert permit_draws.stands_for(town.db, second.id)
    assert not permit_draws.stands_for(town.db, first.id)
    town.lot([9], days=5)
    person = Person(
        id=second.user_id, code="p1", role=Role.DRIVER, groups=frozenset(), plates=frozenset({second.plate})
    )
    for begins_h in (1, 4, 8):  # as many as one may have
        town.granted(person, begins_h=begins_h)
    assert town.reserve(person, town.ask(person, begins_h=12)).state is ReservationState.REFUSED
