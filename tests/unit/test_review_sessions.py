"""Sessions against a broker that misbehaves in exactly one way: slow, forgetful, or gone again at once."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import mqtt5
import pytest

from gateway import adopt, subscribe
from gateway import inbox as inbox_module
from gateway.adopt import Adoption
from gateway.inbox import Inbox
from gateway.metrics import Metrics
from gateway.subscribe import Subscriber
from parking_core.broker_url import Broker
from parking_core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Handler = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The broker's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._rest = reader, writer, b""
        self.seen: list[object] = []

    async def read(self) -> object:
        while True:
            with suppress(IndexError):
                packet, length = mqtt5.read(memoryview(self._rest))
                self._rest = self._rest[length:]
                self.seen.append(packet)
                return packet
            data = await self._reader.read(65_536)
            if not data:
                raise ConnectionResetError
            self._rest += data

    async def read_until(self, kind: type) -> None:
        while not isinstance(await self.read(), kind):
            pass

    def write(self, *packets: bytes) -> None:
        self._writer.write(b"".join(packets))

    def count(self, kind: type) -> int:
        return sum(isinstance(packet, kind) for packet in self.seen)

    def close(self) -> None:
        self._writer.close()


class FakeBroker:
    """Hands every connection to `handle`."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self.peers: list[Peer] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peers.append(Peer(reader, writer))
        with suppress(ConnectionError):
            await self._handle(self.peers[-1])
        writer.close()


@asynccontextmanager
async def broker_that(handle: Handler) -> AsyncIterator[tuple[FakeBroker, Broker]]:
    fake = FakeBroker(handle)
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    try:
        yield fake, Broker("127.0.0.1", server.sockets[0].getsockname()[1], None, None, None)
    finally:
        server.close()
        for peer in fake.peers:
            peer.close()


def publish(number: int, payload: bytes, qos: mqtt5.QoS = mqtt5.QoS.AT_LEAST_ONCE) -> bytes:
    return mqtt5.PublishPacket("parking/v1/l/d/occupancy", payload, qos=qos, packet_id=number or None).write()


def subscribed() -> bytes:
    return mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE] * 2).write()


SETTINGS = Settings(database_url="-", redis_url="-", mqtt_url="-", instance="t")
CONNACK = mqtt5.ConnAckPacket(session_present=True).write()
PONG = mqtt5.PingRespPacket().write()


async def cancelled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_what_a_session_had_queued_is_acknowledged_although_the_subscription_is_not_answered_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More bytes than the inbox holds come before the SUBACK: reading stops, and must go on after the commits."""
    monkeypatch.setattr(inbox_module, "HOLD_BYTES", 1_000_000)
    queued = 100

    async def handle(peer: Peer) -> None:
        await peer.read_until(mqtt5.ConnectPacket)
        peer.write(CONNACK, *(publish(number, b"x" * 100_000) for number in range(1, queued + 1)))
        await peer.read_until(mqtt5.SubscribePacket)
        peer.write(subscribed())
        while True:
            await peer.read()

    async def scene() -> None:
        inbox = Inbox()
        async with broker_that(handle) as (fake, broker):
            subscriber = Subscriber(broker, SETTINGS.instance, inbox, Metrics(), shares=lambda: False)

            async def record() -> None:
                while True:
                    await inbox.wait()
                    messages = inbox.take(4096)
                    await asyncio.sleep(0.01)
                    subscriber.acknowledge(messages)

            tasks = asyncio.create_task(subscriber.run()), asyncio.create_task(record())
            async with asyncio.timeout(5):
                while not subscriber.is_connected or fake.peers[0].count(mqtt5.PubAckPacket) < queued:  # noqa: ASYNC110  # what the peer read is no event
                    await asyncio.sleep(0.02)
            assert len(fake.peers) == 1
            await cancelled(*tasks)

    asyncio.run(scene())


def test_a_broker_that_ends_each_session_at_once_is_not_stormed() -> None:
    async def handle(peer: Peer) -> None:
        await peer.read_until(mqtt5.ConnectPacket)
        peer.write(CONNACK)
        await peer.read_until(mqtt5.SubscribePacket)
        peer.write(subscribed())

    async def scene() -> int:
        async with broker_that(handle) as (fake, broker):
            running = asyncio.create_task(
                Subscriber(broker, SETTINGS.instance, Inbox(), Metrics(), shares=lambda: False).run()
            )
            await asyncio.sleep(1.0)
            await cancelled(running)
            return len(fake.peers)

    assert 2 <= asyncio.run(scene()) <= 8


def test_a_pause_of_reading_is_no_silence_of_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading pauses while the database is away: the answers to pings stay unread, and the connection is kept."""
    monkeypatch.setattr(inbox_module, "HOLD_BYTES", 1000)
    monkeypatch.setattr(subscribe, "KEEP_ALIVE_S", 1)

    async def handle(peer: Peer) -> None:
        await peer.read_until(mqtt5.ConnectPacket)
        peer.write(CONNACK)
        await peer.read_until(mqtt5.SubscribePacket)
        peer.write(subscribed(), publish(1, b"x" * 2000))
        while True:
            if isinstance(await peer.read(), mqtt5.PingReqPacket):
                peer.write(PONG)

    async def scene() -> None:
        inbox = Inbox()
        async with broker_that(handle) as (fake, broker):
            subscriber = Subscriber(broker, SETTINGS.instance, inbox, Metrics(), shares=lambda: False)
            running = asyncio.create_task(subscriber.run())
            await asyncio.wait_for(inbox.wait(), 2)
            messages = inbox.take(1)  # the batch waits for the database; the inbox is no longer overfull
            await asyncio.sleep(2.2)
            assert len(fake.peers) == 1
            subscriber.acknowledge(messages)
            await asyncio.sleep(0.5)
            assert len(fake.peers) == 1
            assert fake.peers[0].count(mqtt5.PubAckPacket) == 1
            await cancelled(running)

    asyncio.run(scene())


