"""Openings of a class as they can be drawn, and what gates are told of them. The caller's transaction holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from parking_core.commands import CommandKind, CommandOrder
from parking_core.share_permits import Draw, DrawState, Opening, as_offered, least_free, openings_of
from parking_core.slots import SLOTS, begins_of, day_of, slots_of
from parking_core.store import capacity, commands, permit_draws, sharing
from parking_core.windows import parse_schedule
from parking_core.work_calendar import WorkCalendar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

    import numpy as np
    from numpy.typing import NDArray
    from psycopg import Connection

    from parking_core.share_permits import SharedPermit

CALENDAR: Final = WorkCalendar()


@dataclass(frozen=True, slots=True, eq=False)
class ClassDays:
    """Capacity of a class as far ahead as it is known, from the first slot of `first_day` on."""

    class_id: int
    first_day: date
    free: NDArray[np.int32]
    offered: NDArray[np.int32]

    def drawable(self, opening: Opening) -> tuple[Opening | None, bool]:
        """What of an opening is offered, None: nothing; and whether a space is left in all of that."""
        part = as_offered(opening, self.offered, self.first_day)
        return part, part is not None and least_free(part, self.free, self.first_day) > 0

    def take(self, opening: Opening) -> None:
        """Counts a space as taken."""
        for part in slots_of(*opening):
            base = (part.day - self.first_day).days * SLOTS
            self.free[base + part.first : base + part.until] -= 1


def read_days(connection: Connection[Any], class_id: int, now: datetime, *, lock: bool = False) -> ClassDays:
    """Reads them; with `lock` nobody can take what was read until the caller's transaction ends."""
    first = day_of(now)
    last = permit_draws.last_day(connection, class_id, first)
    days = 0 if last is None else (last - first).days + 1
    found = capacity.read(connection, [class_id], first, days, lock=lock)
    return ClassDays(class_id, first, found.free[0], capacity.read_offered(connection, [class_id], first, days)[0])


def known_until(days: ClassDays) -> datetime:
    """Until when capacity is known."""
    return begins_of(days.first_day, len(days.free))


def windows_openings(windows: object, zone: ZoneInfo, since: datetime, until: datetime) -> Iterator[Opening]:
    """Openings of a document of windows, on the work calendar."""
    return openings_of(parse_schedule(windows), CALENDAR, zone, since, until)


def store_draws(connection: Connection[Any], permit: SharedPermit, draws: Sequence[Draw], now: datetime) -> None:
    """Stores openings and lets the gates raise for those that are drawn; their capacity is the caller's to take."""
    for draw in draws:
        permit_draws.add(connection, draw)
    expect(connection, permit, [draw for draw in draws if draw.state is DrawState.DRAWN], now)


def expect(connection: Connection[Any], permit: SharedPermit, draws: Sequence[Draw], now: datetime) -> None:
    """The gates of the lot will raise for the car within these openings."""
    orders = [
        CommandOrder(
            device_id=barrier,
            kind=CommandKind.EXPECT_VEHICLE,
            payload={
                "plate": permit.plate,
                "from": draw.since.isoformat(),
                "until": draw.until.isoformat(),
                "reservation": draw.name(permit.code),
            },
            cause=f"permit:{draw.name(permit.code)}",
            deadline=draw.until,
        )
        for barrier in _barriers(connection, permit, draws)
        for draw in draws
    ]
    commands.queue(connection, orders, now)


def forget(connection: Connection[Any], permit: SharedPermit, draws: Sequence[Draw], now: datetime) -> None:
    """The gates of the lot will not raise for the car within these openings any more."""
    orders = [
        CommandOrder(
            device_id=barrier,
            kind=CommandKind.FORGET_VEHICLE,
            payload={"reservation": draw.name(permit.code)},
            cause=f"permit:{draw.name(permit.code)}",
        )
        for barrier in _barriers(connection, permit, draws)
        for draw in draws
    ]
    commands.queue(connection, orders, now)


def shift(connection: Connection[Any], draws: Sequence[Draw], by: int) -> None:
    """Takes (-1) or gives back (1) the space of openings of one class.

    Raises:
        CapacityTakenError: a slot has none left.
    """
    parts = sorted(part for draw in draws for part in slots_of(draw.since, draw.until))
    if parts:
        capacity.shift(connection, draws[0].class_id, parts, by)


def _barriers(connection: Connection[Any], permit: SharedPermit, draws: Sequence[Draw]) -> list[int]:
    return sharing.barriers(connection, permit.lot_id) if draws and permit.lot_id is not None else []
