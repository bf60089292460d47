"""Capacity of a class by slots: what is offered anew never touches a promise, and never promises its space again."""

from __future__ import annotations

import random
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from parking_core.errors import CapacityTakenError
from parking_core.slots import SLOTS, DaySlots
from parking_core.store import capacity
from tests.shared_town import EVENING, SharedTown

if TYPE_CHECKING:
    import psycopg
    from numpy.typing import NDArray

DAY = EVENING.date()


class Ledger:
    """A day of a class as it ought to be: what is wanted, and who is promised what."""

    def __init__(self, spaces: int) -> None:
        self.wanted: NDArray[np.int16] = np.full(SLOTS, spaces, np.int16)
        self.promised = np.zeros(SLOTS, np.int16)

    def fits(self, first: int, until: int) -> bool:
        return bool((self.promised < self.wanted)[first:until].all())


def stored(db: psycopg.Connection[Any], class_id: int, day: date) -> tuple[list[int], list[int], list[int]]:
    row: Any = db.execute(
        "SELECT offered, free, coalesce(overdrawn, array_fill(0::smallint, ARRAY[288])) FROM capacity_days"
        " WHERE class_id = %s AND day = %s",
        (class_id, day),
    ).fetchone()
    assert row is not None
    offered, free, overdrawn = row
    return offered, free, overdrawn


@pytest.mark.parametrize("seed", range(4))
def test_promises_survive_whatever_is_offered_and_nothing_is_promised_beyond_it(
    db: psycopg.Connection[Any], seed: int
) -> None:
    town, draw = SharedTown(db), random.Random(seed)
    class_id = town.classes[f"{town.lot([3])}-A"]
    ledger, held = Ledger(3), list[DaySlots]()
    for _ in range(120):
        match draw.choice(("take", "take", "take", "give", "give", "offer")):
            case "take":
                first = draw.randrange(SLOTS)
                part = DaySlots(DAY, first, draw.randint(first + 1, SLOTS))
                try:
                    with db.transaction():
                        capacity.shift(db, class_id, [part], -1)
                    assert ledger.fits(part.first, part.until)
                    ledger.promised[part.first : part.until] += 1
                    held.append(part)
                except CapacityTakenError:
                    assert not ledger.fits(part.first, part.until)
            case "give" if held:
                part = held.pop(draw.randrange(len(held)))
                capacity.shift(db, class_id, [part], 1)
                ledger.promised[part.first : part.until] -= 1
            case "offer":
                first = draw.randrange(SLOTS)
                ledger.wanted[first : draw.randint(first, SLOTS)] = draw.randrange(4)
                capacity.offer(db, class_id, {DAY: ledger.wanted})
        offered, free, overdrawn = stored(db, class_id, DAY)
        assert offered == np.maximum(ledger.wanted, ledger.promised).tolist()
        assert free == np.maximum(ledger.wanted - ledger.promised, 0).tolist()
        assert overdrawn == np.maximum(ledger.promised - ledger.wanted, 0).tolist()


def test_a_day_that_is_not_offered_can_be_neither_taken_nor_does_giving_back_invent_it(
    db: psycopg.Connection[Any],
) -> None:
    town = SharedTown(db)
    class_id = town.classes[f"{town.lot([1], days=1)}-A"]
    away = DaySlots(date(2026, 12, 24), 0, 5)
    with pytest.raises(CapacityTakenError, match="not offered"):
        capacity.shift(db, class_id, [away], -1)
    capacity.shift(db, class_id, [away], 1)
    assert town.rows("SELECT day FROM capacity_days") == [(DAY,)]
