"""A week of a district's sensors with faults among them: what is found, how soon, and how often it is a false alarm.

    fleet ──► occupancy_events, device_liveness, device_vitals (as gateways write them, hour by hour)
                       └──► close_days, judge_devices every hour ──► device_conditions ──► beside what was injected

Four weeks before it are calm, for learning. Peers, on the same hours: no change for 24 hours (what consoles of sensor makers
show as stuck), and nothing received for 30 minutes (the rule of ParkAPI v3).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import psycopg

from benchmarks.device_fleet import DAY_US, Fault, Fleet
from benchmarks.stage import LOTS, SPACES, seed
from benchmarks.table import Row
from parking_core.flows.judge_devices import close_days, judge_devices, load_past
from parking_core.frames import Vitals
from parking_core.health.conditions import Condition
from parking_core.store import liveness, vitals
from parking_core.store.binary_rows import write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.device_fleet import LivedDay
    from benchmarks.stage import Stage

    Columns = np.ndarray[Any, np.dtype[np.void]]
    Integers = np.ndarray[Any, np.dtype[np.int64]]

ZONE: Final = ZoneInfo("Asia/Shanghai")
FIRST_DAY: Final = date(2026, 5, 11)  # a Monday; four plain weeks, and a week that ends before the Dragon Boat festival
CALM_DAYS, WEEK_DAYS = 28, 7
EACH: Final = 100  # devices of every fault
_HOUR_US: Final = 3_600_000_000
_FOUND_AS: Final = {
    Fault.STUCK: Condition.STUCK,
    Fault.FROZEN: Condition.FROZEN,
    Fault.FLAPPING: Condition.FLAPPING,
    Fault.SILENT: Condition.SILENT,
    Fault.CLOCK: Condition.CLOCK,
    Fault.BATTERY: Condition.BATTERY,
}
_ALSO_TRUE: Final = {(Fault.FROZEN, Condition.STUCK)}  # it repeats its state as well

_STAGED: Final = """
CREATE TEMPORARY TABLE staged (space_id integer, device_id integer, occurred_at timestamptz, received_at timestamptz,
    seq bigint, occupied boolean, battery_v double precision, rssi_dbm double precision, temperature_c double precision)
"""
_COPY: Final = "COPY staged FROM STDIN (FORMAT BINARY)"
_FIELDS: Final = [
    ("space_id", "i4"),
    ("device_id", "i4"),
    ("at_us", "at"),
    ("received_us", "at"),
    ("seq", "i8"),
    ("occupied", "?"),
    ("battery_v", "f8"),
    ("rssi_dbm", "f8"),
    ("temperature_c", "f8"),
]
_ENTER: Final = """
INSERT INTO occupancy_events (space_id, device_id, occurred_at, received_at, seq, occupied, clock_suspect,
                              battery_v, rssi_dbm, temperature_c)
SELECT space_id, device_id, occurred_at, received_at, seq, occupied, false, battery_v, rssi_dbm, nullif(temperature_c, 'NaN')
FROM staged ON CONFLICT DO NOTHING
"""
_BEGUN: Final = """
SELECT device_id, condition, extract(epoch FROM found_at) * 1000000 FROM device_conditions WHERE found_at >= %s
"""


@dataclass(frozen=True, slots=True)
class Score:
    """How one condition was found.

    Attributes:
        false_alarms: devices that were found without having it, once for each time that it began.
        hours: from the beginning of the fault to its finding, of those that were found.
    """

    injected: int
    found: int
    false_alarms: int
    hours: list[float]

    @property
    def precision(self) -> float:
        """Part of what was found that is true."""
        return self.found / max(1, self.found + self.false_alarms)

    @property
    def recall(self) -> float:
        """Part of what is true that was found."""
        return self.found / max(1, self.injected)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A week."""

    device_days: int
    conditions: dict[Condition, Score]
    peers: dict[str, Score]
    items_open: int
    pass_s: list[float]
    messages: int


