"""`parking money`: the page of a visit and the decisions, with the worker's own login."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from typer.testing import CliRunner

from onebox.__main__ import application
from parking_core.errors import InvalidInputError, NotFoundError
from parking_core.flows.book_charges import book_charges
from parking_core.flows.settle_transactions import attach_visits, settle_transactions
from parking_core.lanes import LaneEventKind
from parking_core.settlement import postings
from parking_core.store import journal
from parking_core.store.charges import PricedVisit
from tests.integration.money_rows import HOUR, NOON, ZONE, add_event, add_visit, paid, seed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onebox.services import RunningServices

pytestmark = pytest.mark.services

LINES = ({"rule": "first_hour", "amount_fen": 800, "text": {"zh": "首小时", "en": "first hour"}},)


@pytest.fixture
def store(
    database_url: str, services: RunningServices, monkeypatch: pytest.MonkeyPatch
) -> Iterator[psycopg.Connection]:
    worker = urlsplit(services.database_urls["worker"])._replace(path=urlsplit(database_url).path)
    monkeypatch.setenv("PARKING_DATABASE_URL", urlunsplit(worker))
    monkeypatch.setenv("PARKING_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("PARKING_MQTT_URL", "mqtt://127.0.0.1:1")
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(application(), ["money", *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def a_visit(store: psycopg.Connection, flags: tuple[str, ...] = ()) -> int:
    """Charged 800 fen, paid 500 by card at the exit, the TAC an hour later."""
    lane = seed(store)["P01"]
    left = add_event(store, lane, etc=paid("0001", tac=None), flags=flags)
    late = add_event(store, lane, LaneEventKind.COMPLETION, at=NOON + HOUR, etc=paid("0001"), refers_to=left.record_no)
    visit = add_visit(store, left)
    with store.transaction():
        settle_transactions(store, [left], NOON, zone=ZONE)
        attach_visits(store, [(left.id, visit)])
        book_charges(store, [PricedVisit(visit_id=visit, amount_fen=800, lines=LINES, reason="exit", at=NOON)])
        settle_transactions(store, [late], NOON, zone=ZONE)
    return visit


def test_show_tells_a_visit_from_its_messages_to_its_balance(store: psycopg.Connection) -> None:
    visit = a_visit(store)
    page = run("show", str(visit))
    for said in (
        "苏B·**001 in P01 (operator op1)",
        "completion of",
        "2026-05-04 12:00:00+08:00",
        "first hour",
        "Charge, version 1 (exit): 8.00",
        "320100000001:0001",
        "etc:320100000001:0001",
        "receivable:P01",
        "etc_clearing",
        f"Balance: visit {visit} owes 3.00.",
    ):
        assert said in page, page
    assert "Y1001" not in page
    record = json.loads(run("show", str(visit), "--json"))
    assert record["owed_fen"] == 300
    assert [one["event"] for one in record["messages"]] == ["exit", "completion"]
    assert record["visit"]["vehicle"] == "苏B·**001"
    assert record["visit"]["exited_at"] == "2026-05-04T12:00:00+08:00"
    with pytest.raises(NotFoundError, match="no visit 4711"):
        run("show", "4711")


def test_a_refund_has_two_stages_and_says_the_next(store: psycopg.Connection) -> None:
    visit = a_visit(store)
    entry = postings.qr_paid(acquirer="tongpay", reference="r1", visit_id=visit, lot="P01", amount_fen=1000, at=NOON)
    journal.book(store, [entry])
    who = ("--by", "Chen", "--reason", "paid twice")
    said = run("refund", str(visit), "700", *who)
    assert (
        f"700 fen is to be paid back by qr:tongpay; when it was: parking money refund-paid {visit} --key {visit}-700"
        in said
    )
    assert "booked before" in run("refund", str(visit), "700", *who)
    assert "was paid back by qr:tongpay" in run("refund-paid", str(visit), "--key", f"{visit}-700", "--by", "Chen")
    page = run("show", str(visit))
    assert "Chen paid twice" in page
    assert f"visit {visit} is settled: 0.00" in page
    with pytest.raises(InvalidInputError, match="can be given back"):
        run("refund", str(visit), "801", *who)


def test_arrears_are_given_up_and_nothing_is_decided_by_nobody(store: psycopg.Connection) -> None:
    visit = a_visit(store)
    assert run("write-off", str(visit), "--by", "Chen", "--reason", "small", code=0).startswith(
        "300 fen was written off"
    )
    assert "booked before" in run("write-off", str(visit), "--by", "Chen", "--reason", "small")
    run("write-off", str(visit), "--by", "Chen", code=2)
    with pytest.raises(InvalidInputError, match="needs its reason"):
        run("write-off", str(visit), "--by", "Chen", "--reason", " ")


@pytest.mark.parametrize(
    ("command", "account"), [("release", "etc_clearing"), ("reject", "receivable:P01"), ("bad-debt", "bad_debt:P01")]
)
def test_held_money_is_decided_by_a_person(store: psycopg.Connection, command: str, account: str) -> None:
    a_visit(store, ("balance",))
    said = run(command, "320100000001", "0001", "--by", "Chen", "--reason", "looked at it")
    assert said.startswith("500 fen ")
    balances = {row.code: row.balance_fen for row in journal.trial_balance(store)}
    assert balances["etc_held"] == 0
    assert balances[account] == (800 if command == "reject" else 500)


def test_the_trial_balance_adds_up_and_fails_when_an_entry_is_silent(store: psycopg.Connection) -> None:
    a_visit(store)
    text = run("trial-balance")
    assert text.splitlines()[-1].split() == ["total", "4", "13.00", "13.00", "0.00"]
    rows = json.loads(run("trial-balance", "--json"))
    assert sum(row["balance_fen"] for row in rows) == 0
    store.execute("INSERT INTO journal (key, kind, occurred_at) VALUES ('silent', 'charge', now())")
    assert "Entry silent has no postings" in run("trial-balance", code=1)
