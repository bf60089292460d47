"""A lane that asks does not wait for the backlog of others."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from parking_core.flows import follow_lanes as flow
from parking_core.flows.follow_lanes import Followed, follow_questions
from tests.visit_rows import CAR, HOUR, NOON, Town

pytestmark = pytest.mark.services

ASKED = NOON + 2 * HOUR


def ask(town: Town, *, waits: timedelta = timedelta()) -> None:
    """Fifty cars come in, then ours, then a lane asks about it; nobody has followed any of it."""
    for number in range(50):
        town.enter(0, f"苏BQ{number:04}")
    town.enter(0)
    town.event("P01-out", "fee_request", 2)
    town.db.execute("UPDATE lane_events SET received_at = %s WHERE event = 'fee_request'", (ASKED - waits,))


def waiting(town: Town) -> int:
    ((count,),) = town.rows("SELECT count(*) FROM lane_events WHERE processed_at IS NULL")
    return int(count)


def test_a_lane_that_asks_is_answered(town: Town) -> None:
    town.enter(0)
    town.follow()
    town.event("P01-out", "fee_request", 2)
    assert town.follow(NOON + 2 * HOUR).answers == 1
    ((kind, payload),) = town.rows("SELECT kind, payload FROM commands WHERE kind = 'fee_answer'")
    assert (kind, payload["amount_fen"], payload["reason"]) == ("fee_answer", 1000, "due")


def test_a_question_and_its_vehicle_go_ahead_of_all_others(town: Town) -> None:
    ask(town)
    done = follow_questions(town.db, town.desk, ASKED, 10)
    assert (done.events, done.answers, waiting(town)) == (2, 1, 50)
    ((payload,),) = town.rows("SELECT payload FROM commands WHERE kind = 'fee_answer'")
    assert (payload["reason"], payload["amount_fen"]) == ("due", 1000)
    assert follow_questions(town.db, town.desk, ASKED, 10) == Followed()
    town.follow(ASKED)
    assert (waiting(town), len(town.visits())) == (0, 51)


def test_a_question_that_nobody_waits_for_any_more_takes_its_turn(town: Town) -> None:
    ask(town, waits=timedelta(seconds=6))
    assert follow_questions(town.db, town.desk, ASKED, 10) == Followed()
    assert waiting(town) == 52


def test_a_question_that_cannot_be_processed_stops_nobody(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(town)

    def fail(*_: Any, **__: Any) -> Any:
        raise ValueError("no such price")

    with monkeypatch.context() as broken:
        broken.setattr(flow, "answer_fee_requests", fail)
        assert follow_questions(town.db, town.desk, ASKED, 10) == Followed()
    assert waiting(town) == 52
    assert town.rows("SELECT FROM visits WHERE vehicle = '" + CAR + "'") == []
    assert follow_questions(town.db, town.desk, ASKED, 10).answers == 1
