"""`parking lane`: what an operator sees of lanes, and a barrier that is opened by hand."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from onebox.__main__ import application
from onebox.commands import lane as lane_command
from parking_core.commands import CommandKind, CommandOrder, CommandState
from parking_core.errors import InvalidInputError, NotFoundError
from parking_core.flows.open_gate import ManualOpening, open_gate
from parking_core.store import commands
from tests.acceptance.processes import until
from tests.tariff_rows import add_lane, add_lot

if TYPE_CHECKING:
    from collections.abc import Iterator


pytestmark = pytest.mark.services

NOON = datetime(2026, 11, 23, 4, tzinfo=UTC)


class Desk:
    """Lot P1 with lane P1-X1, and the command."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.lane = add_lane(self.connection, add_lot(self.connection, "P1"), "P1-X1")
        self.environ = {
            "PARKING_DATABASE_URL": url,
            "PARKING_REDIS_URL": "redis://nowhere",
            "PARKING_MQTT_URL": "mqtt://nowhere",
        }

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(application(), ["lane", *arguments], env=self.environ)

    def records(self, *arguments: str) -> list[dict[str, Any]]:
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.output.splitlines()]

    def end_when_queued(self, state: CommandState, answer: dict[str, str] | None) -> threading.Thread:
        """Ends the next gate command, as lane and gateway would."""

        def end() -> None:
            with psycopg.connect(self.environ["PARKING_DATABASE_URL"], autocommit=True) as connection:

                def ended() -> bool:
                    ending = "UPDATE commands SET state = %s, answer = %s WHERE state = 'queued'"
                    return connection.execute(ending, (state, json.dumps(answer) if answer else None)).rowcount == 1

                until(ended, 10, "no command was queued")

        thread = threading.Thread(target=end)
        thread.start()
        return thread


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    desk = Desk(database_url)
    yield desk
    desk.connection.close()


def test_a_lane_that_says_nothing_yet_is_listed(desk: Desk) -> None:
    assert desk.records("list") == [
        {
            "lot": "P1",
            "lane": "P1-X1",
            "direction": "both",
            "active": True,
            "online": None,
            "heard_at": None,
            "newest_record_no": None,
            "missing": 0,
            "commands": 0,
        }
    ]
    assert "never" in desk.run("list").output


def test_a_lane_is_listed_with_what_it_said_lacks_and_was_told(desk: Desk) -> None:
    execute = desk.connection.execute
    execute("INSERT INTO device_liveness (device_id, last_heard_at, online) VALUES (%s, %s, true)", (desk.lane, NOON))
    execute(
        """INSERT INTO lane_events (device_id, lot_id, record_no, event, source, occurred_at, received_at, vehicle, payload,
               digest)
           SELECT id, lot_id, 17, 'entry', 'anpr', %(at)s, %(at)s, 'x', '', '' FROM devices WHERE id = %(lane)s""",
        {"at": NOON, "lane": desk.lane},
    )
    for number, filled_at in ((12, None), (13, NOON), (15, NOON)):
        execute(
            """INSERT INTO lane_gaps (device_id, record_no, run_from, occurred_at, seen_at, filled_at)
               VALUES (%s, %s, %s, %s, %s, %s)""",
            (desk.lane, number, 12 if number < 15 else 15, NOON, NOON, filled_at),
        )
    with desk.connection.transaction():
        commands.queue(
            desk.connection, [CommandOrder(desk.lane, CommandKind.TARIFF, {"tariffs": []}, "tariff:1")], NOON
        )
    (lane,) = desk.records("list")
    assert (lane["online"], lane["newest_record_no"], lane["missing"], lane["commands"]) == (True, 17, 1, 1)
    (gap,) = desk.records("gaps", "P1/P1-X1")
    assert (gap["first"], gap["last"], gap["missing"]) == (12, 13, 1)
    assert len(desk.records("gaps", "--filled")) == 2
    (told,) = desk.records("commands", "P1/P1-X1")
    assert (told["kind"], told["state"], told["cause"]) == ("tariff", "queued", "tariff:1")
    assert told["deadline_at"] == (NOON + timedelta(days=7)).isoformat()
    for arguments in (("list",), ("gaps",), ("commands",)):
        assert "P1/P1-X1" in desk.run(*arguments).output.replace("\n", "")


def test_without_a_gap_nothing_is_missing(desk: Desk) -> None:
    assert "No record is missing." in desk.run("gaps").output


def test_a_barrier_opened_by_hand_names_who_and_why_for_ever(desk: Desk) -> None:
    lane = desk.end_when_queued(CommandState.ACKNOWLEDGED, {"result": "done"})
    result = desk.run("open", "P1/P1-X1", "--reason", "barrier jammed", "--by", "chen")
    lane.join()
    assert result.exit_code == 0, result.output
    assert "P1/P1-X1 is open" in result.output
    kept = desk.connection.execute("SELECT kind, payload, cause FROM commands").fetchall()
    assert kept[0][:2] == ("open_gate", {"reason": "manual", "why": "barrier jammed", "by": "chen"})
    assert kept[0][2].startswith("manual:")


@pytest.mark.parametrize(
    ("state", "answer", "words"),
    [
        (CommandState.REFUSED, {"result": "refused", "reason": "blocked"}, "refused: blocked"),
        (CommandState.TIMED_OUT, None, "did not answer in time"),
    ],
)
def test_a_lane_that_refuses_or_is_silent_fails_the_command(
    desk: Desk, state: CommandState, answer: dict[str, str] | None, words: str
) -> None:
    lane = desk.end_when_queued(state, answer)
    result = desk.run("open", "P1/P1-X1", "--reason", "test", "--by", "chen")
    lane.join()
    assert result.exit_code == 1
    assert words in result.output


def test_without_a_gateway_the_command_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_command, "_PATIENCE_S", 0.3)
    result = desk.run("open", "P1/P1-X1", "--reason", "test", "--by", "chen")
    assert result.exit_code == 1
    assert "No gateway" in result.output


def test_a_lane_that_is_none_and_an_opening_without_a_name_are_refused(desk: Desk) -> None:
    for opening, error in (
        (ManualOpening("P1", "P9-X1", "why", "chen"), NotFoundError),
        (ManualOpening("P1", "P1-X1", " ", "chen"), InvalidInputError),
        (ManualOpening("P1", "P1-X1", "why", ""), InvalidInputError),
        (ManualOpening("P1", "P1-X1", "w" * 201, "chen"), InvalidInputError),
    ):
        with pytest.raises(error):
            open_gate(desk.connection, opening, NOON)
    assert desk.connection.execute("SELECT count(*) FROM commands").fetchone() == (0,)
    assert isinstance(desk.run("commands", "P1-X1").exception, InvalidInputError)


def test_opening_twice_opens_twice(desk: Desk) -> None:
    opening = ManualOpening("P1", "P1-X1", "why", "chen")
    assert open_gate(desk.connection, opening, NOON) != open_gate(desk.connection, opening, NOON)
