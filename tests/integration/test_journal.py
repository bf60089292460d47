"""The journal: booked once, balanced, never changed, by whoever writes; what visits cost, version by version."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from parking_core.errors import NotFoundError
from parking_core.flows.book_charges import book_charges
from parking_core.settlement import Account, AccountKind, Entry, EntryKind, Posting, postings
from parking_core.settlement.accounts import BANK, ETC_CLEARING, receivable, revenue
from parking_core.settlement.entries import transfer
from parking_core.store import charges, journal
from parking_core.store.charges import PricedVisit
from tests.integration.money_rows import NOON, add_event, add_visit, seed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onebox.services import RunningServices

pytestmark = pytest.mark.services


@pytest.fixture
def store(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def an_entry(key: str, amount_fen: int = 500, lot: str = "P01", visit: int | None = None) -> Entry:
    return Entry(
        key=key,
        kind=EntryKind.CHARGE,
        occurred_at=NOON,
        postings=transfer(receivable(lot), revenue(lot), amount_fen),
        visit_id=visit,
        detail={"why": "测试"},
    )


def priced(visit: int, amount_fen: int, reason: str = "exit", rule: str = "first_hour") -> PricedVisit:
    return PricedVisit(
        visit_id=visit, amount_fen=amount_fen, lines=({"rule": rule, "amount_fen": amount_fen},), reason=reason, at=NOON
    )


def test_entries_are_booked_once_and_accounts_are_opened_with_their_lots(store: psycopg.Connection) -> None:
    seed(store)
    first = journal.book(store, [an_entry("a"), an_entry("b", 300, "P02"), an_entry("a", 999)])
    again = journal.book(store, [an_entry("b", 777), an_entry("c", -100)])
    assert (set(first), set(again)) == ({"a", "b"}, {"c"})
    balances = {row.code: row.balance_fen for row in journal.trial_balance(store)}
    assert balances == {"receivable:P01": 400, "revenue:P01": -400, "receivable:P02": 300, "revenue:P02": -300}
    opened = store.execute(
        "SELECT a.code, l.code, o.code FROM accounts a JOIN lots l ON l.id = a.lot_id"
        " JOIN operators o ON o.id = a.operator_id ORDER BY a.code"
    ).fetchall()
    assert ("receivable:P01", "P01", "op1") in opened
    assert len(opened) == 4
    booked = journal.entry(store, "a")
    assert booked is not None
    assert booked.detail == {"why": "测试"}
    assert booked.postings == (("receivable:P01", 500), ("revenue:P01", -500))
    assert journal.entry(store, "nothing") is None
    assert journal.entries_without_postings(store) == []


def test_an_account_of_an_operator_knows_it_and_one_of_nobody_is_refused(store: psycopg.Connection) -> None:
    seed(store)
    cash = Account(AccountKind.CASH, "op1")
    journal.book(
        store, [Entry(key="x", kind=EntryKind.CASH_PAYMENT, occurred_at=NOON, postings=transfer(cash, BANK, 1))]
    )
    row = store.execute("SELECT operator_id IS NOT NULL, lot_id FROM accounts WHERE code = 'cash:op1'").fetchone()
    assert row == (True, None)
    with pytest.raises(NotFoundError, match="receivable:NOWHERE"):
        journal.book(store, [an_entry("y", lot="NOWHERE")])
    assert journal.entry(store, "y") is None


def test_the_trial_balance_until_a_time_counts_causes_before_it(store: psycopg.Connection) -> None:
    seed(store)
    journal.book(store, [an_entry("a")])
    assert journal.trial_balance(store, NOON) == []
    (first, second) = journal.trial_balance(store, NOON + timedelta(seconds=1))
    assert (first.debit_fen, first.credit_fen, second.debit_fen, second.credit_fen) == (500, 0, 0, 500)


def as_role(services: RunningServices, database_url: str, process: str) -> psycopg.Connection:
    """A connection as the process has it: this test's database, its own login."""
    own = urlsplit(services.database_urls[process])
    return psycopg.connect(urlunsplit(own._replace(path=urlsplit(database_url).path)), autocommit=True)


def unbalanced(connection: psycopg.Connection, *lines: tuple[int, int]) -> None:
    """An entry written past `book`, its postings as (line, fen)."""
    with connection.transaction():
        row = connection.execute(
            "INSERT INTO journal (key, kind, occurred_at) VALUES (gen_random_uuid()::text, 'test', now()) RETURNING id"
        ).fetchone()
        assert row is not None
        connection.execute(
            "INSERT INTO postings (journal_id, line, account_id, amount_fen)"
            " SELECT %s, line, (SELECT min(id) FROM accounts), fen FROM unnest(%s::int[], %s::bigint[]) AS u (line, fen)",
            (row[0], [line for line, _ in lines], [fen for _, fen in lines]),
        )


