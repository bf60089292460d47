"""Messages to accepted readings or rejections, against the registry. Total: every message becomes one or the other."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import structlog

from gateway import sensors
from gateway.broker_log import LOG_TOPIC, refusal_in
from gateway.decoders.native import decoder as native
from gateway.lanes import LaneReader
from gateway.sorting import Sorting
from parking_core.commands import CommandAck
from parking_core.discoveries import Sighting
from parking_core.readings import READING, Readings, Reason
from parking_core.topics import Kind, parse_device_topic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from gateway.messages import RawMessage
    from gateway.sorting import Sorted
    from parking_core.settings import ClockWindow
    from parking_core.store.devices import Device, DeviceRegistry

log = structlog.get_logger()

_SECOND_US = 1_000_000
_FAR_S = 10**12  # thirty thousand years: a clock window that is wider than all of time still fits 64 bits
# The registry may be older than a device that was registered a moment ago: worth a second look.
MAY_BE_NEW = frozenset(
    {
        Reason.UNKNOWN_DEVICE,
        Reason.UNKNOWN_SPACE,
        Reason.FOREIGN_SPACE,
        Reason.WRONG_LOT,
        Reason.NOT_A_LANE,
        Reason.WRONG_NETWORK,
        Reason.UNKNOWN_LAYOUT,
        Reason.FOREIGN_IDENTITY,
    }
)

_KINDS_READ = frozenset({Kind.OCCUPANCY, Kind.LANE, Kind.HEARTBEAT, Kind.STATUS, Kind.COMMAND_ACK})


class Validator:
    """Knows one version of the registry."""

    def __init__(self, registry: DeviceRegistry, window: ClockWindow, zone: tzinfo = UTC) -> None:
        self.registry = registry
        self._lanes = LaneReader(zone)  # local hours of what lanes count
        self._routes: dict[str, tuple[Device, Kind]] = {}
        size = max((device.id for device in registry.devices.values()), default=0) + 1
        self._earliest_us = np.full(size, window.earliest_us, "i8")
        self._latest_us = np.full(size, window.latest_us, "i8")
        for device in registry.devices.values():
            if device.clock_earliest_s is not None:
                self._earliest_us[device.id] = _bound_us(device.clock_earliest_s)
            if device.clock_latest_s is not None:
                self._latest_us[device.id] = _bound_us(device.clock_latest_s)

    def sort(self, messages: Sequence[RawMessage]) -> Sorted:
        """Sorts messages into readings, signs of life and rejections."""
        into = Sorting()
        try:
            self._sort(messages, into)
        except Exception as error:  # supervisor: one message that a decoder cannot stand must not stop all others
            log.exception("decoder failed", error=repr(error))
            into = self._sort_one_by_one(messages)
        return into.finish(self._columns(into.rows))

    def _sort_one_by_one(self, messages: Sequence[RawMessage]) -> Sorting:
        into = Sorting()
        for message in messages:
            try:
                self._sort([message], Sorting())
            except Exception as error:  # supervisor: names the message, keeps it, goes on
                into.reject(message, Reason.DECODER_FAILED, repr(error))
            else:
                self._sort([message], into)
        return into

    def _sort(self, messages: Sequence[RawMessage], into: Sorting) -> None:
        routes = self._routes
        for message in messages:
            route = routes.get(message.topic) or self._route(message, into)
            if route is None:
                continue
            device, kind = route
            if kind is Kind.OCCUPANCY:
                self._occupancy(message, device, into)
            elif kind is Kind.LANE:
                self._lane(message, device, into)
            elif kind is Kind.HEARTBEAT:
                _heartbeat(message, device, into)
            elif kind is Kind.RAW:
                sensors.raw(message, device, into)
            elif kind is Kind.COMMAND_ACK:
                _command_ack(message, device, into)
            else:
                _status(message, device, into)

    def _route(self, message: RawMessage, into: Sorting) -> tuple[Device, Kind] | None:
        """Device and kind of a topic that was not seen before, or a rejection."""
        topic = parse_device_topic(message.topic)
        if topic is None and message.topic.partition("/")[0] in sensors.NETWORKS:
            sensors.envelope(message, self.registry, into)
            return None
        if topic is None and message.topic == LOG_TOPIC:
            into.broker_lines += 1
            if (refusal := refusal_in(message.payload)) is not None:
                into.refused_by_broker.append(refusal)
            return None
        if topic is None:
            into.reject(message, Reason.UNKNOWN_TOPIC, "A device publishes to parking/v1/{lot}/{device}/{kind}.")
            return None
        if topic.kind == Kind.COMMAND:  # ours, on its way to the device
            return None
        device = self.registry.devices.get(topic.device)
        if device is None:
            into.discover(
                message,
                Sighting("", topic.device, topic.lot, message.received_us, message),
                f"No device {topic.device!r} is registered.",
                is_refused=("", topic.device) in self.registry.refused,
            )
        elif device.lot_code != topic.lot:
            into.reject(message, Reason.WRONG_LOT, f"Device {topic.device!r} belongs to lot {device.lot_code!r}.")
        elif not device.enabled:
            into.reject(message, Reason.DISABLED_DEVICE, f"Device {topic.device!r} is disabled.")
        elif topic.kind not in _KINDS_READ and not (topic.kind == Kind.RAW and sensors.reads(device)):
            into.reject(
                message,
                Reason.UNSUPPORTED_KIND,
                f"Nothing here reads the kind {topic.kind!r} of family {device.family!r}.",
            )
        else:
            route = self._routes[message.topic] = (device, Kind(topic.kind))
            return route
        return None

    def _lane(self, message: RawMessage, device: Device, into: Sorting) -> None:
        report = self._lanes.read(message, device)
        if isinstance(report, native.Refusal):
            into.reject(message, report.reason, report.detail)
            return
        into.lane_reports.append(report)
        if not message.retained:
            into.heard_us[device.id] = message.received_us

    def _occupancy(self, message: RawMessage, device: Device, into: Sorting) -> None:
        decoded = native.decode_occupancy(message.payload)
        if type(decoded) is native.OccupancyRecord:
            self._accept(message, device, decoded, into)
        elif type(decoded) is native.Refusal:
            into.reject(message, decoded.reason, decoded.detail)
        else:
            assert isinstance(decoded, list)  # noqa: S101  # the two other shapes are handled above
            for element in decoded:
                if type(element) is native.Refusal:
                    into.reject(message, element.reason, element.detail, element.payload)
                elif type(element) is native.OccupancyRecord:
                    self._accept(message, device, element, into, alone=False)

    def _accept(
        self, message: RawMessage, device: Device, record: native.OccupancyRecord, into: Sorting, *, alone: bool = True
    ) -> None:
        space_id = device.space_id if record.space is None else device.spaces.get(record.space)
        occurred_us = native.microseconds(record.at)
        if space_id is None or occurred_us is None:
            payload = None if alone else native.encode(record)
            reason, detail = self._why_not(device, record)
            into.reject(message, reason, detail, payload)
            return
        into.rows.append(
            (
                space_id,
                device.id,
                device.lot_id,
                occurred_us,
                message.received_us,
                record.seq,
                record.occupied,
                record.battery_v,
                record.rssi_dbm,
                record.temperature_c,
            )
        )
        into.sources.append(message)
        if not message.retained:
            into.heard_us[device.id] = message.received_us
        if record.seq:
            into.observed_seqs.append((device.id, record.seq))

    def _why_not(self, device: Device, record: native.OccupancyRecord) -> tuple[Reason, str]:
        if native.microseconds(record.at) is None:
            return (
                Reason.BAD_TIME,
                f"{record.at!r} milliseconds since the epoch is no time between the years 1 and 9999.",
            )
        if record.space is None:
            return Reason.UNKNOWN_SPACE, f"Device {device.code!r} watches {len(device.spaces)} spaces; name the space."
        if record.space in self.registry.space_codes:
            return Reason.FOREIGN_SPACE, f"Space {record.space!r} is not watched by device {device.code!r}."
        return Reason.UNKNOWN_SPACE, f"No space {record.space!r} is registered."

    def _columns(self, rows: list[tuple[Any, ...]]) -> Readings:
        readings = np.zeros(len(rows), READING)
        if not rows:
            return readings
        space, device, lot, occurred, received, seq, occupied, battery, rssi, temperature = zip(*rows, strict=True)
        readings["space_id"], readings["device_id"], readings["lot_id"] = space, device, lot
        readings["occurred_us"], readings["received_us"] = occurred, received
        readings["seq"], readings["occupied"] = seq, occupied
        for name, column in (("battery_v", battery), ("rssi_dbm", rssi), ("temperature_c", temperature)):
            readings[name] = np.array(column, "f4")  # None becomes NaN
        skew = readings["occurred_us"] - readings["received_us"]
        devices = readings["device_id"]
        suspect = (skew < self._earliest_us[devices]) | (skew > self._latest_us[devices])
        if suspect.any():
            readings["clock_suspect"] = suspect
            # Their receipt stands in for their time: elements of one array must stay apart.
            steps = np.arange(len(rows))
            readings["received_us"] = np.maximum.accumulate(readings["received_us"] - steps) + steps
        return readings


def _bound_us(seconds: int) -> int:
    return min(max(seconds, -_FAR_S), _FAR_S) * _SECOND_US


def _heartbeat(message: RawMessage, device: Device, into: Sorting) -> None:
    record = native.decode_heartbeat(message.payload)
    if type(record) is not native.HeartbeatRecord:
        assert isinstance(record, native.Refusal)  # noqa: S101  # the only other shape
        into.reject(message, record.reason, record.detail)
        return
    if message.retained:  # the broker's memory
        return
    into.heard_us[device.id] = message.received_us
    into.explicit.add(device.id)
    if (at_us := native.microseconds(record.at)) is not None:
        into.clocks.append((device.id, message.received_us, at_us - message.received_us))
    if record.seq:
        into.observed_seqs.append((device.id, record.seq))


def _command_ack(message: RawMessage, device: Device, into: Sorting) -> None:
    record = native.decode_command_ack(message.payload)
    if isinstance(record, native.Refusal):
        into.reject(message, record.reason, record.detail)
        return
    acked_us = native.microseconds(record.at)
    assert acked_us is not None  # noqa: S101  # the decoder refuses what is no time
    into.acks.append(
        CommandAck(
            record.id,
            device.id,
            record.result,
            record.reason,
            acked_us,
            message.received_us,
            message.redelivered or message.retained,
            message,
        )
    )
    if not message.retained:
        into.heard_us[device.id] = message.received_us


def _status(message: RawMessage, device: Device, into: Sorting) -> None:
    online = native.decode_status(message.payload)
    if isinstance(online, native.Refusal):
        # Two subscriptions bring it: it is one letter.
        into.reject(msgspec.structs.replace(message, redelivered=True), online.reason, online.detail)
        return
    into.explicit.add(device.id)
    # "offline" is the broker speaking for the device (its last will), a retained message is the broker's memory:
    # neither says when the device was heard.
    was_heard = online and not message.retained
    into.heard_us[device.id] = message.received_us if was_heard else into.heard_us.get(device.id, 0)
    into.online[device.id] = online
