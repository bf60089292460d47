"""What moves in the field: each command once, in the order in which it was given, and never against a vehicle."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from gateway.downlinks import message_of
from parking_core.commands import POLICIES, CommandKind, DueCommand, moving_the_same
from parking_core.errors import InvalidInputError
from parking_core.flows.command_device import FAMILY_OF, checked_body
from simulators.field_devices import GuidanceSign, ParkingLock
from simulators.lane_controller import AckFaults, LaneController, LaneName
from simulators.lane_memory import LaneMemory

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
_ids = itertools.count(1)


def a_command(kind: str, *, after_s: float = 0, **body: Any) -> dict[str, Any]:
    at = NOW + timedelta(seconds=after_s)
    deadline = NOW + timedelta(hours=1)
    return {
        "id": str(UUID(int=next(_ids))),
        "kind": kind,
        "at": at.isoformat(),
        "deadline": deadline.isoformat(),
        "body": body,
    }


def a_due(kind: CommandKind = CommandKind.CONFIGURE, **other: Any) -> DueCommand:
    facts: dict[str, Any] = {
        "id": UUID(int=5),
        "kind": kind,
        "lot": "L1",
        "device": "D1",
        "created_at": NOW,
        "deadline_at": NOW + timedelta(days=1),
        "payload": {"name": "uploadInterval", "values": {"uploadInterval": 6}},
        "tries": 1,
        "network": "chirpstack",
        "eui": "00c0ffee00000001",
        "application": "a-1",
        "family": "dingtek",
        "model": "do202",
    }
    return DueCommand(**(facts | other))


def test_a_repeated_command_is_answered_again_and_executed_once() -> None:
    lock = ParkingLock("L1", "P1", "")
    command = a_command("lower_lock")
    first = lock.obey(command, NOW)
    lock.is_raised = True
    assert lock.obey(command, NOW)["result"] == first["result"] == "done"
    assert lock.is_raised, "not lowered again"
    assert (len(lock.executed), lock.answered_again) == (1, 1)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_whatever_the_order_of_arrival_the_newest_counts(order: tuple[int, ...]) -> None:
    commands = [
        a_command(kind, after_s=number) for number, kind in enumerate(("raise_lock", "lower_lock", "raise_lock"))
    ]
    lock = ParkingLock("L1", "P1", "")
    for place in order:
        lock.obey(commands[place], NOW)
    assert lock.is_raised
    memory = LaneMemory()
    lane = LaneController(LaneName("L1", "X1"), "mqtt://127.0.0.1:1", memory)
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    kinds = [("unlock_gate", {}), ("lower_gate", {}), ("lock_gate_open", {"until": until})]
    moves = [a_command(kind, after_s=number, **body) for number, (kind, body) in enumerate(kinds)]
    for place in order:
        move = moves[place] | {"deadline": until}
        lane._execute(move)
    assert memory.open_until is not None


def test_a_lock_does_not_rise_below_a_vehicle_and_a_gate_does_not_fall_on_one() -> None:
    lock = ParkingLock("L1", "P1", "", is_raised=False, vehicle_above=True)
    assert lock.obey(a_command("raise_lock"), NOW)["reason"] == "vehicle_above"
    assert not lock.is_raised
    lane = LaneController(LaneName("L1", "X1"), "mqtt://127.0.0.1:1", LaneMemory())
    lane.vehicle_below = True
    late = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert lane._execute(a_command("lower_gate") | {"deadline": late}) == {
        "result": "refused",
        "reason": "vehicle_below",
    }


def test_what_is_late_or_unknown_is_not_executed() -> None:
    sign = GuidanceSign("L1", "S1", "")
    assert sign.obey(a_command("raise_lock"), NOW)["result"] == "unknown"
    late = a_command("show_sign", lines=["x"], counts={}) | {"deadline": NOW.isoformat()}
    assert sign.obey(late, NOW)["reason"] == "too_late"
    assert sign.obey(a_command("show_sign", lines=["车位"], counts={"A": 12}), NOW)["result"] == "done"
    assert (sign.lines, sign.counts) == (["车位"], {"A": 12})


def test_a_gate_that_is_locked_open_stays_so_over_a_power_cut(tmp_path: Path) -> None:
    memory = LaneMemory(tmp_path / "lane")
    assert memory.moved(NOW.isoformat(), (NOW + timedelta(hours=2)).isoformat())
    memory.close()
    again = LaneMemory(tmp_path / "lane")
    assert again.open_until == NOW + timedelta(hours=2)
    assert not again.moved((NOW - timedelta(seconds=1)).isoformat(), None), "it was given before"
    again.close()


def test_faults_of_answers_happen_as_often_as_wanted() -> None:
    faults = AckFaults(lost=0.2, twice=0.1)
    copies = [faults.copies() for _ in range(10_000)]
    assert 1_800 < copies.count(0) < 2_200
    assert 850 < copies.count(2) < 1_150
    assert AckFaults().copies() == 1


def test_kinds_that_move_the_same_thing_end_one_another() -> None:
    gate = {CommandKind.LOWER_GATE, CommandKind.LOCK_GATE_OPEN, CommandKind.UNLOCK_GATE}
    assert all(set(moving_the_same(kind)) == gate for kind in gate)
    assert set(moving_the_same(CommandKind.RAISE_LOCK)) == {CommandKind.RAISE_LOCK, CommandKind.LOWER_LOCK}
    assert moving_the_same(CommandKind.OPEN_GATE) == ()
    assert moving_the_same(CommandKind.TARIFF) == (CommandKind.TARIFF,)
    assert POLICIES.keys() == set(CommandKind)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (CommandKind.LOWER_GATE, {"fast": True}),
        (CommandKind.LOCK_GATE_OPEN, {}),
        (CommandKind.LOCK_GATE_OPEN, {"until": "soon"}),
        (CommandKind.LOCK_GATE_OPEN, {"until": "2026-11-23T13:00:00"}),
        (CommandKind.LOCK_GATE_OPEN, {"until": "2026-11-23T11:00:00Z"}),
        (CommandKind.LOCK_GATE_OPEN, {"until": "2026-11-25T12:00:01Z"}),
        (CommandKind.SHOW_SIGN, {"lines": "x"}),
        (CommandKind.SHOW_SIGN, {"lines": ["x"] * 9}),
        (CommandKind.SHOW_SIGN, {"lines": ["a\x00b"]}),
        (CommandKind.SHOW_SIGN, {"counts": {"A": -1}}),
        (CommandKind.SHOW_SIGN, {"counts": {"A": True}}),
        (CommandKind.SHOW_SIGN, {"counts": {"A": 1.5}}),
        (CommandKind.CONFIGURE, {}),
        (CommandKind.CONFIGURE, {"name": "x", "values": 3}),
    ],
)
def test_a_body_that_no_device_understands_is_not_ordered(kind: CommandKind, body: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        checked_body(kind, body, NOW)


def test_a_body_is_given_as_the_device_reads_it() -> None:
    until = "2026-11-23T22:00:00+08:00"
    assert checked_body(CommandKind.LOCK_GATE_OPEN, {"until": until}, NOW) == {"until": until}
    assert checked_body(CommandKind.SHOW_SIGN, {"counts": {"A": 3}}, NOW) == {"lines": [], "counts": {"A": 3}}
    assert CommandKind.FEE_ANSWER not in FAMILY_OF


def test_a_setting_reaches_a_device_in_its_networks_message() -> None:
    chirpstack, things_stack, loriot = (
        message_of(a_due(network=network, application=application))
        for network, application in (("chirpstack", "a-1"), ("things_stack", "bays@district/bay-7"), ("loriot", "bays"))
    )
    assert isinstance(chirpstack, tuple)
    assert chirpstack[0] == "application/a-1/device/00c0ffee00000001/command/down"
    said = json.loads(chirpstack[1])
    assert (said["id"], said["confirmed"], said["fPort"]) == (str(UUID(int=5)), True, 3)
    assert isinstance(things_stack, tuple)
    assert things_stack[0] == "v3/bays@district/devices/bay-7/down/push"
    (downlink,) = json.loads(things_stack[1])["downlinks"]
    assert downlink["correlation_ids"] == [f"parking:command:{UUID(int=5)}"]
    assert downlink["frm_payload"] == said["data"]
    assert isinstance(loriot, tuple)
    assert json.loads(loriot[1])["data"] == b"8002999901".hex() + b"0681".hex()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"kind": CommandKind.OPEN_GATE}, "takes no open_gate"),
        ({"family": "bosch", "model": "tps110"}, "Nothing is known"),
        ({"payload": {"name": "volume", "values": {}}}, "no setting 'volume'"),
        ({"payload": {"name": "uploadInterval", "values": {"uploadInterval": 999}}}, "999"),
        ({"application": None}, "not been heard"),
    ],
)
def test_what_a_device_cannot_be_told_says_why(other: dict[str, Any], words: str) -> None:
    problem = message_of(a_due(**other))
    assert isinstance(problem, str)
    assert words in problem
