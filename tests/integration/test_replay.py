"""`parking replay` and the publisher through a real broker; what arrives is compared with the file by the oracle."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aiomqtt
import psycopg
import pytest
from typer.testing import CliRunner

from onebox.__main__ import application
from parking_core.broker_url import Broker
from parking_core.errors import InvalidInputError, ServiceUnavailableError
from simulators.publisher import Publisher
from simulators.replay import Disturbance, clock_skew_us
from tests.replay_oracle import RecordedFile, expected_rows

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.services
COLUMNS = ["--columns", "space=bay,arrival=in,departure=out", "--time-format", "epoch"]


class Listener:
    """Everything published for one lot, heard by a client of another kind than ours."""

    def __init__(self, url: str, lot: str) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._broker, self._lot = Broker.from_url(url), lot
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    async def _listen(self) -> None:
        broker = self._broker
        client = aiomqtt.Client(
            broker.host,
            broker.port,
            username=broker.username,
            password=None if broker.password is None else broker.password.decode(),
            protocol=aiomqtt.ProtocolVersion.V5,
        )
        async with client:
            await client.subscribe(f"parking/v1/{self._lot}/#", qos=1)
            self._ready.set()
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                if message.payload == b"end":
                    return
                self.heard.append((message.topic.value, message.payload))

    def stop(self, url: str) -> list[tuple[str, bytes]]:
        """Ends listening after everything that was published so far."""

        async def end() -> None:
            async with Publisher(url, "end of the test") as publisher:
                await publisher.publish(f"parking/v1/{self._lot}/x/status", b"end")
                await publisher.drain()

        asyncio.run(end())
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.heard


@pytest.fixture
def environment(database_url: str, mqtt_gateway_url: str, mqtt_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The command's three URLs; gives one that may read everything."""
    monkeypatch.setenv("PARKING_DATABASE_URL", database_url)
    monkeypatch.setenv("PARKING_REDIS_URL", "redis://127.0.0.1:9")
    monkeypatch.setenv("PARKING_MQTT_URL", mqtt_url)
    return mqtt_gateway_url


def _sessions(tmp_path: Path, count: int = 400) -> RecordedFile:
    """Five bays; every session but one of ten begins the instant the one before ends, some have no length."""
    lines, clocks = ["bay,in,out"], dict.fromkeys("ABCDE", 1_609_459_200)
    for number in range(count):
        bay = "ABCDE"[number % 5]
        begin = clocks[bay] + (30 if number % 10 == 0 else 0)
        clocks[bay] = begin + (number * 37) % 900 * (number % 7 != 0)
        lines.append(f"{bay},{begin},{clocks[bay]}")
    path = tmp_path / "sessions.csv"
    path.write_text("\n".join(lines))
    return RecordedFile(path, "in", "out", "bay")


def _replay(*arguments: str) -> Any:
    return CliRunner().invoke(application(), ["replay", *arguments])


def _rows(heard: list[tuple[str, bytes]]) -> list[tuple[str, int, bool]]:
    readings = [json.loads(payload) for topic, payload in heard if topic.endswith("/occupancy")]
    return [(reading["space"], reading["at"] * 1000, reading["occupied"]) for reading in readings]


def test_what_is_published_is_what_the_file_says_and_the_same_again(
    tmp_path: Path, environment: str, mqtt_url: str
) -> None:
    file = _sessions(tmp_path)
    runs = []
    for _ in range(2):
        listener = Listener(environment, "P1")
        result = _replay(str(file.path), *COLUMNS, "--lot", "P1", "--register")
        assert result.exit_code == 0, result.output
        assert "400 sessions, 800 events published and acknowledged" in result.output
        runs.append(listener.stop(mqtt_url))
    assert sorted(_rows(runs[0])) == expected_rows(file)
    assert runs[0] == runs[1]
    assert {topic for topic, _ in runs[0]} == {f"parking/v1/P1/P1-{bay}/occupancy" for bay in "ABCDE"}


def test_registration_makes_a_lot_whose_devices_may_report_the_files_times(
    tmp_path: Path, environment: str, database_url: str, mqtt_url: str
) -> None:
    listener = Listener(environment, "P1")
    assert _replay(str(_sessions(tmp_path).path), *COLUMNS, "--lot", "P1", "--register").exit_code == 0
    listener.stop(mqtt_url)
    with psycopg.connect(database_url) as connection:
        devices = connection.execute(
            """SELECT spaces.code, devices.code, clock_earliest_s, clock_latest_s FROM devices
               JOIN spaces ON spaces.id = space_id JOIN lots ON lots.id = devices.lot_id WHERE lots.code = 'P1'"""
        ).fetchall()
    assert sorted(row[:2] for row in devices) == [(bay, f"P1-{bay}") for bay in "ABCDE"]
    age_s = datetime.now(UTC).timestamp() - 1_609_459_200
    assert all(earliest < -age_s and latest >= 300 for _, _, earliest, latest in devices)


def test_duplicates_reordering_and_skew_are_those_asked_for(tmp_path: Path, environment: str, mqtt_url: str) -> None:
    file = _sessions(tmp_path)
    listener = Listener(environment, "P2")
    disturbed = ["--duplicates", "0.05", "--reorder", "600", "--skew", "60", "--seed", "3"]
    assert _replay(str(file.path), *COLUMNS, "--lot", "P2", "--register", *disturbed).exit_code == 0
    heard = _rows(listener.stop(mqtt_url))
    skews = {bay: clock_skew_us(f"P2-{bay}", Disturbance(skew_s=60), 3) for bay in "ABCDE"}
    expected = expected_rows(file, skews)
    assert Counter(heard) > Counter(expected)  # everything, and some of it twice
    assert set(heard) == set(expected)
    assert heard != sorted(heard, key=lambda row: row[1])


