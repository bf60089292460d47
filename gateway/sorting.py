"""What a batch of messages says, while it is being sorted and afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from parking_core.flows.record_batch import Batch
from parking_core.readings import Reason, Rejection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.broker_log import BrokerRefusal
    from gateway.messages import RawMessage
    from parking_core.commands import CommandAck
    from parking_core.discoveries import Sighting
    from parking_core.frames import Frame, Joined, Vitals
    from parking_core.lanes import LaneReport
    from parking_core.readings import Readings


@dataclass(frozen=True, slots=True)
class Sorted:
    """What a batch of messages says."""

    readings: Readings  # READING, in order of arrival
    sources: Sequence[RawMessage]  # of each reading
    heard_us: dict[int, int]  # device id -> receipt of its newest sign of life; of a frame, once it is known to be new
    online: dict[int, bool]  # device id -> its newest status message
    explicit: frozenset[int]  # devices whose sign must be durable now: heartbeats and status leave no event
    observed_seqs: Sequence[tuple[int, int]]  # (device id, seq) of numbered messages
    rejections: Sequence[Rejection]
    acks: Sequence[CommandAck] = ()  # answers to commands
    lane_reports: Sequence[LaneReport] = ()
    frames: Sequence[Frame] = ()
    frame_rows: Mapping[int, int] = field(default_factory=dict)  # position of a reading -> of its frame
    state_rows: frozenset[int] = frozenset()  # positions of readings that tell a state, and neither time nor number
    outdated_rows: frozenset[int] = frozenset()  # of these, delivered again together with a later one of their space
    vitals: Sequence[Vitals] = ()
    frame_vitals: Mapping[int, Vitals] = field(default_factory=dict)  # position of a frame -> what it told
    joins: Sequence[Joined] = ()
    unknown: Sequence[Sighting] = ()
    passed_over: int = 0  # messages of devices that somebody refused
    broker_lines: int = 0  # of its log
    refused_by_broker: Sequence[BrokerRefusal] = ()  # as they say
    clocks: Sequence[tuple[int, int, int]] = ()  # heartbeats: device id, receipt, its time less that (microseconds)

    def batch(self, **others: object) -> Batch:
        """What of it one transaction takes; `others` are fields of Batch that it does not know, or not alone."""
        facts: dict[str, Any] = {name: getattr(self, name) for name in _TAKEN}
        facts.update(others)
        return Batch(**facts)


_TAKEN = tuple({each.name for each in fields(Sorted)} & {each.name for each in fields(Batch)})


@dataclass(slots=True)
class Sorting:
    """The same, growing."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    sources: list[RawMessage] = field(default_factory=list)
    heard_us: dict[int, int] = field(default_factory=dict)
    online: dict[int, bool] = field(default_factory=dict)
    explicit: set[int] = field(default_factory=set)
    observed_seqs: list[tuple[int, int]] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    acks: list[CommandAck] = field(default_factory=list)
    lane_reports: list[LaneReport] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    frame_rows: dict[int, int] = field(default_factory=dict)
    state_rows: set[int] = field(default_factory=set)
    outdated_rows: set[int] = field(default_factory=set)
    states_again: dict[int, int] = field(default_factory=dict)  # space id -> row of its newest redelivered state
    vitals: list[Vitals] = field(default_factory=list)
    frame_vitals: dict[int, Vitals] = field(default_factory=dict)
    joins: list[Joined] = field(default_factory=list)
    unknown: list[Sighting] = field(default_factory=list)
    clocks: list[tuple[int, int, int]] = field(default_factory=list)
    passed_over: int = 0  # messages of devices that somebody refused
    broker_lines: int = 0  # of its log
    refused_by_broker: list[BrokerRefusal] = field(default_factory=list)

    def reject(self, message: RawMessage, reason: Reason, detail: str, payload: bytes | None = None) -> None:
        """Keeps a message, or one element of it, that cannot be used."""
        self.rejections.append(
            Rejection(
                message.topic,
                message.payload if payload is None else payload,
                message.received_us,
                message.redelivered or message.retained,  # every new subscription brings a retained one: one letter
                reason,
                detail,
            )
        )

    def discover(self, message: RawMessage, sighting: Sighting, detail: str, *, is_refused: bool) -> None:
        """Notes a device that nobody registered; one that somebody refused is counted only."""
        if is_refused:
            self.passed_over += 1
            return
        self.reject(message, Reason.UNKNOWN_DEVICE, detail)
        self.unknown.append(sighting)

    def finish(self, readings: Readings) -> Sorted:
        """What was sorted; `readings` are its rows as columns."""
        return Sorted(
            readings=readings,
            sources=self.sources,
            heard_us=self.heard_us,
            online=self.online,
            explicit=frozenset(self.explicit),
            observed_seqs=self.observed_seqs,
            rejections=self.rejections,
            acks=self.acks,
            lane_reports=self.lane_reports,
            frames=self.frames,
            frame_rows=self.frame_rows,
            state_rows=frozenset(self.state_rows),
            outdated_rows=frozenset(self.outdated_rows),
            vitals=self.vitals,
            frame_vitals=self.frame_vitals,
            joins=self.joins,
            unknown=self.unknown,
            passed_over=self.passed_over,
            broker_lines=self.broker_lines,
            refused_by_broker=self.refused_by_broker,
            clocks=self.clocks,
        )
