"""The MQTT side of the gateway: bytes to messages in any pieces, acknowledgements in order, a bounded inbox."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import mqtt5
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import inbox as inbox_module
from gateway.inbox import Inbox
from gateway.subscribe import Connection
from tests.builders import a_message

if TYPE_CHECKING:
    from collections.abc import Sequence


class Wire:
    """A transport that remembers."""

    def __init__(self) -> None:
        self.written = b""
        self.reading = True
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def connected() -> tuple[Connection, Inbox, Wire]:
    inbox, wire = Inbox(), Wire()
    connection = Connection(inbox)
    connection.connection_made(cast("asyncio.BaseTransport", wire))
    return connection, inbox, wire


def packet(number: int, payload: bytes = b"x", **other: Any) -> bytes:
    return mqtt5.PublishPacket(f"t/{number}", payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=number, **other).write()


def receive(pieces: Sequence[bytes]) -> list[tuple[str, int]]:
    async def scene() -> list[tuple[str, int]]:
        connection, inbox, _ = connected()
        for piece in pieces:
            connection.data_received(piece)
        taken = inbox.take(10_000)
        receipts = [message.received_us for message in taken]
        assert receipts == sorted(set(receipts)), "receipts are not strictly increasing"
        return [(message.topic, message.packet_id) for message in taken]

    return asyncio.run(scene())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=12), st.integers(1, 20))
def test_messages_come_whole_in_whatever_pieces_the_socket_gives(cuts: list[int], count: int) -> None:
    whole = b"".join(packet(number, b"p" * number) for number in range(1, count + 1))
    edges = sorted({0, len(whole), *(cut % (len(whole) + 1) for cut in cuts)})
    pieces = [whole[start:end] for start, end in pairwise(edges)]
    assert receive(pieces) == [(f"t/{number}", number) for number in range(1, count + 1)]


def test_a_malformed_packet_ends_the_connection_and_keeps_what_came_before() -> None:
    async def scene() -> None:
        connection, inbox, wire = connected()
        connection.data_received(packet(1) + b"\xff\xff\xff\xff\xff\xff")
        assert wire.aborted
        assert [message.packet_id for message in inbox.take(10)] == [1]

    asyncio.run(scene())


def test_duplicate_and_retained_flags_are_handed_on() -> None:
    async def scene() -> None:
        connection, inbox, _ = connected()
        connection.data_received(packet(1, duplicate=True) + packet(2, retain=True))
        assert [(m.redelivered, m.retained) for m in inbox.take(2)] == [(True, False), (False, True)]

    asyncio.run(scene())


def test_acknowledgements_go_out_in_order_and_on_their_own_connection_only() -> None:
    async def scene() -> None:
        connection, _, wire = connected()
        mine = connection.number
        messages = [a_message(packet_id=number, connection=mine) for number in (3, 1, 65_535)]
        foreign = [a_message(packet_id=9, connection=mine - 1), a_message(packet_id=0, connection=mine)]
        connection.acknowledge([*messages, *foreign])
        assert wire.written == bytes.fromhex("40020003400200014002ffff")

    asyncio.run(scene())


def test_reading_stops_while_too_many_bytes_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "HOLD_BYTES", 10_000)

    async def scene() -> None:
        connection, inbox, wire = connected()
        connection.data_received(packet(1, b"x" * 6000) + packet(2, b"x" * 6000))
        assert not wire.reading
        taken = inbox.take(1)
        connection.acknowledge(taken)
        assert wire.reading

    asyncio.run(scene())


def test_a_batch_is_bounded_by_bytes_and_messages_without_payload_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "TAKE_BYTES", 10_000)
    monkeypatch.setattr(inbox_module, "HOLD_BYTES", 10_000)

    async def scene() -> None:
        connection, inbox, wire = connected()
        sizes = (6000, 2000, 9000, 20_000, 1)
        connection.data_received(b"".join(packet(number, b"x" * size) for number, size in enumerate(sizes, 1)))
        batches = []
        while len(inbox):
            batches.append([message.packet_id for message in inbox.take(4)])
        assert batches == [[1, 2], [3], [4], [5]]
        for number in range(1, 25):
            connection.data_received(packet(number, b""))
        assert not wire.reading

    asyncio.run(scene())


def test_the_inbox_gives_in_order_of_arrival_and_knows_its_oldest() -> None:
    async def scene() -> None:
        inbox = Inbox()
        assert not len(inbox)
        for number in range(1, 4):
            inbox.put(a_message(packet_id=number, received_us=number))
        inbox.announce()
        await asyncio.wait_for(inbox.wait(), 1)
        assert len(inbox) == 3
        assert inbox.oldest_us == 1
        assert [message.packet_id for message in inbox.take(2)] == [1, 2]
        await asyncio.wait_for(inbox.wait(), 1)
        assert [message.packet_id for message in inbox.take(2)] == [3]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(inbox.wait(), 0.01)

    asyncio.run(scene())
