"""Any order of arrival, any repetition, any interruption: the same states and the same fen, by the worker's own login."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from parking_core.flows.book_charges import book_charges
from parking_core.flows.settle_transactions import attach_visits, change_state, settle_transactions
from parking_core.lanes import LaneEventKind
from parking_core.settlement import EtcState
from parking_core.store import etc_transactions, journal
from parking_core.store.charges import PricedVisit
from tests.integration.money_rows import HOUR, NOON, ZONE, add_event, add_visit, paid, seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from onebox.services import RunningServices
    from parking_core.lanes import LaneEvent

pytestmark = pytest.mark.services

EXITS = 24


class Killed(Exception):  # noqa: N818  # it stands for a signal, not for an error
    """The worker dies before its commit."""


@pytest.fixture
def owner(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def worker(database_url: str, services: RunningServices) -> Iterator[psycopg.Connection]:
    own = urlsplit(services.database_urls["worker"])._replace(path=urlsplit(database_url).path)
    with psycopg.connect(urlunsplit(own), autocommit=True) as connection:
        yield connection


class World:
    """Exits of every sort with their late replies and visits: the same in every test, whatever is done with it."""

    def __init__(self, owner: psycopg.Connection) -> None:
        lanes = seed(owner, ("P01", "P02"))
        self.events: list[LaneEvent] = []
        self.exits: list[LaneEvent] = []
        self.first: dict[int, int] = {}  # visit as it is paired first
        self.last: dict[int, int] = {}  # and in the end
        for number in range(EXITS):
            lane = lanes["P01" if number % 2 else "P02"]
            late, doubtful = number % 3 == 0, number % 5 == 0
            part = paid(f"{number:04}", 100 + number, None if late else "A1B2C3D4")
            left = add_event(owner, lane, at=NOON, etc=part, flags=("balance",) if doubtful else ())
            self.exits.append(left)
            if number % 6 == 0:  # of the late ones every other reply comes, and one of them twice
                for _ in range(1 + (number == 12)):
                    reply = paid(f"{number:04}", 100 + number)
                    self.events.append(add_event(owner, lane, LaneEventKind.COMPLETION, at=NOON + HOUR, etc=reply))
            self.last[left.id] = add_visit(owner, left)
            other = add_event(owner, lane, at=NOON - HOUR)
            self.first[left.id] = self.last[left.id] if number % 4 else add_visit(owner, other)
        self.events += self.exits
        visits = {*self.first.values(), *self.last.values()}
        self.prices = [
            PricedVisit(visit_id=visit, amount_fen=100 + visit % 7, lines=(), reason="exit", at=NOON)
            for visit in sorted(visits)
        ]

    def snapshot(self, owner: psycopg.Connection) -> dict[str, Any]:
        """States, balances and what every visit owes, by names that no order changes."""
        states = owner.execute("SELECT terminal_serial, state, reasons FROM etc_transactions ORDER BY 1").fetchall()
        days = owner.execute(
            "SELECT a.code, j.occurred_at, sum(p.amount_fen)::bigint FROM postings p JOIN journal j ON j.id = p.journal_id"
            " JOIN accounts a ON a.id = p.account_id WHERE a.kind IN ('receivable', 'revenue') GROUP BY 1, 2 ORDER BY 1, 2"
        ).fetchall()
        return {
            "states": states,
            "days": [row for row in days if row[2]],
            "balances": {row.code: row.balance_fen for row in journal.trial_balance(owner) if row.balance_fen},
            "owed": journal.owed_by_visit(owner, [one.visit_id for one in self.prices]),
            "differences": owner.execute("SELECT name, state, amount_fen FROM differences ORDER BY key").fetchall(),
        }


def settle(events: list[LaneEvent], db: psycopg.Connection) -> None:
    settle_transactions(db, events, NOON, zone=ZONE)


def attach(pairs: list[tuple[int, int]], db: psycopg.Connection) -> None:
    attach_visits(db, pairs)


def die(step: Callable[[psycopg.Connection], object], db: psycopg.Connection) -> None:
    with db.transaction():
        step(db)
        raise Killed


def steps(world: World, chance: random.Random) -> list[Callable[[psycopg.Connection], object]]:
    """Batches in any order: events, pairing at first sight, prices; what was done comes again."""
    events = world.events * 2
    chance.shuffle(events)
    size = chance.randint(1, 12)
    batches = [events[start : start + size] for start in range(0, len(events), size)]
    pairs = list(world.first.items())
    chance.shuffle(pairs)
    found: list[Callable[[psycopg.Connection], object]] = []
    for batch in batches:
        found.append(partial(settle, batch))
        part = chance.sample(pairs, len(pairs) // 2)
        found.append(partial(attach, part))
    found.append(lambda db: book_charges(db, world.prices))
    chance.shuffle(found)
    # Nothing is known for good before everything has come: the last derivation pairs as it will stay.
    found += [partial(settle, world.events), partial(attach, list(world.last.items()))]
    found.append(lambda db: book_charges(db, world.prices))
    return found


def run(db: psycopg.Connection, wanted: list[Callable[[psycopg.Connection], object]], chance: random.Random) -> None:
    """Every step in a transaction; one in three dies before its commit and is done again."""
    for step in wanted:
        if chance.random() < 1 / 3:
            with pytest.raises(Killed):
                die(step, db)
        with db.transaction():
            step(db)


def straight(world: World) -> dict[str, Any]:
    """What must come out, counted with plain numbers."""
    clearing = awaiting = held = 0
    for number in range(EXITS):
        fen = 100 + number
        if number % 5 == 0:
            held += fen
        elif number % 3 == 0 and number % 6:
            awaiting += fen
        else:
            clearing += fen
    paid_for = {world.last[left.id]: 100 + number for number, left in enumerate(world.exits)}
    return {
        "etc_clearing": clearing,
        "etc_awaiting_tac": awaiting,
        "etc_held": held,
        "owed": {one.visit_id: one.amount_fen - paid_for.get(one.visit_id, 0) for one in world.prices},
    }


@pytest.mark.parametrize("number", range(4))
def test_order_repetition_and_death_do_not_show(
    owner: psycopg.Connection, worker: psycopg.Connection, number: int
) -> None:
    chance = random.Random(number)
    world = World(owner)
    run(worker, steps(world, chance), chance)
    once = world.snapshot(owner)
    run(worker, steps(world, chance)[-3:], chance)
    assert world.snapshot(owner) == once
    wanted = straight(world)
    assert once["owed"] == wanted.pop("owed")
    assert {code: once["balances"].get(code, 0) for code in wanted} == wanted
    assert sum(once["balances"].values()) == 0
    assert "moved" not in once["balances"]
    assert {at for _, at, _ in once["days"]} == {NOON}
    assert [name for name, _, _ in once["differences"]] == ["check_failed"] * 5
    assert etc_transactions.unattached(owner) == []


def test_a_package_that_dies_halfway_is_packed_again(owner: psycopg.Connection, worker: psycopg.Connection) -> None:
    world = World(owner)
    run(worker, steps(world, random.Random(9)), random.Random(9))
    ready = [number for (number,) in owner.execute("SELECT id FROM etc_transactions WHERE state = 'ready' ORDER BY id")]
    walk: list[Callable[[psycopg.Connection], object]] = [
        lambda db: change_state(db, ready, EtcState.PACKED, NOON),
        lambda db: change_state(db, ready, EtcState.READY, NOON),  # the centre refused it
        lambda db: change_state(db, ready, EtcState.PACKED, NOON),
        lambda db: change_state(db, ready[:2], EtcState.DISPUTED, NOON),
        lambda db: change_state(db, ready, EtcState.BOOKED, NOON),
        lambda db: change_state(db, ready[1:2], EtcState.BAD_DEBT, NOON),
    ]
    for step in walk[:4]:
        run(worker, [step], random.Random(1))
    disputed = owner.execute("SELECT sum(amount_fen)::bigint FROM etc_transactions WHERE state = 'disputed'").fetchone()
    assert disputed is not None
    assert world.snapshot(owner)["balances"]["etc_disputed"] == disputed[0] > 0
    run(worker, walk[5:], random.Random(1))  # one is lost, and stays so when the rest is booked
    run(worker, walk[4:5], random.Random(1))
    states: dict[int, str] = dict(
        owner.execute("SELECT id, state FROM etc_transactions WHERE id = ANY(%s)", (ready,)).fetchall()
    )
    assert states == {number: "bad_debt" if number == ready[1] else "booked" for number in ready}
    balances = world.snapshot(owner)["balances"]
    assert "etc_disputed" not in balances
    assert sum(balances.values()) == 0
