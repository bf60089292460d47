"""ETC money from lane event to journal: once, completed late or early, held, moved with its visit."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from parking_core.flows.settle_transactions import (
    attach_visits,
    change_state,
    flag_missing_tacs,
    settle_transactions,
)
from parking_core.lanes import LaneEventKind, LaneRepeat, RepeatReason
from parking_core.settlement.etc import EtcState
from parking_core.store import etc_transactions, journal
from tests.integration.money_rows import HOUR, NOON, ZONE, add_event, add_visit, paid, seed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parking_core.flows.settle_transactions import SettledTransactions
    from parking_core.lanes import EtcPart, LaneEvent

pytestmark = pytest.mark.services


@pytest.fixture
def store(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def lane(store: psycopg.Connection) -> int:
    return seed(store)["P01"]


def settle(store: psycopg.Connection, *events: LaneEvent, repeats: tuple[LaneRepeat, ...] = ()) -> SettledTransactions:
    with store.transaction():
        return settle_transactions(store, events, NOON, zone=ZONE, repeats=repeats)


def attach(store: psycopg.Connection, *pairs: tuple[int, int]) -> int:
    with store.transaction():
        return attach_visits(store, pairs)


def completion(store: psycopg.Connection, lane: int, etc: EtcPart, **more: Any) -> LaneEvent:
    return add_event(store, lane, LaneEventKind.COMPLETION, etc=etc, at=NOON + HOUR, **more)


def balances(store: psycopg.Connection) -> dict[str, int]:
    return {row.code: row.balance_fen for row in journal.trial_balance(store) if row.balance_fen}


def states(store: psycopg.Connection) -> list[str]:
    return [state for (state,) in store.execute("SELECT state FROM etc_transactions ORDER BY id").fetchall()]


def found(store: psycopg.Connection) -> list[tuple[str, str, int]]:
    return store.execute("SELECT name, state, amount_fen FROM differences ORDER BY id").fetchall()


def test_an_exit_is_charged_once_and_booked_for_its_visit(store: psycopg.Connection, lane: int) -> None:
    left = add_event(store, lane, etc=paid("0001"))
    entered = add_event(store, lane, LaneEventKind.ENTRY, etc=paid("0000", amount_fen=0))
    visit = add_visit(store, left)
    settled = settle(store, entered, left)
    assert [one.state for one in settled.new] == [EtcState.READY]
    assert balances(store) == {}  # nothing before pairing
    assert [one.name for one in etc_transactions.unattached(store)] == ["320100000001:0001"]
    assert attach(store, (left.id, visit), (entered.id, visit)) == 1
    assert settle(store, left).new == ()
    assert attach(store, (left.id, visit)) == 0
    assert balances(store) == {"etc_clearing": 500, "receivable:P01": -500}
    assert journal.owed_by_visit(store, [visit]) == {visit: -500}
    assert etc_transactions.unattached(store) == []
    assert found(store) == []


def test_a_lost_reply_waits_and_its_completion_brings_no_second_charge(store: psycopg.Connection, lane: int) -> None:
    left = add_event(store, lane, etc=paid("0001", tac=None), flags=("tac_absent",))
    visit = add_visit(store, left)
    settle(store, left)
    attach(store, (left.id, visit))
    assert states(store) == ["awaiting_tac"]
    assert balances(store) == {"etc_awaiting_tac": 500, "receivable:P01": -500}
    late = completion(store, lane, paid("0001"))
    assert [one.tac for one in settle(store, late).completed] == ["A1B2C3D4"]
    for _ in range(2):  # again, and the same TAC under another record
        settle(store, late, completion(store, lane, paid("0001", tac="a1b2c3d4")))
    assert states(store) == ["ready"]
    assert balances(store) == {"etc_clearing": 500, "receivable:P01": -500}
    assert [entry.kind for entry in journal.entries_of_visit(store, visit)] == ["etc_payment", "etc_ready"]
    assert found(store) == []
    (stored,) = etc_transactions.of_visit(store, visit)
    assert stored.completion_event_id == late.id


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_whatever_order_exit_completion_and_pairing_come_in(
    store: psycopg.Connection, lane: int, order: tuple[int, ...]
) -> None:
    left = add_event(store, lane, etc=paid("0001", tac=None))
    late = completion(store, lane, paid("0001"))
    visit = add_visit(store, left)
    steps = (lambda: settle(store, left), lambda: settle(store, late), lambda: attach(store, (left.id, visit)))
    for number in order:
        steps[number]()
    attach(store, (left.id, visit))
    assert states(store) == ["ready"]
    assert balances(store) == {"etc_clearing": 500, "receivable:P01": -500}


def test_a_completion_may_name_the_record_instead_of_the_terminal(store: psycopg.Connection, lane: int) -> None:
    exits = [add_event(store, lane, etc=paid(f"000{number}", tac=None)) for number in range(2)]
    after = completion(store, lane, paid("", terminal=None), refers_to=exits[0].record_no)
    before = completion(store, lane, paid("", terminal=None), refers_to=exits[1].record_no)
    settle(store, exits[0])
    settle(store, before)
    settle(store, after, exits[1])
    assert states(store) == ["ready", "ready"]


def test_a_repeat_with_the_tac_completes_too(store: psycopg.Connection, lane: int) -> None:
    first, second = (add_event(store, lane, etc=paid(f"000{number}", tac=None)) for number in range(2))

    def repeat(event: LaneEvent, tac: str | None, reason: RepeatReason) -> LaneRepeat:
        row = store.execute(
            "INSERT INTO lane_repeats (device_id, record_no, event_id, reason, occurred_at, received_at, tac, payload, digest)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, '', gen_random_uuid()::text::bytea) RETURNING id",
            (lane, event.record_no + 1000, event.id, reason.value, NOON, NOON, tac),
        ).fetchone()
        assert row is not None
        return LaneRepeat(
            id=row[0],
            device_id=lane,
            lot_id=event.lot_id,
            record_no=event.record_no + 1000,
            event_id=event.id,
            reason=reason,
            occurred_at=NOON,
            received_at=NOON,
            tac=tac,
            amount_fen=None,
        )

    early = repeat(second, "0F0F0F0F", RepeatReason.TRANSACTION_REPEATED)
    settle(store, first, second)
    assert states(store) == ["awaiting_tac", "ready"]
    settle(
        store,
        repeats=(
            early,
            repeat(first, None, RepeatReason.TRANSACTION_REPEATED),
            repeat(first, "DEADBEEF", RepeatReason.RECORD_NO_REUSED),
        ),
    )
    assert states(store) == ["awaiting_tac", "ready"]
    settle(store, repeats=(repeat(first, "A1B2C3D4", RepeatReason.TRANSACTION_REPEATED),))
    assert states(store) == ["ready", "ready"]
    assert found(store) == []


def test_a_second_different_completion_changes_nothing_and_is_told(store: psycopg.Connection, lane: int) -> None:
    left = add_event(store, lane, etc=paid("0001"))
    settle(store, left)
    other = completion(store, lane, paid("0001", tac="FFFFFFFF"))
    empty = completion(store, lane, paid("0001", tac=None))
    settle(store, other, empty)
    settle(store, other)
    assert [name for name, _, _ in found(store)] == ["completion_differs", "completion_differs"]
    (stored,) = etc_transactions.of_events(store, [left.id]).values()
    assert (stored.tac, stored.state) == ("A1B2C3D4", EtcState.READY)


def test_a_completion_that_names_another_amount_holds_the_money(store: psycopg.Connection, lane: int) -> None:
    left = add_event(store, lane, etc=paid("0001", tac=None))
    visit = add_visit(store, left)
    settle(store, left)
    attach(store, (left.id, visit))
    settle(store, completion(store, lane, paid("0001", amount_fen=700)))
    assert states(store) == ["held"]
    assert balances(store) == {"etc_held": 500, "receivable:P01": -500}
    assert found(store) == [("check_failed", "open", 500)]


@pytest.mark.parametrize(
    ("flags", "state", "routed"),
    [
        (("balance",), "held", [("check_failed", 500)]),
        (("tac_form", "camera_etc_plates"), "held", [("check_failed", 500)]),
        (("camera_etc_plates",), "ready", [("check_failed", 0)]),
        (("obu_card_plates",), "ready", [("check_failed", 0)]),
        (("clock_suspect", "vehicle_class"), "ready", []),
    ],
)
def test_a_failed_check_holds_the_money_or_only_tells(
    store: psycopg.Connection, lane: int, flags: tuple[str, ...], state: str, routed: list[tuple[str, int]]
) -> None:
    left = add_event(store, lane, etc=paid("0001"), flags=flags)
    visit = add_visit(store, left)
    for _ in range(2):
        settle(store, left)
    attach(store, (left.id, visit))
    assert states(store) == [state]
    assert [(name, fen) for name, _, fen in found(store)] == routed
    assert balances(store) == {("etc_held" if state == "held" else "etc_clearing"): 500, "receivable:P01": -500}
    assert store.execute("SELECT visit_id FROM differences").fetchall() == [(visit,)] * len(routed)


def test_money_without_a_terminal_is_held_and_not_lost(store: psycopg.Connection, lane: int) -> None:
    left = add_event(store, lane, etc=paid("", terminal=None))
    (stored,) = settle(store, left).new
    assert (stored.state, stored.reasons) == (EtcState.HELD, ("terminal_missing",))
    assert stored.name == f"lane-{lane}:record-{left.record_no}"
    assert settle(store, left).new == ()


def test_a_payment_follows_its_event_from_visit_to_visit_and_back(store: psycopg.Connection, lane: int) -> None:
    seed(store, ("P03",))
    left = add_event(store, lane, etc=paid("0001"))
    here, there = add_visit(store, left), add_visit(store, add_event(store, lane), lot="P03")
    settle(store, left)
    for visit in (here, there, here, there):
        assert attach(store, (left.id, visit)) == 1
        assert attach(store, (left.id, visit)) == 0
    assert journal.owed_by_visit(store, [here, there]) == {here: 0, there: -500}
    assert balances(store) == {"etc_clearing": 500, "receivable:P03": -500}
    days = store.execute("SELECT DISTINCT occurred_at FROM journal").fetchall()
    assert days == [(NOON,)]  # moving leaves every day's sums as they would be without it


def test_states_change_by_the_table_only_and_money_with_them(store: psycopg.Connection, lane: int) -> None:
    exits = [add_event(store, lane, etc=paid(f"000{number}")) for number in range(3)]
    settle(store, *exits)
    attach(store, *((event.id, add_visit(store, event)) for event in exits[:2]))
    ids = [one.id for one in etc_transactions.of_events(store, [event.id for event in exits]).values()]

    def become(state: EtcState, *numbers: int) -> list[int]:
        with store.transaction():
            return [one.id for one in change_state(store, [ids[number] for number in numbers], state, NOON + HOUR)]

    assert become(EtcState.PACKED, 0, 1, 2) == ids[:2]  # the third has no visit yet
    assert become(EtcState.READY, 0) == ids[:1]  # refused package
    assert become(EtcState.BAD_DEBT, 0, 1) == []
    assert become(EtcState.PACKED, 0) == ids[:1]
    assert become(EtcState.BOOKED, 0) == ids[:1]
    assert become(EtcState.DISPUTED, 0, 1) == ids[1:2]
    assert balances(store) == {"etc_clearing": 500, "etc_disputed": 500, "receivable:P01": -1000}
    assert become(EtcState.BAD_DEBT, 1) == ids[1:2]
    assert become(EtcState.BAD_DEBT, 1) == []
    assert balances(store) == {"etc_clearing": 500, "bad_debt:P01": 500, "receivable:P01": -1000}


def test_a_tac_that_is_missing_for_a_week_is_a_difference_until_it_comes(store: psycopg.Connection, lane: int) -> None:
    left = add_event(store, lane, etc=paid("0001", tac=None))
    settle(store, left)
    attach(store, (left.id, add_visit(store, left)))
    assert flag_missing_tacs(store, NOON + timedelta(days=7), zone=ZONE) == 0
    for _ in range(2):
        assert flag_missing_tacs(store, NOON + timedelta(days=7, seconds=1), zone=ZONE) == 1
    assert found(store) == [("tac_missing", "open", 500)]
    settle(store, completion(store, lane, paid("0001")))
    assert found(store) == [("tac_missing", "settled", 500)]
    assert flag_missing_tacs(store, NOON + timedelta(days=9), zone=ZONE) == 0
