"""A pipelined QoS 1 publisher: many messages under way at once, each kept until the broker acknowledges it.

    publish() ─► under way {packet id: wire bytes, in order} ─► one write a loop iteration ─► broker
                      └──── removed by PUBACK; sent again, with DUP, on a new connection ◄────┘

One asyncio Protocol on the mqtt5 codec, because a client that waits for each PUBACK reaches a few thousand messages
a second only.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Self, cast

import mqtt5

from parking_core.broker_url import Broker
from parking_core.errors import ServiceUnavailableError

if TYPE_CHECKING:
    from types import TracebackType

_KEEP_ALIVE_S = 30
_PING_EVERY_S = 10.0
_SILENT_AFTER_S = 45.0  # nothing heard for so long in spite of pings: the connection is dead
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.1, 5.0
_CONNECT_PATIENCE_S = 10.0
_FLUSH_BYTES = 65_536
_LAST_PACKET_ID = 65_535
_DUP = 0x08
_FIRST_ERROR = 0x80  # reason codes from here on are errors
_UNHEARD = int(mqtt5.PubAckReasonCode.NO_MATCHING_SUBSCRIBERS)
_REFUSALS = (  # a broker that says so once says so again
    mqtt5.ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD,
    mqtt5.ConnAckReasonCode.NOT_AUTHORIZED,
    mqtt5.ConnAckReasonCode.BANNED,
    mqtt5.ConnAckReasonCode.CLIENT_ID_NOT_VALID,
    mqtt5.ConnAckReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
)


class Publisher:
    """Publishes at QoS 1; use it as an async context manager, or `connect()` and `close()`.

    Args:
        url: broker, credentials included.
        client_id: must be the only one of its name.
        window: messages under way at most; the broker's Receive Maximum may lower it.
        will: published by the broker when this connection breaks.
    """

    def __init__(self, url: str, client_id: str, *, window: int = 2_000, will: mqtt5.Will | None = None) -> None:
        self.published = 0
        self.acknowledged = 0
        self.sent_again = 0
        self.reconnects = 0
        self.unheard = 0  # acknowledged, but nobody was subscribed: the broker sends them to no one
        self.refused: Counter[str] = Counter()  # PUBACK reasons that are errors: acknowledged, but not taken
        self._broker = Broker.from_url(url)
        self._client_id = client_id
        self._own_window = min(window, _LAST_PACKET_ID)
        self._window = self._own_window
        self._will = will
        self._under_way: dict[int, bytes] = {}
        self._last_id = 0
        self._room = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._connection: _Connection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._rng = random.Random()

    async def connect(self) -> None:
        """Connects and stays connected until `close()`.

        Raises:
            ServiceUnavailableError: the broker cannot be reached or refuses this client.
        """
        connection = await self._open()
        self._keeper = asyncio.create_task(self._keep_connected(connection), name=f"mqtt {self._client_id}")

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Hands one message over; waits only while the window is full.

        Raises:
            ServiceUnavailableError: the broker refuses this client for good.
        """
        while len(self._under_way) >= self._window:
            self._room.clear()
            self._raise_if_given_up()
            await self._room.wait()
        packet_id = self._free_packet_id()
        wire = mqtt5.PublishPacket(
            topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id, retain=retain
        ).write()
        self._under_way[packet_id] = wire
        self.published += 1
        if self._connection is not None:
            self._connection.send(wire)
            if self._connection.paused:
                await self._connection.writable()

    async def drain(self) -> None:
        """Returns when the broker has acknowledged everything published so far.

        Raises:
            ServiceUnavailableError: the broker refuses this client for good.
        """
        while self._under_way:
            self._empty.clear()
            self._raise_if_given_up()
            await self._empty.wait()

    @property
    def under_way(self) -> int:
        """Messages published and not yet acknowledged."""
        return len(self._under_way)

    async def close(self) -> None:
        """Says goodbye (no last will is published). What is under way and not acknowledged is not waited for."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._connection is not None:
            self._connection.send(mqtt5.DisconnectPacket().write())
            self._connection.close()
            self._connection = None

    def break_off(self) -> None:
        """Drops the connection without goodbye, as a power cut does; the broker publishes the last will."""
        if self._connection is not None:
            self._connection.abort()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def take_acknowledgement(self, packet: mqtt5.PubAckPacket) -> None:
        """Called by the connection for each PUBACK."""
        if self._under_way.pop(packet.packet_id, None) is None:
            return
        self.acknowledged += 1
        reason = int(packet.reason_code)
        if reason == _UNHEARD:
            self.unheard += 1
        elif reason >= _FIRST_ERROR:
            self.refused[packet.reason_code.name.lower()] += 1

    def wake(self) -> None:
        """Called by the connection after each batch of PUBACKs."""
        if len(self._under_way) < self._window:
            self._room.set()
        if not self._under_way:
            self._empty.set()

    def _free_packet_id(self) -> int:
        while True:
            self._last_id = self._last_id % _LAST_PACKET_ID + 1
            if self._last_id not in self._under_way:
                return self._last_id

    def _raise_if_given_up(self) -> None:
        if self._keeper is not None and self._keeper.done() and not self._keeper.cancelled():
            self._keeper.result()

    async def _open(self) -> _Connection:
        """Connects, waits for CONNACK, and sends again what an earlier connection left under way."""
        loop = asyncio.get_running_loop()
        broker = self._broker
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(_CONNECT_PATIENCE_S):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self), broker.host, broker.port, ssl=broker.tls
                )
                connection.send(self._hello())
                accepted = await connection.accepted
        except (OSError, TimeoutError) as error:
            if connection is not None:
                connection.abort()
            reason = str(error) or "no answer"
            raise ServiceUnavailableError(
                f"The broker {broker.host}:{broker.port} cannot be reached ({reason}); check PARKING_MQTT_URL."
            ) from error
        self._window = min(self._own_window, accepted.receive_max)
        for packet_id, wire in list(self._under_way.items()):
            again = bytes((wire[0] | _DUP,)) + wire[1:]
            self._under_way[packet_id] = again
            connection.send(again)
            self.sent_again += 1
        self._connection = connection
        self.wake()
        return connection

    def _hello(self) -> bytes:
        return mqtt5.ConnectPacket(
            self._client_id,
            username=self._broker.username,
            password=self._broker.password,
            clean_start=True,  # what is under way is kept here, the broker needs to keep nothing for us
            keep_alive=_KEEP_ALIVE_S,
            will=self._will,
        ).write()

    async def _keep_connected(self, connection: _Connection) -> None:
        backoff_s = _FIRST_BACKOFF_S
        try:
            while True:
                await connection.until_lost()
                self._connection = None
                while True:
                    await asyncio.sleep(backoff_s * self._rng.uniform(0.5, 1.5))
                    backoff_s = min(backoff_s * 2, _LONGEST_BACKOFF_S)
                    try:
                        connection = await self._open()
                    except BrokerRefusalError:
                        raise
                    except ServiceUnavailableError:
                        continue
                    break
                self.reconnects += 1
                backoff_s = _FIRST_BACKOFF_S
        finally:
            self._room.set()  # whoever waits sees that nobody will make room any more
            self._empty.set()


class BrokerRefusalError(ServiceUnavailableError):
    """The broker answered and does not want this client; trying again does not help."""


class _Connection(asyncio.Protocol):
    """One TCP connection: batches writes, reads PUBACKs, pings."""

    def __init__(self, publisher: Publisher) -> None:
        loop = asyncio.get_running_loop()
        self.accepted: asyncio.Future[mqtt5.ConnAckPacket] = loop.create_future()
        self.paused = False
        self._publisher = publisher
        self._loop = loop
        self._lost: asyncio.Future[None] = loop.create_future()
        self._writable: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._rest = b""
        self._heard_at = loop.time()
        self._ping: asyncio.TimerHandle | None = None

    def send(self, wire: bytes) -> None:
        """Queues bytes; they leave together at the end of this loop iteration."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(wire)
        self._out_bytes += len(wire)
        if self._out_bytes >= _FLUSH_BYTES:
            self._flush()

    async def writable(self) -> None:
        """Waits until the socket takes more, or is lost."""
        if self.paused and not self._lost.done():
            self._writable = self._writable or self._loop.create_future()
            await asyncio.shield(self._writable)

    async def until_lost(self) -> None:
        """Waits for the end of this connection."""
        await asyncio.shield(self._lost)

    def close(self) -> None:
        """Sends what is queued and closes."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Closes at once."""
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        out, self._out, self._out_bytes = self._out, [], 0
        if out and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(out))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # a stream; uvloop's does not derive from asyncio's
        self._ping = self._loop.call_later(_PING_EVERY_S, self._keep_alive)

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        buffer = memoryview(self._rest + data if self._rest else data)
        position = 0
        while position < len(buffer):
            try:
                packet, size = mqtt5.read(buffer[position:])
            except IndexError:  # the codec's word for: the packet is not complete yet
                break
            except ValueError:
                self.abort()  # what follows a malformed packet cannot be trusted; a new connection starts clean
                return
            position += size
            self._take(packet)
        self._rest = bytes(buffer[position:])
        self._publisher.wake()

    def _take(self, packet: mqtt5.Packet) -> None:
        match packet:
            case mqtt5.PubAckPacket():
                self._publisher.take_acknowledgement(packet)
            case mqtt5.ConnAckPacket() if not self.accepted.done():
                self._answer(packet)
            case mqtt5.DisconnectPacket():
                self.abort()
            case _:
                pass  # ping responses: hearing them is all that counts

    def _answer(self, packet: mqtt5.ConnAckPacket) -> None:
        if packet.reason_code == mqtt5.ConnAckReasonCode.SUCCESS:
            self.accepted.set_result(packet)
            return
        kind = BrokerRefusalError if packet.reason_code in _REFUSALS else ServiceUnavailableError
        reason = packet.reason_code.name.lower().replace("_", " ")
        self.accepted.set_exception(kind(f"The broker refuses the connection ({reason}); check PARKING_MQTT_URL."))
        self.abort()

    def _keep_alive(self) -> None:
        if self._loop.time() - self._heard_at > _SILENT_AFTER_S:
            self.abort()
            return
        self.send(mqtt5.PingReqPacket().write())
        self._ping = self._loop.call_later(_PING_EVERY_S, self._keep_alive)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def connection_lost(self, _error: Exception | None) -> None:
        if self._ping is not None:
            self._ping.cancel()
        if not self.accepted.done():
            self.accepted.set_exception(ConnectionResetError("the broker closed the connection"))
        if not self._lost.done():
            self._lost.set_result(None)
        self.resume_writing()
