"""Takes over the session of a gateway that is gone for good.

The broker keeps feeding the session of an absent member of a shared subscription, so messages would wait there
until the member returns. A living gateway connects under the absent one's client id, leaves the group in its name,
records what is queued through its own pipeline, and ends the session.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import mqtt5
import structlog

from gateway.subscribe import ALL_FILTERS, CLIENT_ID_PREFIX, open_session
from parking_core.errors import ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.inbox import Inbox
    from gateway.messages import RawMessage
    from gateway.registry import RegistryView
    from gateway.subscribe import Connection
    from parking_core.broker_url import Broker

log = structlog.get_logger()

LOOK_S = 5.0
QUIET_S = 3.0  # between two questions whether the queue is empty


class Adoption:
    """Looks for orphans for ever; takes over one at a time.

    `heal` brings into the live state what a gateway left behind that died between COMMIT and Redis.
    """

    def __init__(
        self, broker: Broker, inbox: Inbox, registry: RegistryView, heal: Callable[[], Awaitable[None]]
    ) -> None:
        self._broker = broker
        self._inbox = inbox
        self._registry = registry
        self._heal = heal
        self._connection: Connection | None = None

    def acknowledge(self, messages: Sequence[RawMessage]) -> None:
        """PUBACKs of the messages that came by an adopted session."""
        if self._connection is not None:
            self._connection.acknowledge(messages)

    async def run(self) -> None:
        """Looks, adopts, forgets."""
        while True:
            await asyncio.sleep(LOOK_S)
            orphan = await self._registry.claim_orphan()
            if orphan is None:
                continue
            try:
                emptied = await self._take_over(orphan)
            except (OSError, TimeoutError, ServiceUnavailableError) as error:
                log.warning("orphaned session cannot be taken over", instance=orphan, error=str(error))
                continue
            if emptied:
                await self._heal()
                await self._registry.forget(orphan)

    async def _take_over(self, orphan: str) -> bool:
        """True when the session is empty and ended; False when its owner came back or the broker went away."""
        connection, answer = await open_session(self._broker, CLIENT_ID_PREFIX + orphan, self._inbox)
        self._connection = connection
        try:
            connection.send(mqtt5.UnsubscribePacket(2, list(ALL_FILTERS)).write())
            pings = 0
            while not connection.closed.done() and not connection.is_silent:
                seen, settled = connection.received, connection.acknowledged
                connection.send(mqtt5.PingReqPacket().write())
                pings += 1
                await asyncio.wait([connection.closed], timeout=QUIET_S)
                # The broker answers in order: after the last PUBACK it was asked, and it answered before any message.
                if connection.pongs == pings and connection.received == seen == settled:
                    connection.send(mqtt5.DisconnectPacket(session_expiry_interval=0).write())
                    connection.close()
                    log.info("orphaned session emptied", instance=orphan, messages=seen, found=answer.session_present)
                    return True
        finally:
            self._connection = None
            connection.abort_unless_closing()
        return False
