"""Capacity of shared spaces, as far ahead as promises reach: one transaction an agreement.

windows on the work calendar ─► openings ─► without suspensions ─► cut before the owner returns ─► slots of each day
                                                  new days: permits take theirs ─► everybody else

Rolling again changes nothing. What is promised stays promised, also where windows, buffers or a suspension offer less by
now (parking_core.store.capacity.offer).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parking_core.flows.share_permits import draw
from parking_core.openings import HourBuffers, offered_slots, without
from parking_core.slots import begins_of, day_of
from parking_core.store import agreements, capacity, share_permits, suspensions
from parking_core.tariffs import Interval
from parking_core.windows import openings, parse_schedule
from parking_core.work_calendar import WorkCalendar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from psycopg import Connection

    from parking_core.offers import Offer
    from parking_core.openings import Spaces
    from parking_core.sharing import SharedLot, SpaceClass

_KEPT: Final = timedelta(days=7)  # what was offered lately is compared with what was used
_CALENDAR: Final = WorkCalendar()


@dataclass(frozen=True, slots=True)
class Rolled:
    """What a roll did.

    unannounced: years it reached whose holidays are not announced; their days are plain weekdays and weekends.
    """

    classes: int = 0
    days_written: int = 0
    days_dropped: int = 0
    unannounced: tuple[int, ...] = ()


def roll_capacity(connection: Connection[Any], offer: Offer, now: datetime) -> Rolled:
    """Offers the spaces of all agreements in force from today to the horizon, and forgets days that are long over."""
    written = 0
    for lot in offer.lots:
        with connection.transaction():
            written += roll_agreement(connection, offer, lot, now)
    with connection.transaction():
        dropped = capacity.drop_before(connection, day_of(now - _KEPT))
    return Rolled(len(offer.classes), written, dropped, unannounced_years(offer, now))


def roll_agreement(connection: Connection[Any], offer: Offer, lot: SharedLot, now: datetime) -> int:
    """Offers the spaces of a lot; gives how many days of classes have changed. The caller's transaction holds it.

    Permits draw on days that are new before anybody else sees them.
    """
    agreements.take_turn(connection, lot.agreement_id)
    classes = [each for each in offer.classes if each.lot.id == lot.id]
    ids = [each.id for each in classes]
    first_day, days = horizon(offer, now)
    closed = [
        Interval(each.since, each.until)
        for each in suspensions.of_agreement(connection, lot.agreement_id, begins_of(first_day))
    ]
    before = capacity.read_wanted(connection, ids, first_day, days)
    changed = {
        each.id: _changed(each.id, wanted_of(offer, each, (first_day, days), closed), before)
        for each in sorted(classes, key=lambda one: one.id)
    }
    written = sum(len(slots) for slots in changed.values())
    if written:
        share_permits.take_turns(connection, ids)
        for class_id, slots in changed.items():
            capacity.offer(connection, class_id, slots)
        draw(connection, ids, now, zone=offer.zone)
    return written


def wanted_of(
    offer: Offer, space_class: SpaceClass, days: tuple[date, int], closed: Sequence[Interval]
) -> dict[date, Spaces]:
    """What a class offers on days, the first one and how many, when some stretches are closed."""
    since = begins_of(days[0])
    until = begins_of(days[0] + timedelta(days=days[1] + 1))
    opened = openings(parse_schedule(space_class.windows), _CALENDAR, offer.zone, since, until)
    hours = buffers_by_hour(offer, space_class.lot)
    return offered_slots(without(opened, closed), space_class.spaces, hours, offer.zone, days)


def buffers_by_hour(offer: Offer, lot: SharedLot) -> tuple[HourBuffers, ...]:
    """What is kept free after promises that end in each local hour."""
    hours = (offer.buffers(lot, datetime(2026, 1, 1, hour, tzinfo=offer.zone)) for hour in range(24))
    return tuple(HourBuffers(each.guest_min, each.owner_min) for each in hours)


def horizon(offer: Offer, now: datetime) -> tuple[date, int]:
    """The first day that is offered, and how many."""
    return day_of(now), offer.policy.horizon_days + 1


def unannounced_years(offer: Offer, now: datetime) -> tuple[int, ...]:
    """Years within the horizon whose holidays are not announced yet."""
    reached = {
        at.astimezone(offer.zone).year for at in (now.astimezone(UTC), now + timedelta(days=offer.policy.horizon_days))
    }
    return tuple(sorted(year for year in reached if not _CALENDAR.is_announced(year)))


def _changed(
    class_id: int, wanted: Mapping[date, Spaces], before: Mapping[tuple[int, date], Spaces]
) -> dict[date, Spaces]:
    return {
        day: slots
        for day, slots in wanted.items()
        if (known := before.get((class_id, day))) is None or not np.array_equal(known, slots)
    }
