"""Every quarter of an hour: which devices lie. Days that are over are closed first, and then learned from once."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog

from parking_core.flows.judge_devices import close_days, judge_devices, load_past, running_day
from parking_core.health.conditions import Condition
from worker import metrics
from worker.threads import in_thread

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.flows.judge_devices import Past

log = structlog.get_logger()

_PASS_S: Final = 900.0
_REST: Final = 50.0  # pauses are at least so many times the pass: two percent of a core


class Health:
    """State of the loop: what was learned, for the running day."""

    def __init__(self, connection: Connection[Any], zone: ZoneInfo) -> None:
        self._connection = connection
        self._zone = zone
        self._past: Past | None = None

    async def step(self) -> float:
        """One pass; gives the seconds until the next."""
        begins = time.monotonic()
        await in_thread(lambda: self._pass(datetime.now(UTC)))
        return max(_PASS_S, _REST * (time.monotonic() - begins))

    def _pass(self, now: datetime) -> None:
        closed = close_days(self._connection, now, self._zone)
        if closed:
            log.info("days of devices closed", days=closed)
        day = running_day(now, self._zone)
        if self._past is None or closed or self._past.day != day:
            self._past = load_past(self._connection, day, self._zone)
        done = judge_devices(self._connection, self._past, now)
        counts = Counter(finding.condition for finding in done.findings)
        for condition in Condition:
            metrics.DEVICE_CONDITIONS.labels(condition.value).set(counts[condition])
        if done.applied.begun or done.applied.cleared:
            log.info("devices judged", begun=done.applied.begun, cleared=done.applied.cleared, open=counts.total())
