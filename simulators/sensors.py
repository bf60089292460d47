"""Simulated sensors: an event-driven fleet that says which messages are due when. Pure: no clock, no network.

    heap of (real time, what) ─► due(until) ─► report ─► loss, lateness, doubles, cuts ─► messages

Cars live in simulated time (`speed` simulated seconds a real one), so a day can pass in minutes. Messages carry real
times, and heartbeats come at their real rhythm, because the gateway judges both by its own clock.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from parking_core.topics import Kind, device_topic
from simulators.profiles import STEP_S, expected_share, rates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parking_core.districts import DeviceRecord, District, LotRecord
    from simulators.district import Use
    from simulators.scenario import Scenario

ZONE = ZoneInfo("Asia/Shanghai")
_US = 1_000_000
_DAY_S = 86_400
_NEW_BATTERY_V, _WEAK_BATTERY_V, _EMPTY_BATTERY_V = (3.45, 3.65), 2.7, 2.6
_MONTH_US = 30 * _DAY_S * _US
_HEARTBEAT_AT = 0.8  # of the expected interval: a heartbeat must not be late because the network is
_KEPT_OFFLINE = 200  # reports a device keeps while it has no network; the oldest are lost
_FLAP_S = 4.0
_ONLINE_WITHIN_S = 20.0  # the devices' first status messages are spread over so long
_DOUBLE_WITHIN_S = 2.0


class Message(NamedTuple):
    """One message and when it leaves its device, microseconds since the epoch."""

    due_us: int
    topic: str
    payload: bytes
    retain: bool
    device: int  # position in the fleet


class _What(IntEnum):
    CHANGE = 0
    LOOK_AGAIN = 1  # the rates have changed
    HEARTBEAT = 2
    DELIVER = 3
    STORM = 4
    ONLINE = 5


class _Reading(msgspec.Struct, omit_defaults=True):
    space: str
    occupied: bool
    at: int
    seq: int
    battery_v: float
    rssi_dbm: int


@dataclass(slots=True)
class Sensor:
    """One device as it is now."""

    occupancy_topic: str
    heartbeat_topic: str
    status_topic: str
    spaces: tuple[int, ...]
    interval_us: int
    battery_v: float
    rssi_dbm: float
    skew_us: int = 0
    drift_ppm: float = 0.0
    silent_from_us: int | None = None
    flapping: bool = False
    connected: bool = True
    seq: int = 0
    kept: list[tuple[str, bytes]] = field(default_factory=list)


@dataclass(slots=True)
class Bay:
    """One bay as it is now."""

    code: str
    use: Use
    sensor: int
    occupied: bool = False


@dataclass(slots=True)
class FleetCounts:
    """What the fleet did so far."""

    reports: int = 0
    heartbeats: int = 0
    lost: int = 0
    doubled: int = 0
    late: int = 0
    truncated: int = 0
    storms: int = 0


class Fleet:
    """All sensors of a district under one scenario; the same arguments give the same messages.

    Args:
        district: where the sensors stand; lots without `use` count as on-street.
        scenario: traffic and faults.
        start_us: real time at which it begins, microseconds since the epoch.
        speed: simulated seconds a real second.
    """

    def __init__(self, district: District, scenario: Scenario, start_us: int, speed: float = 1.0) -> None:
        self.counts = FleetCounts()
        self.sensors: list[Sensor] = []
        self.bays: list[Bay] = []
        self._scenario = scenario
        self._start_us = start_us
        self._speed = speed
        self._rng = random.Random(scenario.seed)
        self._order = 0
        self._heap: list[tuple[int, int, _What, int, Message | None]] = []
        begin, self._day_off = _first_moment(scenario, start_us)
        self._begin_s = begin
        for lot in district.lots:
            bay_of = {}
            for space in lot.spaces:
                bay_of[space.code] = len(self.bays)
                self.bays.append(Bay(space.code, lot.use or "on_street", -1))
            for device in lot.devices:
                self._add_sensor(lot, device, tuple(bay_of[code] for code in device.watched()))
        self._schedule_all()

    @property
    def next_due_us(self) -> int | None:
        """When something happens next; None: never."""
        return self._heap[0][0] if self._heap else None

    def occupied(self) -> int:
        """Bays that are truly occupied now."""
        return sum(bay.occupied for bay in self.bays)

    def present_state(self, now_us: int) -> Iterator[Message]:
        """One message of every device with the state of all its bays, as after switching on. No faults."""
        for number, sensor in enumerate(self.sensors):
            readings = [self._reading(sensor, self.bays[bay], now_us) for bay in sensor.spaces]
            payload = msgspec.json.encode(readings[0] if len(readings) == 1 else readings)
            self.counts.reports += len(readings)
            yield Message(now_us, sensor.occupancy_topic, payload, retain=False, device=number)

    def due(self, until_us: int) -> Iterator[Message]:
        """Messages that leave up to then, in order of time."""
        while self._heap and self._heap[0][0] <= until_us:
            at_us, _, what, index, message = heapq.heappop(self._heap)
            match what:
                case _What.DELIVER:
                    if message is not None:
                        yield message
                case _What.CHANGE:
                    self.bays[index].occupied = not self.bays[index].occupied
                    yield from self._report(at_us, index)
                    self._schedule_bay(at_us, index)
                case _What.LOOK_AGAIN:
                    self._schedule_bay(at_us, index)
                case _What.HEARTBEAT:
                    yield from self._heartbeat(at_us, index)
                case _What.STORM:
                    yield from self._storm(at_us)
                case _What.ONLINE:
                    yield from self._online(at_us, index)

    def _add_sensor(self, lot: LotRecord, device: DeviceRecord, bays: tuple[int, ...]) -> None:
        rng, faults, number = self._rng, self._scenario.faults, len(self.sensors)
        sensor = Sensor(
            occupancy_topic=device_topic(lot.code, device.code, Kind.OCCUPANCY),
            heartbeat_topic=device_topic(lot.code, device.code, Kind.HEARTBEAT),
            status_topic=device_topic(lot.code, device.code, Kind.STATUS),
            spaces=bays,
            interval_us=device.expected_interval_s * _US,
            battery_v=_WEAK_BATTERY_V if rng.random() < faults.weak_batteries else rng.uniform(*_NEW_BATTERY_V),
            rssi_dbm=rng.uniform(-112, -62),
            skew_us=round(rng.uniform(-faults.skew_s, faults.skew_s) * _US),
            drift_ppm=rng.uniform(-faults.drift_ppm, faults.drift_ppm),
            flapping=rng.random() < faults.flapping_devices,
        )
        if rng.random() < faults.wrong_clocks:
            sensor.skew_us -= _MONTH_US
        if rng.random() < faults.silent_devices:
            sensor.silent_from_us = self._start_us + round(rng.uniform(0, faults.silent_within_s) * _US)
        self.sensors.append(sensor)
        for bay in bays:
            self.bays[bay].sensor = number

    def _schedule_all(self) -> None:
        rng = self._rng
        for index, bay in enumerate(self.bays):
            bay.occupied = rng.random() < expected_share(bay.use, self._begin_s, day_off=self._day_off)
            self._schedule_bay(self._start_us, index)
        for number, sensor in enumerate(self.sensors):
            first_us = self._start_us + round(rng.uniform(0, _HEARTBEAT_AT) * sensor.interval_us)
            self._push(first_us, _What.HEARTBEAT, number)
            self._push(self._start_us + round(rng.uniform(0, _ONLINE_WITHIN_S) * _US), _What.ONLINE, number)
        if self._scenario.storm is not None:
            self._push(self._start_us + round(self._scenario.storm.after_s * _US), _What.STORM, 0)

    def _push(self, at_us: int, what: _What, index: int, message: Message | None = None) -> None:
        self._order += 1  # equal times leave in the order in which they were planned
        heapq.heappush(self._heap, (at_us, self._order, what, index, message))

    def _schedule_bay(self, now_us: int, index: int) -> None:
        """Plans the bay's next change, or another look when the rates change before."""
        bay = self.bays[index]
        if bay.sensor >= 0 and self.sensors[bay.sensor].flapping:
            self._push(now_us + round(self._rng.uniform(0.5, 1.5) * _FLAP_S * _US), _What.CHANGE, index)
            return
        second = self._begin_s + (now_us - self._start_us) / _US * self._speed
        step = int(second % _DAY_S // STEP_S)
        arriving, leaving = rates(bay.use, step, self._scenario.traffic.turnover, day_off=self._day_off)
        rate = leaving if bay.occupied else arriving
        left_s = STEP_S - second % STEP_S
        wait_s = self._rng.expovariate(rate) if rate > 0 else left_s + 1
        what = _What.CHANGE if wait_s <= left_s else _What.LOOK_AGAIN
        # At least a microsecond, so that time goes on however fast the simulation runs.
        self._push(now_us + max(1, round(min(wait_s, left_s) / self._speed * _US)), what, index)

    def _reading(self, sensor: Sensor, bay: Bay, now_us: int) -> _Reading:
        sensor.seq += 1
        clock_us = now_us + sensor.skew_us + round((now_us - self._start_us) * sensor.drift_ppm / 1e6)
        return _Reading(
            bay.code,
            bay.occupied,
            clock_us // 1000,
            sensor.seq,
            round(self._battery_v(sensor, now_us), 3),
            round(sensor.rssi_dbm + self._rng.uniform(-4, 4)),
        )

    def _battery_v(self, sensor: Sensor, now_us: int) -> float:
        days = (now_us - self._start_us) / _US * self._speed / _DAY_S
        return sensor.battery_v - days * self._scenario.faults.battery_mv_a_day / 1000

    def _silent(self, sensor: Sensor, now_us: int) -> bool:
        if sensor.silent_from_us is not None and now_us >= sensor.silent_from_us:
            return True
        return self._battery_v(sensor, now_us) < _EMPTY_BATTERY_V

    def _report(self, now_us: int, index: int) -> Iterator[Message]:
        bay = self.bays[index]
        if bay.sensor < 0:
            return
        sensor = self.sensors[bay.sensor]
        if self._silent(sensor, now_us):
            return
        self.counts.reports += 1
        payload = msgspec.json.encode(self._reading(sensor, bay, now_us))
        yield from self._send(now_us, bay.sensor, sensor.occupancy_topic, payload)

    def _heartbeat(self, now_us: int, number: int) -> Iterator[Message]:
        sensor = self.sensors[number]
        if self._silent(sensor, now_us):
            return  # and never again
        self._push(now_us + round(_HEARTBEAT_AT * sensor.interval_us), _What.HEARTBEAT, number)
        if sensor.connected:
            self.counts.heartbeats += 1
            at_ms = (now_us + sensor.skew_us) // 1000
            yield from self._send(now_us, number, sensor.heartbeat_topic, msgspec.json.encode({"at": at_ms}))

    def _send(self, now_us: int, number: int, topic: str, payload: bytes) -> Iterator[Message]:
        """The network: what it loses, cuts, doubles and delays."""
        rng, faults, sensor = self._rng, self._scenario.faults, self.sensors[number]
        if not sensor.connected:
            sensor.kept = [*sensor.kept[1 - _KEPT_OFFLINE :], (topic, payload)]
            return
        if rng.random() < faults.loss:
            self.counts.lost += 1
            return
        if rng.random() < faults.truncated:
            self.counts.truncated += 1
            payload = payload[: len(payload) // 2]
        if rng.random() < faults.duplicates:
            self.counts.doubled += 1
            again_us = now_us + round(rng.uniform(0, _DOUBLE_WITHIN_S) * _US)
            self._push(again_us, _What.DELIVER, 0, Message(again_us, topic, payload, retain=False, device=number))
        if rng.random() < faults.late:
            self.counts.late += 1
            late_us = now_us + round(rng.uniform(0, faults.late_s) * _US)
            self._push(late_us, _What.DELIVER, 0, Message(late_us, topic, payload, retain=False, device=number))
            return
        yield Message(now_us, topic, payload, retain=False, device=number)

    def _storm(self, now_us: int) -> Iterator[Message]:
        """The broker tells of each lost device by its last will; later all come back at nearly the same time."""
        storm = self._scenario.storm
        if storm is None:
            return
        self.counts.storms += 1
        back_us = now_us + round(storm.outage_s * _US)
        for number, sensor in enumerate(self.sensors):
            if sensor.connected and self._rng.random() < storm.share and not self._silent(sensor, now_us):
                sensor.connected = False
                self._push(back_us + round(self._rng.uniform(0, storm.spread_s) * _US), _What.ONLINE, number)
                yield Message(now_us, sensor.status_topic, b"offline", retain=True, device=number)
        self._push(now_us + round(storm.every_s * _US), _What.STORM, 0)

    def _online(self, now_us: int, number: int) -> Iterator[Message]:
        sensor = self.sensors[number]
        if self._silent(sensor, now_us):
            return
        sensor.connected = True
        yield Message(now_us, sensor.status_topic, b"online", retain=True, device=number)
        kept, sensor.kept = sensor.kept, []
        for topic, payload in kept:
            yield Message(now_us, topic, payload, retain=False, device=number)


def _first_moment(scenario: Scenario, start_us: int) -> tuple[float, bool]:
    """Simulated second of the day at the beginning, and whether that day is off."""
    now = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC")) + timedelta(microseconds=start_us)
    local = now.astimezone(ZONE)
    traffic = scenario.traffic
    day_off = local.isoweekday() > 5 if traffic.day_off is None else traffic.day_off
    if traffic.begin is None:
        return local.hour * 3600 + local.minute * 60 + local.second, day_off
    hours, minutes = traffic.begin.split(":")
    return int(hours) * 3600 + int(minutes) * 60, day_off
