"""Runs a fleet in real time: a few broker connections stand for many devices."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mqtt5

from parking_core.errors import ServiceUnavailableError
from simulators.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from simulators.sensors import Fleet, Message

CONNECTIONS = 4
_LONGEST_SLEEP_S = 0.25  # a stop is seen so soon
_GOODBYE_S = 2.0
_BREATH = 500  # messages published before other tasks get a turn


@dataclass(slots=True)
class Progress:
    """What a running simulation has done; read by whoever shows it."""

    present_state_published: bool = False
    published: int = 0
    acknowledged: int = 0
    reconnects: int = 0
    refused: int = 0
    unheard: int = 0  # taken by the broker when no gateway was subscribed
    behind_s: float = 0.0  # how late the simulation is: the machine or the broker is too slow for this speed


class Simulation:
    """A fleet and its connections.

    Args:
        fleet: who reports what.
        url: broker, with a credential that may publish for any device.
        name: prefix of the client ids.
        on_published: told of each message right after it was handed over, except of those that tell the first state.
    """

    def __init__(
        self,
        fleet: Fleet,
        url: str,
        name: str = "simulators",
        on_published: Callable[[Message], None] = lambda _message: None,
    ) -> None:
        self.progress = Progress()
        self._on_published = on_published
        self._fleet = fleet
        started = time.time_ns()
        self._publishers = [
            Publisher(url, f"{name}-{started}-{number}", will=self._last_will(number)) for number in range(CONNECTIONS)
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Publishes the present state of all bays, then what happens, until `stop` is set.

        Raises:
            ServiceUnavailableError: the broker cannot be reached at first, or refuses this client.
        """
        try:
            await asyncio.gather(*(publisher.connect() for publisher in self._publishers))
            await self._publish(list(self._fleet.present_state(_now_us())), stop)
            self.progress.present_state_published = True
            while not stop.is_set():
                await self._publish(self._fleet.due(_now_us()), stop)
                await self._wait_for_next(stop)
        finally:
            await self._drain_briefly()
            await asyncio.gather(*(publisher.close() for publisher in self._publishers))

    async def _publish(self, messages: Iterable[Message], stop: asyncio.Event) -> None:
        """Each device always speaks through the same connection, so its messages keep their order."""
        for count, message in enumerate(messages, start=1):
            publisher = self._publishers[message.device % len(self._publishers)]
            await publisher.publish(message.topic, message.payload, retain=message.retain)
            if self.progress.present_state_published:
                self._on_published(message)
            if count % _BREATH == 0:
                self.progress.behind_s = (_now_us() - message.due_us) / 1e6
                self._note()
                await asyncio.sleep(0)
                if stop.is_set():
                    return
        self._note()

    async def _wait_for_next(self, stop: asyncio.Event) -> None:
        next_us = self._fleet.next_due_us
        wait_s = _LONGEST_SLEEP_S if next_us is None else (next_us - _now_us()) / 1e6
        self.progress.behind_s = max(0.0, -wait_s)
        try:
            async with asyncio.timeout(min(max(wait_s, 0.001), _LONGEST_SLEEP_S)):
                await stop.wait()
        except TimeoutError:
            return

    async def _drain_briefly(self) -> None:
        """Lets the broker acknowledge what is under way; a broker that is away must not hold up the stop."""
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await asyncio.gather(*(publisher.drain() for publisher in self._publishers))
        except (TimeoutError, ServiceUnavailableError):
            pass
        self._note()

    def _note(self) -> None:
        every = self._publishers
        self.progress.published = sum(publisher.published for publisher in every)
        self.progress.acknowledged = sum(publisher.acknowledged for publisher in every)
        self.progress.reconnects = sum(publisher.reconnects for publisher in every)
        self.progress.refused = sum(publisher.refused.total() for publisher in every)
        self.progress.unheard = sum(publisher.unheard for publisher in every)

    def _last_will(self, number: int) -> mqtt5.Will | None:
        """The real last will of a connection speaks for its first device; those of the others are simulated."""
        if number >= len(self._fleet.sensors):
            return None
        topic = self._fleet.sensors[number].status_topic
        return mqtt5.Will(topic, payload=b"offline", qos=mqtt5.QoS.AT_LEAST_ONCE, retain=True)


def _now_us() -> int:
    return time.time_ns() // 1000
