"""Device messages at a steady rate from a thread of the test, each kept until the broker acknowledges it."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import uvloop

from parking_core.topics import Kind, device_topic
from simulators.publisher import Publisher
from tests.acceptance.processes import until
from tests.builders import a_payload, now_us

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

    from parking_core.districts import District

_PAUSE_S = 0.01


class Sendable(Protocol):
    """A topic and a payload."""

    @property
    def topic(self) -> str:
        """Where it goes."""

    @property
    def payload(self) -> bytes:
        """What it says."""


@dataclass(frozen=True, slots=True)
class Message:
    """A topic and a payload."""

    topic: str
    payload: bytes


def good_messages(district: District, count: int, first_seq: int = 1) -> list[Message]:
    """`count` messages, each device in turn, numbered without a gap; every one is a row of its own."""
    watched = [(lot.code, device) for lot in district.lots for device in lot.devices]
    begins_ms = now_us() // 1000
    messages = []
    for number in range(count):
        lot, device = watched[number % len(watched)]
        seq = first_seq + number // len(watched)
        payload = a_payload(space=device.space, occupied=bool(seq & 1), at=begins_ms + seq, seq=seq, battery_v=3.6)
        messages.append(Message(device_topic(lot, device.code, Kind.OCCUPANCY), payload))
    return messages


class Load:
    """Publishes messages in the background; `join()` returns when the broker has acknowledged each."""

    def __init__(self, url: str, messages: Iterable[Sendable], rate: float, *, client_id: str = "load") -> None:
        self._url, self._messages, self._rate, self._client_id = url, messages, rate, client_id
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=client_id)
        self._ended: Future[None] | None = None
        self.publisher: Publisher | None = None

    def start(self) -> Load:
        """Begins to publish."""
        self._ended = self._worker.submit(lambda: uvloop.run(self._publish()))
        self._worker.shutdown(wait=False)
        return self

    def join(self, patience_s: float = 120.0) -> None:
        """Waits for the end and raises what went wrong."""
        assert self._ended is not None, "the load was not started"
        self._ended.result(patience_s)

    def await_acknowledged(self, number: int, patience_s: float = 60.0) -> None:
        """Waits until the broker has taken that many; fails when the load has ended, since then nothing is mid-load."""
        until(lambda: self.acknowledged >= number, patience_s, f"the broker has not taken {number} messages")
        assert not self.is_over, "the load is over: what comes next would prove nothing"

    @property
    def is_over(self) -> bool:
        """Whether everything was acknowledged, or something went wrong."""
        return self._ended is not None and self._ended.done()

    @property
    def acknowledged(self) -> int:
        """Messages the broker has taken so far."""
        return 0 if self.publisher is None else self.publisher.acknowledged

    async def _publish(self) -> None:
        async with Publisher(self._url, f"{self._client_id}-{time.time_ns()}") as publisher:
            self.publisher = publisher
            begins = time.monotonic()
            for sent, message in enumerate(self._messages, 1):
                await publisher.publish(message.topic, message.payload)
                if sent % 50 == 0 and (ahead := sent / self._rate - (time.monotonic() - begins)) > 0:
                    await asyncio.sleep(max(ahead, _PAUSE_S))
            await publisher.drain()
            assert not publisher.refused, publisher.refused


def publish(url: str, messages: Iterable[Sendable]) -> None:
    """Publishes messages as fast as the broker takes them, and returns when it has."""
    Load(url, messages, rate=1e9, client_id="burst").start().join()
