"""Real bays, week after week: what is said of sensors that nobody complained of, and of one that is made to stop."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from parking_core.districts import DeviceRecord, District, LotRecord, SpaceRecord
from parking_core.flows.judge_devices import close_days, judge_devices, load_past, running_day
from parking_core.flows.seed_district import seed_district
from parking_core.health.conditions import Condition
from parking_core.store import liveness
from parking_core.store.binary_rows import write_rows
from tests.acceptance.test_replay import recorded_sessions

if TYPE_CHECKING:
    import psycopg

pytestmark = pytest.mark.services

ZONE = ZoneInfo("Europe/Zurich")
FIRST = datetime(2021, 5, 3, tzinfo=ZONE)
LEARNED, JUDGED = 28, 28
STOPPED = timedelta(days=LEARNED + 3)  # then one bay in ten reports no change any more
_COPY = "COPY occupancy_events (space_id, device_id, occurred_at, received_at, seq, occupied, clock_suspect) FROM STDIN (FORMAT BINARY)"
_FIELDS = [
    ("space_id", "i4"), ("device_id", "i4"), ("at_us", "at"), ("received_us", "at"), ("seq", "i8"), ("occupied", "?"),
    ("suspect", "?"),
]  # fmt: skip


@dataclass
class Street:
    """128 bays as rows."""

    db: psycopg.Connection[Any]
    events: Any
    stopped: set[int]

    def enter(self) -> None:
        late = (self.events["at_us"] >= us(FIRST + STOPPED)) & np.isin(self.events["device_id"], list(self.stopped))
        kept = self.events[~late]
        write_rows(self.db, _COPY, _FIELDS, {name: kept[name] for name, _ in _FIELDS})

    def hear(self, now: datetime) -> None:
        """Every device sends its heartbeats."""
        ids = sorted(set(self.events["device_id"].tolist()))
        self.db.execute(liveness.HEAR, (ids, [us(now)] * len(ids), [None] * len(ids)))


def us(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6)


@pytest.fixture
def street(database_url: str, db: psycopg.Connection[Any]) -> Street:
    with recorded_sessions().path.open(encoding="utf-8") as file:
        rows = [
            (row["parking_space_id"], int(row["arrival_unix_seconds"]), int(row["departure_unix_seconds"]))
            for row in csv.DictReader(file, delimiter=";")
        ]
    codes = sorted({row[0] for row in rows})
    lot = LotRecord(
        code="BU",
        name="Burgdorf",
        kind="off_street",
        lat=47.06,
        lon=7.62,
        spaces=[SpaceRecord(code=code) for code in codes],
        devices=[DeviceRecord(code=f"s{code}", space=code) for code in codes],
    )
    seed_district(database_url, District(name="Burgdorf", lots=[lot]))
    ids = {row[0]: (row[1], row[2]) for row in db.execute("SELECT code, space_id, id FROM devices").fetchall()}
    begins, ends = us(FIRST), us(FIRST + timedelta(days=LEARNED + JUDGED))
    told = sorted(
        (*ids[f"s{code}"], moment * 1_000_000, occupied)
        for code, arrival, departure in rows
        for moment, occupied in ((arrival, True), (departure, False))
        if begins <= moment * 1_000_000 < ends
    )
    events = np.zeros(len(told), [(name, "i8" if kind == "at" else kind) for name, kind in _FIELDS])
    for name, column in zip(("space_id", "device_id", "at_us", "occupied"), zip(*told, strict=True), strict=True):
        events[name] = column
    events["received_us"], events["seq"] = events["at_us"] + 1_000_000, np.arange(len(told))
    watched = sorted({row[1] for row in told})
    return Street(db, events, set(watched[::10]))


def test_real_bays_are_believed_and_stopped_ones_found(street: Street, record_property: Any) -> None:
    street.enter()
    found: dict[Condition, set[int]] = {condition: set() for condition in Condition}
    begun: Counter[Condition] = Counter()
    for day in range(LEARNED + JUDGED):
        now = FIRST + timedelta(days=day + 1)
        street.hear(now.astimezone(UTC))
        close_days(street.db, now + timedelta(minutes=30), ZONE)
        if day < LEARNED:
            continue
        past = load_past(street.db, running_day(now + timedelta(hours=12), ZONE), ZONE)
        done = judge_devices(street.db, past, now + timedelta(hours=12))
        now_in: dict[Condition, set[int]] = {condition: set() for condition in Condition}
        for finding in done.findings:
            now_in[finding.condition].add(finding.device_id)
        for condition, devices in now_in.items():
            begun[condition] += len(devices - found[condition] - street.stopped)
            found[condition] |= devices
    watched = len(set(street.events["device_id"].tolist()))
    device_days = (watched - len(street.stopped)) * JUDGED
    record_property(
        "false_alarms_per_1000_device_days", {one.value: n / device_days * 1000 for one, n in begun.items()}
    )
    assert begun[Condition.STUCK] <= 0.002 * device_days, begun
    assert sum(begun.values()) - begun[Condition.STUCK] <= 0.001 * device_days, begun
    assert len(found[Condition.STUCK] & street.stopped) >= 0.5 * len(street.stopped), found
