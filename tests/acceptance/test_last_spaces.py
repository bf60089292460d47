"""Many drivers want the last spaces while API processes, worker and database are killed: each promise is made once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import psycopg
import pytest

from parking_core.flows.publish_tariff import Binding, publish_tariff
from simulators.lane_controller import LaneController, LaneName
from simulators.lane_memory import LaneMemory
from tests.acceptance.drivers import Driver, Figures
from tests.acceptance.processes import until
from tests.acceptance.promise_ledger import DAMAGES, faults_of
from tests.acceptance.test_lanes_killed import kill_database
from tests.shared_town import HOSPITAL, SharedTown
from tests.tariff_rows import hourly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.acceptance.processes import Process
    from tests.acceptance.stage import Stage

pytestmark = [pytest.mark.services, pytest.mark.acceptance]

ALWAYS: Final[dict[str, Any]] = {"windows": [{"days": ["any_day"], "from": "00:00", "until": "24:00"}]}
LOTS: Final = ((2, 1), (2,), (1,))  # spaces of each class: six for those who plan
AT_ONCE: Final = (4, 3)  # in the lot with the barrier, for who comes at once
PLATES: Final = 3  # of a driver
LONG_AGO: Final = datetime(2026, 1, 1, tzinfo=UTC)
THINK_S: Final = 0.3
PROGRESS: Final = 15  # promises between two kills, at least
PATIENCE_S: Final = 60.0


class Victim(StrEnum):
    """What is killed."""

    API_1 = "API 1"
    API_2 = "API 2"
    WORKER = "worker"
    GATEWAY = "gateway"
    DATABASE = "database"


@dataclass(frozen=True)
class Town:
    """The processes of a town with few spaces, and drivers who want them."""

    stage: Stage
    apis: Sequence[Process]
    barrier: LaneController
    drivers: Sequence[Driver]
    figures: Figures


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as held:
        taken = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [listener.getsockname()[1] for listener in taken]


def wanted_moment(now: datetime) -> datetime:
    """Where two days of capacity meet, so that promises take from both; nobody is due while the test runs."""
    midnight = datetime.combine(now.date(), clock(), UTC) + timedelta(days=1)
    return midnight if midnight - now > timedelta(hours=4) else midnight + timedelta(days=1)


def open_town(stage: Stage, drivers: int) -> Town:
    """Lots, accounts, a barrier, two API processes, a gateway, and a worker, which has rolled the capacity."""
    rng, figures, ports = random.Random(drivers), Figures(), free_ports(2)
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    near = (*HOSPITAL, wanted_moment(datetime.now(UTC)))
    made = []
    with psycopg.connect(stage.database_url, autocommit=True) as db:
        town = SharedTown(db)
        for spaces in LOTS:
            town.lot(spaces, windows=[ALWAYS] * len(spaces), days=0)
        at_once = town.lot(AT_ONCE, windows=[ALWAYS] * len(AT_ONCE), days=0)
        publish_tariff(db, hourly(), Binding(LONG_AGO, list(town.lots)), LONG_AGO)
        barrier = LaneController(LaneName(at_once, f"{at_once}-lane"), stage.services.mqtt_url, LaneMemory())
        for number in range(drivers):
            plates = tuple(f"苏B{number:03}{letter}{letter}" for letter in "ABC"[:PLATES])
            person = town.person(f"u{number}", plates[0])
            db.execute(
                "INSERT INTO user_plates (user_id, plate) SELECT %s, unnest(%s::text[])", (person.id, list(plates[1:]))
            )
            address, own = f"127.0.1.{number + 1}", random.Random(rng.random())
            made.append(
                Driver(person.code, town.tokens[person.code], plates, address, urls, own, near, figures, barrier)
            )
    stage.worker().start()
    stage.gateway().start()
    apis = [stage.api(port, str(number)) for number, port in enumerate(ports, 1)]
    for api in apis:
        api.start()
    until(lambda: stage.count("capacity_days") > 0, 30, "the worker offers nothing")
    return Town(stage, apis, barrier, made, figures)


def strike(town: Town, victim: Victim) -> None:
    """SIGKILL in whatever it is doing, and it starts again."""
    if victim is Victim.DATABASE:
        kill_database(town.stage)
        return
    worker, gateway = town.stage.worker(), town.stage.gateway()
    process = dict(zip(Victim, (*town.apis, worker, gateway), strict=False))[victim]
    process.kill()
    process.start()


async def hammer(town: Town, seconds: float, victims: Sequence[Victim]) -> None:
    """All drivers at once, and a kill in each part of the time: spaces are promised before, between and after the kills."""
    tls, over, figures = ssl.create_default_context(), asyncio.Event(), town.figures
    begins, pause_s = time.monotonic(), seconds / (len(victims) + 1)

    async def progress() -> None:
        figures.made = asyncio.Semaphore(0)
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(PROGRESS):
                await figures.made.acquire()

    async def kill() -> None:
        for number, victim in enumerate([*victims, None], 1):
            await progress()
            await asyncio.sleep(max(begins + number * pause_s - time.monotonic(), 0))
            if victim is not None:
                await asyncio.to_thread(strike, town, victim)
        over.set()

    async with asyncio.TaskGroup() as lanes:
        lane = lanes.create_task(town.barrier.run())
        async with asyncio.TaskGroup() as group:
            group.create_task(kill())
            for driver in town.drivers:
                group.create_task(driver.hammer(over, THINK_S, tls))
        await asyncio.to_thread(lambda: until(lambda: not town.barrier.memory.unsent, PATIENCE_S, "records wait"))
        lane.cancel()


def settle(town: Town) -> int:
    """Waits until everybody who came has a space and everybody who left is done; gives how many came."""
    inside = [driver.inside[0] for driver in town.drivers if driver.inside]
    left = [code for driver in town.drivers for code in driver.left]
    query = "SELECT count(*) FROM reservations WHERE (code = ANY(%s) AND state = 'arrived') OR (code = ANY(%s) AND state = 'completed')"

    def seated() -> bool:
        return town.stage.query(query, inside, left) == [(len(inside) + len(left),)]

    until(seated, 2 * PATIENCE_S, "cars that came are not seated, or those that left not done")
    return len(inside) + len(left)


def fight_for_spaces(stage: Stage, *, drivers: int, seconds: float, victims: Sequence[Victim]) -> Town:
    town = open_town(stage, drivers)
    begins = time.monotonic()
    asyncio.run(hammer(town, seconds, victims))
    took_s = time.monotonic() - begins
    figures, wishes = town.figures, [wish for driver in town.drivers for wish in driver.wishes]
    assert figures.faults == []
    came = settle(town)
    assert faults_of(stage.database_url, town.drivers) == []
    assert all(process.is_running for process in stage.processes.values()), "a process ended by itself"
    granted = len({answer["code"] for wish in wishes for status, answer in wish.answers if status == 201})
    cancelled = sum(len(driver.cancelled) for driver in town.drivers)
    assert came, "nobody came to the barrier"
    assert figures.answers["ask 200"] > granted / 4, "there were spaces for nearly everybody: nothing was contended"
    p50, p99 = np.percentile(np.array(figures.grant_s) * 1e3, [50, 99])
    stage.report(
        f"last {sum(map(sum, LOTS)) + sum(AT_ONCE)} spaces, {drivers} drivers for {took_s:.0f} s, {', '.join(victims)} killed: "
        f"{len(wishes)} asked, {granted} granted ({granted / took_s:.0f}/s), {cancelled} given back, {came} came to the barrier; a grant took "
        f"p50 {p50:.1f} ms, p99 {p99:.0f} ms at the client, the longest wait for an answer {figures.longest_s:.1f} s; "
        f"answers {dict(figures.answers)}, tries without one {dict(figures.losses)}; nothing oversold, lost or orphaned; "
        f"load {os.getloadavg()[0]:.1f}"
    )
    return town


def test_the_last_spaces_are_promised_once_when_an_api_process_is_killed(stage: Stage) -> None:
    town = fight_for_spaces(stage, drivers=16, seconds=10, victims=[Victim.API_1, Victim.API_2])
    for process in stage.processes.values():
        process.end()
    for damage in DAMAGES.values():
        if damage:
            stage.execute(damage)
    faults = faults_of(stage.database_url, town.drivers)
    assert {name for name in DAMAGES if not any(fault.startswith(name) for fault in faults)} == set(), faults


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_the_last_spaces_are_promised_once_when_everything_is_killed_for_a_minute(stage: Stage) -> None:
    one, two, worker, gateway, database = Victim
    victims = [one, worker, two, database, gateway, one, database, two]
    fight_for_spaces(stage, drivers=64, seconds=60, victims=victims)
