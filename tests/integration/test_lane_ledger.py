"""The ledger of lane messages in a real database: once, whatever is sent again, and nothing lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from parking_core.flows.record_batch import Batch, Caution, Recorded, record_batch
from parking_core.flows.seed_district import seed_district
from parking_core.lanes import LaneEventKind, RepeatReason
from parking_core.readings import moment
from parking_core.store import lane_events
from parking_core.store.lanes import all_lanes
from tests.builders import NOON_US, readings
from tests.lane_builders import a_report, lane_district

if TYPE_CHECKING:
    from parking_core.lanes import Lane, LaneReport

pytestmark = pytest.mark.services


@pytest.fixture
def lanes(database_url: str) -> dict[str, Lane]:
    seed_district(database_url, lane_district(lots=2))
    with psycopg.connect(database_url) as connection:
        return {lane.code: lane for lane in all_lanes(connection).values()}


def record(url: str, *batches: list[LaneReport], caution: Caution = Caution.TRUSTED) -> list[Recorded]:
    async def play() -> list[Recorded]:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            made = [Batch(readings(), [], lane_reports=reports) for reports in batches]
            return [await record_batch(connection, batch, caution) for batch in made]

    return asyncio.run(play())


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def numbered(lane: Lane, *numbers: int, **fields: Any) -> list[LaneReport]:
    return [a_report(lane, record_no=number, etc={"terminal_serial": f"{number:08X}"}, **fields) for number in numbers]


def test_an_event_comes_back_as_it_was_understood(database_url: str, lanes: dict[str, Lane]) -> None:
    report = a_report(lanes["L1-X1"], record_no=5, refers_to=3, plate={"text": "苏B·D12345", "color": 4})
    (recorded,) = record(database_url, [report])
    assert (recorded.lanes.new, recorded.lanes.redelivered, recorded.lanes.repeats) == (1, 0, {})
    with psycopg.connect(database_url) as connection:
        (event,) = lane_events.take_waiting(connection, 10)
    expected = report.event
    assert {name: getattr(event, name) for name in expected.__slots__ if name not in ("id", "flags")} == {
        name: getattr(expected, name) for name in expected.__slots__ if name not in ("id", "flags")
    }
    assert event.flags == report.flags == ("camera_etc_plates",)
    assert query(database_url, "SELECT payload, digest = sha256(payload) FROM lane_events") == [
        (report.source.payload, True)
    ]


def test_a_batch_that_comes_again_enters_nothing_twice(database_url: str, lanes: dict[str, Lane]) -> None:
    reports = numbered(lanes["L1-X1"], *range(1, 41))
    for caution in Caution:
        kept = record(database_url, reports, reports[20:] + numbered(lanes["L1-X1"], 41), caution=caution)
        assert kept[1].lanes.redelivered == 20 + (caution is not Caution.TRUSTED)
    assert query(database_url, "SELECT count(*), count(DISTINCT record_no) FROM lane_events") == [(41, 41)]
    assert query(database_url, "SELECT count(*) FROM lane_repeats") == [(0,)]


def test_repeats_are_kept_beside_the_ledger_and_named(database_url: str, lanes: dict[str, Lane]) -> None:
    lane, other = lanes["L1-X1"], lanes["L2-X1"]
    first = a_report(lane, record_no=1, etc={"tac": None})
    other_content = a_report(lane, record_no=1, etc={"amount_fen": 2_000, "terminal_serial": "00000009"})
    other_number = a_report(lane, record_no=2)  # the same terminal serial, now with its TAC
    elsewhere = a_report(other, record_no=1)
    (recorded, again) = record(database_url, [first, other_content, other_number, elsewhere], [other_number])
    assert recorded.lanes.new == 1
    assert recorded.lanes.repeats == {"record_no_reused": 1, "transaction_repeated": 2}
    assert (again.lanes.new, again.lanes.redelivered, again.lanes.repeats) == (0, 1, {})
    with psycopg.connect(database_url) as connection:
        (event,) = lane_events.take_waiting(connection, 10)
        repeats = lane_events.take_waiting_repeats(connection, 10)
        lane_events.mark_repeats_processed(connection, [repeats[0].id])
        rest = lane_events.take_waiting_repeats(connection, 10)
    assert event.flags == ("tac_absent",)
    assert [(one.record_no, one.reason, one.event_id, one.tac, one.amount_fen, one.lot_id) for one in repeats] == [
        (1, RepeatReason.RECORD_NO_REUSED, event.id, "0A1B2C3D", 2_000, lane.lot_id),
        (2, RepeatReason.TRANSACTION_REPEATED, event.id, "0A1B2C3D", 1_000, lane.lot_id),
        (1, RepeatReason.TRANSACTION_REPEATED, event.id, "0A1B2C3D", 1_000, other.lot_id),
    ]
    assert rest == repeats[1:]


def test_two_lanes_have_numbers_of_their_own(database_url: str, lanes: dict[str, Lane]) -> None:
    reports = [a_report(lane, record_no=1, etc={"terminal_no": f"0132{lane.device_id:08}"}) for lane in lanes.values()]
    (recorded,) = record(database_url, reports)
    assert recorded.lanes.new == 4


def test_a_refused_row_is_a_dead_letter_and_takes_no_other_with_it(database_url: str, lanes: dict[str, Lane]) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE lane_events ADD CONSTRAINT odd CHECK (record_no % 17 <> 0)")
    (recorded,) = record(database_url, numbered(lanes["L1-X1"], *range(1, 41)), caution=Caution.POISONED)
    assert recorded.lanes.new == 38
    letters = query(database_url, "SELECT topic, reason, detail, convert_from(payload, 'UTF8') FROM dead_letters")
    assert [letter[:2] for letter in letters] == [("parking/v1/l1/x1/lane", "refused_by_database")] * 2
    assert all('"record_no":17,' in letter[3] or '"record_no":34,' in letter[3] for letter in letters)
    assert not any("苏B" in letter[2] for letter in letters), "what a person reads in a list shows no plate"


def test_a_device_removed_meanwhile_is_a_dead_letter(database_url: str, lanes: dict[str, Lane]) -> None:
    reports = numbered(lanes["L1-X1"], 1) + numbered(lanes["L1-E1"], 2, event="entry")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM lanes WHERE device_id = %s", (lanes["L1-E1"].device_id,))
        connection.execute("DELETE FROM devices WHERE id = %s", (lanes["L1-E1"].device_id,))
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        record(database_url, reports)
    (recorded,) = record(database_url, reports, caution=Caution.POISONED)
    assert (recorded.lanes.new, len(recorded.rejections)) == (1, 1)


def test_the_worker_is_told_once_a_batch_and_takes_what_waits_in_order(
    database_url: str, lanes: dict[str, Lane]
) -> None:
    reports = numbered(lanes["L1-X1"], *range(1, 11))
    with psycopg.connect(database_url, autocommit=True) as listening:
        listening.execute("LISTEN lane_events")
        record(database_url, reports, reports)
        assert len(list(listening.notifies(timeout=0.5))) == 1, "a redelivery is no news"
    with psycopg.connect(database_url) as connection:
        first = lane_events.take_waiting(connection, 4)
        lane_events.mark_processed(connection, [event.id for event in first])
        rest = lane_events.take_waiting(connection, 100)
    assert [event.record_no for event in first + rest] == list(range(1, 11))


def test_events_are_found_by_vehicle_record_reference_and_transaction(
    database_url: str, lanes: dict[str, Lane]
) -> None:
    lane = lanes["L1-X1"]
    other = {"obu_plate": "苏B54321", "card_plate": "苏B54321", "terminal_serial": "00000002"}
    reports = [
        a_report(lane, record_no=1),
        a_report(lane, record_no=2, plate={"text": "苏B54321"}, etc=other, at=NOON_US // 1000 + 1000),
        a_report(lane, record_no=3, event="correction", refers_to=2, plate={"text": "苏B54322"}, etc=None),
        a_report(lane, record_no=4, event="completion", refers_to=1, etc={"tac": "FFFF0000"}),
    ]
    record(database_url, reports)
    key = lane.device_id
    with psycopg.connect(database_url) as connection:
        since = moment(NOON_US) - timedelta(days=1)
        found = lane_events.events_of(connection, ["苏B12345", "苏B54321", "苏B00000"], since)
        later = lane_events.events_of(connection, ["苏B12345"], moment(NOON_US) + timedelta(seconds=1))
        by_record = lane_events.events_by_record(connection, [(key, 1), (key, 99)])
        referring = lane_events.events_referring_to(connection, [(key, 2), (key, 3)])
        sold = lane_events.events_by_transaction(connection, [("013200000001", "00000002"), ("x", "y")])
    assert [event.record_no for event in found] == [1, 4, 2]
    assert later == []
    assert {record_no: event.record_no for record_no, event in by_record.items()} == {(key, 1): 1}
    assert [(event.kind, event.vehicle) for event in referring] == [(LaneEventKind.CORRECTION, "苏B54322")]
    assert [event.record_no for event in sold.values()] == [2]
