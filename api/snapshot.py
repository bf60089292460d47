"""The board of the moment, how old it is, and which change of the stream made which version of it."""

from __future__ import annotations

import gc
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from api.board import Board, moment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from zoneinfo import ZoneInfo

    from parking_core.places import Registry
    from parking_core.store.live_state import LiveChange, LiveImage
    from parking_core.visits import LaneCount

    StreamId = tuple[int, int]

STALE_AFTER_US = 10_000_000  # gateways pulse every second: ten missed ones are no hiccup
LANES_STALE_AFTER_US = (
    300_000_000  # the worker dates counts every 30 s; without it lanes say nothing: unknown, not free
)
_LOG_LENGTH = 20_000  # versions remembered for clients that come back: minutes at full load, hours at night


def parse_stream_id(text: bytes) -> StreamId | None:
    """Both numbers of a Redis stream id, None where the text is none."""
    milliseconds, dash, counter = text.partition(b"-")
    if not (dash and milliseconds.isdigit() and counter.isdigit() and len(text) <= 41):
        return None
    return int(milliseconds), int(counter)


def set_aside_from_collection() -> None:
    """For a process after `install`: walking the registry's objects in a full collection held every answer up 50 ms."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


class Snapshot:
    """One process's view of the live state. All methods run on the event loop and never wait."""

    def __init__(self, *, zone: ZoneInfo, clock: Callable[[], int]) -> None:
        self.zone = zone
        self.board: Board | None = None  # None until registry and live state were loaded once
        self.complete = False  # whether Redis holds a complete state, as far as this process knows
        self.version = 0
        self.pulse_us = 0
        self.last_id = b"0-0"
        self._clock = clock
        self._ids: list[StreamId] = []
        self._versions: list[int] = []
        self._as_of: tuple[int, str | None] = (0, None)
        self._lane_counts: Mapping[int, LaneCount] = {}
        self._quality: Mapping[int, float] = {}

    def install(self, registry: Registry, image: LiveImage) -> None:
        """A fresh board; every lot counts as changed."""
        self.version += 1
        board = Board(registry, image, zone=self.zone, version=self.version)
        board.open_and_close(self._clock(), self.version)
        board.count_lanes(self._fresh_lane_counts(), at_us=self._clock(), version=self.version)
        board.rate_quality(self._quality, version=self.version)
        self.board, self.complete, self.last_id = board, image.epoch is not None, image.last_id
        self.pulse_us = max(self.pulse_us, image.pulse_us)
        self._ids.clear()
        self._versions.clear()
        self._remember()

    def apply(self, change: LiveChange) -> None:
        """One entry of the change stream."""
        self.last_id = change.id
        if change.pulse_us is not None:
            self.pulse_us = max(self.pulse_us, change.pulse_us)
        if self.board is None or not (len(change.spaces) or len(change.lots)):
            return
        at_us = (parse_stream_id(change.id) or (0, 0))[0] * 1000
        if self.board.change(change.spaces, change.lots, at_us=at_us, version=self.version + 1):
            self.version += 1
            self._remember()

    def open_and_close(self) -> None:
        """Follows the lots' opening hours."""
        if self.board is not None and self.board.open_and_close(self._clock(), self.version + 1):
            self.version += 1
            self._remember()

    def count_lanes(self, counts: Mapping[int, LaneCount] | None = None) -> None:
        """Takes over what lanes count by lot id; without `counts`, lets go of those that have become too old."""
        self._lane_counts = self._lane_counts if counts is None else counts
        fresh = self._fresh_lane_counts()
        if self.board is not None and self.board.count_lanes(fresh, at_us=self._clock(), version=self.version + 1):
            self.version += 1
            self._remember()

    def rate_quality(self, quality: Mapping[int, float]) -> None:
        """Takes over which part of their watched bays is seen soundly, by lot id."""
        self._quality = quality
        if self.board is not None and self.board.rate_quality(quality, version=self.version + 1):
            self.version += 1
            self._remember()

    def _fresh_lane_counts(self) -> dict[int, LaneCount]:
        oldest = (self._clock() - LANES_STALE_AFTER_US) / 1e6
        return {lot: count for lot, count in self._lane_counts.items() if count.counted_at.timestamp() >= oldest}

    def _remember(self) -> None:
        self._ids.append(parse_stream_id(self.last_id) or (0, 0))
        self._versions.append(self.version)
        if len(self._ids) > _LOG_LENGTH:
            del self._ids[: _LOG_LENGTH // 2], self._versions[: _LOG_LENGTH // 2]

    def version_at(self, event_id: bytes) -> int | None:
        """Version that a client holds who saw `event_id` last; None: not known, it needs everything."""
        seen = parse_stream_id(event_id)
        if seen is None or not self._ids or seen <= self._ids[0]:
            return None
        first_of_its_id = bisect_left(self._ids, seen)
        if first_of_its_id < len(self._ids) and self._ids[first_of_its_id] == seen:
            return self._versions[first_of_its_id]
        return self._versions[bisect_right(self._ids, seen) - 1]

    def as_of(self) -> str | None:
        """Moment up to which the figures hold everything that was received; None: no gateway ever said."""
        if self._as_of[0] != self.pulse_us:
            self._as_of = self.pulse_us, moment(self.pulse_us, self.zone)
        return self._as_of[1]

    def age_us(self) -> int | None:
        """How long ago that was; never negative, though clocks of two machines differ."""
        return max(0, self._clock() - self.pulse_us) if self.pulse_us else None

    def stale(self) -> bool:
        """Whether the figures are too old to be called live."""
        age = self.age_us()
        return age is None or age > STALE_AFTER_US
