"""Turns recorded sessions into the messages that sensors would have sent, and publishes them.

    sessions ─► assign_bays ─► events (ordered, numbered a device) ─► shift ─► disturb ─► publish

Everything before `publish` is pure. The same file gives the same keys (device, space, time, seq, occupied) each time,
so a second replay changes nothing.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from parking_core.topics import Kind, device_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from simulators.publisher import Publisher
    from simulators.sessions import Session

_UNFIT_FOR_TOPIC = re.compile(r"[/+#\s\x00-\x1f]")
_REPORT_EVERY = 500  # messages between two calls of a progress bar
_ORIGIN = datetime(1970, 1, 1, tzinfo=UTC)
_AHEAD_US = 2_000  # a message due within two milliseconds is sent now: sleeping shorter costs more than it gives


@dataclass(frozen=True, slots=True)
class ReplayEvent:
    """One change of one bay as its device would report it; times in microseconds since the epoch."""

    at_us: int
    space: str
    device: str
    seq: int
    occupied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """What goes wrong on the way. `duplicates` is a share, the others are seconds."""

    duplicates: float = 0.0  # this share of the events is delivered twice
    reorder_s: float = 0.0  # each delivery is late by up to so much
    skew_s: float = 0.0  # each device's clock is wrong by a constant within plus or minus this


def assign_bays(sessions: Sequence[Session]) -> list[Session]:
    """Gives each session without a bay the first free one, in order of arrival. Capacity is what the data needs.

    A bay left at an instant is free for an arrival at that instant.
    """
    free: list[int] = []
    leaving: list[tuple[int, int]] = []  # departure, bay
    bays = 0
    assigned: list[tuple[Session, int]] = []
    for session in sorted(sessions, key=lambda s: (s.arrival_us, s.row)):
        while leaving and leaving[0][0] <= session.arrival_us:
            heapq.heappush(free, heapq.heappop(leaving)[1])
        if not free:
            bays += 1
            heapq.heappush(free, bays)
        bay = heapq.heappop(free)
        if session.departure_us is not None:
            heapq.heappush(leaving, (session.departure_us, bay))
        assigned.append((session, bay))
    width = max(3, len(str(bays)))
    return [replace(session, space=f"{bay:0{width}}") for session, bay in assigned]


def device_codes(lot: str, spaces: Iterable[str]) -> dict[str, str]:
    """A device code a bay, fit for a topic: lot, hyphen, bay; bays that would share one get a number."""
    codes: dict[str, str] = {}
    taken: Counter[str] = Counter()
    for space in sorted(set(spaces)):
        code = f"{lot}-{_UNFIT_FOR_TOPIC.sub('_', space)}"
        taken[code] += 1
        codes[space] = code if taken[code] == 1 else f"{code}~{taken[code]}"
    return codes


def events_of(sessions: Iterable[Session], devices: Mapping[str, str]) -> list[ReplayEvent]:
    """Events in order of time, numbered from 1 a device; `devices` names the device of each bay.

    At one instant of a bay an earlier session's departure comes first, then sessions without length (arrival, then
    departure), then the arrival of whoever stays.
    """
    moves: list[tuple[int, str, int, int, bool]] = []  # instant, bay, phase, row of the file, occupied
    for session in sessions:
        space = session.space or ""
        zero_length = session.departure_us == session.arrival_us
        moves.append((session.arrival_us, space, 1 if zero_length else 2, session.row, True))
        if session.departure_us is not None:
            moves.append((session.departure_us, space, 1 if zero_length else 0, session.row, False))
    moves.sort(key=lambda move: (*move[:4], not move[4]))
    numbers: Counter[str] = Counter()
    events = []
    for at_us, space, _, _, occupied in moves:
        device = devices[space]
        numbers[device] += 1
        events.append(ReplayEvent(at_us, space, device, numbers[device], occupied))
    return events


def shift_to(events: Sequence[ReplayEvent], last_us: int) -> list[ReplayEvent]:
    """The same events, moved so that the last one happens at `last_us`."""
    if not events:
        return []
    by = last_us - max(event.at_us for event in events)
    return [replace(event, at_us=event.at_us + by) for event in events]


def clock_skew_us(device: str, disturbance: Disturbance, seed: int) -> int:
    """How wrong a device's clock is, whole milliseconds; depends on the seed and the device's code only."""
    if not disturbance.skew_s:
        return 0
    limit_ms = round(disturbance.skew_s * 1000)
    return random.Random(f"skew {seed} {device}").randint(-limit_ms, limit_ms) * 1000


def disturb(events: Sequence[ReplayEvent], disturbance: Disturbance, seed: int) -> list[ReplayEvent]:
    """The events in the order in which they arrive when deliveries are late, doubled, and clocks are wrong.

    A delivery overtakes only what happened less than `reorder_s` before it. Nothing is lost.
    """
    rng = random.Random(seed)
    skews: dict[str, int] = {}
    reorder_us = disturbance.reorder_s * 1_000_000
    deliveries: list[tuple[float, int, ReplayEvent]] = []
    for position, event in enumerate(events):
        skew_us = skews.setdefault(event.device, clock_skew_us(event.device, disturbance, seed))
        as_reported = replace(event, at_us=event.at_us + skew_us) if skew_us else event
        copies = 2 if disturbance.duplicates and rng.random() < disturbance.duplicates else 1
        for _ in range(copies):
            late_us = rng.uniform(0.0, reorder_us) if reorder_us else 0.0
            deliveries.append((event.at_us + late_us, position, as_reported))
    deliveries.sort(key=lambda delivery: delivery[:2])
    return [event for _, _, event in deliveries]


def payload_of(event: ReplayEvent) -> bytes:
    """The message of the contract; whole milliseconds as a number, finer times as RFC 3339."""
    whole, rest = divmod(event.at_us, 1000)
    at: int | str = whole if rest == 0 else (_ORIGIN + timedelta(microseconds=event.at_us)).isoformat()
    return msgspec.json.encode({"space": event.space, "occupied": event.occupied, "at": at, "seq": event.seq})


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What was published and acknowledged."""

    published: int
    seconds: float

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.published / self.seconds if self.seconds else 0.0


async def publish(
    events: Sequence[ReplayEvent],
    lot: str,
    publisher: Publisher,
    speed: float | None,
    on_published: Callable[[int], None] = lambda _count: None,
) -> ReplayReport:
    """Publishes all events and returns when the broker has acknowledged each.

    `speed` is how many recorded seconds go by in one; None: as fast as the broker acknowledges. `on_published` is told
    how many were handed over since it was last told.
    """
    topics = {device: device_topic(lot, device, Kind.OCCUPANCY) for device in {event.device for event in events}}
    began = time.perf_counter()
    first_us = min((event.at_us for event in events), default=0)
    pending = 0
    for event in events:
        if speed is not None:
            due_s = (event.at_us - first_us - _AHEAD_US) / 1e6 / speed - (time.perf_counter() - began)
            if due_s > 0:
                on_published(pending)
                pending = 0
                await asyncio.sleep(due_s)
        await publisher.publish(topics[event.device], payload_of(event))
        pending += 1
        if pending == _REPORT_EVERY:
            on_published(pending)
            pending = 0
            await asyncio.sleep(0)  # let acknowledgements in even while the window has room
    await publisher.drain()
    on_published(pending)
    return ReplayReport(len(events), time.perf_counter() - began)
