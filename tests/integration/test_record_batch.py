"""A batch in a real database: stored bit by bit, once, whatever came before and whatever the database thinks of it."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parking_core.flows.record_batch import Batch, Caution, Recorded, record_batch
from parking_core.flows.seed_district import seed_district
from parking_core.readings import SEQ_MAX, Sign
from tests.builders import NOON_US, a_district, a_message, a_rejection, readings

if TYPE_CHECKING:
    from parking_core.readings import Readings

pytestmark = pytest.mark.services

YEAR_US = 365 * 86_400_000_000
_ALL = (
    "SELECT space_id, device_id, (extract(epoch FROM occurred_at) * 1000000)::bigint,"
    " (extract(epoch FROM received_at) * 1000000)::bigint, seq, occupied, clock_suspect,"
    " battery_v, rssi_dbm, temperature_c FROM occupancy_events ORDER BY 1, 3, 5, 6, 2"
)
_ORDER = ("device_id", "occupied", "seq", "occurred_us", "space_id")


def record(url: str, *batches: Batch, caution: Caution = Caution.TRUSTED) -> list[Recorded]:
    async def play() -> list[Recorded]:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            return [await record_batch(connection, batch, caution) for batch in batches]

    return asyncio.run(play())


def batch_of(rows: Readings, **other: Any) -> Batch:
    return Batch(rows, [a_message(received_us=int(us)) for us in rows["received_us"]], **other)


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode(), binary=True).fetchall()  # text rounds a float4


def count(url: str, table: str = "occupancy_events") -> int:
    return int(query(url, f"SELECT count(*) FROM {table}")[0][0])


_measure = st.none() | st.floats(-1e6, 1e6, width=32)
_reading = st.fixed_dictionaries(
    {
        "space_id": st.integers(1, 2**31 - 1),
        "device_id": st.integers(1, 2**31 - 1),
        "occurred_us": st.integers(NOON_US - YEAR_US // 20, NOON_US + YEAR_US // 20),
        "received_us": st.integers(NOON_US - YEAR_US, NOON_US + YEAR_US),
        "seq": st.integers(0, SEQ_MAX),
        "occupied": st.booleans(),
        "battery_v": _measure,
        "rssi_dbm": _measure,
        "temperature_c": _measure,
    }
)


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _ORDER)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.lists(_reading, min_size=1, max_size=30, unique_by=key), caution=st.sampled_from(Caution))
def test_every_reading_comes_back_bit_by_bit(database_url: str, drawn: list[dict[str, Any]], caution: Caution) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("TRUNCATE occupancy_events, dirty_buckets")
    rows = readings(*({name: math.nan if value is None else value for name, value in row.items()} for row in drawn))
    record(database_url, batch_of(rows), caution=caution)
    stored = query(database_url, _ALL)
    ordered = rows[np.lexsort([rows[name] for name in _ORDER])]
    assert len(stored) == len(ordered)
    for found, row in zip(stored, ordered, strict=True):
        expected = [row[name].item() for name in row.dtype.names or () if name != "lot_id"]
        assert list(found) == [None if value != value else value for value in expected]  # noqa: PLR0124  # only NaN differs from itself


@pytest.mark.parametrize("caution", [Caution.REPEATING, Caution.POISONED])
def test_a_repeated_batch_changes_nothing(database_url: str, caution: Caution) -> None:
    rows = readings(*({"seq": seq} for seq in range(1, 50)))
    record(database_url, batch_of(rows))
    record(database_url, batch_of(rows), batch_of(np.concatenate([rows, rows])), caution=caution)
    assert count(database_url) == 49


def test_a_trusted_batch_that_repeats_leaves_nothing_behind(database_url: str) -> None:
    record(database_url, batch_of(readings({"seq": 1})))
    mixed = batch_of(readings({"seq": 2}, {"seq": 1}), rejections=[a_rejection()])
    with pytest.raises(psycopg.errors.UniqueViolation):
        record(database_url, mixed)
    assert (count(database_url), count(database_url, "dead_letters")) == (1, 0)


def test_refused_rows_are_found_among_many(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE occupancy_events ADD CONSTRAINT odd CHECK (seq % 17 <> 0)")
    rows = readings(*({"seq": seq, "received_us": NOON_US + seq} for seq in range(1, 101)))
    (recorded,) = record(database_url, batch_of(rows), caution=Caution.POISONED)
    assert sorted(recorded.readings["seq"].tolist()) == [seq for seq in range(1, 101) if seq % 17]
    assert count(database_url) == 95
    letters = query(database_url, "SELECT reason, received_at - timestamptz 'epoch' FROM dead_letters")
    assert {reason for reason, _ in letters} == {"refused_by_database"}
    assert sorted(letter.received_us - NOON_US for letter in recorded.rejections) == [17, 34, 51, 68, 85]


def suspect(raw_us: int, received_us: int, **other: Any) -> dict[str, Any]:
    return {"occurred_us": raw_us, "received_us": received_us, "clock_suspect": True, **other}


def test_a_reading_of_an_impossible_time_enters_once_at_its_first_receipt(database_url: str) -> None:
    first = batch_of(readings(suspect(0, NOON_US), suspect(0, NOON_US + 1), suspect(0, NOON_US + 2, seq=9)))
    again = batch_of(readings(suspect(0, NOON_US + 1000)))
    kept = record(database_url, first, again)
    assert [len(recorded.readings) for recorded in kept] == [2, 0]
    rows = query(database_url, _ALL)
    assert [(row[2], row[3], row[4], row[6]) for row in rows] == [
        (NOON_US, NOON_US, 0, True),
        (NOON_US + 2, NOON_US + 2, 9, True),
    ]


def test_a_message_that_leaves_the_window_between_two_receipts_is_one_event(database_url: str) -> None:
    record(database_url, batch_of(readings({"seq": 4})))
    (again,) = record(database_url, batch_of(readings(suspect(NOON_US, NOON_US + YEAR_US, seq=4))))
    assert not len(again.readings)
    assert count(database_url) == 1


def test_a_message_that_enters_the_window_between_two_receipts_is_one_event(database_url: str) -> None:
    """A clock that ran ahead: refused at first, and in the window when it is delivered again."""
    record(database_url, batch_of(readings(suspect(NOON_US, NOON_US - YEAR_US, seq=4))))
    later = batch_of(readings({"seq": 4}, {"seq": 5}), ledger_devices=frozenset({7}))
    (again,) = record(database_url, later)
    assert again.readings["seq"].tolist() == [5]
    assert count(database_url) == 2


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_message_that_crosses_the_edge_of_the_window_within_one_batch_is_one_event(
    database_url: str, order: tuple[int, int]
) -> None:
    both = ({"seq": 4}, suspect(NOON_US, NOON_US + 1, seq=4))
    (recorded,) = record(database_url, batch_of(readings(*(both[place] for place in order))))
    assert len(recorded.readings) == 1
    assert count(database_url) == 1


def test_signs_gaps_and_letters_are_durable_with_the_batch(database_url: str) -> None:
    seed_district(database_url, a_district(lots=1, spaces=2))
    ids = [row[0] for row in query(database_url, "SELECT id FROM devices ORDER BY id")]
    signs = [Sign(ids[1], NOON_US + 5, online=True), Sign(ids[0], NOON_US), Sign(999_999, NOON_US)]
    rows = batch_of(readings({"device_id": ids[0]}), signs=signs, rejections=[a_rejection()])
    more = batch_of(readings({"device_id": ids[0], "seq": 9}), missing={ids[0]: 8, ids[1]: -3})
    older = batch_of(readings({"seq": 11}), signs=[Sign(ids[1], NOON_US - 5, online=None)])
    record(database_url, rows, more, older)
    found = query(
        database_url,
        "SELECT device_id, (extract(epoch FROM last_heard_at) * 1000000)::bigint, online, seq_missing"
        " FROM device_liveness ORDER BY 1",
    )
    assert found == [(ids[0], NOON_US, None, 8), (ids[1], NOON_US + 5, True, 0)]
    assert count(database_url, "dead_letters") == 1


def test_a_letter_delivered_again_is_kept_once_and_an_equal_new_one_again(database_url: str) -> None:
    new, again = a_rejection(), a_rejection(redelivered=True)
    nothing = readings()
    for letters, total in (([new], 1), ([again], 1), ([again, again], 1), ([new], 2), ([new, again], 3)):
        record(database_url, batch_of(nothing, rejections=letters))
        assert count(database_url, "dead_letters") == total


def test_what_postgres_cannot_hold_in_a_text_is_escaped(database_url: str) -> None:
    letter = a_rejection(topic="parking/v1/l/\0/x", detail="\0 \ud800", payload=b"\0\xff")
    record(database_url, batch_of(readings(), rejections=[letter]))
    assert query(database_url, "SELECT topic, payload, detail FROM dead_letters") == [
        ("parking/v1/l/\\0/x", b"\0\xff", "\\0 \\ud800")
    ]


def test_each_lot_and_five_minutes_is_marked_once_a_batch(database_url: str) -> None:
    rows = readings({"seq": 1}, {"seq": 2}, {"seq": 3, "occurred_us": NOON_US + 300_000_000}, {"seq": 4, "lot_id": 2})
    record(database_url, batch_of(rows))
    marked = query(database_url, "SELECT lot_id, (extract(epoch FROM bucket) * 1000000)::bigint FROM dirty_buckets")
    start = NOON_US - NOON_US % 300_000_000
    assert sorted(marked) == [(1, start), (1, start + 300_000_000), (2, start)]
