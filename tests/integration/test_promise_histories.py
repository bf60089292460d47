"""Whatever happens to promises: events tell the same as rows, no space holds two cars, capacity is what promises leave of it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from parking_core.errors import ConflictError
from parking_core.flows.end_reservation import end_reservation
from parking_core.flows.move_reservation import accommodate
from parking_core.flows.reconcile import audit_money
from parking_core.reservations import EventKind, ReservationState
from parking_core.store import reservations
from tests.guest_town import GuestTown, at

if TYPE_CHECKING:
    import psycopg

    from parking_core.people import Person

pytestmark = pytest.mark.services

_CARS = 7
_STEPS = 150


class History:
    """A night of people who ask, come, stay too long, do not come, and change their minds; owners take spaces back."""

    def __init__(self, town: GuestTown, seed: int) -> None:
        self.town = town
        self.random = random.Random(seed)
        self.now = 0.0  # minutes after 18:00
        self.inside: dict[str, str] = {}  # plate: lot
        self.codes: list[str] = []
        self.people: list[Person] = [town.person(f"u{number}", f"苏B{number}0000") for number in range(_CARS)]

    def step(self) -> None:
        self.now += self.random.choice((1, 1, 2, 3, 7, 15))
        happening = self.random.choice(
            (
                self.reserve,
                self.reserve,
                self.come,
                self.come,
                self.go,
                self.watch,
                self.watch,
                self.cancel,
                self.suspend,
            )
        )
        happening()
        self.check()

    def reserve(self) -> None:
        person = self.random.choice(self.people)
        begins = (self.now + self.random.choice((0, 5, 30, 90))) / 60 + 0.02
        ask = self.town.ask(person, begins_h=begins, hours=self.random.choice((0.5, 1, 2.25)))
        found = self.town.reserve(person, ask, now=at(self.now))
        self.codes.append(found.code)

    def come(self) -> None:
        """Mostly where a promise was made, sometimes anywhere."""
        plate = min(self.random.choice(self.people).plates)
        if plate in self.inside:
            return
        promised = [one for one in map(self.town.standing, self.codes) if one.plate == plate]
        promised = [one for one in promised if one.state is ReservationState.GRANTED]
        names = {number: code for code, number in self.town.lots.items()}
        lot = names[promised[0].lot_id or 0] if promised else self.random.choice(list(self.town.lots))
        self.inside[plate] = lot
        self.town.enter(self.now, plate, lot)

    def go(self) -> None:
        if self.inside:
            plate = self.random.choice(sorted(self.inside))
            self.town.leave(self.now, plate, self.inside.pop(plate))

    def watch(self) -> None:
        done = self.town.watch(self.now)
        assert not done.failed

    def cancel(self) -> None:
        code = self.random.choice(self.codes or [""])
        if not code:
            return
        with self.town.db.transaction():
            found = reservations.lock(self.town.db, self.town.standing(code).id)
            if found.state is ReservationState.GRANTED:
                end_reservation(self.town.db, found, EventKind.CANCELLED, at(self.now), by="driver")
            else:
                with pytest.raises(ConflictError):
                    end_reservation(self.town.db, found, EventKind.CANCELLED, at(self.now), by="driver")

    def suspend(self) -> None:
        """An owner takes a class back: whoever is promised a space of it is moved or refunded."""
        class_id = self.random.choice(list(self.town.classes.values()))
        for number, code in self.town.rows(
            "SELECT id, code FROM reservations WHERE class_id = %s AND state = 'granted' ORDER BY id LIMIT 2", class_id
        ):
            moved = accommodate(self.town.db, self.town.offers, number, at(self.now), by="owner", cause="suspension")
            if moved is not None:
                self.codes.append(moved)
            assert self.town.standing(code).state in {ReservationState.MOVED, ReservationState.WITHDRAWN}

    def check(self) -> None:
        self.town.check(self.now)
        for (code,) in self.town.rows("SELECT code FROM reservations"):
            self.town.standing(code)  # looks whether events say the same
        twice = self.town.rows(
            "SELECT FROM space_stays a JOIN space_stays b ON a.space_id = b.space_id AND a.id < b.id AND a.during && b.during"
        )
        assert not twice
        outside = self.town.rows(
            "SELECT FROM reservations r WHERE state = 'arrived' AND NOT EXISTS ("
            "    SELECT FROM visits v WHERE v.id = r.visit_id AND v.state = 'open' AND v.lot_id = r.lot_id)"
        )
        assert not outside
        held = self.town.rows(
            "SELECT r.code FROM reservations r LEFT JOIN holds h ON h.key = r.hold_key AND h.state = 'placed'"
            " WHERE (r.state IN ('granted', 'arrived')) <> (h.id IS NOT NULL)"
        )
        assert not held


@pytest.mark.parametrize("seed", range(6))
def test_events_capacity_spaces_and_money_agree_after_every_step(db: psycopg.Connection[Any], seed: int) -> None:
    town = GuestTown(db)
    town.lot([2, 1])
    town.lot([1])
    town.tariff()
    history = History(town, seed)
    for _ in range(_STEPS):
        history.step()
    for plate, lot in sorted(history.inside.items()):
        history.now += 2
        town.leave(history.now, plate, lot)
    history.now += 24 * 60
    town.watch(history.now)
    history.check()
    states = dict(town.rows("SELECT state, count(*) FROM reservations GROUP BY state"))
    assert states.keys() <= {"completed", "cancelled", "lapsed", "moved", "withdrawn", "refused"}
    assert states["completed"] >= 2
    assert states["lapsed"] + states.get("moved", 0) >= 1
    assert not town.rows("SELECT FROM space_stays WHERE left_at IS NULL")
    audit = audit_money(db, ZoneInfo("Asia/Shanghai"))
    odd = [line for line in audit.lines if line.unexplained_fen or line.unexplained_items]
    assert not odd
    taken = town.rows("SELECT coalesce(sum(price_fen + fee_fen), 0)::int FROM reservations WHERE state = 'completed'")
    assert town.balances().get("preauthorised:acq", 0) == taken[0][0]
