"""Sends queued commands to devices: its own broker connection and its own database connection, beside the ingest path.

    NOTIFY commands ─► time out ─► claim (SKIP LOCKED: of several gateways one) ─► publish, QoS 1 ─► PUBACK ─► mark sent
    or next due         the late    next try is set

What is claimed and not published (a killed gateway, a lost broker) is due again after its kind's retry interval. The
device's answer comes by the ingest path and ends the command in the batch's transaction.
"""

from __future__ import annotations

import asyncio
import random
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import aiomqtt
import psycopg
import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.downlinks import message_of
from gateway.record import CONNECTION_OPTIONS
from parking_core.store import commands

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from gateway.metrics import Metrics
    from parking_core.broker_url import Broker
    from parking_core.commands import DueCommand

log = structlog.get_logger()

CLIENT_ID_PREFIX: Final = "parking-commands-"
MOST: Final = 100  # commands of one claim: what is published at once
LOOK_S: Final = 1.0  # a notification that was lost delays a command by no more
SHORTEST_WAIT_S: Final = 0.01  # what is due and was not claimed is in another gateway's hands
AWAY_LOOK_S: Final = 0.1  # without a broker: how soon its return is seen
PUBLISH_PATIENCE_S: Final = 2.0  # a broker that does not answer must not keep late commands from ending
BACKOFF_FIRST_S, BACKOFF_LAST_S = 0.1, 1.0


class CommandSender:
    """Sends for as long as its two tasks run; a broker or a database that is away is waited for."""

    def __init__(self, database_url: str, broker: Broker, instance: str, metrics: Metrics) -> None:
        self._url = database_url
        self._broker = broker
        self._instance = instance
        self._metrics = metrics
        self._client: aiomqtt.Client | None = None  # while the broker is there

    async def stay_connected(self) -> None:
        """Keeps the connection to the broker; never ends by itself."""
        wait_s = BACKOFF_FIRST_S
        while True:
            try:
                async with self._new_client() as client:
                    self._client, wait_s = client, BACKOFF_FIRST_S
                    async for _ in client.messages:  # nothing is subscribed: it ends with the connection
                        pass
            except aiomqtt.MqttError as error:
                log.warning("commands wait for the broker", error=str(error), retry_s=round(wait_s, 2))
            finally:
                self._client = None
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, not a secret
            wait_s = min(wait_s * 2, BACKOFF_LAST_S)

    def _new_client(self) -> aiomqtt.Client:
        broker = self._broker
        client = aiomqtt.Client(
            broker.host,
            broker.port,
            username=broker.username,
            password=None if broker.password is None else broker.password.decode(),
            identifier=CLIENT_ID_PREFIX + self._instance,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,  # what the broker does not acknowledge is sent again by the row, not by the session
            tls_context=broker.tls,
            timeout=PUBLISH_PATIENCE_S,
            max_inflight_messages=MOST,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],  # a driver waits: not 40 ms for company
        )
        client.pending_calls_threshold = MOST  # a claim is published at once: its size is no reason to warn
        return client

    async def send_for_ever(self) -> None:
        """Sends what is due; never ends by itself."""
        wait_s = BACKOFF_FIRST_S
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._url,
                    autocommit=True,
                    **CONNECTION_OPTIONS,  # type: ignore[arg-type]  # psycopg takes libpq's options as text
                ) as connection:
                    await commands.listen(connection)
                    while True:
                        await self._pass(connection)
                        wait_s = BACKOFF_FIRST_S
            except psycopg.Error as error:
                log.warning("commands wait for the database", error=str(error).strip()[:300], retry_s=round(wait_s, 2))
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, not a secret
            wait_s = min(wait_s * 2, BACKOFF_LAST_S)

    async def _pass(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Ends what is late, sends what is due, and waits for more."""
        now = datetime.now(UTC)
        for kind in await commands.time_out(connection, now, MOST):
            self._metrics.commands_timed_out.labels(kind.value).inc()
        client, claimed = self._client, 0
        if client is not None:
            due = await commands.claim_due(connection, now, MOST)
            claimed = len(due)
            messages = {command.id: message_of(command) for command in due}
            problems = {id_: message for id_, message in messages.items() if isinstance(message, str)}
            await commands.refuse(connection, problems, now)
            sent = await self._publish(client, [command for command in due if command.id not in problems], now)
            await commands.mark_sent(connection, sent, datetime.now(UTC))
        if claimed < MOST:
            await self._wait(connection)

    async def _publish(self, client: aiomqtt.Client, due: Sequence[DueCommand], now: datetime) -> list[UUID]:
        """Hands them to the broker; gives those that it has acknowledged."""
        outcomes = await asyncio.gather(*(_publish(client, one, now) for one in due), return_exceptions=True)
        sent = []
        for command, outcome in zip(due, outcomes, strict=True):
            if outcome is None:
                self._metrics.commands_sent.labels(command.kind.value).inc()
                sent.append(command.id)
            elif isinstance(outcome, aiomqtt.MqttError):
                log.warning("command is not sent", id=str(command.id), kind=command.kind, error=str(outcome))
            else:
                raise outcome
        return sent

    async def _wait(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Until something is queued, or due."""
        wait_s = LOOK_S
        if self._client is None:
            wait_s = AWAY_LOOK_S
        elif (due_at := await commands.next_due(connection)) is not None:
            wait_s = min(LOOK_S, max(SHORTEST_WAIT_S, (due_at - datetime.now(UTC)).total_seconds()))
        async for _ in connection.notifies(timeout=wait_s, stop_after=1):
            pass


async def _publish(client: aiomqtt.Client, command: DueCommand, now: datetime) -> None:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho types no constructor
    properties.MessageExpiryInterval = command.expires_in_s(now)
    message = message_of(command)
    assert not isinstance(message, str)  # noqa: S101  # such ones were refused before
    topic, payload = message
    await client.publish(topic, payload, qos=1, properties=properties)