class Week:
    """Lives days into a database whose registry has one sensor a bay, and judges them."""

    def __init__(self, database_url: str, seed: int = 5) -> None:
        self._url = database_url
        self._connection = psycopg.connect(database_url, autocommit=True)
        rows = self._connection.execute(
            "SELECT d.id, d.space_id, dense_rank() OVER (ORDER BY d.lot_id) - 1 FROM devices d ORDER BY d.id"
        ).fetchall()
        self._device, self._space, lot = (np.array(column, np.int64) for column in zip(*rows, strict=True))
        self.begins_us = int(datetime.combine(FIRST_DAY, datetime.min.time(), ZONE).timestamp()) * 1_000_000
        self.fleet = Fleet(lot, self.begins_us, seed)
        self._changed_us = np.full(len(lot), self.begins_us)
        self._heard_us = np.full(len(lot), self.begins_us)
        self._said = np.full(len(lot), -1, np.int64)
        self.messages = 0
        self._connection.execute(_STAGED)
        self._register_rhythms()

    def _register_rhythms(self) -> None:
        self._connection.execute(
            "UPDATE devices SET expected_interval_s = told.seconds FROM unnest(%s::int[], %s::int[]) AS told (id, seconds) WHERE devices.id = told.id",
            (self._device.tolist(), (self.fleet.interval_s * 1.25).astype(int).tolist()),
        )

    def run(self, *, each: int, calm_days: int = CALM_DAYS, week_days: int = WEEK_DAYS) -> Outcome:
        """The calm weeks, then the one with faults."""
        week_us = self.begins_us + calm_days * DAY_US
        self.fleet.break_some(each, week_us, week_us + 3 * DAY_US)
        for day in range(calm_days):
            self.enter_day(day)
            self._close(day)
        peers: dict[str, dict[int, int]] = {"24 h without a change": {}, "30 min without a message": {}}
        seconds: list[float] = []
        for day in range(calm_days, calm_days + week_days):
            lived = self._live(day)
            past = load_past(self._connection, FIRST_DAY + timedelta(days=day), ZONE)
            for hour, part in enumerate(_by_hour(lived.messages, self.begins_us + day * DAY_US)):
                self._enter_part(part, lived.missing if hour == 23 else None)
                now_us = self.begins_us + day * DAY_US + (hour + 1) * _HOUR_US
                begins = time.perf_counter()
                judge_devices(self._connection, past, _moment(now_us))
                seconds.append(time.perf_counter() - begins)
                self._ask_peers(peers, now_us)
            self._close(day)
        return self._outcome(week_us, week_days, peers, seconds)

    def live_on(self, first: int, days: int) -> None:
        """More days after the week, judged at the end of each."""
        for day in range(first, first + days):
            past = load_past(self._connection, FIRST_DAY + timedelta(days=day), ZONE)
            self.enter_day(day)
            judge_devices(self._connection, past, _moment(self.begins_us + (day + 1) * DAY_US))
            self._close(day)

    def devices(self, chosen: Columns) -> list[int]:
        """Ids of the chosen devices of the fleet."""
        return [int(device) for device in self._device[chosen]]

    def _close(self, day: int) -> None:
        close_days(self._connection, _moment(self.begins_us + (day + 1) * DAY_US + _HOUR_US), ZONE)

    def _live(self, day: int) -> LivedDay:
        weekday = (FIRST_DAY + timedelta(days=day)).weekday()
        return self.fleet.live(day, day_off=weekday >= 5)

    def enter_day(self, day: int) -> None:
        """Lives a day, hour by hour, and is judged by nobody."""
        lived = self._live(day)
        for part in _by_hour(lived.messages, self.begins_us + day * DAY_US):
            self._enter_part(part, None, history=True)
        self._tell_vitals(lived.messages)
        self._miss(lived.missing)

    def _enter_part(self, messages: Columns, missing: Integers | None, *, history: bool = False) -> None:
        self.messages += len(messages)
        columns = {name: messages[name] for name, _ in _FIELDS if name in (messages.dtype.names or ())}
        columns |= {"space_id": self._space[messages["device"]], "device_id": self._device[messages["device"]]}
        with self._connection.transaction():
            write_rows(self._connection, _COPY, _FIELDS, columns)
            self._connection.execute(_ENTER)
            self._connection.execute("TRUNCATE staged")
            heard = np.zeros(len(self._device), np.int64)
            np.maximum.at(heard, messages["device"], messages["received_us"])
            some = np.flatnonzero(heard)
            self._heard_us[some] = heard[some]
            self._connection.execute(
                liveness.HEAR, (self._device[some].tolist(), heard[some].tolist(), [None] * len(some))
            )
        self._follow(messages)
        if not history:
            self._tell_vitals(messages)
        if missing is not None:
            self._miss(missing)

    def _follow(self, messages: Columns) -> None:
        """What the peers know: when a device said something else than before."""
        order = np.lexsort((messages["at_us"], messages["device"]))
        device, said, at_us = messages["device"][order], messages["occupied"][order], messages["at_us"][order]
        before = np.append(-1, said[:-1].astype(np.int64))
        first = np.append(True, device[1:] != device[:-1])
        before[first] = self._said[device[first]]
        changed = before != said
        np.maximum.at(self._changed_us, device[changed], at_us[changed])
        last = np.append(device[1:] != device[:-1], True)
        self._said[device[last]] = said[last]

    def _ask_peers(self, peers: dict[str, dict[int, int]], now_us: int) -> None:
        still = np.flatnonzero(now_us - self._changed_us > DAY_US)
        quiet = np.flatnonzero(now_us - self._heard_us > _HOUR_US // 2)
        for name, rows in (("24 h without a change", still), ("30 min without a message", quiet)):
            for row in rows.tolist():
                peers[name].setdefault(row, now_us)

    def _tell_vitals(self, messages: Columns) -> None:
        last = np.append(messages["device"][:-1] != messages["device"][1:], True)
        newest = {int(one["device"]): one for one in messages[last]}
        told = [
            Vitals(
                device_id=int(self._device[device]),
                at_us=int(one["received_us"]),
                battery_v=float(one["battery_v"]),
                rssi_dbm=float(one["rssi_dbm"]),
                clock_offset_s=float(one["at_us"] - one["received_us"]) / 1e6,
            )
            for device, one in newest.items()
        ]

        async def put() -> None:
            async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
                await vitals.put(connection, told)

        asyncio.run(put())

    def _miss(self, missing: Integers) -> None:
        lost = {int(self._device[row]): int(missing[row]) for row in np.flatnonzero(missing)}

        async def add() -> None:
            async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
                await liveness.add_missing(connection, lost)

        asyncio.run(add())

    def _outcome(self, week_us: int, week_days: int, peers: dict[str, dict[int, int]], seconds: list[float]) -> Outcome:
        row_of = {int(device): row for row, device in enumerate(self._device)}
        begun = [
            (row_of[device], Condition(condition), int(at_us))
            for device, condition, at_us in self._connection.execute(_BEGUN, (_moment(week_us),)).fetchall()
        ]
        items = self._connection.execute("SELECT count(*) FROM work_items WHERE state = 'open'").fetchone()
        return Outcome(
            len(self._device) * week_days,
            {condition: self._score(condition, begun) for condition in Condition},
            {
                "24 h without a change": self._score_peer(peers["24 h without a change"], {Fault.STUCK, Fault.FROZEN}),
                "30 min without a message": self._score_peer(peers["30 min without a message"], {Fault.SILENT}),
            },
            int(items[0]) if items else 0,
            seconds,
            self.messages,
        )

    def _score(self, condition: Condition, begun: list[tuple[int, Condition, int]]) -> Score:
        wanted = {fault for fault, found in _FOUND_AS.items() if found is condition}
        injected = int(np.isin(self.fleet.fault, list(wanted)).sum()) if wanted else 0
        first: dict[int, int] = {}
        wrong = 0
        for row, found, at_us in begun:
            fault = Fault(int(self.fleet.fault[row]))
            if found is not condition or (fault, condition) in _ALSO_TRUE:
                continue
            if fault in wanted and at_us >= self.fleet.from_us[row]:
                first[row] = min(at_us, first.get(row, at_us))
            else:
                wrong += 1
        return Score(injected, len(first), wrong, self._hours(first))

    def _score_peer(self, found: dict[int, int], wanted: set[Fault]) -> Score:
        faults = self.fleet.fault
        injected = int(np.isin(faults, list(wanted)).sum())
        right = {
            row: at_us for row, at_us in found.items() if faults[row] in wanted and at_us >= self.fleet.from_us[row]
        }
        return Score(injected, len(right), len(found) - len(right), self._hours(right))

    def _hours(self, found: dict[int, int]) -> list[float]:
        return sorted((at_us - int(self.fleet.from_us[row])) / _HOUR_US for row, at_us in found.items())

    def close(self) -> None:
        """Lets the database go."""
        self._connection.close()


def run(stage: Stage, folder: Path, *, quick: bool = False) -> tuple[list[Row], dict[str, object]]:
    """21,000 devices: a row a condition, and the peers beside those that they also say."""
    part = 10 if quick else 1
    with stage.database() as database:
        seed(database, folder, SPACES // part, LOTS // part)
        week = Week(database.owner_url)
        try:
            outcome = week.run(each=EACH // part)
        finally:
            week.close()
    figures = {condition.value: asdict(score) for condition, score in outcome.conditions.items()}
    return _rows(outcome), {"conditions": figures, "device_days": outcome.device_days, "messages": outcome.messages}


def _rows(outcome: Outcome) -> list[Row]:
    beside = {Condition.STUCK: "24 h without a change", Condition.SILENT: "30 min without a message"}
    rows = []
    for condition, score in outcome.conditions.items():
        peer = outcome.peers[beside[condition]] if condition in beside else None
        rows.append(
            Row(
                f"device week: {condition}",
                told(score, outcome.device_days),
                f"{beside[condition]}: {told(peer, outcome.device_days)}" if peer else "",
                "",
                "",
            )
        )
    passes = sorted(outcome.pass_s)
    name = f"device week: a pass over {outcome.device_days // WEEK_DAYS:,} devices, p50 / most"
    return [*rows, Row(name, f"{passes[len(passes) // 2]:.2f} / {passes[-1]:.2f} s", "", "", "")]


def told(score: Score, device_days: int) -> str:
    """A score in words."""
    alarms = f"{score.false_alarms / device_days * 1000:.2f} false alarms per 1,000 device-days"
    if not score.injected:
        return alarms
    median = f", after {score.hours[len(score.hours) // 2]:.0f} h" if score.hours else ""
    return f"precision {score.precision:.1%}, recall {score.recall:.1%} of {score.injected}{median}; {alarms}"


def _by_hour(messages: Columns, begins_us: int) -> list[Columns]:
    """A day's messages by the hour of their receipt; the last part takes what comes later."""
    cuts = np.searchsorted(messages["received_us"], begins_us + _HOUR_US * np.arange(1, 24))
    return np.split(messages, cuts)


def _moment(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us / 1e6, UTC)
