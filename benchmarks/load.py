"""Load generator of the ingest benchmark: as cheap a message as can be, so that it measures the gateway and not itself.

Messages are packed before the clock starts, written in pieces, and acknowledged by count: MQTT 3.1.1 answers every
QoS 1 message with exactly four bytes.

    python -m benchmarks.load --url mqtt://... --devices devices.json --messages 1000000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast
from urllib.parse import unquote, urlsplit

import uvloop

Piece = tuple[bytes, int]  # bytes of one write, messages in it
PUBACK_BYTES = 4
PATIENCE_S = 60.0  # without any acknowledgement
LAST_PACKET_ID = 65_535


@dataclass(frozen=True, slots=True)
class Sender:
    """One simulated device: its topic and its space; of a lane the eight last digits of its terminal."""

    topic: bytes
    space: bytes


Payload = Callable[[Sender, int, int], bytes]


def publish_packet(topic: bytes, payload: bytes, packet_id: int) -> bytes:
    """A QoS 1 PUBLISH of MQTT 3.1.1."""
    body = struct.pack(">H", len(topic)) + topic + struct.pack(">H", packet_id) + payload
    length, head = len(body), bytearray([0x32])
    while True:
        length, digit = divmod(length, 128)
        head.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(head) + body


def connect_packet(client_id: str, username: str | None, password: str | None) -> bytes:
    """CONNECT of MQTT 3.1.1 with a clean session and no keep-alive."""
    flags, tail = 0x02, b""
    for flag, text in ((0x80, username), (0x40, password)):
        if text is not None:
            flags |= flag
            tail += struct.pack(">H", len(text.encode())) + text.encode()
    body = b"\0\4MQTT\4" + bytes([flags]) + b"\0\0" + struct.pack(">H", len(client_id)) + client_id.encode() + tail
    assert len(body) < 128, "the remaining length would need a second byte"
    return bytes([0x10, len(body)]) + body


def occupancy_payload(sender: Sender, seq: int, now_ms: int) -> bytes:
    """A reading with every measure."""
    return b'{"space":"%b","occupied":%b,"at":%d,"seq":%d,"battery_v":3.61,"rssi_dbm":-88,"temperature_c":21.5}' % (
        sender.space,
        b"true" if seq & 1 else b"false",
        now_ms + seq,
        seq,
    )


def lane_payload(sender: Sender, seq: int, now_ms: int) -> bytes:
    """An entry and an exit in turn, both by ETC and camera; numbers of a later run are higher. Plates are invented."""
    entry, fen = (b"entry", 0) if seq & 1 else (b"exit", 1000)
    plate = "苏B%05d".encode() % ((seq // 2) % 100_000)
    return (
        b'{"event":"%b","record_no":%d,"at":%d,"plate":{"text":"%b","color":0},"vehicle_class":1,"etc":{"obu_plate":"%b",'
        b'"card_plate":"%b","obu_id":"32010000A1B2C3D4","contract_no":"3201000000000001","card_no":"32010000000000000017",'
        b'"card_network":"3201","card_type":"23","terminal_no":"0132%b","terminal_serial":"%08X","tac":"0A1B2C3D",'
        b'"algorithm":"1","trade_type":"09","amount_fen":%d,"balance_before_fen":1999921000,"balance_after_fen":%d,'
        b'"status_list_version":"20260601120000"},"source":"etc"}'
    ) % (
        *(entry, now_ms * 1000 + seq, now_ms + seq, plate, plate, plate, sender.space),
        *(now_ms // 1000 % 4000 * 1_000_000 + seq, fen, 1_999_921_000 - fen),
    )


PAYLOADS = {"occupancy": occupancy_payload, "lane": lane_payload}


def pieces(senders: list[Sender], messages: int, now_ms: int, size: int, payload_of: Payload) -> list[Piece]:
    """All messages, each device in turn with rising numbers and times, `size` of them a piece."""
    packed: list[Piece] = []
    piece: list[bytes] = []
    for number in range(messages):
        sender = senders[number % len(senders)]
        seq = number // len(senders) + 1
        payload = payload_of(sender, seq, now_ms)
        piece.append(publish_packet(sender.topic, payload, number % LAST_PACKET_ID + 1))
        if len(piece) == size:
            packed.append((b"".join(piece), size))
            piece = []
    if piece:
        packed.append((b"".join(piece), len(piece)))
    return packed


class _Client(asyncio.Protocol):
    def __init__(self, hello: bytes, read_every_s: float) -> None:
        self._read_every_s = read_every_s
        self.ready = asyncio.get_running_loop().create_future()
        self.acked = 0
        self.progress = asyncio.Event()
        self._hello = hello
        self._rest = 0
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # asyncio's signature is wider than TCP
        self.transport.write(self._hello)

    def data_received(self, data: bytes) -> None:
        if not self.ready.done():
            assert data[:2] == b"\x20\x02", f"no CONNACK: {data[:8]!r}"
            assert data[3] == 0, f"the broker refuses the load generator with code {data[3]}"
            self.ready.set_result(None)
            data = data[4:]
        whole, self._rest = divmod(self._rest + len(data), PUBACK_BYTES)
        self.acked += whole
        self.progress.set()
        if self._read_every_s:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(self._read_every_s, self._read_on)

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio calls it by position
        self.lost = True
        self.progress.set()

    async def more(self) -> None:
        """Returns when further messages were acknowledged."""
        self.progress.clear()
        await asyncio.wait_for(self.progress.wait(), PATIENCE_S)
        assert not self.lost, "the broker closed the connection"


async def _send(client: _Client, packed: list[Piece], window: int, rate: float) -> None:
    started, sent = time.perf_counter(), 0
    for piece, count in packed:
        while sent - client.acked > window:
            await client.more()
        if rate and (ahead := sent / rate - (time.perf_counter() - started)) > 0:
            await asyncio.sleep(ahead)
        client.transport.write(piece)
        sent += count
    while client.acked < sent:
        await client.more()


def _same(client: _Client) -> _Client:
    return client


async def main(arguments: argparse.Namespace, listed: list[tuple[str, str]]) -> None:
    """Publishes everything and prints when it started and ended."""
    parts = urlsplit(arguments.url)
    senders = [Sender(topic.encode(), space.encode()) for topic, space in listed]
    share = -(-arguments.messages // arguments.connections)
    packed = [
        pieces(
            senders[index :: arguments.connections],
            max(0, min(share, arguments.messages - index * share)),
            int(time.time() * 1000),
            arguments.piece,
            PAYLOADS[arguments.payload],
        )
        for index in range(arguments.connections)
    ]
    clients = []
    for index in range(arguments.connections):
        user, password = (unquote(text) if text else None for text in (parts.username, parts.password))
        hello = connect_packet(f"load-{os.getpid()}-{index}", user, password)
        client = _Client(hello, arguments.read_every_ms / 1e3)
        await asyncio.get_running_loop().create_connection(partial(_same, client), parts.hostname, parts.port)
        await client.ready
        clients.append(client)
    if arguments.wait:
        print("ready", flush=True)
        if not await asyncio.to_thread(sys.stdin.readline):
            return  # the benchmark is gone
    spent, started = time.process_time(), time.time()
    sending = [
        _send(client, mine, arguments.window, arguments.rate / arguments.connections)
        for client, mine in zip(clients, packed, strict=True)
    ]
    await asyncio.gather(*sending)
    print(json.dumps({"started": started, "ended": time.time(), "cpu_s": time.process_time() - spent}), flush=True)


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--devices", required=True, help="JSON list of [topic, space]")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--window", type=int, default=4000)
    parser.add_argument(
        "--rate", type=float, default=0.0, help="messages a second; 0: as fast as the broker takes them"
    )
    parser.add_argument(
        "--read-every-ms",
        type=float,
        default=5.0,
        help="reads acknowledgements in bulk: its CPU is not what is measured",
    )
    parser.add_argument("--payload", choices=sorted(PAYLOADS), default="occupancy")
    parser.add_argument("--piece", type=int, default=100, help="messages a write")
    parser.add_argument(
        "--wait", action="store_true", help="when everything is packed say so, and wait for a line of input"
    )
    return parser.parse_args()


if __name__ == "__main__":
    asked = parse_arguments()
    uvloop.run(main(asked, json.loads(Path(asked.devices).read_text("utf-8"))))
