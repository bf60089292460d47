"""Thousands of gate commands, answers lost and doubled, gateways killed in between: each executed once, none without an outcome."""

from __future__ import annotations

import statistics
import time
import uuid
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest

from parking_core.commands import UNFINISHED, CommandKind, CommandOrder
from parking_core.store import commands
from simulators.lane_controller import AckFaults
from tests.acceptance.processes import until
from tests.acceptance.test_commands import DEVICES, Desk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.acceptance.stage import Stage

pytestmark = [pytest.mark.services, pytest.mark.acceptance]

LOST, TWICE = 0.2, 0.1
_OUTCOMES = """
SELECT c.id::text, d.code, c.state, c.tries, extract(epoch FROM c.ended_at - c.created_at)
FROM commands c JOIN devices d ON d.id = c.device_id
"""


def command_them(stage: Stage, number: int, a_second: int, kills: Sequence[float]) -> None:
    """Orders gates to open at a steady rate, kills the gateway at these parts of it, and checks every command."""
    gateway = stage.gateway()
    gateway.start()
    desk = Desk(stage)
    try:
        for place, code in enumerate(DEVICES):
            desk.start_lane(code).faults = AckFaults(LOST, TWICE, seed=place)
        _order(stage, number, a_second, kills)
        until(lambda: not _unfinished(stage), 60, "commands without an outcome")
        _judge(stage, desk, number, len(kills))
    finally:
        desk.close()


def _order(stage: Stage, number: int, a_second: int, kills: Sequence[float]) -> None:
    gateway = stage.gateway()
    due = [int(part * number) for part in kills]
    ids = dict(stage.query("SELECT code, id FROM devices"))
    with psycopg.connect(stage.database_url, autocommit=True) as connection:
        begins = time.monotonic()
        for first in range(0, number, 10):
            orders = [
                CommandOrder(
                    ids[DEVICES[place % len(DEVICES)]], CommandKind.OPEN_GATE, {"reason": "paid"}, f"t:{uuid.uuid4()}"
                )
                for place in range(first, min(number, first + 10))
            ]
            now = datetime.now(UTC)
            with connection.transaction():
                commands.queue(connection, orders, now)
            if due and first >= due[0]:
                due.pop(0)
                gateway.kill()
                gateway.start()
            time.sleep(max(0.0, first / a_second - (time.monotonic() - begins)))


def _unfinished(stage: Stage) -> int:
    return int(
        stage.query("SELECT count(*) FROM commands WHERE state = ANY(%s)", [state.value for state in UNFINISHED])[0][0]
    )


def _judge(stage: Stage, desk: Desk, number: int, kills: int) -> None:
    rows = stage.query(_OUTCOMES)
    executed = Counter(command_id for lane in desk.lanes.values() for command_id in lane.executed)
    openings = sum(lane.gate_openings for lane in desk.lanes.values())
    states = Counter(state for _, _, state, _, _ in rows)
    waits = sorted(float(seconds) for _, _, state, _, seconds in rows if state == "acknowledged")
    again = sum(lane.answered_again for lane in desk.lanes.values())
    stage.report(
        f"{number} gate commands, {LOST:.0%} of the answers lost, {TWICE:.0%} twice, gateway killed {kills} times: {dict(states)}; "
        f"executed {len(executed)}, most often {max(executed.values())} times, answered again {again}; "
        f"outcome after p50 {statistics.median(waits):.2f} s, p99 {waits[int(len(waits) * 0.99)]:.2f} s; "
        f"tries {sum(row[3] for row in rows) / number:.2f} a command"
    )
    assert len(rows) == number
    assert max(executed.values()) == 1, "executed twice"
    assert openings == len(executed)
    acknowledged = {row[0] for row in rows if row[2] == "acknowledged"}
    assert acknowledged <= executed.keys(), "an answer that nobody gave"
    assert states.keys() <= {"acknowledged", "timed_out", "refused"}
    assert len(acknowledged) > 0.99 * number
    for command_id, code, *_ in rows:
        if command_id in executed:
            assert command_id in desk.lanes[code].executed, "executed by another gate"


@pytest.mark.timeout(120)
def test_hundreds_of_gate_commands_are_executed_once_each(stage: Stage) -> None:
    command_them(stage, 400, 100, kills=(0.5,))


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_ten_thousand_gate_commands_are_executed_once_each(stage: Stage) -> None:
    command_them(stage, 10_000, 150, kills=(0.2, 0.5, 0.8))
