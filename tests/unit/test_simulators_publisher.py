"""The pipelined publisher against a broker of a few lines that misbehaves on demand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import mqtt5
import pytest

from parking_core.errors import ServiceUnavailableError
from simulators.publisher import BrokerRefusalError, Publisher

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Broker:
    """Accepts connections; acknowledges publishes unless told otherwise."""

    receive_max: int = 65_535
    answer: mqtt5.ConnAckReasonCode = field(default_factory=lambda: mqtt5.ConnAckReasonCode.SUCCESS)
    cut_after: int | None = None  # publishes, once
    silent: bool = False
    puback: mqtt5.PubAckReasonCode = field(default_factory=lambda: mqtt5.PubAckReasonCode.SUCCESS)
    taken: list[mqtt5.PublishPacket] = field(default_factory=list)
    hellos: list[mqtt5.ConnectPacket] = field(default_factory=list)
    url: str = ""
    waiting: list[int] = field(default_factory=list)
    writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"mqtt://me:secret@127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        if self.writer is not None:
            self.writer.close()
        await asyncio.sleep(0)

    def release(self) -> None:
        """Acknowledges what a silent broker has kept waiting."""
        assert self.writer is not None
        for packet_id in self.waiting:
            self.writer.write(mqtt5.PubAckPacket(packet_id).write())
        self.waiting = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer, buffer = writer, b""
        while data := await reader.read(65_536):
            buffer += data
            while buffer:
                try:
                    packet, size = mqtt5.read(memoryview(buffer))
                except IndexError:
                    break
                buffer = buffer[size:]
                if not self._take(packet, writer):
                    writer.close()
                    return
        writer.close()

    def _take(self, packet: mqtt5.Packet, writer: asyncio.StreamWriter) -> bool:
        if isinstance(packet, mqtt5.ConnectPacket):
            self.hellos.append(packet)
            writer.write(mqtt5.ConnAckPacket(reason_code=self.answer, receive_max=self.receive_max).write())
            return self.answer == mqtt5.ConnAckReasonCode.SUCCESS
        if isinstance(packet, mqtt5.PublishPacket):
            self.taken.append(packet)
            assert packet.packet_id is not None
            if self.cut_after == len(self.taken):
                self.cut_after = None
                return False
            if self.silent:
                self.waiting.append(packet.packet_id)
            else:
                writer.write(mqtt5.PubAckPacket(packet.packet_id, reason_code=self.puback).write())
        return True


def test_everything_is_acknowledged_and_arrives_in_order() -> None:
    async def run() -> None:
        async with Broker() as broker, Publisher(broker.url, "p") as publisher:
            for number in range(5_000):
                await publisher.publish(f"t/{number % 7}", b"%d" % number, retain=number == 3)
            await publisher.drain()
            assert [int(packet.payload) for packet in broker.taken] == list(range(5_000))
            assert [int(packet.payload) for packet in broker.taken if packet.retain] == [3]
            assert (publisher.published, publisher.acknowledged, publisher.under_way) == (5_000, 5_000, 0)
            assert (broker.hellos[0].username, broker.hellos[0].password) == ("me", b"secret")

    asyncio.run(run())


def test_packet_ids_go_round() -> None:
    async def run() -> None:
        async with Broker() as broker, Publisher(broker.url, "p") as publisher:
            publisher._last_id = 65_500
            for _ in range(100):
                await publisher.publish("t", b"x")
            await publisher.drain()
            assert [packet.packet_id for packet in broker.taken] == [*range(65_501, 65_536), *range(1, 66)]

    asyncio.run(run())


@pytest.mark.parametrize(("own", "brokers", "window"), [(10, 65_535, 10), (1_000, 20, 20)])
def test_the_smaller_window_holds(own: int, brokers: int, window: int) -> None:
    async def run() -> None:
        async with (
            Broker(silent=True, receive_max=brokers) as broker,
            Publisher(broker.url, "p", window=own) as publisher,
        ):
            task = asyncio.create_task(_publish_numbers(publisher, 100))
            await _until(lambda: len(broker.taken) >= window)
            await asyncio.sleep(0.05)
            assert len(broker.taken) == window == publisher.under_way
            broker.silent = False
            broker.release()
            await task
            assert publisher.acknowledged == 100

    asyncio.run(run())


def test_what_a_lost_connection_left_is_sent_again_with_dup() -> None:
    async def run() -> None:
        async with Broker(cut_after=60) as broker, Publisher(broker.url, "p", window=50) as publisher:
            await _publish_numbers(publisher, 300)
            assert publisher.reconnects == 1
            assert len(broker.hellos) == 2
            assert {int(packet.payload) for packet in broker.taken} == set(range(300))
            again = [packet for packet in broker.taken if packet.duplicate]
            assert 0 < len(again) == publisher.sent_again <= 50
            assert publisher.acknowledged == publisher.published == 300

    asyncio.run(run())


def test_breaking_off_and_coming_back_loses_nothing() -> None:
    async def run() -> None:
        async with Broker(silent=True) as broker, Publisher(broker.url, "p") as publisher:
            for number in range(10):
                await publisher.publish("t", b"%d" % number)
            await _until(lambda: len(broker.taken) == 10)
            broker.silent = False
            publisher.break_off()
            await publisher.drain()
            assert [int(packet.payload) for packet in broker.taken] == [*range(10), *range(10)]

    asyncio.run(run())


def test_refused_messages_are_counted_by_reason() -> None:
    async def run() -> None:
        async with (
            Broker(puback=mqtt5.PubAckReasonCode.NOT_AUTHORIZED) as broker,
            Publisher(broker.url, "p") as publisher,
        ):
            await _publish_numbers(publisher, 3)
            assert publisher.refused == {"not_authorized": 3}

    asyncio.run(run())


def test_what_nobody_subscribed_to_is_counted_apart_from_what_is_refused() -> None:
    async def run() -> None:
        async with (
            Broker(puback=mqtt5.PubAckReasonCode.NO_MATCHING_SUBSCRIBERS) as broker,
            Publisher(broker.url, "p") as publisher,
        ):
            await _publish_numbers(publisher, 3)
            broker.puback = mqtt5.PubAckReasonCode.SUCCESS
            await _publish_numbers(publisher, 2)
            assert (publisher.acknowledged, publisher.unheard, publisher.refused) == (5, 3, {})

    asyncio.run(run())


def test_a_broker_that_refuses_the_client_says_why() -> None:
    async def run() -> None:
        async with Broker(answer=mqtt5.ConnAckReasonCode.NOT_AUTHORIZED) as broker:
            with pytest.raises(BrokerRefusalError, match="not authorized"):
                await Publisher(broker.url, "p").connect()

    asyncio.run(run())


def test_a_broker_that_refuses_later_ends_the_waiting() -> None:
    async def run() -> None:
        async with Broker(silent=True) as broker, Publisher(broker.url, "p") as publisher:
            await publisher.publish("t", b"x")
            await _until(lambda: bool(broker.taken))
            broker.answer = mqtt5.ConnAckReasonCode.NOT_AUTHORIZED
            publisher.break_off()
            with pytest.raises(BrokerRefusalError):
                await publisher.drain()

    asyncio.run(run())


def test_an_absent_broker_is_named() -> None:
    with pytest.raises(ServiceUnavailableError, match=r"127\.0\.0\.1:9 "):
        asyncio.run(Publisher("mqtt://127.0.0.1:9", "p").connect())


async def _publish_numbers(publisher: Publisher, count: int) -> None:
    for number in range(count):
        await publisher.publish("t", b"%d" % number)
    await publisher.drain()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # the condition is another side's counter, no event tells of it
            await asyncio.sleep(0.005)