class Orphanage:
    """A registry with one orphan."""

    def __init__(self) -> None:
        self.orphans = ["gone"]
        self.forgotten: list[str] = []

    async def claim_orphan(self) -> str | None:
        return self.orphans.pop() if self.orphans else None

    async def forget(self, instance: str) -> None:
        self.forgotten.append(instance)


async def adopt_from(handle: Handler, for_s: float) -> tuple[FakeBroker, Orphanage, list[str]]:
    """Lets a gateway adopt, recording at once, and gives what the broker and the registry saw."""
    inbox, orphanage, healed = Inbox(), Orphanage(), []
    async with broker_that(handle) as (fake, broker):

        async def heal() -> None:
            healed.append("healed")

        adoption = Adoption(broker, inbox, orphanage, heal)  # type: ignore[arg-type]  # two methods of the registry

        async def record() -> None:
            while True:
                await inbox.wait()
                messages = inbox.take(4096)
                await asyncio.sleep(0.01)  # a commit
                adoption.acknowledge(messages)

        tasks = asyncio.create_task(adoption.run()), asyncio.create_task(record())
        await asyncio.sleep(for_s)
        assert not any(task.done() for task in tasks)
        await cancelled(*tasks)
    return fake, orphanage, healed


@pytest.fixture
def quick_adoption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopt, "LOOK_S", 0.05)
    monkeypatch.setattr(adopt, "QUIET_S", 0.1)


@pytest.mark.usefixtures("quick_adoption")
def test_a_broker_that_takes_its_time_does_not_lose_what_the_orphan_has_queued() -> None:
    async def handle(peer: Peer) -> None:
        await peer.read_until(mqtt5.ConnectPacket)
        peer.write(CONNACK)
        await asyncio.sleep(0.6)  # writes its snapshot, say
        assert not peer.count(mqtt5.DisconnectPacket)
        peer.write(publish(1, b"{}"))
        while True:
            if isinstance(await peer.read(), mqtt5.PingReqPacket):
                peer.write(PONG)

    fake, orphanage, healed = asyncio.run(adopt_from(handle, 1.5))
    kinds = [type(packet) for packet in fake.peers[0].seen]
    assert mqtt5.PubAckPacket in kinds, "the orphan's session was ended before its message came"
    assert kinds.index(mqtt5.PubAckPacket) < kinds.index(mqtt5.DisconnectPacket)
    assert orphanage.forgotten == ["gone"]
    assert healed, "what the dead gateway left between COMMIT and the live state"


@pytest.mark.usefixtures("quick_adoption")
def test_a_message_without_acknowledgement_does_not_keep_an_adoption_open() -> None:
    async def handle(peer: Peer) -> None:
        await peer.read_until(mqtt5.ConnectPacket)
        peer.write(CONNACK, publish(0, b"{}", mqtt5.QoS.AT_MOST_ONCE))
        while True:
            if isinstance(await peer.read(), mqtt5.PingReqPacket):
                peer.write(PONG)

    _, orphanage, _ = asyncio.run(adopt_from(handle, 0.8))
    assert orphanage.forgotten == ["gone"]


def test_only_what_the_broker_kept_from_earlier_comes_as_retained_and_once_a_session() -> None:
    async def handle(peer: Peer) -> None:
        await peer.read_until(mqtt5.ConnectPacket)
        peer.write(CONNACK)
        await peer.read_until(mqtt5.SubscribePacket)
        peer.write(subscribed())
        await peer.read()

    async def scene() -> None:
        async with broker_that(handle) as (fake, broker):
            running = asyncio.create_task(Subscriber(broker, "t", Inbox(), Metrics(), shares=lambda: True).run())
            await asyncio.sleep(0.3)
            await cancelled(running)
            (asked,) = [packet for packet in fake.peers[0].seen if isinstance(packet, mqtt5.SubscribePacket)]
            for wanted in asked.topic_filters:
                assert not wanted.retain_as_published
                assert wanted.retain_handling is mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS

    asyncio.run(scene())
