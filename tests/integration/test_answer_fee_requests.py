"""A lane asks what a vehicle has to pay: what it is told, when it is told nothing, and how often."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from parking_core.commands import CommandKind, CommandState
from parking_core.flows.answer_fee_requests import FeeAnswers, answer_fee_requests
from parking_core.flows.book_charges import book_charges
from parking_core.flows.publish_tariff import Binding, publish_tariff
from parking_core.lanes import LaneEvent, LaneEventKind, LaneSource
from parking_core.payments import LANE_LINK_LIFE, link_digest
from parking_core.settlement import Entry, EntryKind, Posting, account
from parking_core.store import commands, journal
from parking_core.store.charges import PricedVisit
from tests.tariff_rows import add_lane, add_lot, add_visit, hourly

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.services

NOON = datetime(2026, 5, 4, 4, tzinfo=UTC)  # 12:00 in Shanghai
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
CAR = "苏B12345"


class Desk:
    """A lot of 5 yuan an hour with one lane."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.lot = add_lot(self.connection, "P1")
        self.lane = add_lane(self.connection, self.lot, "P1-X1")
        binding = Binding(NOON - timedelta(days=30), ["P1"])
        publish_tariff(self.connection, hourly(), binding, NOON - timedelta(days=30))
        self._numbers = itertools.count(1)

    def request(self, vehicle: str = CAR, at: datetime = NOON, **other: Any) -> LaneEvent:
        number = next(self._numbers)
        facts: dict[str, Any] = {
            "id": 1000 + number,
            "device_id": self.lane,
            "lot_id": self.lot,
            "record_no": number,
            "kind": LaneEventKind.FEE_REQUEST,
            "source": LaneSource.ANPR,
            "occurred_at": at,
            "received_at": at,
            "vehicle": vehicle,
        }
        return LaneEvent(**(facts | other))

    def ask(self, *requests: LaneEvent, now: datetime = NOON) -> FeeAnswers:
        with self.connection.transaction():
            return answer_fee_requests(self.connection, requests, now)

    def told(self) -> list[dict[str, Any]]:
        """Bodies of all fee answers, in the order of the questions' numbers."""
        rows = self.connection.execute("SELECT payload FROM commands WHERE kind = 'fee_answer'").fetchall()
        return sorted((row[0] for row in rows), key=lambda body: body["record_no"])

    def pay(self, visit: int, amount_fen: int, at: datetime) -> None:
        entry = Entry(
            key=f"qr:sim:{visit}:{at.isoformat()}",
            kind=EntryKind.QR_PAYMENT,
            occurred_at=at,
            visit_id=visit,
            postings=(
                Posting(account("acquirer:sim"), amount_fen),
                Posting(account("receivable:P1"), -amount_fen),
            ),
        )
        with self.connection.transaction():
            journal.book(self.connection, [entry])


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    desk = Desk(database_url)
    yield desk
    desk.connection.close()


def test_an_open_visit_is_priced_at_the_moment_of_the_question(desk: Desk) -> None:
    visit = add_visit(desk.connection, desk.lane, CAR, NOON - 90 * MINUTE, None)
    assert desk.ask(desk.request()) == FeeAnswers(answered=1, too_late=0, missing_entry=0)
    (body,) = desk.told()
    assert body["record_no"] == 1
    assert body["plate"] == "苏B·**345"
    assert (body["reason"], body["visit_id"], body["amount_fen"], body["arrears_fen"]) == ("due", visit, 1000, 0)
    assert body["tariff"] == {"code": "hourly", "version": 1}
    assert sum(line["amount_fen"] for line in body["lines"]) == 1000
    assert datetime.fromisoformat(body["entered_at"]) == NOON - 90 * MINUTE
    assert datetime.fromisoformat(body["valid_until"]) == NOON + LANE_LINK_LIFE
    link = desk.connection.execute("SELECT digest, visit_id, device_id, amount_fen FROM payment_links").fetchall()
    assert link == [(link_digest(body["pay_path"].rpartition("/")[2]), visit, desk.lane, 1000)]


def test_the_answer_lives_for_five_seconds_after_the_question_came(desk: Desk) -> None:
    desk.ask(desk.request(), now=NOON + 2 * SECOND)
    (row,) = commands.recent(desk.connection, kind=CommandKind.FEE_ANSWER)
    assert row.deadline_at == NOON + 5 * SECOND
    assert row.cause == "lane_event:1001"


def test_a_vehicle_that_nobody_saw_coming_pays_nothing_by_name(desk: Desk) -> None:
    add_visit(desk.connection, desk.lane, "苏B99999", NOON - HOUR, None)
    assert desk.ask(desk.request()).missing_entry == 1
    (body,) = desk.told()
    assert (body["reason"], body["amount_fen"], body["visit_id"]) == ("missing_entry", 0, None)
    assert (body["pay_path"], body["valid_until"], body["tariff"], body["lines"]) == (None, None, None, [])


def test_a_stay_in_another_lot_or_one_that_ended_is_not_this_one(desk: Desk) -> None:
    other = add_lane(desk.connection, add_lot(desk.connection, "P2"), "P2-X1")
    add_visit(desk.connection, other, CAR, NOON - HOUR, None)
    add_visit(desk.connection, desk.lane, CAR, NOON - 3 * HOUR, NOON - 2 * HOUR)
    desk.ask(desk.request())
    assert desk.told()[0]["reason"] == "missing_entry"


