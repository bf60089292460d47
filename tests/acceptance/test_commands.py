"""Commands from the row to the device and back, with broker, gateway processes and database as they really run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
import time
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiomqtt
import psycopg
import pytest

from onebox import services as onebox_services
from parking_core.broker_url import Broker
from parking_core.commands import CommandKind, CommandOrder, CommandState
from parking_core.store import commands
from parking_core.topics import Kind, device_topic
from simulators.lane_controller import LaneController, LaneName
from simulators.lane_memory import LaneMemory
from tests.acceptance.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parking_core.commands import DueCommand
    from tests.acceptance.stage import Stage

pytestmark = [pytest.mark.services, pytest.mark.acceptance]

DEVICES = [f"L{lot}-{space:03}" for lot in range(1, 6) for space in range(1, 5)]


class Desk:
    """Orders commands as a worker does, and runs simulated lanes beside, in a thread of their own."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.lanes: dict[str, LaneController] = {}
        self.memories: dict[str, LaneMemory] = {}
        self._connection = psycopg.connect(stage.database_url, autocommit=True)
        self._ids = dict(stage.query("SELECT code, id FROM devices"))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._running: dict[str, asyncio.Task[None]] = {}

    def start_lane(self, code: str) -> LaneController:
        """Power on; its memory is the one it had."""
        memory = self.memories.setdefault(code, LaneMemory())

        async def start() -> tuple[LaneController, asyncio.Task[None]]:
            name = LaneName(code.partition("-")[0], code)
            lane = LaneController(name, self.stage.services.mqtt_url, memory)
            return lane, asyncio.create_task(lane.run())

        self.lanes[code], self._running[code] = asyncio.run_coroutine_threadsafe(start(), self._loop).result(5)
        until(self.lanes[code].connected.is_set, 10, f"{code} is not connected")
        return self.lanes[code]

    def stop_lane(self, code: str) -> None:
        """Power off."""

        async def stop(task: asyncio.Task[None]) -> None:
            task.cancel()
            await asyncio.wait([task])

        asyncio.run_coroutine_threadsafe(stop(self._running.pop(code)), self._loop).result(10)

    def order(self, code: str, kind: CommandKind = CommandKind.OPEN_GATE, cause: str = "", **body: Any) -> uuid.UUID:
        """Queues one command."""
        order = CommandOrder(self._ids[code], kind, body, cause or f"test:{uuid.uuid4()}")
        with self._connection.transaction():
            (command_id,) = commands.queue(self._connection, [order], datetime.now(UTC))
        return command_id

    def row(self, command_id: uuid.UUID) -> commands.CommandRow:
        """The command as it stands."""
        row = commands.get(self._connection, command_id)
        assert row is not None
        return row

    def await_state(self, command_id: uuid.UUID, state: CommandState, patience_s: float = 20) -> commands.CommandRow:
        """Waits until the command has come to a state."""
        until(lambda: self.row(command_id).state is state, patience_s, f"not {state}: {self.row(command_id)}")
        return self.row(command_id)

    def claim(self) -> list[DueCommand]:
        """Claims as a gateway does that then dies."""

        async def run() -> list[DueCommand]:
            async with await psycopg.AsyncConnection.connect(self.stage.database_url, autocommit=True) as connection:
                return await commands.claim_due(connection, datetime.now(UTC), 100)

        return asyncio.run(run())

    def publish(
        self, topic: str, payload: bytes, url: str = "", *, retain: bool = False, identifier: str | None = None
    ) -> None:
        """One message, QoS 1, in a session that begins and ends with it."""
        broker = Broker.from_url(url or self.stage.services.mqtt_url)

        async def run() -> None:
            async with aiomqtt.Client(
                broker.host,
                broker.port,
                identifier=identifier,
                username=broker.username,
                password=(broker.password or b"").decode(),
                protocol=aiomqtt.ProtocolVersion.V5,
            ) as client:
                await client.publish(topic, payload, qos=1, retain=retain)

        asyncio.run(run())

    def close(self) -> None:
        for code in list(self._running):
            self.stop_lane(code)
        for process in self.stage.processes.values():
            process.end()
        for (
            code
        ) in self.lanes:  # the broker keeps each lane's last word and its session, and the next test has other lanes
            topic = device_topic(code.partition("-")[0], code, Kind.STATUS)
            self.publish(topic, b"", retain=True, identifier=f"lane-{code}")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self._connection.close()


