"""What shared lots offer, kept in a process and read again when something of it has changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from parking_core.offers import Offer
from parking_core.store import buffers, sharing
from parking_core.windows import openings, parse_schedule
from parking_core.work_calendar import WorkCalendar

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from psycopg import Connection

_OLDEST: Final = timedelta(minutes=1)  # a policy may have been decided for a moment that has come
# Two weeks of plain weekdays and weekends: how long a class is open is compared, not counted.
_COMMON_WEEKS: Final = (datetime(2026, 3, 2), datetime(2026, 3, 16))  # noqa: DTZ001  # the zone is added where they are used


@dataclass(frozen=True, slots=True)
class _Kept:
    offer: Offer
    version: int
    read_at: datetime

    def is_fresh(self, now: datetime) -> bool:
        return abs(now - self.read_at) < _OLDEST


@dataclass(slots=True)
class OffersInForce:
    """One a process; threads may share it: what is kept is replaced as a whole."""

    zone: ZoneInfo
    channel: str  # "hold:<acquirer>"
    _kept: _Kept | None = None

    def of(self, connection: Connection[Any], now: datetime) -> Offer:
        """The offer of the moment."""
        version = sharing.version(connection)
        kept = self._kept
        if kept is not None and kept.is_fresh(now) and version == kept.version:
            return kept.offer
        offer = read_offer(connection, now, self.zone, self.channel)
        self._kept = _Kept(offer, version, now)
        return offer

    def known(self, connection: Connection[Any], now: datetime) -> tuple[Offer, int]:
        """The offer as last read, and its version; the caller finds out by himself whether it is still the one in force."""
        if self._kept is None or not self._kept.is_fresh(now):
            self.of(connection, now)
        kept = self._kept
        if kept is None:
            raise AssertionError("What was read is kept.")
        return kept.offer, kept.version


def read_offer(connection: Connection[Any], now: datetime, zone: ZoneInfo, channel: str) -> Offer:
    """The offer of the moment, read from the database."""
    classes = sharing.classes(connection)
    calendar = WorkCalendar()
    since, until = (moment.replace(tzinfo=zone) for moment in _COMMON_WEEKS)
    open_min = {
        each.id: sum(
            int((part.ends_at - part.begins_at).total_seconds()) // 60
            for part in openings(parse_schedule(each.windows), calendar, zone, since, until)
        )
        for each in classes
    }
    policy = sharing.policy(connection, now)
    return Offer(classes, policy, buffers.read(connection), open_min, zone=zone, channel=channel)
