"""Promised money: captured once, at most what was promised, let go or expired by the clock."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from parking_core.errors import InvalidInputError, NotFoundError
from parking_core.flows.hold_money import capture_hold, expire_holds, place_hold, release_hold
from parking_core.settlement import Hold, HoldState
from parking_core.store import holds, journal
from tests.integration.money_rows import HOUR, NOON, add_event, add_visit, seed

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.services


@pytest.fixture
def store(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def visit(store: psycopg.Connection) -> int:
    return add_visit(store, add_event(store, seed(store)["P01"]))


def a_hold(key: str = "h1", visit: int | None = None, amount_fen: int = 1000, hours: int = 1) -> Hold:
    return Hold(
        key=key,
        channel="qr:tongpay",
        amount_fen=amount_fen,
        placed_at=NOON,
        expires_at=NOON + hours * HOUR,
        visit_id=visit,
    )


def test_a_promise_is_captured_once_and_pays_its_visit(store: psycopg.Connection, visit: int) -> None:
    place_hold(store, a_hold(visit=visit))
    assert place_hold(store, a_hold(visit=visit)).state is HoldState.PLACED
    assert holds.promised(store, [visit], NOON) == {visit: 1000}
    for _ in range(2):
        assert capture_hold(store, "h1", 700, NOON).captured_fen == 700
    assert journal.owed_by_visit(store, [visit]) == {visit: -700}
    assert holds.promised(store, [visit], NOON) == {}
    with pytest.raises(InvalidInputError, match="is captured"):
        capture_hold(store, "h1", 300, NOON)
    with pytest.raises(InvalidInputError, match="refund"):
        release_hold(store, "h1", NOON)


def test_two_that_capture_at_once_take_the_money_once(store: psycopg.Connection, database_url: str, visit: int) -> None:
    place_hold(store, a_hold())
    start = threading.Barrier(2)

    def take() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            start.wait()
            capture_hold(connection, "h1", 1000, NOON, visit_id=visit)

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journal.owed_by_visit(store, [visit]) == {visit: -1000}


def test_what_cannot_be_captured_says_why(store: psycopg.Connection, visit: int) -> None:
    place_hold(store, a_hold())
    with pytest.raises(NotFoundError, match="no hold 'h2'"):
        capture_hold(store, "h2", 1, NOON)
    for amount in (0, 1001):
        with pytest.raises(InvalidInputError, match="cannot be captured of it"):
            capture_hold(store, "h1", amount, NOON, visit_id=visit)
    with pytest.raises(InvalidInputError, match="for no visit"):
        capture_hold(store, "h1", 5, NOON)
    with pytest.raises(InvalidInputError, match="does not exist"):
        capture_hold(store, "h1", 5, NOON, visit_id=visit + 100)
    with pytest.raises(InvalidInputError, match="expired at"):
        capture_hold(store, "h1", 5, NOON + HOUR, visit_id=visit)
    with pytest.raises(InvalidInputError, match="another key"):
        place_hold(store, a_hold(amount_fen=999))
    assert journal.trial_balance(store) == []


def test_the_clock_ends_what_nobody_took(store: psycopg.Connection, visit: int) -> None:
    for number in range(1100):
        place_hold(store, a_hold(f"h{number}", hours=1 + number % 2))
    capture_hold(store, "h0", 10, NOON, visit_id=visit)
    release_hold(store, "h2", NOON)
    assert expire_holds(store, NOON + HOUR - timedelta(seconds=1)) == 0
    assert expire_holds(store, NOON + HOUR) == 548
    assert expire_holds(store, NOON + HOUR) == 0
    assert expire_holds(store, NOON + 2 * HOUR) == 550
    assert release_hold(store, "h4", NOON + HOUR).state is HoldState.EXPIRED
    states: dict[str, int] = dict(store.execute("SELECT state, count(*) FROM holds GROUP BY state").fetchall())
    assert states == {"captured": 1, "released": 1, "expired": 1098}