@pytest.mark.parametrize("process", ["owner", "worker"])
def test_the_database_itself_refuses_what_must_not_be(
    store: psycopg.Connection, services: RunningServices, database_url: str, process: str
) -> None:
    seed(store)
    journal.book(store, [an_entry("a"), an_entry("b")])
    with (
        as_role(services, database_url, process)
        if process != "owner"
        else psycopg.connect(database_url, autocommit=True) as connection
    ):
        for lines in ([(1, 500)], [(1, 500), (2, -499)], [(2, 500), (3, -500)], [(1, 0)]):
            with pytest.raises(psycopg.IntegrityError):
                unbalanced(connection, *lines)
        unbalanced(connection, (1, 5), (2, -5))  # the way itself is open
        denied = (psycopg.errors.InsufficientPrivilege, psycopg.errors.IntegrityConstraintViolation)
        for statement in (
            "UPDATE journal SET kind = 'other'",
            "DELETE FROM journal",
            "UPDATE postings SET amount_fen = 1",
            "DELETE FROM postings WHERE false",
            "TRUNCATE postings",
            "TRUNCATE journal CASCADE",
        ):
            with pytest.raises(denied):
                connection.execute(statement)
        # Later lines for an entry that stands: they balance, and are refused all the same.
        with pytest.raises(psycopg.IntegrityError):
            connection.execute(
                "INSERT INTO postings SELECT id, l, (SELECT min(id) FROM accounts), f FROM journal,"
                " (VALUES (3, 7), (4, -7)) AS v (l, f) WHERE key = 'a'"
            )
    assert sum(row.balance_fen for row in journal.trial_balance(store)) == 0


def test_an_entry_that_the_database_refuses_takes_its_whole_call_with_it(store: psycopg.Connection) -> None:
    seed(store)
    bad = an_entry("bad")
    object.__setattr__(bad, "postings", (Posting(BANK, 5), Posting(ETC_CLEARING, -4)))
    with pytest.raises(psycopg.IntegrityError, match="do not balance"), store.transaction():
        journal.book(store, [an_entry("good"), bad])
    assert journal.entry(store, "good") is None


def test_two_workers_that_book_the_same_keys_book_each_once(store: psycopg.Connection, database_url: str) -> None:
    seed(store)
    entries = [an_entry(f"k{number}", 1 + number % 7) for number in range(600)]
    booked: list[frozenset[str]] = []
    start = threading.Barrier(3)

    def work(mine: list[Entry]) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            start.wait()
            for first in range(0, len(mine), 100):
                with connection.transaction():
                    booked.append(journal.book(connection, mine[first : first + 100]))

    threads = [threading.Thread(target=work, args=(list(order),)) for order in (entries, entries, entries[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = [key for part in booked for key in part]
    assert len(keys) == len(set(keys)) == 600
    (owed, _) = journal.trial_balance(store)
    assert owed.balance_fen == sum(1 + number % 7 for number in range(600))


def test_a_charge_gets_a_version_only_when_it_changed(store: psycopg.Connection) -> None:
    lane = seed(store)["P01"]
    visit = add_visit(store, add_event(store, lane))
    assert [change.delta_fen for change in book_charges(store, [priced(visit, 800)])] == [800]
    assert book_charges(store, [priced(visit, 800, reason="again")]) == []
    assert [change.delta_fen for change in book_charges(store, [priced(visit, 500, "late_entry")])] == [-300]
    assert [change.delta_fen for change in book_charges(store, [priced(visit, 500, rule="cap")])] == [0]
    newest = charges.newest(store, [visit, visit + 1])
    assert set(newest) == {visit}
    assert (newest[visit].version, newest[visit].amount_fen) == (3, 500)
    assert [one.reason for one in charges.versions(store, visit)] == ["exit", "late_entry", "exit"]
    assert journal.owed_by_visit(store, [visit, 999]) == {visit: 500, 999: 0}
    assert [entry.key for entry in journal.entries_of_visit(store, visit)] == [f"charge:{visit}:1", f"charge:{visit}:2"]


def test_a_free_visit_is_charged_nothing_and_books_nothing(store: psycopg.Connection) -> None:
    lane = seed(store)["P01"]
    visit = add_visit(store, add_event(store, lane))
    assert len(book_charges(store, [priced(visit, 0)])) == 1
    assert journal.entries_of_visit(store, visit) == []
    assert charges.newest(store, [visit])[visit].amount_fen == 0


def test_payments_of_all_channels_come_off_what_a_visit_owes(store: psycopg.Connection) -> None:
    lane = seed(store)["P01"]
    visit = add_visit(store, add_event(store, lane))
    book_charges(store, [priced(visit, 1000)])
    facts: dict[str, Any] = {"visit_id": visit, "lot": "P01", "at": NOON}
    journal.book(
        store,
        [
            postings.qr_paid(acquirer="tongpay", reference="r1", amount_fen=600, **facts),
            postings.cash_paid(operator="op1", reference="c1", amount_fen=150, **facts),
            postings.hold_captured(key="h1", channel="qr:tongpay", amount_fen=50, **facts),
            postings.acquirer_paid_out(acquirer="tongpay", day=NOON.date(), amount_fen=600, fee_fen=2, at=NOON),
        ],
    )
    assert journal.owed_by_visit(store, [visit]) == {visit: 200}
    balances = {row.code: row.balance_fen for row in journal.trial_balance(store)}
    assert balances == {
        "receivable:P01": 200,
        "revenue:P01": -1000,
        "acquirer:tongpay": 50,
        "acquirer_fees": 2,
        "bank": 598,
        "cash:op1": 150,
    }
