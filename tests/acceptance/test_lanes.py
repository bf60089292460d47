"""Lanes as they run: a car comes, the lane asks, the platform answers within a second, the ledger holds it all."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiomqtt
import psycopg
import pytest

from onebox import services as onebox_services
from parking_core.broker_url import Broker
from parking_core.districts import District, LaneRecord, LotRecord
from parking_core.flows.open_gate import ManualOpening, open_gate
from parking_core.flows.publish_tariff import Binding, publish_tariff
from parking_core.flows.seed_district import seed_district
from parking_core.topics import Kind, device_topic
from simulators.lane_vehicles import Pays, new_car
from simulators.lanes import LaneTraffic, Traffic
from tests.acceptance.processes import until
from tests.tariff_rows import hourly

if TYPE_CHECKING:
    import uuid
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from simulators.lanes import LaneLot
    from tests.acceptance.stage import Stage

pytestmark = [pytest.mark.services, pytest.mark.acceptance]

LOTS = [
    LotRecord(
        code=f"P{number}",
        name=f"P{number}",
        kind="off_street",
        lat=31.5,
        lon=120.3,
        spaces=[],
        lanes=[
            LaneRecord(f"P{number}-E1", direction="entry", expected_interval_s=60),
            LaneRecord(f"P{number}-X1", direction="exit", expected_interval_s=60),
        ],
    )
    for number in (1, 2, 3)
]


@pytest.fixture
def lane_stage(stage: Stage) -> Iterator[Stage]:
    """Three lots with a way in and a way out each, at 5 yuan an hour."""
    seed_district(stage.database_url, District(name="lanes", lots=LOTS))
    since = datetime.now(UTC) - timedelta(days=30)
    with psycopg.connect(stage.database_url, autocommit=True) as connection:
        publish_tariff(connection, hourly(), Binding(since, [lot.code for lot in LOTS]), datetime.now(UTC))
    yield stage
    for process in stage.processes.values():
        process.end()
    asyncio.run(forget_status(stage.services.mqtt_url))


async def forget_status(url: str) -> None:
    """The broker keeps each lane's last word; to the next test, which has no such lanes, it would be a stranger's."""
    broker = Broker.from_url(url)
    async with aiomqtt.Client(
        broker.host, broker.port, username=broker.username, password=(broker.password or b"").decode()
    ) as client:
        for lot, lane in itertools.product(LOTS, ("E1", "X1")):
            await client.publish(device_topic(lot.code, f"{lot.code}-{lane}", Kind.STATUS), b"", qos=1, retain=True)


def play(stage: Stage, folder: Path | None, scene: Callable[[LaneTraffic], Awaitable[None]]) -> LaneTraffic:
    """Runs the lanes while a scene plays; nobody drives by himself."""

    async def run() -> LaneTraffic:
        lanes = LaneTraffic(LOTS, stage.services.mqtt_url, folder, traffic=Traffic(cars_a_minute=0.001, seed=4))
        stop = asyncio.Event()
        running = asyncio.create_task(lanes.run(stop))
        try:
            async with asyncio.timeout(120):
                for lot in lanes.lots:
                    for lane in (*lot.entries, *lot.exits):
                        await lane.connected.wait()
                await scene(lanes)
                await asyncio.to_thread(until, lambda: not unsent(lanes), 20, "a lane cannot send its records")
        finally:
            stop.set()
            await running
        return lanes

    return asyncio.run(run())


def unsent(lanes: LaneTraffic) -> int:
    """Records that the broker has not taken."""
    return sum(len(lane.memory.unsent) for lot in lanes.lots for lane in (*lot.entries, *lot.exits))


def made(lanes: LaneTraffic) -> int:
    """Records that the lanes have made since they exist."""
    return sum(lane.memory.last_record_no for lot in lanes.lots for lane in (*lot.entries, *lot.exits))


def followed(stage: Stage) -> bool:
    """Whether the worker has taken every record."""
    return stage.query("SELECT count(*) FROM lane_events WHERE processed_at IS NULL") == [(0,)]


def inside(stage: Stage, number: int) -> Callable[[], bool]:
    return lambda: stage.query("SELECT count(*) FROM visits WHERE state = 'open'") == [(number,)]


async def all_leave(lanes: LaneTraffic) -> None:
    """All cars, one after the other at each lot."""

    async def empty(lot: LaneLot) -> None:
        for car in list(lot.cars):
            await lanes.leave(lot, car)

    await asyncio.gather(*(empty(lot) for lot in lanes.lots))


def test_a_lane_is_told_the_fee_within_a_second_and_the_ledger_agrees(lane_stage: Stage) -> None:
    stage = lane_stage
    stage.gateway().start()
    stage.worker().start()

    async def scene(lanes: LaneTraffic) -> None:
        cars = sum(len(lot.cars) for lot in lanes.lots)
        await asyncio.to_thread(until, inside(stage, cars), 30, "the worker does not follow")
        await all_leave(lanes)
        for lot, _ in itertools.product(lanes.lots, range(10)):
            lanes.arrive(lot, new_car(lanes._rng, Pays.ETC), datetime.now(UTC))
        await asyncio.sleep(2.0)
        await all_leave(lanes)

    lanes = play(stage, None, scene)
    counts = lanes.counts
    times = sorted(counts.answer_s)
    stage.report(
        f"fee_request → fee_answer at the lane, {len(times)} questions from 3 lanes: "
        f"p50 {times[len(times) // 2] * 1000:.0f} ms, p99 {times[int(len(times) * 0.99)] * 1000:.0f} ms, "
        f"max {times[-1] * 1000:.0f} ms; {counts.offline} computed by the lane"
    )
    assert len(times) >= 100
    assert counts.offline == 0
    assert times[int(len(times) * 0.99)] < 1.0
    stage.await_rows(made(lanes), "lane_events")
    until(lambda: followed(stage), 20, "the worker does not follow")
    stage_agrees(stage, counts.exits)


def stage_agrees(stage: Stage, exits: int) -> None:
    """Every visit is closed and charged what its lane took, or owes it; nobody found a difference between the two."""
    assert stage.query("SELECT state, count(*) FROM visits GROUP BY 1") == [("closed", exits)]
    names = {name for (name,) in stage.query("SELECT DISTINCT name FROM differences")}
    assert names <= {"arrears", "tailgated"}, "cars of this scene follow each other closely, and nothing else is odd"
    charged, taken, owed = stage.query(
        """SELECT (SELECT sum(amount_fen) FROM charges), (SELECT sum(amount_fen) FROM etc_transactions),
                  (SELECT sum(p.amount_fen) FROM postings p JOIN accounts a ON a.id = p.account_id WHERE a.kind = 'receivable')"""
    )[0]
    assert charged == taken + owed
    assert taken > 0
    assert owed > 0
    assert stage.query("SELECT count(*) FROM dead_letters") == [(0,)]
    assert stage.query("SELECT count(*) FROM commands WHERE kind = 'fee_answer' AND state <> 'acknowledged'") == [(0,)]


def test_a_lane_without_an_answer_computes_by_its_own_tariff_and_the_platform_comes_to_the_same(
    lane_stage: Stage, tmp_path: Path
) -> None:
    stage = lane_stage
    stage.gateway().start()  # and no worker: nobody answers

    async def scene(lanes: LaneTraffic) -> None:
        exits = [lane for lot in lanes.lots for lane in lot.exits]
        told = lambda: all(lane.memory.tariffs for lane in exits)  # noqa: E731  # a condition, used once
        await asyncio.to_thread(until, told, 20, "the lanes were not told their tariff")
        for lot in lanes.lots:
            for car in lot.cars[:3]:
                await lanes.leave(lot, car)

    lanes = play(stage, tmp_path, scene)
    assert (lanes.counts.offline, lanes.counts.answered, lanes.counts.unpriced) == (9, 0, 0)
    stage.worker().start()
    stage.await_rows(made(lanes), "lane_events")
    until(lambda: followed(stage), 30, "the worker does not follow")
    assert stage.query("SELECT count(*) FROM visits WHERE state = 'closed'") == [(9,)]
    assert stage.query("SELECT count(*) FROM differences WHERE name = 'amount_differs'") == [(0,)]
    late = stage.query("SELECT payload ->> 'reason', state FROM commands WHERE kind = 'fee_answer'")
    assert {reason for reason, _ in late} <= {"too_late", "gone"}
    assert "acknowledged" not in {state for _, state in late}


def test_lanes_that_restart_number_on_without_a_gap_and_remember_who_is_inside(
    lane_stage: Stage, tmp_path: Path
) -> None:
    stage = lane_stage
    stage.gateway().start()
    stage.worker().start()

    async def come(lanes: LaneTraffic) -> None:
        for lot in lanes.lots:
            lanes.arrive(lot, new_car(lanes._rng, Pays.ETC), datetime.now(UTC))

    async def go(lanes: LaneTraffic) -> None:
        for lot in lanes.lots:
            await lanes.leave(lot, lot.cars[-1])

    first = play(stage, tmp_path, come)
    stage.await_rows(made(first), "lane_events")  # what only the broker had would be lost with it
    stage.services.children["mosquitto"].kill()  # lanes come back to a broker that knows none of them
    stage.services.children["mosquitto"].wait(10)

    said = stage.gateway().log.stat().st_size
    onebox_services.restart(stage.services, "mosquitto")
    # The killed broker may have forgotten the gateway's session: what came before it is back would be for nobody.
    until(lambda: stage.gateway().says("subscribed", said), 30, "the gateway does not come back")
    second = play(stage, tmp_path, go)
    stage.await_rows(made(second), "lane_events")
    until(lambda: followed(stage), 30, "the worker does not follow")
    for before, after in zip(first.lots, second.lots, strict=True):
        assert len(after.cars) == len(before.cars) - 1
    numbers: dict[int, list[int]] = {}
    for device, number in stage.query("SELECT device_id, record_no FROM lane_events ORDER BY 1, 2"):
        numbers.setdefault(device, []).append(number)
    assert numbers == {device: list(range(1, len(found) + 1)) for device, found in numbers.items()}
    assert stage.query("SELECT count(*) FROM lane_repeats") == [(0,)]
    hours = stage.query("SELECT device_id, hour_at, count(*) FROM lane_events WHERE event = 'hour_total' GROUP BY 1, 2")
    assert hours
    assert {count for _, _, count in hours} == {1}
    agree: list[Any] = stage.query(
        """SELECT t.hour_records, t.hour_amount_fen, count(e.id), coalesce(sum(e.amount_fen) FILTER (WHERE e.event = 'exit'), 0)
           FROM lane_events t LEFT JOIN lane_events e
             ON e.device_id = t.device_id AND e.event <> 'hour_total'
            AND e.occurred_at >= t.hour_at AND e.occurred_at < t.hour_at + interval '1 hour'
           WHERE t.event = 'hour_total' GROUP BY t.id"""
    )
    assert all((records, fen) == (ledger_records, ledger_fen) for records, fen, ledger_records, ledger_fen in agree)


def test_a_barrier_opened_by_hand_is_a_command_with_its_answer_and_an_event(lane_stage: Stage) -> None:
    stage = lane_stage
    stage.gateway().start()
    opening = ManualOpening("P2", "P2-X1", "barrier jammed, driver has paid", "chen")

    def order() -> uuid.UUID:
        with psycopg.connect(stage.database_url, autocommit=True) as connection:
            return open_gate(connection, opening, datetime.now(UTC))

    async def scene(lanes: LaneTraffic) -> None:
        (lane,) = lanes.lots[1].exits
        opened = asyncio.create_task(lane.opened(10))
        await asyncio.to_thread(order)
        assert await opened
        assert [one.gate_openings for lot in lanes.lots for one in lot.exits] == [0, 1, 0]

    play(stage, None, scene)
    off = "SELECT bool_and(NOT online) FROM device_liveness JOIN lanes USING (device_id)"
    until(lambda: stage.query(off) == [(True,)], 10, "lanes that are switched off do not say so")
    until(
        lambda: stage.query("SELECT state FROM commands WHERE kind = 'open_gate'") == [("acknowledged",)], 10, "no ack"
    )
    ((body, answer),) = stage.query("SELECT payload, answer FROM commands WHERE kind = 'open_gate'")
    assert body == {"reason": "manual", "why": "barrier jammed, driver has paid", "by": "chen"}
    assert answer["result"] == "done"
    events = "SELECT d.code FROM lane_events e JOIN devices d ON d.id = e.device_id WHERE e.event = 'manual_open'"
    until(lambda: stage.query(events) == [("P2-X1",)], 10, "the lane's own event did not come")
