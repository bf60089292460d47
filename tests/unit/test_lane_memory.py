"""A simulated lane's memory: numbers without gaps and commands executed once, wherever the power fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from simulators import lane_memory
from simulators.lane_memory import KEPT_COMMANDS, LaneMemory

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ACTIONS = st.lists(st.sampled_from(["record", "send", "serial", "begin", "end", "list", "restart"]), max_size=40)


@given(ACTIONS)
def test_a_restart_at_any_moment_changes_nothing(tmp_path_factory: pytest.TempPathFactory, actions: list[str]) -> None:
    path = tmp_path_factory.mktemp("lane") / "lane.journal"
    kept, plain = LaneMemory(path), LaneMemory()
    for number, action in enumerate(actions):
        if action == "restart":
            kept.close()
            kept = LaneMemory(path)
            continue
        for memory in (kept, plain):
            perform(memory, action, number)
    kept.close()
    kept = LaneMemory(path)
    assert kept.last_record_no == plain.last_record_no == actions.count("record")
    assert kept.unsent == plain.unsent
    assert kept.terminal_serial == plain.terminal_serial == actions.count("serial")
    assert kept.status_list == plain.status_list
    assert [kept.answer_of(f"c{n}") for n in range(len(actions))] == [
        plain.answer_of(f"c{n}") for n in range(len(actions))
    ]
    kept.close()


def perform(memory: LaneMemory, action: str, number: int) -> None:
    match action:
        case "record":
            memory.new_record({"event": "entry"})
        case "send":
            for record_no in list(memory.unsent)[:1]:
                memory.sent(record_no)
        case "serial":
            memory.next_serial()
        case "begin":
            memory.begin(f"c{number}")
        case "end":
            memory.end(f"c{number}", {"result": "done"})
        case "list":
            memory.keep_status_list({"version": number})


def test_a_command_that_the_power_cut_short_is_refused_and_never_executed_again(tmp_path: Path) -> None:
    memory = LaneMemory(tmp_path / "lane.journal")
    assert memory.answer_of("c1") is None
    memory.begin("c1")
    memory.close()
    again = LaneMemory(tmp_path / "lane.journal")
    assert again.answer_of("c1") == {"result": "refused", "reason": "interrupted"}
    again.close()


def test_a_line_that_was_half_written_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "lane.journal"
    memory = LaneMemory(path)
    memory.new_record({"event": "entry"})
    memory.close()
    with path.open("a") as journal:
        journal.write('{"record": {"rec')
    again = LaneMemory(path)
    assert again.new_record({"event": "exit"})["record_no"] == 2
    again.close()
    last = LaneMemory(path)
    assert list(last.unsent) == [1, 2]
    last.close()


def test_a_long_journal_is_written_anew_and_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_memory, "_COMPACT_AFTER", 10)
    path = tmp_path / "lane.journal"
    memory = LaneMemory(path)
    for _ in range(20):
        memory.sent(memory.new_record({"event": "entry"})["record_no"])
    memory.end("c1", {"result": "done"})
    memory.keep_tariffs({"tariffs": []})
    memory.close()
    again = LaneMemory(path)
    assert len(path.read_text("utf-8").splitlines()) < 10
    assert (again.last_record_no, again.unsent, again.tariffs) == (20, {}, {"tariffs": []})
    assert again.answer_of("c1") == {"result": "done"}
    again.close()


def test_ids_are_kept_for_a_thousand_commands() -> None:
    memory = LaneMemory()
    for number in range(KEPT_COMMANDS + 1):
        memory.end(f"c{number}", {"result": "done"})
    assert memory.answer_of("c0") is None
    assert memory.answer_of("c1") == {"result": "done"}
