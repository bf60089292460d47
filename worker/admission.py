"""Who may connect to the broker, by the clock: floods are suspended, suspensions end, broker and registry stay in step."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog

from parking_core.broker_clients import OWN_USERS
from parking_core.errors import ServiceUnavailableError
from parking_core.floods import SUSPEND_FOR
from parking_core.flows import keep_credentials
from parking_core.store import floods
from worker import metrics
from worker.threads import in_thread

if TYPE_CHECKING:
    from psycopg import Connection

    from parking_core.store.keeper import Keeper

log = structlog.get_logger()

_PASS_S: Final = 2.0
_COMPARE_S: Final = 600.0  # names of a district's devices are a megabyte
_BROKER_PAUSE_S: Final = 10.0


class Admission:
    """State of the loop: its connection, the broker's keeper, and when both were compared."""

    def __init__(self, connection: Connection[Any], keeper: Keeper) -> None:
        self._connection = connection
        self._keeper = keeper
        self._compared_at = time.monotonic()

    async def step(self) -> float:
        """One pass; gives the seconds until the next."""
        try:
            await in_thread(lambda: self._pass(datetime.now(UTC)))
            if time.monotonic() - self._compared_at > _COMPARE_S:
                await in_thread(lambda: self._compare(datetime.now(UTC)))
                self._compared_at = time.monotonic()
        except ServiceUnavailableError as error:
            log.warning("the broker was not told who may connect", error=str(error))
            return _BROKER_PAUSE_S
        return _PASS_S

    def _pass(self, now: datetime) -> None:
        for code, left_out in floods.lasting(self._connection, now):
            reason = f"It floods: {left_out} messages were left out."
            if keep_credentials.suspend(
                self._connection, self._keeper, code, until=now + SUSPEND_FOR, reason=reason, by="platform", now=now
            ):
                metrics.SUSPENDED.inc()
                log.warning("device is shut out", device=code, left_out=left_out, minutes=SUSPEND_FOR.seconds // 60)
        for code in keep_credentials.lift_suspensions(self._connection, self._keeper, now):
            log.info("device is let in again", device=code)

    def _compare(self, now: datetime) -> None:
        """Whom the registry does not let in is expelled; a device that the broker lacks is said, for its secret is not ours."""
        strangers, missing = keep_credentials.out_of_step(self._connection, self._keeper, OWN_USERS, now)
        metrics.BROKER_LACKS.set(len(missing))
        if missing:
            log.warning(
                "the broker lacks devices; run `parking devices rebuild`", devices=len(missing), first=missing[0]
            )
        if strangers:
            self._keeper.expel(strangers)
            log.warning("clients of the broker that nobody registered were expelled", clients=len(strangers))
