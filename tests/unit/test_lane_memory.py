"""A simulated lane's memory: numbers without gaps and commands executed once, wherever the power fails."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators import lane_memory
from simulators.lane_memory import HOUR, KEPT_COMMANDS, LaneMemory

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ENTRY = {"event": "entry", "at": NOON.isoformat()}
ACTIONS = st.lists(
    st.sampled_from(
        ["record", "send", "serial", "begin", "end", "list", "total", "expect", "come", "forget", "compact", "restart"]
    ),
    max_size=40,
)


@given(ACTIONS)
def test_a_restart_at_any_moment_changes_nothing(tmp_path_factory: pytest.TempPathFactory, actions: list[str]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        restart_and_compare(tmp_path_factory, monkeypatch, actions)


def restart_and_compare(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, actions: list[str]
) -> None:
    path = tmp_path_factory.mktemp("lane") / "lane.journal"
    kept, plain = LaneMemory(path), LaneMemory()
    for number, action in enumerate(actions):
        if action in {"restart", "compact"}:
            monkeypatch.setattr(lane_memory, "_COMPACT_AFTER", 0 if action == "compact" else 5_000)
            kept.close()
            kept = LaneMemory(path)
            continue
        for memory in (kept, plain):
            perform(memory, action, number)
    kept.close()
    kept = LaneMemory(path)
    assert kept.last_record_no == plain.last_record_no >= actions.count("record")
    assert kept.unsent == plain.unsent
    assert kept.terminal_serial == plain.terminal_serial == actions.count("serial")
    assert kept.list_version == plain.list_version
    assert [kept.is_listed("card", str(n)) for n in range(40)] == [plain.is_listed("card", str(n)) for n in range(40)]
    for now in (NOON - timedelta(days=1), NOON, NOON + timedelta(days=60)):
        assert kept.expected(now) == plain.expected(now)
    assert kept.hours_to_tell(NOON) == plain.hours_to_tell(NOON)
    assert [kept.answer_of(f"c{n}") for n in range(len(actions))] == [
        plain.answer_of(f"c{n}") for n in range(len(actions))
    ]
    kept.close()


def moment(number: int) -> str:
    """Actions are 20 minutes apart."""
    return (NOON - timedelta(days=1) + number * timedelta(minutes=20)).isoformat()


def promise(reservation: str, begins: str, until: str, plate: str = "苏B12345") -> dict[str, str]:
    return {"plate": plate, "from": begins, "until": until, "reservation": reservation}


def perform(memory: LaneMemory, action: str, number: int) -> None:
    match action:
        case "record":
            memory.new_record({"event": "exit", "at": moment(number), "etc": {"amount_fen": 100}})
        case "total":
            for hour, count, fen in memory.hours_to_tell(datetime.fromisoformat(moment(number))):
                memory.new_record({"event": "hour_total", "hour": hour.isoformat(), "count": count, "amount_fen": fen})
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
            memory.keep_status_list({"version": str(number), "base": None, "entries": [["card", str(number), 1]]})
        case _:
            perform_promise(memory, action, number)


def perform_promise(memory: LaneMemory, action: str, number: int) -> None:
    match action:
        case "expect":
            memory.expect(promise(f"R{number % 3}", moment(number), moment(number + 9)), moment(number))
        case "come":
            memory.came(f"R{number % 3}")
        case "forget":
            memory.forget(f"R{number % 2}", moment(number))


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
    memory.new_record(ENTRY)
    memory.close()
    with path.open("a") as journal:
        journal.write('{"record": {"rec')
    again = LaneMemory(path)
    assert again.new_record(ENTRY)["record_no"] == 2
    again.close()
    last = LaneMemory(path)
    assert list(last.unsent) == [1, 2]
    last.close()


def test_a_long_journal_is_written_anew_and_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_memory, "_COMPACT_AFTER", 10)
    path = tmp_path / "lane.journal"
    memory = LaneMemory(path)
    for _ in range(20):
        memory.sent(memory.new_record(ENTRY)["record_no"])
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


def test_a_lane_tells_each_full_hour_once_and_quiet_hours_too() -> None:
    memory = LaneMemory()
    assert memory.hours_to_tell(NOON) == []
    at = NOON - timedelta(minutes=150)  # 09:30
    memory.new_record({"event": "entry", "at": at.isoformat()})
    memory.new_record({"event": "exit", "at": at.isoformat(), "etc": {"amount_fen": 700}})
    memory.new_record({"event": "fee_request", "at": NOON.isoformat()})
    nine = NOON - timedelta(hours=3)
    due = [(nine, 2, 700), (nine + HOUR, 0, 0), (nine + 2 * HOUR, 0, 0)]
    assert memory.hours_to_tell(NOON + timedelta(minutes=59)) == due
    for hour, count, fen in due:
        memory.new_record({"event": "hour_total", "hour": hour.isoformat(), "count": count, "amount_fen": fen})
    assert memory.hours_to_tell(NOON + timedelta(minutes=59)) == []
    assert memory.hours_to_tell(NOON + timedelta(hours=1)) == [(NOON, 1, 0)]


def test_increments_of_the_status_list_fit_or_are_refused() -> None:
    memory = LaneMemory()
    assert not memory.keep_status_list({"version": "2", "base": "1", "entries": []})
    assert memory.keep_status_list({"version": "1", "base": None, "entries": [["card", "A", 1], ["obu", "B", 2]]})
    assert memory.keep_status_list({"version": "2", "base": "1", "entries": [["card", "A", None], ["card", "C", 7]]})
    assert [memory.is_listed(*one) for one in (("card", "A"), ("obu", "B"), ("card", "C"), ("obu", "C"))] == [
        False,
        True,
        True,
        False,
    ]
    assert memory.keep_status_list({"version": "3", "base": None, "entries": []})
    assert not memory.is_listed("obu", "B")
    assert memory.list_version == "3"


def test_a_status_list_that_is_not_newer_is_done_and_changes_nothing(tmp_path: Path) -> None:
    memory = LaneMemory(tmp_path / "lane.journal")
    assert memory.keep_status_list({"version": "2", "base": None, "entries": [["card", "A", 1]]})
    assert memory.keep_status_list({"version": "1", "base": None, "entries": []}), "it came late"
    assert memory.keep_status_list({"version": "2", "base": "0", "entries": [["card", "A", None]]}), "it came again"
    assert (memory.list_version, memory.is_listed("card", "A")) == ("2", True)
    memory.close()
    again = LaneMemory(tmp_path / "lane.journal")
    assert (again.list_version, again.is_listed("card", "A")) == ("2", True)
    again.close()


def hour(number: float) -> datetime:
    return NOON + timedelta(hours=number)


def said(number: float) -> str:
    return hour(number).isoformat()


def test_a_vehicle_is_expected_within_its_times_and_then_dropped() -> None:
    memory = LaneMemory()
    memory.expect(promise("R1", said(1), said(3)), said(0))
    memory.expect(promise("R2", said(2), said(9), "苏BD23456"), said(0))
    assert [one.reservation for one in memory.expected(hour(0))] == ["R1", "R2"]
    assert memory.reservation_of("苏B12345", hour(0.9)) is None
    assert memory.reservation_of("苏B12345", hour(1)) == memory.reservation_of("苏B12345", hour(2.9)) == "R1"
    assert memory.reservation_of("苏B99999", hour(2)) is None
    assert memory.reservation_of("苏B12345", hour(3)) is None
    assert [one.reservation for one in memory.expected(hour(3))] == ["R2"]


def test_a_promise_that_is_over_is_forgotten_and_a_repeated_older_word_does_not_bring_it_back() -> None:
    memory = LaneMemory()
    memory.expect(promise("R1", said(1), said(9)), said(0))
    memory.forget("R1", said(0.5))
    memory.expect(promise("R1", said(1), said(9)), said(0.2))
    assert memory.expected(hour(1)) == []
    memory.expect(promise("R1", said(1), said(5)), said(0.7))  # said anew
    assert memory.reservation_of("苏B12345", hour(4)) == "R1"
    memory.forget("R9", said(0))  # overtook the promise that it ends
    memory.expect(promise("R9", said(1), said(5), "苏BD23456"), said(-1))
    assert memory.reservation_of("苏BD23456", hour(2)) is None


def test_who_came_has_come_also_where_the_times_are_said_anew() -> None:
    memory = LaneMemory()
    memory.expect(promise("R1", said(1), said(9)), said(0))
    memory.came("R1")
    memory.came("R7")  # nobody promised it anything
    memory.expect(promise("R1", said(1), said(12)), said(2))
    assert [(one.came, one.until_at) for one in memory.expected(hour(3))] == [(True, hour(12))]
