"""The life cycle of commands, the policies of their kinds, and what a device reads."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from parking_core.commands import (
    CHANGES,
    POLICIES,
    STATE_AFTER,
    UNFINISHED,
    AckResult,
    CommandKind,
    CommandState,
    DueCommand,
    may_become,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def a_command(**other: object) -> DueCommand:
    facts: dict[str, object] = {
        "id": uuid.UUID("6f1c0a52-5b7e-4f0e-9a53-0c1d2e3f4a5b"),
        "kind": CommandKind.OPEN_GATE,
        "lot": "L1",
        "device": "L1-X1",
        "created_at": NOON,
        "deadline_at": NOON + timedelta(seconds=15),
        "payload": {"reason": "已付"},
        "tries": 1,
    }
    return DueCommand(**(facts | other))  # type: ignore[arg-type]  # facts of several types


def test_every_state_has_its_row_and_ended_commands_never_change() -> None:
    assert CHANGES.keys() == set(CommandState)
    assert {CommandState.QUEUED, CommandState.SENT} == UNFINISHED
    assert not any(may_become(ended, after) for ended in set(CommandState) - UNFINISHED for after in CommandState)


def test_nothing_becomes_queued_again_and_a_sent_one_may_be_sent_again() -> None:
    assert not any(may_become(before, CommandState.QUEUED) for before in CommandState)
    assert may_become(CommandState.SENT, CommandState.SENT)


@pytest.mark.parametrize("result", AckResult)
@pytest.mark.parametrize("before", sorted(UNFINISHED))
def test_every_answer_ends_an_unfinished_command_even_one_not_noted_as_sent(
    result: AckResult, before: CommandState
) -> None:
    after = STATE_AFTER[result]
    assert may_become(before, after)
    assert after not in UNFINISHED


@pytest.mark.parametrize("kind", CommandKind)
def test_every_kind_has_a_policy_that_tries_within_its_deadline(kind: CommandKind) -> None:
    policy = POLICIES[kind]
    assert timedelta(0) < policy.retry < policy.deadline
    # The tries last about as long as the deadline: neither silence before it nor a storm.
    assert policy.deadline / 2 <= policy.retry * policy.most_tries <= policy.deadline * 2


def test_what_describes_the_present_supersedes_and_what_is_an_act_does_not() -> None:
    assert {kind for kind, policy in POLICIES.items() if policy.supersedes} == {
        CommandKind.STATUS_LIST,
        CommandKind.TARIFF,
        CommandKind.LOWER_GATE,
        CommandKind.LOCK_GATE_OPEN,
        CommandKind.UNLOCK_GATE,
        CommandKind.RAISE_LOCK,
        CommandKind.LOWER_LOCK,
        CommandKind.SHOW_SIGN,
    }


def test_a_fee_answer_lives_for_five_seconds() -> None:
    assert POLICIES[CommandKind.FEE_ANSWER].deadline == timedelta(seconds=5)


def test_the_wire_holds_what_the_contract_says() -> None:
    assert json.loads(a_command().wire()) == {
        "id": "6f1c0a52-5b7e-4f0e-9a53-0c1d2e3f4a5b",
        "kind": "open_gate",
        "at": "2026-11-23T12:00:00+00:00",
        "deadline": "2026-11-23T12:00:15+00:00",
        "body": {"reason": "已付"},
    }


@pytest.mark.parametrize(
    ("seconds_later", "expiry"),
    [(0, 15), (0.2, 15), (14.0, 1), (14.9, 1), (15, 1), (99, 1)],
)
def test_the_broker_keeps_it_for_the_rest_of_the_deadline(seconds_later: float, expiry: int) -> None:
    assert a_command().expires_in_s(NOON + timedelta(seconds=seconds_later)) == expiry