def test_a_shift_ends_now(tmp_path: Path, environment: str, mqtt_url: str) -> None:
    listener = Listener(environment, "P3")
    assert (
        _replay(str(_sessions(tmp_path).path), *COLUMNS, "--lot", "P3", "--register", "--shift", "now").exit_code == 0
    )
    times_us = [at_us for _, at_us, _ in _rows([(t, _whole_ms(p)) for t, p in listener.stop(mqtt_url)])]
    assert abs(max(times_us) / 1e6 - time.time()) < 60


def _whole_ms(payload: bytes) -> bytes:
    reading = json.loads(payload)
    if isinstance(reading["at"], str):
        reading["at"] = round(datetime.fromisoformat(reading["at"]).timestamp() * 1000)
    return json.dumps(reading).encode()


def test_without_registration_a_known_lot_is_used_and_old_times_are_warned_of(
    tmp_path: Path, environment: str, mqtt_url: str
) -> None:
    listener = Listener(environment, "P4")
    file = str(_sessions(tmp_path, 20).path)
    missing = _replay(file, *COLUMNS, "--lot", "P4")
    assert isinstance(missing.exception, InvalidInputError)
    assert "--register" in str(missing.exception)
    assert _replay(file, *COLUMNS, "--lot", "P4", "--register").exit_code == 0
    again = _replay(file, *COLUMNS, "--lot", "P4")
    assert again.exit_code == 0
    assert "outside the accepted clock window" in again.output
    assert len(listener.stop(mqtt_url)) == 80


def test_events_that_reach_no_gateway_are_counted_and_fail_the_command(
    tmp_path: Path, environment: str, mqtt_url: str
) -> None:
    arguments = [str(_sessions(tmp_path, 20).path), *COLUMNS, "--lot", "P6", "--register"]
    other = Listener(environment, "P7")  # hears another lot only
    alone = _replay(*arguments)
    assert other.stop(mqtt_url) == []
    assert alone.exit_code == 1
    assert isinstance(alone.exception, ServiceUnavailableError)
    assert "40 of 40 events reached no gateway" in str(alone.exception)
    assert "`parking status`" in str(alone.exception)
    assert "published and acknowledged" not in alone.output
    listener = Listener(environment, "P6")
    assert _replay(*arguments).exit_code == 0
    assert len(listener.stop(mqtt_url)) == 40


def test_bad_rows_are_reported_and_left_out_unless_all_are_bad(tmp_path: Path, environment: str, mqtt_url: str) -> None:
    listener = Listener(environment, "P5")
    file = tmp_path / "x.csv"
    file.write_text("bay,in,out\nA,100,200\nA,soon,300\nA,400,300\n")
    result = _replay(str(file), *COLUMNS, "--lot", "P5", "--register")
    assert result.exit_code == 0, result.output
    assert "row 3, column 'in'" in result.output
    assert "row 4, column 'out'" in result.output
    assert "2 rows were left out" in result.output
    assert "1 sessions, 2 events" in result.output
    file.write_text("bay,in,out\nA,soon,300\n")
    nothing = _replay(str(file), *COLUMNS, "--lot", "P5", "--register")
    assert nothing.exit_code == 1
    assert isinstance(nothing.exception, InvalidInputError)
    assert len(listener.stop(mqtt_url)) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--columns", "arrival=in"],
        ["--columns", "arrival=from,departure=out"],
        [*COLUMNS, "--speed", "fast"],
        [*COLUMNS, "--speed", "-1"],
        [*COLUMNS, "--shift", "tomorrow"],
        [*COLUMNS, "--lot", "a/b"],
        [*COLUMNS, "--timezone", "Moon"],
        [*COLUMNS, "--duplicates", "2"],
        [],
    ],
)
def test_wrong_usage_is_exit_code_two(tmp_path: Path, environment: str, arguments: list[str]) -> None:
    assert environment
    assert _replay(str(_sessions(tmp_path, 5).path), *arguments).exit_code == 2


def test_sessions_without_bays_get_the_first_free_one(tmp_path: Path, environment: str, mqtt_url: str) -> None:
    file = tmp_path / "locks.csv"
    file.write_bytes(
        "down,up,pre\xe7o\n2018/6/29 8:00,2018/6/29 9:00,1\n2018/6/29 8:30,2018/6/29 8:45,1\n".encode("latin-1")
    )
    listener = Listener(environment, "replay-locks")
    arguments = [
        "--columns",
        "arrival=down,departure=up",
        "--encoding",
        "latin-1",
        "--timezone",
        "Asia/Shanghai",
        "--register",
    ]
    result = _replay(str(file), *arguments)
    assert result.exit_code == 0, result.output
    begin = int(datetime(2018, 6, 29, tzinfo=UTC).timestamp()) * 1_000_000
    minutes = [(row[0], (row[1] - begin) // 60_000_000, row[2]) for row in _rows(listener.stop(mqtt_url))]
    assert minutes == [("001", 0, True), ("002", 30, True), ("002", 45, False), ("001", 60, False)]


def test_the_publisher_is_fast_enough_for_the_benchmarks(mqtt_url: str) -> None:
    count, payload = 60_000, b'{"space":"001","occupied":true,"at":1760000000000,"seq":12,"battery_v":3.61}'

    async def run() -> float:
        async with Publisher(mqtt_url, "rate") as publisher:
            began = time.process_time()
            for number in range(count):
                await publisher.publish(f"parking/v1/nobody/{number % 1_000}/occupancy", payload)
            await publisher.drain()
            assert (publisher.acknowledged, publisher.unheard, publisher.refused.total()) == (count, count, 0)
            return count / (time.process_time() - began)

    assert asyncio.run(run()) > 40_000, "150,000 messages a second of CPU on the idle development machine"
