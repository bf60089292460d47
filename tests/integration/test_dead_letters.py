"""Dead letters by command: listed, shown, tried again once the cause is mended, and never recorded twice."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner, Result

from onebox.__main__ import application
from parking_core.errors import NotFoundError, ServiceUnavailableError
from parking_core.flows.rebuild_live_state import rebuild_live_state
from parking_core.flows.seed_district import seed_district
from parking_core.readings import Reason, Rejection
from parking_core.store import dead_letters
from parking_core.store.live_state import LiveState
from tests.builders import a_district, a_payload, now_us
from tests.lane_builders import lane_district, lane_payload
from tests.network_builders import EUI, chirpstack

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.services


class Desk:
    """Commands against one database and Redis."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self.database_url, self.redis_url = database_url, redis_url
        self.environ = {
            "PARKING_DATABASE_URL": database_url,
            "PARKING_REDIS_URL": redis_url,
            "PARKING_MQTT_URL": "mqtt://127.0.0.1:1",  # nothing here may need the broker
        }

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(application(), list(arguments), env=self.environ)

    def keep(self, *letters: Rejection) -> None:
        async def insert(letters: Sequence[Rejection]) -> None:
            async with await psycopg.AsyncConnection.connect(self.database_url) as connection:
                await dead_letters.insert(connection, letters)

        asyncio.run(insert(letters))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query.encode()).fetchall()

    def occupied(self) -> int:
        async def count() -> int:
            redis = Redis.from_url(self.redis_url)
            try:
                return int((await LiveState(redis).load()).lots["occupied"].sum())
            finally:
                await redis.aclose()

        return asyncio.run(count())


@pytest.fixture
def desk(database_url: str, redis_url: str) -> Desk:
    seed_district(database_url, a_district(lots=1, spaces=2))
    return Desk(database_url, redis_url)


def a_letter(topic: str, payload: bytes, reason: Reason = Reason.UNKNOWN_DEVICE, **other: Any) -> Rejection:
    facts: dict[str, Any] = {"received_us": now_us(), "redelivered": False, "detail": "as the gateway said it"}
    return Rejection(topic=topic, payload=payload, reason=reason, **(facts | other))


def test_the_newest_are_listed_and_counted_by_reason(desk: Desk) -> None:
    desk.keep(a_letter("parking/v1/L1/x/occupancy", b"{}"), a_letter("a/b", b"\xff", Reason.UNKNOWN_TOPIC))
    listed = desk.run("dead-letters", "list")
    assert listed.exit_code == 0, listed.output
    assert "unknown_topic" in listed.output
    assert "1 unknown_device" in listed.output
    lines = desk.run("dead-letters", "list", "--json", "--reason", "unknown_topic").output.splitlines()
    assert [json.loads(line)["topic"] for line in lines] == ["a/b"]


def test_an_empty_list_says_so(desk: Desk) -> None:
    assert "no open dead letters" in desk.run("dead-letters", "list").output


def test_a_letter_is_shown_whole_as_text_or_as_hex(desk: Desk) -> None:
    long = "x" + "车位" * 100_000  # cut anywhere, a character may lie across
    desk.keep(a_letter("t", long.encode()), a_letter("t", b"\xff\x00"))
    first, second = (json.loads(desk.run("dead-letters", "show", number).output) for number in ("1", "2"))
    assert first["payload"] == long
    assert (second["payload_hex"], second["payload_bytes"]) == ("ff00", 2)


def test_a_letter_that_does_not_exist_is_an_error_that_says_what_to_do(desk: Desk) -> None:
    result = desk.run("dead-letters", "show", "17")
    assert result.exit_code == 1
    assert isinstance(result.exception, NotFoundError)
    assert "dead-letters list" in str(result.exception)