def test_what_was_paid_before_the_lane_is_taken_off(desk: Desk) -> None:
    visit = add_visit(desk.connection, desk.lane, CAR, NOON - 90 * MINUTE, None)
    desk.pay(visit, 500, NOON - 40 * MINUTE)
    desk.ask(desk.request())
    assert desk.told()[0]["amount_fen"] == 500
    desk.pay(visit, 500, NOON + SECOND)
    desk.ask(desk.request(at=NOON + 10 * SECOND), now=NOON + 10 * SECOND)
    body = desk.told()[1]
    assert (body["reason"], body["amount_fen"], body["pay_path"]) == ("free", 0, None)


def test_arrears_stand_beside_the_amount(desk: Desk) -> None:
    before = add_visit(desk.connection, desk.lane, CAR, NOON - 50 * HOUR, NOON - 48 * HOUR)
    priced = PricedVisit(visit_id=before, tariff_id=None, amount_fen=700, lines=[], reason="exit", at=NOON - 48 * HOUR)
    with desk.connection.transaction():
        book_charges(desk.connection, [priced])
    add_visit(desk.connection, desk.lane, CAR, NOON - HOUR, None)
    desk.ask(desk.request())
    body = desk.told()[0]
    assert (body["amount_fen"], body["arrears_fen"]) == (500, 700)


def test_a_question_that_is_processed_again_is_not_answered_again(desk: Desk) -> None:
    add_visit(desk.connection, desk.lane, CAR, NOON - HOUR, None)
    request = desk.request()
    desk.ask(request)
    first = desk.told()
    desk.ask(request, now=NOON + SECOND)
    assert desk.told() == first


def test_a_lane_that_asks_again_gives_the_driver_the_same_link_while_the_amount_is_the_same(desk: Desk) -> None:
    add_visit(desk.connection, desk.lane, CAR, NOON - 90 * MINUTE, None)
    for minutes in (0, 1, 9, 31):
        at = NOON + minutes * MINUTE
        desk.ask(desk.request(at=at), now=at)
    first, soon, again, later = desk.told()
    assert {one["visit_id"] for one in (first, soon, again, later)} == {first["visit_id"]}
    assert (soon["pay_path"], soon["valid_until"]) == (first["pay_path"], first["valid_until"])
    assert (again["pay_path"], again["valid_until"]) == (first["pay_path"], first["valid_until"])
    assert (first["amount_fen"], again["amount_fen"], later["amount_fen"]) == (1000, 1000, 1500)
    assert later["pay_path"] != first["pay_path"], "an hour more has begun, so the old link names too little"
    assert desk.connection.execute("SELECT count(*) FROM payment_links").fetchone() == (2,)


def test_a_link_that_is_nearly_over_is_not_given_again(desk: Desk) -> None:
    add_visit(desk.connection, desk.lane, CAR, NOON - 61 * MINUTE, None)
    for minutes in (0, 12):
        at = NOON + minutes * MINUTE
        desk.ask(desk.request(at=at), now=at)
    first, again = desk.told()
    assert first["amount_fen"] == again["amount_fen"] == 1000
    assert first["pay_path"] != again["pay_path"]


def test_a_question_that_came_late_is_noted_and_not_answered(desk: Desk) -> None:
    add_visit(desk.connection, desk.lane, CAR, NOON - HOUR, None)
    asked = desk.ask(
        desk.request(),  # the worker was away
        desk.request(at=NOON - 20 * MINUTE, received_at=NOON + 6 * SECOND),  # the lane was
        now=NOON + 6 * SECOND,
    )
    assert asked == FeeAnswers(answered=0, too_late=2, missing_entry=0)
    assert [body["reason"] for body in desk.told()] == ["too_late", "too_late"]
    over = desk.connection.execute(
        "SELECT bool_and(deadline_at <= %s) FROM commands WHERE kind = 'fee_answer'", [NOON + 6 * SECOND]
    )
    assert over.fetchone() == (True,), "what is only noted must not be sent"
    assert desk.connection.execute("SELECT count(*) FROM payment_links").fetchone() == (0,)


def test_a_question_whose_vehicle_has_left_meanwhile_is_noted_and_not_answered(desk: Desk) -> None:
    add_visit(desk.connection, desk.lane, CAR, NOON - HOUR, NOON)
    asked = desk.ask(desk.request(), desk.request(at=NOON + MINUTE, received_at=NOON))
    assert asked == FeeAnswers(answered=1, too_late=1, missing_entry=1)
    assert [body["reason"] for body in desk.told()] == ["gone", "missing_entry"]


def test_a_lane_whose_clock_is_two_minutes_wrong_is_answered(desk: Desk) -> None:
    add_visit(desk.connection, desk.lane, CAR, NOON - HOUR, None)
    behind = desk.request(at=NOON - 2 * MINUTE, received_at=NOON)
    ahead = desk.request(at=NOON + 2 * MINUTE, received_at=NOON)
    assert desk.ask(behind, ahead).answered == 2


def test_many_questions_cost_as_many_statements_as_one(desk: Desk) -> None:
    def statements(number: int) -> int:
        cars = [f"苏B{number:02}{car:03}" for car in range(number)]
        for car in cars:
            add_visit(desk.connection, desk.lane, car, NOON - HOUR, None)
        requests = [desk.request(car) for car in cars]
        counted = 0
        execute = desk.connection.execute

        def count(*arguments: Any, **options: Any) -> Any:
            nonlocal counted
            counted += 1
            return execute(*arguments, **options)

        desk.connection.execute = count  # type: ignore[method-assign]  # counts what the flow asks
        try:
            assert desk.ask(*requests).answered == number
        finally:
            desk.connection.execute = execute  # type: ignore[method-assign]  # puts back what was there
        return counted

    assert statements(40) <= statements(2)
    assert {row.state for row in commands.recent(desk.connection, kind=CommandKind.FEE_ANSWER)} == {CommandState.QUEUED}
