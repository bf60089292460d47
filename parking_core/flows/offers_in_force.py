"""What shared lots offer, kept in a process and read again when something of it has changed."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class OffersInForce:
    """One a process; threads may share it."""

    zone: ZoneInfo
    channel: str  # "qr:<acquirer>"
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _offer: Offer | None = None
    _version: int = -1
    _read_at: datetime | None = None

    def of(self, connection: Connection[Any], now: datetime) -> Offer:
        """The offer of the moment."""
        version = sharing.version(connection)
        with self._lock:
            fresh = self._read_at is not None and now - self._read_at < _OLDEST
            if self._offer is not None and fresh and version == self._version:
                return self._offer
        offer = read_offer(connection, now, self.zone, self.channel)
        with self._lock:
            self._offer, self._version, self._read_at = offer, version, now
        return offer


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