@pytest.fixture
def desk(stage: Stage) -> Iterator[Desk]:
    with contextlib.closing(Desk(stage)) as desk:
        yield desk


def test_a_command_is_delivered_executed_and_acknowledged(stage: Stage, desk: Desk) -> None:
    stage.gateway().start()
    lane = desk.start_lane("L1-001")
    times = []
    for _ in range(30):
        began = time.monotonic()
        command_id = desk.order("L1-001", reason="paid")
        row = desk.await_state(command_id, CommandState.ACKNOWLEDGED)
        times.append(time.monotonic() - began)
        assert row.tries == 1
    assert lane.gate_openings == 30
    assert lane.answered_again == 0
    times.sort()
    stage.report(
        f"command queued → delivered → executed → acknowledged: p50 {times[15] * 1000:.0f} ms, max {times[-1] * 1000:.0f} ms"
    )
    assert times[15] < 0.5


def test_a_device_that_was_away_gets_it_when_it_is_back(stage: Stage, desk: Desk) -> None:
    stage.gateway().start()
    command_id = desk.order("L1-002")
    row = desk.await_state(command_id, CommandState.SENT)  # to nobody: the broker knows no session of this device
    assert row.sent_at is not None
    lane = desk.start_lane("L1-002")
    row = desk.await_state(command_id, CommandState.ACKNOWLEDGED)
    assert row.tries >= 2
    assert lane.gate_openings == 1
    desk.stop_lane("L1-002")
    desk.order("L1-002")
    again = desk.start_lane("L1-002")  # by its session or by the next try: once
    until(lambda: again.gate_openings == 1, 10, "the command of its absence did not come")


def test_a_promised_vehicle_is_known_at_the_barrier_until_the_promise_is_over(stage: Stage, desk: Desk) -> None:
    """Told while the barrier was away, kept over a power cut, forgotten in the order in which it was said."""
    stage.gateway().start()
    now = datetime.now(UTC)
    times = {"from": (now - timedelta(minutes=5)).isoformat(), "until": (now + timedelta(hours=2)).isoformat()}
    promise = {"plate": "苏B12345", "reservation": "R-1", **times}
    ordered = desk.order("L5-004", CommandKind.EXPECT_VEHICLE, **promise)
    desk.await_state(ordered, CommandState.SENT)
    barrier = desk.start_lane("L5-004")
    desk.await_state(ordered, CommandState.ACKNOWLEDGED)
    assert barrier.raise_for("苏B99999", now) is None
    assert barrier.raise_for("苏B12345", now) == "R-1"
    desk.stop_lane("L5-004")
    again = desk.start_lane("L5-004")
    assert again.raise_for("苏B12345", now) == "R-1"
    over = desk.order("L5-004", CommandKind.FORGET_VEHICLE, reservation="R-1")
    desk.await_state(over, CommandState.ACKNOWLEDGED)
    assert again.raise_for("苏B12345", now) is None


def test_a_broker_that_restarts_delays_a_command_and_loses_none(stage: Stage, desk: Desk) -> None:
    stage.gateway().start()
    lane = desk.start_lane("L1-003")
    until(lane.connected.is_set, 10, "the lane is not connected")
    stage.services.children["mosquitto"].kill()
    stage.services.children["mosquitto"].wait(10)
    ordered = [desk.order("L1-003") for _ in range(5)]
    assert {desk.row(command_id).state for command_id in ordered} == {CommandState.QUEUED}
    onebox_services.restart(stage.services, "mosquitto")
    for command_id in ordered:
        desk.await_state(command_id, CommandState.ACKNOWLEDGED, 14)
    assert lane.gate_openings == 5


def test_what_a_dead_gateway_had_claimed_is_sent_by_another_and_executed_once(stage: Stage, desk: Desk) -> None:
    lane = desk.start_lane("L1-001")
    unpublished = desk.order("L1-001")
    published = desk.order("L1-001")
    due = desk.claim()
    assert {one.id for one in due} == {unpublished, published}
    (one,) = (one for one in due if one.id == published)
    desk.publish(device_topic("L1", "L1-001", Kind.COMMAND), one.wire(), stage.services.mqtt_gateway_url)
    until(lambda: lane.gate_openings == 1, 5, "the lane did not obey")
    stage.gateway().start()  # the lane's answer was heard by nobody
    for command_id in (unpublished, published):
        assert desk.await_state(command_id, CommandState.ACKNOWLEDGED).tries >= 2
    assert Counter(lane.executed) == {str(unpublished): 1, str(published): 1}
    assert lane.answered_again >= 1


