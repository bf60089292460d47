"""MQTT 5 session of the gateway: messages in, acknowledgements out. The only file that knows the codec.

A persistent session (client id = prefix + instance): what is not acknowledged is delivered again. Nothing is
acknowledged here by itself: the pipeline does it after COMMIT. Receive Maximum bounds what is under way.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from typing import TYPE_CHECKING, cast

import mqtt5
import numpy as np
import structlog

from gateway.broker_log import LOG_TOPIC
from gateway.messages import RawMessage
from parking_core.errors import ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.inbox import Inbox
    from gateway.metrics import Metrics
    from parking_core.broker_url import Broker

log = structlog.get_logger()

CLIENT_ID_PREFIX = "parking-gateway-"
# A gateway that is alone subscribes plainly: Mosquitto 2.0 keeps a plain subscription over its own restart, a shared one it forgets,
# and what devices publish until a gateway is back is then acknowledged and kept for nobody.
PLAIN_FILTER = "parking/v1/+/+/+"
SHARED_FILTER = "$share/parking-gateway/parking/v1/+/+/+"  # several gateways divide the messages of one group
STATUS_FILTER = "parking/v1/+/+/status"  # retained messages are not sent to shared subscriptions
ACK_FILTER = "parking/v1/+/+/command/ack"  # a level deeper than what devices say by themselves
SHARED_ACK_FILTER = "$share/parking-gateway/parking/v1/+/+/command/ack"
# What network servers publish of LoRaWAN devices.
NETWORK_FILTERS = (
    "application/+/device/+/event/+",
    "v3/+/devices/+/up",
    "v3/+/devices/+/join",
    "v3/+/devices/+/down/+",
    "loriot/v1/+/+/up",
)
ALONE_FILTERS = (PLAIN_FILTER, ACK_FILTER, LOG_TOPIC, *NETWORK_FILTERS)
COMPANY_FILTERS = (
    SHARED_FILTER,
    SHARED_ACK_FILTER,
    STATUS_FILTER,
    LOG_TOPIC,
    *(f"$share/parking-gateway/{each}" for each in NETWORK_FILTERS),
)
ALL_FILTERS = (*ALONE_FILTERS, *COMPANY_FILTERS)
SESSION_EXPIRY_S = 7 * 86_400  # a gateway may be away for a long weekend
RECEIVE_MAX = 8192  # messages under way: a batch being committed, the next, and what the socket holds
KEEP_ALIVE_S = 30
LOOK_AROUND_S = 1.0  # how soon another gateway's coming or going changes the subscription
CONNECT_PATIENCE_S = 10.0
BACKOFF_FIRST_S = 0.1
BACKOFF_LAST_S = 1.0  # while a gateway is away its messages are only in the broker's memory until the next snapshot
STEADY_S = 3.0  # a session that ends sooner is a failed attempt: two gateways of one name would storm the broker
_numbers = itertools.count(1)
# An array's readings are a microsecond apart, and its successor comes after the last of them.
SHORTEST_READING_BYTES = len(b'{"occupied":true,"at":1},')


class Connection(asyncio.Protocol):
    """One TCP connection: bytes to packets and back."""

    def __init__(self, inbox: Inbox) -> None:
        self.number = next(_numbers)
        self.received = 0
        self.acknowledged = 0  # of those received, the ones that need no PUBACK included
        self.pongs = 0
        self.closed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.connected: asyncio.Future[mqtt5.ConnAckPacket] = asyncio.get_running_loop().create_future()
        self.subscribed: asyncio.Future[mqtt5.SubAckPacket] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self.heard_at = time.monotonic()
        self._inbox = inbox
        self._rest = b""
        self._last_us = 0
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the connection stands."""
        self.transport = cast("asyncio.Transport", transport)  # asyncio's signature is wider than TCP

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the connection is gone."""
        for future in (self.connected, self.subscribed):
            if not future.done():
                future.set_exception(ConnectionResetError("the broker closed the connection"))
                future.exception()  # retrieved: a connection that fails early is reported once, by connect()
        if not self.closed.done():
            self.closed.set_result(exc)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes to packets; the last one may not be whole yet."""
        self.heard_at = time.monotonic()
        buffer = memoryview(self._rest + data if self._rest else data)
        position, size = 0, len(buffer)
        # Strictly increasing, so that a receipt can stand in for a time and stay unique.
        now_us = max(time.time_ns() // 1000, self._last_us + 1)
        before = len(self._inbox)
        put, number, read, publish = self._inbox.put, self.number, mqtt5.read, mqtt5.PublishPacket
        try:
            while position < size:
                packet, length = read(buffer[position:])
                position += length
                if type(packet) is publish:
                    payload = packet.payload
                    put(
                        RawMessage(
                            packet.topic,
                            payload,
                            packet.packet_id or 0,
                            packet.duplicate,
                            now_us,
                            number,
                            packet.retain,
                        )
                    )
                    now_us += 1 + len(payload) // SHORTEST_READING_BYTES
                else:
                    self._control(packet)
        except IndexError:  # the last packet is not whole yet
            pass
        except ValueError as error:
            log.warning("broker sent a malformed packet, connecting anew", error=str(error))
            self.abort()
        self._last_us = now_us
        self._rest = bytes(buffer[position:])
        self.received += len(self._inbox) - before
        self._inbox.announce()
        self.hold_or_read()

    def hold_or_read(self) -> None:
        """Stops reading while too many bytes wait, so that the broker keeps them."""
        if self.transport is None or self.transport.is_closing() or self._inbox.overfull == self._paused:
            return
        self._paused = self._inbox.overfull
        if self._paused:
            self.transport.pause_reading()
        else:
            self.heard_at = time.monotonic()  # the broker could not be heard
            self.transport.resume_reading()

    @property
    def is_reading(self) -> bool:
        """Whether what the broker says is heard."""
        return not self._paused

    @property
    def is_silent(self) -> bool:
        """Whether the broker has said nothing for too long; while reading is paused it cannot be heard."""
        return self.is_reading and time.monotonic() - self.heard_at > KEEP_ALIVE_S * 1.5

    def acknowledge(self, messages: Sequence[RawMessage]) -> None:
        """PUBACKs of this connection's messages, in order of arrival."""
        mine = [message.packet_id for message in messages if message.connection == self.number]
        ids = [packet_id for packet_id in mine if packet_id]
        packets = np.empty(len(ids), [("type", "u1"), ("length", "u1"), ("packet_id", ">u2")])
        packets["type"], packets["length"], packets["packet_id"] = 0x40, 2, ids  # PUBACK, success
        self.acknowledged += len(mine)
        self.send(packets.tobytes())
        self.hold_or_read()

    def send(self, data: bytes) -> None:
        """Writes bytes, unless the connection is gone."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def abort(self) -> None:
        """Ends the connection at once."""
        if self.transport is not None:
            self.transport.abort()

    def close(self) -> None:
        """Ends the connection when what was written has left."""
        if self.transport is not None:
            self.transport.close()

    def abort_unless_closing(self) -> None:
        """Ends the connection at once, unless it is saying goodbye."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.abort()

    def _control(self, packet: object) -> None:
        match packet:
            case mqtt5.ConnAckPacket() if not self.connected.done():
                self.connected.set_result(packet)
            case mqtt5.SubAckPacket() if not self.subscribed.done():
                self.subscribed.set_result(packet)
            case mqtt5.PingRespPacket():
                self.pongs += 1
            case mqtt5.DisconnectPacket():
                log.warning("broker disconnects the gateway", reason=packet.reason_code.name)
                self.abort()
            case _:
                pass


class Subscriber:
    """Keeps the session alive for as long as it runs."""

    def __init__(
        self, broker: Broker, instance: str, inbox: Inbox, metrics: Metrics, *, shares: Callable[[], bool]
    ) -> None:
        self._broker = broker
        self._client_id = CLIENT_ID_PREFIX + instance
        self._shares = shares  # whether there is another gateway to share with, now
        self._inbox = inbox
        self._metrics = metrics
        self._connection: Connection | None = None
        self.is_connected = False  # whether the session is up and subscribed
        self.subscribed = asyncio.Event()  # it was so at least once

    async def run(self) -> None:
        """Connects, again and again, with jittered backoff."""
        wait_s = BACKOFF_FIRST_S
        while True:
            began = time.monotonic()
            try:
                await self._session()
            except (OSError, ServiceUnavailableError, TimeoutError) as error:
                log.warning(
                    "broker cannot be reached", error=str(error) or type(error).__name__, retry_s=round(wait_s, 2)
                )
            if time.monotonic() - began > STEADY_S:
                wait_s = BACKOFF_FIRST_S
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, not a secret
            wait_s = min(wait_s * 2, BACKOFF_LAST_S)

    def acknowledge(self, messages: Sequence[RawMessage]) -> None:
        """Sends PUBACKs in order of arrival. Those of an earlier connection cannot be: the broker delivers them again."""
        if self._connection is not None:
            self._connection.acknowledge(messages)

    def hold(self) -> None:
        """Takes no more messages from the socket: the first step of a drain."""
        if self._connection is not None and self._connection.transport is not None:
            self._connection.transport.pause_reading()

    async def leave(self) -> None:
        """Says goodbye; the session and what it queues stay at the broker."""
        if self._connection is not None and self._connection.transport is not None:
            self._connection.send(mqtt5.DisconnectPacket().write())
            self._connection.close()
            await asyncio.wait([self._connection.closed], timeout=1.0)

    async def _session(self) -> None:
        """One connection from its beginning to its end."""
        connection, answer = await open_session(self._broker, self._client_id, self._inbox)
        # Acknowledged from here on: what the session had queued may fill window and inbox before the SUBACK comes.
        self._connection = connection
        try:
            async with asyncio.timeout(CONNECT_PATIENCE_S):
                shared = await self._subscribe(connection)
            self.is_connected = True
            self.subscribed.set()
            log.info("subscribed", client_id=self._client_id, session_present=answer.session_present, shared=shared)
            await self._keep_alive(connection, shared=shared)
        finally:
            self.is_connected, self._connection = False, None
            connection.abort()
        self._metrics.reconnects.inc()
        log.warning("connection to the broker is lost")

    async def _subscribe(self, connection: Connection) -> bool:
        shared = self._shares()
        await _subscribe(connection, COMPANY_FILTERS if shared else ALONE_FILTERS)
        return shared

    async def _keep_alive(self, connection: Connection, *, shared: bool) -> None:
        pinged = 0.0
        while not connection.closed.done():
            if time.monotonic() - pinged > KEEP_ALIVE_S / 2:
                connection.send(mqtt5.PingReqPacket().write())
                pinged = time.monotonic()
            await asyncio.wait([connection.closed], timeout=LOOK_AROUND_S)
            if connection.is_silent:
                log.warning("broker is silent, connecting anew")
                return
            if self._shares() is not shared and connection.is_reading and not connection.closed.done():
                async with asyncio.timeout(CONNECT_PATIENCE_S):
                    shared = await self._subscribe(connection)
                log.info("subscribed anew", client_id=self._client_id, shared=shared)


async def open_session(broker: Broker, client_id: str, inbox: Inbox) -> tuple[Connection, mqtt5.ConnAckPacket]:
    """Connects to a persistent session; what it has queued begins to arrive at once.

    Raises:
        OSError, TimeoutError: the broker cannot be reached.
        ServiceUnavailableError: it refuses.
    """
    connect = mqtt5.ConnectPacket(
        client_id,
        username=broker.username,
        password=broker.password,
        clean_start=False,
        keep_alive=KEEP_ALIVE_S,
        session_expiry_interval=SESSION_EXPIRY_S,
        receive_max=RECEIVE_MAX,
    )
    async with asyncio.timeout(CONNECT_PATIENCE_S):
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(inbox), broker.host, broker.port, ssl=broker.tls
        )
        try:
            connection.send(connect.write())
            answer = await connection.connected
        except BaseException:
            connection.abort()
            raise
    if answer.reason_code is not mqtt5.ConnAckReasonCode.SUCCESS:
        connection.abort()
        raise ServiceUnavailableError(
            f"The broker refuses the gateway: {answer.reason_code.name}; check PARKING_MQTT_URL."
        )
    return connection, answer


async def _subscribe(connection: Connection, filters: Sequence[str]) -> None:
    """Subscribes to `filters` and to nothing else: a session may remember others.

    A moment with both doubles messages, which changes nothing; a moment without would lose some.
    """
    connection.subscribed = asyncio.get_running_loop().create_future()
    wanted = [
        mqtt5.TopicFilter(
            pattern,
            max_qos=mqtt5.QoS.AT_LEAST_ONCE,
            retain_as_published=False,  # only what the broker kept from earlier is marked, not what a device says now
            retain_handling=mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS,  # a session has had them
        )
        for pattern in filters
    ]
    connection.send(mqtt5.SubscribePacket(1, wanted).write())
    granted = await connection.subscribed
    if any(code.value >= 0x80 for code in granted.reason_codes):
        raise ServiceUnavailableError(
            "The broker refuses the subscription; allow the gateway's user to read parking/v1/#."
        )
    connection.send(mqtt5.UnsubscribePacket(2, [other for other in ALL_FILTERS if other not in filters]).write())
