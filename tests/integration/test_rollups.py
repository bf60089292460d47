"""Rollups in the store: any order of arrival gives what one computation from all events gives."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
import pytest
from psycopg.types.json import Jsonb

from parking_core.calendar import parse_opening
from parking_core.flows import roll_up_lots as flow
from parking_core.flows.roll_up_lots import Bite, closed_times, roll_up_lots
from parking_core.occupancy import BAY, BUCKET_US, CLOSURE, NEVER, SILENCE, STRETCH, UNKNOWN, History, roll_up
from parking_core.occupancy import EVENT as EVENT_COLUMNS
from parking_core.store import rollups
from parking_core.store.binary_rows import moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

pytestmark = pytest.mark.services

ZONE = ZoneInfo("Asia/Shanghai")
SECOND = 1_000_000
HOUR = 3600 * SECOND
MONDAY = 1_699_804_800 * SECOND  # 2023-11-13 00:00 in Shanghai, a full hour
MEASURES = "spaces, occupied_min, unknown_min, closed_min, full_min, arrivals, departures, dwell_count, dwell_sum_s, dwell_histogram"

Event = tuple[int, int, int, bool]  # place of the bay, microseconds, seq, occupied
_numbers = itertools.count(1)


@pytest.fixture
def store(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def make_lot(store: Connection, bays: int, opening: object = None) -> tuple[int, list[int]]:
    row = store.execute(
        "INSERT INTO lots (code, name, kind, lat, lon, opening) VALUES (%s, 'lot', 'off_street', 31.8, 117.2, %s)"
        " RETURNING id",
        (f"L{next(_numbers)}", Jsonb(opening) if opening else None),
    ).fetchone()
    assert row is not None
    spaces = store.execute(
        "INSERT INTO spaces (lot_id, code) SELECT %s, i::text FROM generate_series(1, %s) AS i RETURNING id",
        (row[0], bays),
    ).fetchall()
    return row[0], [space for (space,) in spaces]


def record(store: Connection, lot: int, spaces: list[int], events: list[Event]) -> None:
    """Events and dirty buckets in one transaction, as the gateway writes them."""
    with store.transaction(), store.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO occupancy_events (space_id, device_id, occurred_at, received_at, seq, occupied, clock_suspect)"
            " VALUES (%s, 1, %s, now(), %s, %s, false)",
            [(spaces[bay], moment(at), seq, occupied) for bay, at, seq, occupied in events],
        )
        cursor.executemany(
            "INSERT INTO dirty_buckets (lot_id, bucket) VALUES (%s, %s)",
            [(lot, moment(at - at % BUCKET_US)) for _, at, _, _ in events],
        )


def drain(store: Connection, now_us: int, *, running: bool = True) -> list[Bite]:
    bites = [roll_up_lots(store, now_us, running=running, zone=ZONE)]
    while bites[-1].more:
        assert len(bites) < 50, "the work must end"
        bites.append(roll_up_lots(store, now_us, running=running, zone=ZONE))
    return bites


def rows_of(store: Connection, lot: int, table: str = "lot_rollups_5m") -> list[tuple[Any, ...]]:
    return store.execute(
        f"SELECT (extract(epoch FROM bucket) * 1000000)::bigint, {MEASURES} FROM {table} WHERE lot_id = %s ORDER BY bucket",
        (lot,),
    ).fetchall()


def random_events(chance: random.Random, bays: int, number: int, hours: int) -> list[Event]:
    """Distinct events with equal instants, repeats and quiet stretches."""
    events: set[Event] = set()
    while len(events) < number:
        at = MONDAY + chance.randrange(hours * 720) * 5 * SECOND
        events.add((chance.randrange(bays), at, chance.choice([0, 0, 0, 1, 2]), chance.random() < 0.5))
    return sorted(events)


def expected(lot: int, spaces: list[int], events: list[Event], now_us: int) -> list[tuple[Any, ...]]:
    """From scratch, by the pure rule alone."""
    start = min(at for _, at, _, _ in events) // BUCKET_US * BUCKET_US
    buckets = (now_us - 1 - start) // BUCKET_US + 1
    history = History(
        np.array([(lot, start, buckets)], STRETCH),
        np.array([(0, space, UNKNOWN, NEVER, NEVER) for space in spaces], BAY),
        np.array(events, EVENT_COLUMNS),
        np.zeros(0, SILENCE),
        np.zeros(0, CLOSURE),
    )
    names = ("occupied_us", "unknown_us", "closed_us", "full_us")
    return [
        (
            *(int(row["bucket_us"]), int(row["spaces"]), *(float(row[name] / 60e6) for name in names)),
            *(int(row["arrivals"]), int(row["departures"]), int(row["dwell_count"])),
            *(float(row["dwell_sum_us"] / 1e6), row["dwell_histogram"].tolist()),
        )
        for row in roll_up(history, now_us)
    ]


@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_arrival_gives_what_one_computation_gives(
    store: Connection, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    if seed % 3 == 1:
        monkeypatch.setattr(flow, "_BITE_BUCKETS", 7)  # bites that are always full
    if seed % 3 == 2:
        monkeypatch.setattr(flow, "_MERGE_BUCKETS", 1)  # many short stretches
        monkeypatch.setattr(flow, "_FIRST_REACH", 1)
    lot, spaces = make_lot(store, 3)
    events = random_events(chance, 3, 60, hours=30)
    arriving = list(events)
    chance.shuffle(arriving)
    end = MONDAY + 31 * HOUR  # a full bucket: what runs is provisional
    now = end - 6 * HOUR  # some events lie ahead of the clock at first
    while arriving:
        batch = [arriving.pop() for _ in range(min(len(arriving), chance.randrange(1, 12)))]
        record(store, lot, spaces, batch)
        drain(store, now, running=chance.random() < 0.7)
        now = min(end, now + chance.randrange(HOUR))
    drain(store, end)
    assert rows_of(store, lot) == expected(lot, spaces, events, end)
    assert store.execute("SELECT count(*) FROM dirty_buckets").fetchone() == (0,)


def test_hours_are_the_sums_of_their_five_minutes(store: Connection) -> None:
    lot, spaces = make_lot(store, 4)
    events = random_events(random.Random(5), 4, 200, hours=20)
    for part in (events[::2], events[1::2]):
        record(store, lot, spaces, part)
        drain(store, MONDAY + 21 * HOUR)
    fine, coarse = rows_of(store, lot), rows_of(store, lot, "lot_rollups_1h")
    assert [row[0] for row in coarse] == sorted({row[0] - row[0] % HOUR for row in fine})
    for hour in coarse:
        parts = [row for row in fine if row[0] - row[0] % HOUR == hour[0]]
        sums = [sum(values) for values in list(zip(*parts, strict=True))[2:10]]
        assert list(hour[2:10]) == pytest.approx(sums)
        assert hour[10] == [sum(values) for values in zip(*(part[10] for part in parts), strict=True)]


def test_hourly_occupancy_equals_the_overlap_of_each_stay_with_each_hour(store: Connection) -> None:
    chance = random.Random(11)
    lot, spaces = make_lot(store, 6)
    stays = []
    for bay in range(6):
        at = MONDAY
        while at < MONDAY + 20 * HOUR:
            arrival = at + chance.choice([0, 1, 90, 1800]) * SECOND  # 0: departure and arrival in one instant
            at = arrival + chance.randrange(60, 9000) * SECOND
            stays.append((bay, arrival, at))
    events = [(bay, arrival, 0, True) for bay, arrival, _ in stays]
    events += [(bay, departure, 0, False) for bay, _, departure in stays]
    record(store, lot, spaces, [(bay, MONDAY - SECOND, 0, False) for bay in range(6)] + events)
    drain(store, MONDAY + 30 * HOUR)
    for hour in rows_of(store, lot, "lot_rollups_1h"):
        overlap = sum(max(0, min(departure, hour[0] + HOUR) - max(arrival, hour[0])) for _, arrival, departure in stays)
        assert hour[2] * 60 == pytest.approx(overlap / SECOND, abs=1e-6)
    total = store.execute("SELECT sum(arrivals), sum(departures), sum(dwell_count) FROM lot_rollups_5m").fetchone()
    assert total == (len(stays), len(stays), len(stays))


def test_a_quiet_night_has_rows_and_costs_one_bite(store: Connection) -> None:
    lot, spaces = make_lot(store, 2)
    record(store, lot, spaces, [(0, MONDAY, 0, True)])
    for quarter in range(1, 33):
        drain(store, MONDAY + quarter * HOUR // 4)
    rows = rows_of(store, lot)
    assert len(rows) == 8 * 12
    assert all(row[2] == 5.0 for row in rows)
    assert drain(store, MONDAY + 8 * HOUR) == [Bite()]


def test_a_gap_of_years_costs_a_week_of_rows(store: Connection) -> None:
    lot, spaces = make_lot(store, 2)
    later = MONDAY + 2 * 365 * 24 * HOUR
    record(store, lot, spaces, [(0, MONDAY, 0, True), (1, later, 0, False)])
    drain(store, later + 300 * SECOND)
    rows = rows_of(store, lot)
    assert len(rows) == 7 * 288 + 1
    assert rows[-1][0] == later
    assert (rows[-1][2], rows[-1][3]) == (5.0, 0.0)  # bay 0 is still occupied after the gap
    record(store, lot, spaces, [(0, MONDAY + HOUR, 0, False)])  # flows over the gap
    drain(store, later + 300 * SECOND)
    assert rows_of(store, lot)[-1][2] == 0.0


def test_a_lot_at_rest_is_not_looked_at_any_more(store: Connection) -> None:
    lot, spaces = make_lot(store, 1)
    record(store, lot, spaces, [(0, MONDAY, 0, True)])
    drain(store, MONDAY + 10 * 24 * HOUR)
    assert store.execute("SELECT count(*) FROM rollup_frontiers").fetchone() == (0,)
    assert len(rows_of(store, lot)) == 7 * 288
    assert drain(store, MONDAY + 11 * 24 * HOUR) == [Bite()]


def test_an_event_ahead_of_our_clock_counts_when_its_time_has_come(store: Connection) -> None:
    lot, spaces = make_lot(store, 1)
    record(store, lot, spaces, [(0, MONDAY + 200 * SECOND, 0, True), (0, MONDAY + 400 * SECOND, 0, False)])
    drain(store, MONDAY + 60 * SECOND)
    assert rows_of(store, lot) == []
    drain(store, MONDAY + 600 * SECOND)
    assert [row[2] for row in rows_of(store, lot)] == [pytest.approx(100 / 60), pytest.approx(100 / 60)]
    assert [row[7] for row in rows_of(store, lot)] == [0, 1]


def test_a_late_event_writes_only_what_it_changes(store: Connection) -> None:
    lot, spaces = make_lot(store, 1)
    record(store, lot, spaces, [(0, MONDAY + hour * HOUR, 0, hour % 2 == 0) for hour in range(10)])
    drain(store, MONDAY + 12 * HOUR)
    record(store, lot, spaces, [(0, MONDAY + 4 * HOUR + 600 * SECOND, 0, False)])  # free 50 minutes earlier
    written = sum(bite.written for bite in drain(store, MONDAY + 12 * HOUR))
    assert 10 <= written <= 12
    assert rows_of(store, lot)[4 * 12 + 3][2] == 0.0


def test_only_one_worker_bites_at_a_time(store: Connection, database_url: str) -> None:
    lot, spaces = make_lot(store, 1)
    record(store, lot, spaces, [(0, MONDAY, 0, True)])
    with psycopg.connect(database_url, autocommit=True) as other, other.transaction():
        assert rollups.claim(other)
        assert drain(store, MONDAY + HOUR) == [Bite(busy=True)]
    assert drain(store, MONDAY + HOUR)[0].written == 12


def test_a_bite_that_fails_leaves_everything_dirty(store: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    lot, spaces = make_lot(store, 1)
    record(store, lot, spaces, [(0, MONDAY, 0, True)])

    def fail(*_: object) -> None:
        raise psycopg.OperationalError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(rollups, "move_frontiers", fail)
        with pytest.raises(psycopg.OperationalError):
            drain(store, MONDAY + HOUR)
    assert rows_of(store, lot) == []
    drain(store, MONDAY + HOUR)
    assert len(rows_of(store, lot)) == 12


def test_what_lies_before_the_floor_of_history_is_dropped(store: Connection) -> None:
    lot, spaces = make_lot(store, 1)
    store.execute("UPDATE history_floor SET floor_at = %s", (moment(MONDAY + HOUR),))
    record(store, lot, spaces, [(0, MONDAY, 0, True), (0, MONDAY + 2 * HOUR, 0, False)])
    drain(store, MONDAY + 3 * HOUR)
    assert rows_of(store, lot)[0][0] == MONDAY + 2 * HOUR
    assert store.execute("SELECT count(*) FROM dirty_buckets").fetchone() == (0,)


def test_closed_minutes_follow_the_opening_hours(store: Connection) -> None:
    opening = [{"days": [1, 2, 3, 4, 5], "from": "08:00", "until": "22:00"}]
    lot, spaces = make_lot(store, 1, opening)
    record(store, lot, spaces, [(0, MONDAY, 0, True)])
    drain(store, MONDAY + 48 * HOUR)
    closed = [row[4] for row in rows_of(store, lot, "lot_rollups_1h")]
    assert closed == ([60.0] * 8 + [0.0] * 14 + [60.0] * 2) * 2


@pytest.mark.parametrize(
    ("window", "closed_hours"),
    [
        ({"days": [1, 2, 3, 4, 5, 6, 7], "from": "18:00", "until": "06:00"}, 12),
        ({"days": [1, 2, 3, 4, 5, 6, 7], "from": "00:00", "until": "24:00"}, 0),
        ({"days": [7], "from": "08:00", "until": "20:00"}, 24),
        ({"days": [7], "from": "20:00", "until": "02:00"}, 22),  # Sunday's window reaches into Monday
    ],
)
def test_windows_past_midnight_and_of_other_days(window: dict[str, Any], closed_hours: int) -> None:
    times = list(closed_times(parse_opening([window]) or (), MONDAY, MONDAY + 24 * HOUR, ZONE))
    assert sum(ended - began for began, ended in times) == closed_hours * HOUR


def test_a_worker_killed_again_and_again_loses_nothing(store: Connection, database_url: str, redis_url: str) -> None:
    now = time.time_ns() // 1000
    shift = (now - 40 * HOUR - MONDAY) // BUCKET_US * BUCKET_US
    lots = [make_lot(store, 3) for _ in range(4)]
    worlds = [
        [(bay, at + shift, seq, occupied) for bay, at, seq, occupied in random_events(random.Random(i), 3, 150, 35)]
        for i in range(4)
    ]
    environ = os.environ | {
        "PARKING_DATABASE_URL": database_url,
        "PARKING_REDIS_URL": redis_url,
        "PARKING_MQTT_URL": "mqtt://127.0.0.1:1",
    }
    for part in range(4):
        worker = subprocess.Popen([sys.executable, "-m", "worker"], env=environ, stderr=subprocess.DEVNULL)
        for (lot, spaces), events in zip(lots, worlds, strict=True):
            record(store, lot, spaces, events[part::4])
        time.sleep(1.0 + 0.35 * part)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    deadline = time.monotonic() + 20
    while drain(store, time.time_ns() // 1000)[0].busy:  # the killed worker's session is ending
        assert time.monotonic() < deadline
        time.sleep(0.1)
    closed = time.time_ns() // 1000 // BUCKET_US * BUCKET_US
    for (lot, spaces), events in zip(lots, worlds, strict=True):
        stored = [row for row in rows_of(store, lot) if row[0] + BUCKET_US <= closed]
        assert stored == [row for row in expected(lot, spaces, events, closed) if row[0] + BUCKET_US <= closed]