def test_a_retry_before_the_cause_is_mended_keeps_the_letter_with_todays_reason(desk: Desk) -> None:
    desk.keep(a_letter("parking/v1/L1/new/occupancy", a_payload(at=now_us() // 1000)))
    result = desk.run("dead-letters", "retry", "1")
    assert result.exit_code == 1
    assert "still refused: No device 'new'" in result.output
    assert desk.rows("SELECT reason, resolved_at FROM dead_letters") == [("unknown_device", None)]
    assert desk.rows("SELECT count(*) FROM occupancy_events") == [(0,)]


def test_a_retry_after_the_device_was_registered_records_the_reading_once(desk: Desk) -> None:
    received = now_us()
    desk.keep(a_letter("parking/v1/L2/L2-001/occupancy", a_payload(at=received // 1000, seq=5), received_us=received))
    seed_district(desk.database_url, a_district(lots=2, spaces=2))
    assert desk.run("rebuild").exit_code == 0
    first = desk.run("dead-letters", "retry", "1")
    assert (first.exit_code, "used, 1 readings" in first.output) == (0, True), first.output
    assert "used before" in desk.run("dead-letters", "retry", "1").output
    event = "SELECT seq, occupied, (extract(epoch FROM received_at) * 1000000)::bigint FROM occupancy_events"
    assert desk.rows(event) == [(5, True, received)]
    assert desk.rows("SELECT count(*) FROM dead_letters WHERE resolved_at IS NOT NULL") == [(1,)]
    assert desk.occupied() == 1


def test_a_number_without_a_letter_is_told_and_the_others_are_tried(desk: Desk) -> None:
    now = now_us() // 1000
    desk.keep(*(a_letter(f"parking/v1/L1/L1-00{n}/occupancy", a_payload(at=now, seq=n)) for n in (1, 2)))
    assert desk.run("rebuild").exit_code == 0
    result = desk.run("dead-letters", "retry", "2", "999", "1")
    assert result.exit_code == 1
    said = result.output.splitlines()
    assert [line.partition(":")[0] for line in said] == ["2", "999", "1"]
    assert "no dead letter 999" in said[1]
    assert desk.rows("SELECT count(*) FROM dead_letters WHERE resolved_at IS NULL") == [(0,)]


@pytest.mark.parametrize(
    ("variable", "url", "advice"),
    [
        ("PARKING_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none", "parking status"),
        ("PARKING_REDIS_URL", "redis://127.0.0.1:1/0", "parking rebuild"),
    ],
)
def test_a_retry_without_a_service_says_what_is_away_and_what_to_do(
    desk: Desk, variable: str, url: str, advice: str
) -> None:
    desk.keep(a_letter("parking/v1/L1/L1-001/occupancy", a_payload(at=now_us() // 1000)))
    desk.environ[variable] = url
    result = desk.run("dead-letters", "retry", "1")
    assert isinstance(result.exception, ServiceUnavailableError), result.exception
    assert advice in str(result.exception)


def test_of_an_array_the_good_elements_are_recorded_and_each_bad_one_becomes_a_letter(desk: Desk) -> None:
    now_ms = now_us() // 1000
    good = a_payload(at=now_ms, space="001").decode()
    array = f'[{good}, {{"occupied": 1, "at": {now_ms}}}]'.encode()
    desk.keep(a_letter("parking/v1/L1/L1-001/occupancy", array))
    assert desk.run("dead-letters", "retry", "1").exit_code == 0
    assert desk.rows("SELECT count(*) FROM occupancy_events") == [(1,)]
    letters = desk.rows("SELECT id, reason, resolved_at IS NULL FROM dead_letters ORDER BY id")
    assert letters == [(1, "unknown_device", False), (2, "invalid", True)]


def test_a_letter_that_the_database_refuses_again_stays_open(desk: Desk) -> None:
    desk.keep(a_letter("parking/v1/L1/L1-001/occupancy", a_payload(at=now_us() // 1000, seq=5)))
    with psycopg.connect(desk.database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE occupancy_events ADD CONSTRAINT refuses CHECK (seq <> 5)")
    result = desk.run("dead-letters", "retry", "1")
    assert result.exit_code == 1
    assert "still refused" in result.output
    assert desk.rows("SELECT reason, resolved_at FROM dead_letters") == [("refused_by_database", None)]
    with psycopg.connect(desk.database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE occupancy_events DROP CONSTRAINT refuses")
    assert desk.run("rebuild").exit_code == 0
    assert "used, 1 readings" in desk.run("dead-letters", "retry", "1").output
    assert desk.rows("SELECT seq FROM occupancy_events") == [(5,)]


def test_rebuild_derives_the_live_state_from_history(desk: Desk) -> None:
    desk.rows(
        "WITH new AS (INSERT INTO occupancy_events"
        " (space_id, device_id, occurred_at, received_at, seq, occupied, clock_suspect)"
        " SELECT space_id, id, now() - step * interval '1 minute', now(), 0, step < 3, false"
        " FROM devices, generate_series(1, 5) AS step RETURNING 1) SELECT count(*) FROM new"
    )
    first = desk.run("rebuild")
    assert first.exit_code == 0, first.output
    assert "2 spaces rebuilt" in first.output
    assert desk.occupied() == 2


def test_two_rebuilds_at_once_leave_one_whole_state(desk: Desk) -> None:
    seed_district(desk.database_url, a_district(lots=1, spaces=2))
    desk.rows(
        "WITH new AS (INSERT INTO occupancy_events"
        " (space_id, device_id, occurred_at, received_at, seq, occupied, clock_suspect)"
        " SELECT space_id, id, now(), now(), 0, true, false FROM devices RETURNING 1) SELECT count(*) FROM new"
    )

    async def both() -> None:
        redis = Redis.from_url(desk.redis_url)
        try:
            await asyncio.gather(*(rebuild_live_state(desk.database_url, LiveState(redis)) for _ in range(4)))
            prepared = [key async for key in redis.scan_iter("parking:spaces:*")]
            assert prepared == [], "the slower ones clean up after themselves"
        finally:
            await redis.aclose()

    asyncio.run(both())
    assert desk.occupied() == 2


def test_a_lot_of_another_name_is_not_what_a_letter_meant(desk: Desk) -> None:
    desk.keep(a_letter("parking/v1/L9/L1-001/occupancy", a_payload(at=now_us() // 1000)))
    result = desk.run("dead-letters", "retry", "1")
    assert "belongs to lot 'L1'" in result.output
    assert desk.rows("SELECT reason FROM dead_letters") == [("wrong_lot",)]


def test_a_letter_of_a_lane_that_was_none_enters_the_ledger_when_it_is_registered(desk: Desk) -> None:
    desk.keep(a_letter("parking/v1/L1/L1-X1/lane", lane_payload(at=now_us() // 1000)))
    refused = desk.run("dead-letters", "retry", "1")
    assert "No device 'L1-X1' is registered" in refused.output
    seed_district(desk.database_url, lane_district())
    desk.run("dead-letters", "retry", "1")
    assert desk.rows("SELECT record_no, flags FROM lane_events") == [(1, [])]
    assert desk.rows("SELECT resolved_at IS NOT NULL FROM dead_letters") == [(True,)]


def test_an_uplink_of_a_device_that_was_registered_since_is_counted_once(desk: Desk) -> None:
    message = chirpstack(at_us=now_us())
    desk.keep(*(a_letter(message.topic, message.payload) for _ in range(2)))
    with psycopg.connect(desk.database_url) as connection:
        connection.execute(
            "UPDATE devices SET family = 'bosch', model = 'tps110', network = 'chirpstack', eui = %s"
            " WHERE code = 'L1-001'",
            (EUI,),
        )
    result = desk.run("dead-letters", "retry", "1", "2")
    assert result.exit_code == 0, result.output
    assert desk.rows("SELECT count(*) FROM occupancy_events") == [(1,)]
    assert desk.rows("SELECT count(*) FROM device_frames") == [(1,)]
    assert desk.rows("SELECT count(*) FROM dead_letters WHERE resolved_at IS NULL") == [(0,)]