def test_a_gateway_that_is_killed_over_and_over_leaves_every_command_executed_once(stage: Stage, desk: Desk) -> None:
    gateway, rng = stage.gateway(), random.Random(5)
    gateway.start()
    lane = desk.start_lane("L2-001")
    ordered = []
    for _ in range(3):
        for _ in range(25):
            ordered.append(desk.order("L2-001"))
            time.sleep(rng.uniform(0, 0.01))
        gateway.kill()
        gateway.start()
    for command_id in ordered:
        desk.await_state(command_id, CommandState.ACKNOWLEDGED)
    assert Counter(lane.executed) == dict.fromkeys(map(str, ordered), 1)


def test_a_fee_answer_that_reaches_nobody_ends_within_its_five_seconds(stage: Stage, desk: Desk) -> None:
    stage.gateway().start()
    began = time.monotonic()
    command_id = desk.order("L1-004", CommandKind.FEE_ANSWER, record_no=1)
    row = desk.await_state(command_id, CommandState.TIMED_OUT)
    assert 4.9 < time.monotonic() - began < 6.5
    assert row.tries >= 3
    lane = desk.start_lane("L1-004")
    time.sleep(1.5)
    assert lane.executed == []


def test_a_device_that_was_away_gets_the_newest_status_list_only(stage: Stage, desk: Desk) -> None:
    ordered = [
        desk.order(
            "L1-001",
            CommandKind.STATUS_LIST,
            cause=f"status_list:{version}",
            version=str(version),
            base=None,
            entries=[],
        )
        for version in (1, 2, 3)
    ]
    lane = desk.start_lane("L1-001")
    stage.gateway().start()
    desk.await_state(ordered[2], CommandState.ACKNOWLEDGED)
    assert [desk.row(command_id).state for command_id in ordered[:2]] == [CommandState.SUPERSEDED] * 2
    assert lane.executed == [str(ordered[2])]
    assert lane.memory.list_version == "3"


def test_two_gateways_share_the_commands_and_each_ends_once(stage: Stage, desk: Desk) -> None:
    stage.gateway("a").start()
    stage.gateway("b").start()
    lanes = [desk.start_lane(code) for code in DEVICES]
    online = "SELECT count(*) FROM device_liveness WHERE online"
    until(lambda: stage.query(online) == [(len(DEVICES),)], 10, "the gateways have not heard all lanes")
    ordered = [desk.order(DEVICES[number % len(DEVICES)]) for number in range(200)]
    rows = [desk.await_state(command_id, CommandState.ACKNOWLEDGED) for command_id in ordered]
    assert {row.tries for row in rows} == {1}, "both gateways sent a command"
    assert Counter(one for lane in lanes for one in lane.executed) == dict.fromkeys(map(str, ordered), 1)
    assert sum(lane.answered_again for lane in lanes) == 0


def test_foreign_and_malformed_answers_are_dead_letters_and_late_ones_change_nothing(stage: Stage, desk: Desk) -> None:
    command_id = desk.order("L1-001", CommandKind.FEE_ANSWER, record_no=1)
    stage.gateway().start()
    desk.await_state(command_id, CommandState.TIMED_OUT)
    waiting = desk.order("L1-002", CommandKind.TARIFF, tariffs=[])

    def ack(code: str, **fields: object) -> None:
        payload = {"at": "2026-11-23T10:00:00+08:00", "result": "done"} | fields
        desk.publish(device_topic("L1", code, Kind.COMMAND_ACK), json.dumps(payload).encode())

    ack("L1-001", id=str(command_id))  # late
    ack("L1-001", id=str(uuid.uuid4()))  # nobody gave it
    ack("L1-001", id=str(waiting))  # another device's
    ack("L1-001", id="no uuid")
    ack("L1-001", id=str(waiting), reason="\0")
    until(lambda: stage.count("dead_letters") == 3, 10, "not three dead letters")
    reasons = stage.query("SELECT reason, count(*) FROM dead_letters GROUP BY 1 ORDER BY 1")
    assert reasons == [("foreign_command", 1), ("invalid", 2)]
    until(lambda: desk.row(command_id).answer is not None, 5, "the late answer is not kept")
    assert desk.row(command_id).state is CommandState.TIMED_OUT
    assert desk.row(waiting).state is CommandState.SENT
