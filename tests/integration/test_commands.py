"""Commands as rows: queued once a cause, claimed by one gateway, ended by the device that they were given to."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
import pytest

from gateway.messages import RawMessage
from parking_core.commands import (
    POLICIES,
    AckResult,
    CommandAck,
    CommandKind,
    CommandOrder,
    CommandState,
)
from parking_core.flows.seed_district import seed_district
from parking_core.store import commands
from tests.builders import a_district

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from onebox.services import RunningServices
    from parking_core.commands import DueCommand
    from parking_core.store.commands import AcksRecorded

pytestmark = pytest.mark.services

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
T = TypeVar("T")


class Desk:
    """A database with two lots of three devices; devices are named by their numbers 1 to 6."""

    def __init__(self, url: str) -> None:
        self.url = url
        seed_district(url, a_district(lots=2, spaces=3))
        self.connection = psycopg.connect(url, autocommit=True)
        self.devices = [row[0] for row in self.connection.execute("SELECT id FROM devices ORDER BY id").fetchall()]

    def order(self, device: int, kind: CommandKind, cause: str, **payload: Any) -> CommandOrder:
        return CommandOrder(self.devices[device - 1], kind, payload, cause)

    def queue(self, *orders: CommandOrder, now: datetime = NOON) -> list[uuid.UUID]:
        with self.connection.transaction():
            return commands.queue(self.connection, orders, now)

    def states(self) -> dict[uuid.UUID, CommandState]:
        return {row.id: row.state for row in commands.recent(self.connection)}

    def asynchronously(self, call: Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]) -> T:
        async def run() -> T:
            async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
                return await call(connection)

        return asyncio.run(run())

    def claim(self, now: datetime = NOON, most: int = 100) -> list[DueCommand]:
        return self.asynchronously(lambda connection: commands.claim_due(connection, now, most))

    def mark_sent(self, ids: Sequence[uuid.UUID], now: datetime = NOON) -> int:
        return self.asynchronously(lambda connection: commands.mark_sent(connection, ids, now))

    def time_out(self, now: datetime) -> list[CommandKind]:
        return self.asynchronously(lambda connection: commands.time_out(connection, now, 100))

    def answer(self, *acks: CommandAck) -> AcksRecorded:
        return self.asynchronously(lambda connection: commands.record_acks(connection, acks))

    def ack(self, command: uuid.UUID, device: int, result: AckResult = AckResult.DONE) -> CommandAck:
        message = RawMessage("t", b"{}", 1, False, 0, 1)  # noqa: FBT003  # a record's field
        us = int(NOON.timestamp()) * 1_000_000
        return CommandAck(command, self.devices[device - 1], result, None, us, us + 5, False, message)  # noqa: FBT003  # a record's field too


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    desk = Desk(database_url)
    yield desk
    desk.connection.close()


def test_a_cause_that_is_processed_again_commands_nothing_twice(desk: Desk) -> None:
    order = desk.order(1, CommandKind.OPEN_GATE, "payment_notice:3")
    first = desk.queue(order)
    assert len(first) == 1
    assert desk.queue(order, desk.order(2, CommandKind.OPEN_GATE, "payment_notice:3")) != []
    assert desk.queue(order) == []
    assert len(desk.states()) == 2


def test_a_cause_that_is_undone_commands_nothing(desk: Desk) -> None:
    with desk.connection.transaction(force_rollback=True):
        commands.queue(desk.connection, [desk.order(1, CommandKind.OPEN_GATE, "x")], NOON)
    assert desk.claim() == []


def test_gateways_hear_of_it_when_the_cause_commits(desk: Desk) -> None:
    with psycopg.connect(desk.url, autocommit=True) as listener:
        listener.execute("LISTEN commands")
        with desk.connection.transaction():
            commands.queue(desk.connection, [desk.order(1, CommandKind.OPEN_GATE, "x")], NOON)
            assert list(listener.notifies(timeout=0.1, stop_after=1)) == []
        assert len(list(listener.notifies(timeout=5, stop_after=1))) == 1


def test_what_is_claimed_holds_everything_that_is_published(desk: Desk) -> None:
    (command_id,) = desk.queue(desk.order(4, CommandKind.OPEN_GATE, "x", reason="paid"))
    (due,) = desk.claim()
    assert (due.id, due.kind, due.lot, due.device) == (command_id, CommandKind.OPEN_GATE, "L2", "L2-001")
    assert (due.created_at, due.deadline_at) == (NOON, NOON + 15 * SECOND)
    assert (due.payload, due.tries) == ({"reason": "paid"}, 1)


def test_an_order_may_name_its_own_deadline(desk: Desk) -> None:
    deadline = NOON + timedelta(seconds=3)
    desk.queue(CommandOrder(desk.devices[0], CommandKind.FEE_ANSWER, {}, "lane_event:1", deadline))
    assert desk.claim()[0].deadline_at == deadline


def test_what_is_not_answered_is_due_again_until_the_most_tries_and_then_waits_for_its_deadline(desk: Desk) -> None:
    policy = POLICIES[CommandKind.FEE_ANSWER]
    (command_id,) = desk.queue(
        CommandOrder(desk.devices[0], CommandKind.FEE_ANSWER, {}, "lane_event:1", NOON + 60 * SECOND)
    )
    now, claimed = NOON, []
    for _ in range(30):
        claimed += [due.tries for due in desk.claim(now)]
        desk.mark_sent([command_id], now)
        now += policy.retry
    assert claimed == list(range(1, policy.most_tries + 1))
    assert desk.states() == {command_id: CommandState.SENT}
    assert desk.time_out(NOON + 60 * SECOND) == [CommandKind.FEE_ANSWER]
    assert desk.states() == {command_id: CommandState.TIMED_OUT}


def test_a_command_is_not_due_before_its_retry_interval_nor_after_its_deadline(desk: Desk) -> None:
    desk.queue(desk.order(1, CommandKind.OPEN_GATE, "x"))
    assert len(desk.claim()) == 1
    assert desk.claim(NOON + 1.9 * SECOND) == []
    assert len(desk.claim(NOON + 2 * SECOND)) == 1
    assert desk.claim(NOON + 15 * SECOND) == []
    assert desk.time_out(NOON + 14 * SECOND) == []
    assert desk.time_out(NOON + 15 * SECOND) == [CommandKind.OPEN_GATE]
    assert desk.time_out(NOON + 16 * SECOND) == []


def test_of_two_gateways_that_claim_at_once_each_takes_other_commands(desk: Desk) -> None:
    queued = desk.queue(*(desk.order(n % 6 + 1, CommandKind.OPEN_GATE, f"x{n}") for n in range(40)))

    async def both() -> tuple[list[DueCommand], list[DueCommand]]:
        connect = psycopg.AsyncConnection.connect
        async with await connect(desk.url) as one, await connect(desk.url) as other:
            mine = await commands.claim_due(one, NOON, 25)  # not committed: its rows are locked
            return mine, await commands.claim_due(other, NOON, 25)

    mine, others = asyncio.run(both())
    assert len(mine) == 25
    assert len(others) == 15
    assert {due.id for due in mine + others} == set(queued)


def test_a_newer_status_list_supersedes_the_unfinished_older_ones_of_that_device(desk: Desk) -> None:
    (old,) = desk.queue(desk.order(1, CommandKind.STATUS_LIST, "status_list:1"))
    (elsewhere,) = desk.queue(desk.order(2, CommandKind.STATUS_LIST, "status_list:1"))
    (gate,) = desk.queue(desk.order(1, CommandKind.OPEN_GATE, "status_list:1"))
    desk.mark_sent([due.id for due in desk.claim()])
    second, third = desk.queue(
        desk.order(1, CommandKind.STATUS_LIST, "status_list:2"), desk.order(1, CommandKind.STATUS_LIST, "status_list:3")
    )
    assert desk.states() == {
        old: CommandState.SUPERSEDED,
        second: CommandState.SUPERSEDED,
        third: CommandState.QUEUED,
        elsewhere: CommandState.SENT,
        gate: CommandState.SENT,
    }
    newer = desk.connection.execute("SELECT id, superseded_by FROM commands WHERE superseded_by IS NOT NULL").fetchall()
    assert dict(newer) == {old: third, second: third}
    assert desk.queue(desk.order(1, CommandKind.STATUS_LIST, "status_list:1")) == [], "known, so nothing is newer"
    assert desk.states()[third] is CommandState.QUEUED


@pytest.mark.parametrize(
    ("result", "state"),
    [
        (AckResult.DONE, CommandState.ACKNOWLEDGED),
        (AckResult.REFUSED, CommandState.REFUSED),
        (AckResult.UNKNOWN, CommandState.REFUSED),
    ],
)
def test_an_answer_ends_its_command(desk: Desk, result: AckResult, state: CommandState) -> None:
    (command_id,) = desk.queue(desk.order(1, CommandKind.OPEN_GATE, "x"))
    assert desk.answer(desk.ack(command_id, 1, result)).finished == (0,)
    row = commands.get(desk.connection, command_id)
    assert row is not None
    assert row.state is state
    assert row.ended_at == NOON + timedelta(microseconds=5)
    assert row.answer == {"result": result.value, "reason": None, "at": NOON.isoformat()}
    assert desk.mark_sent([command_id]) == 0, "the answer overtook the note that it was sent, and stands"
    assert desk.claim(NOON + 5 * SECOND) == []


def test_a_repeated_a_late_an_unknown_and_a_foreign_answer_change_no_command(desk: Desk) -> None:
    done, late, foreign = desk.queue(*(desk.order(1, CommandKind.OPEN_GATE, cause) for cause in "abc"))
    desk.answer(desk.ack(done, 1))
    (other,) = desk.queue(desk.order(1, CommandKind.FEE_ANSWER, "d"))
    assert len(desk.time_out(NOON + 10 * SECOND)) == 1
    recorded = desk.answer(
        desk.ack(done, 1, AckResult.REFUSED),
        desk.ack(other, 1),
        desk.ack(uuid.uuid4(), 1),
        desk.ack(foreign, 2),
        desk.ack(late, 1),
        desk.ack(late, 1, AckResult.REFUSED),
    )
    assert recorded.late == (0, 1, 5)
    assert recorded.unknown == (2,)
    assert recorded.foreign == (3,)
    assert recorded.finished == (4,)
    assert desk.states() == {
        done: CommandState.ACKNOWLEDGED,
        other: CommandState.TIMED_OUT,
        foreign: CommandState.QUEUED,
        late: CommandState.ACKNOWLEDGED,
    }
    row = commands.get(desk.connection, other)
    assert row is not None
    assert row.answer is not None, "what the device did is known, although it came too late to count"
    assert commands.get(desk.connection, done).answer["result"] == "done"  # type: ignore[index, union-attr]  # it is there


def test_when_the_next_one_is_due(desk: Desk) -> None:
    assert desk.asynchronously(commands.next_due) is None
    desk.queue(desk.order(1, CommandKind.OPEN_GATE, "x"))
    assert desk.asynchronously(commands.next_due) == NOON
    desk.claim()
    assert desk.asynchronously(commands.next_due) == NOON + 2 * SECOND


def test_a_device_that_comes_back_is_told_at_once_what_it_has_not_answered(desk: Desk) -> None:
    tariff, gate = desk.queue(*(desk.order(1, kind, "x") for kind in (CommandKind.TARIFF, CommandKind.OPEN_GATE)))
    desk.queue(desk.order(2, CommandKind.TARIFF, "x"))
    desk.mark_sent([due.id for due in desk.claim()])
    desk.answer(desk.ack(gate, 1))
    (fresh,) = desk.queue(desk.order(1, CommandKind.FEE_ANSWER, "y"))
    later = NOON + SECOND / 2
    assert [due.id for due in desk.claim(later)] == [fresh]
    desk.mark_sent([fresh], later)
    assert desk.claim(later) == []
    hastened = desk.asynchronously(lambda connection: commands.hasten(connection, desk.devices[:1], later))
    assert hastened == 1
    assert [due.id for due in desk.claim(later)] == [tariff]


def test_the_words_of_unfinished_states_in_the_statements_are_those_of_the_life_cycle(desk: Desk) -> None:
    definitions = desk.connection.execute(
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'commands'::regclass AND indpred IS NOT NULL"
        " AND pg_get_indexdef(indexrelid) LIKE '%state%'"
    ).fetchall()
    assert len(definitions) == 2
    plan = desk.connection.execute(f"EXPLAIN {commands._NEXT_DUE}".encode()).fetchall()
    assert any("commands_due" in line for (line,) in plan), plan


def test_a_gateway_may_claim_and_answer_and_neither_order_nor_forget(desk: Desk, services: RunningServices) -> None:
    name = psycopg.conninfo.conninfo_to_dict(desk.url)["dbname"]
    (command_id,) = desk.queue(desk.order(1, CommandKind.OPEN_GATE, "x"))

    async def as_gateway() -> AcksRecorded:
        async with await psycopg.AsyncConnection.connect(
            services.database_urls["gateway"], dbname=name, autocommit=True
        ) as connection:
            (due,) = await commands.claim_due(connection, NOON, 10)
            await commands.mark_sent(connection, [due.id], NOON)
            await commands.time_out(connection, NOON, 10)
            await commands.next_due(connection)
            await commands.listen(connection)
            for forbidden in ("INSERT INTO commands DEFAULT VALUES", "DELETE FROM commands"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await connection.execute(forbidden)
            return await commands.record_acks(connection, [desk.ack(command_id, 1)])

    assert asyncio.run(as_gateway()).finished == (0,)
