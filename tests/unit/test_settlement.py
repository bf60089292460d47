"""Posting rules, life cycles and completions: pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from parking_core.errors import InvalidInputError
from parking_core.lane_checks import Check
from parking_core.lanes import EtcPart, LaneEvent, LaneEventKind, LaneRepeat, LaneSource, RepeatReason
from parking_core.settlement import (
    BLOCKING,
    Account,
    Completion,
    Entry,
    EntryKind,
    EtcState,
    EtcTransaction,
    Hold,
    HoldState,
    Posting,
    UnbalancedError,
    account,
    account_of_channel,
    postings,
)
from parking_core.settlement import etc as etc_rules
from parking_core.settlement import holds as hold_rules
from parking_core.settlement.accounts import BANK, ETC_CLEARING, MOVED
from parking_core.settlement.entries import transfer
from parking_core.settlement.etc import TacReply, complete, reply_of_event, reply_of_repeat, transaction_of

NOON = datetime(2026, 5, 4, 4, 0, tzinfo=UTC)
DAY = date(2026, 5, 4)
WHO = {"by": "Chen", "reason": "test"}


def a_transaction(**other: Any) -> EtcTransaction:
    facts: dict[str, Any] = {
        "terminal_no": "T1",
        "terminal_serial": "1",
        "event_id": 7,
        "device_id": 3,
        "lot_id": 1,
        "amount_fen": 500,
        "occurred_at": NOON,
        "tac": None,
        "state": EtcState.AWAITING_TAC,
        "id": 1,
        "lot": "P01",
        "visit_id": 1,
    }
    return EtcTransaction(**(facts | other))


def an_exit(etc: EtcPart | None, **other: Any) -> LaneEvent:
    facts: dict[str, Any] = {
        "id": 7,
        "device_id": 3,
        "lot_id": 1,
        "record_no": 12,
        "kind": LaneEventKind.EXIT,
        "source": LaneSource.ETC,
        "occurred_at": NOON,
        "received_at": NOON,
        "vehicle": "苏BY1001",
        "etc": etc,
    }
    return LaneEvent(**(facts | other))


def a_reply(tac: str | None = "A1B2C3D4", amount_fen: int | None = 500, flags: tuple[str, ...] = ()) -> TacReply:
    return TacReply(
        name="event:9", event_id=9, occurred_at=NOON, received_at=NOON, tac=tac, amount_fen=amount_fen, flags=flags
    )


# accounts and entries


@pytest.mark.parametrize(
    "code", ["bank", "receivable:P01", "acquirer:tongpay", "operator_payable:op1", "cash:a:b", "owner_payable:P01"]
)
def test_an_account_is_known_by_its_code(code: str) -> None:
    assert account(code).code == code


@pytest.mark.parametrize("code", ["", "gold", "bank:P01", "receivable", "receivable:", "acquirer"])
def test_no_other_account_exists(code: str) -> None:
    with pytest.raises(InvalidInputError, match="There is no account"):
        account(code)


def test_channels_have_their_accounts() -> None:
    codes = {channel: account_of_channel(channel).code for channel in ("etc", "bank", "qr:x", "hold:x", "cash:op1")}
    assert codes == {
        "etc": "etc_clearing",
        "bank": "bank",
        "qr:x": "acquirer:x",
        "hold:x": "preauthorised:x",
        "cash:op1": "cash:op1",
    }
    for wrong in ("", "qr", "qr:", "hold:", "cash:", "etc:1", "shells"):
        with pytest.raises(InvalidInputError, match="There is no channel"):
            account_of_channel(wrong)


@pytest.mark.parametrize(
    "lines", [(), ((BANK, 5),), ((BANK, 5), (ETC_CLEARING, -4)), ((BANK, 5), (ETC_CLEARING, -5), (MOVED, 1))]
)
def test_an_entry_that_does_not_balance_cannot_be_made(lines: tuple[tuple[Account, int], ...]) -> None:
    with pytest.raises(UnbalancedError, match="does not balance"):
        Entry(
            key="k",
            kind=EntryKind.CHARGE,
            occurred_at=NOON,
            postings=tuple(Posting(account, fen) for account, fen in lines),
        )


@pytest.mark.parametrize("fen", [0, 1.5, True, None])
def test_a_posting_is_whole_fen_and_not_nothing(fen: Any) -> None:
    with pytest.raises(UnbalancedError, match="whole fen"):
        Posting(BANK, fen)


def test_an_entry_needs_a_key_and_a_zone() -> None:
    with pytest.raises(ValueError, match="no key"):
        Entry(key="", kind=EntryKind.CHARGE, occurred_at=NOON, postings=transfer(BANK, MOVED, 1))
    with pytest.raises(ValueError, match="without a zone"):
        Entry(key="k", kind=EntryKind.CHARGE, occurred_at=NOON.replace(tzinfo=None), postings=transfer(BANK, MOVED, 1))


# posting rules: the examples of their docstrings


def lines_of(entry: Entry | None) -> dict[str, int]:
    assert entry is not None
    return {posting.account.code: posting.amount_fen for posting in entry.postings}


def test_the_examples_of_the_posting_rules_hold() -> None:
    one: dict[str, Any] = {"visit_id": 1, "lot": "P01", "at": NOON}
    first = postings.charge_changed(version=1, delta_fen=500, **one)
    assert (first.key, lines_of(first)) == ("charge:1:1", {"receivable:P01": 500, "revenue:P01": -500})
    second = postings.charge_changed(version=2, delta_fen=-200, **one)
    assert lines_of(second) == {"receivable:P01": -200, "revenue:P01": 200}
    assert lines_of(postings.etc_paid(a_transaction())) == {"etc_awaiting_tac": 500, "receivable:P01": -500}
    assert lines_of(postings.day_cleared(day=DAY, version=1, amount_fen=12_000, at=NOON)) == {
        "bank": 12_000,
        "etc_clearing": -12_000,
    }
    bill = postings.acquirer_paid_out(acquirer="x", day=DAY, amount_fen=10_000, fee_fen=38, at=NOON)
    assert lines_of(bill) == {"bank": 9_962, "acquirer_fees": 38, "acquirer:x": -10_000}
    refund = postings.refund_ordered(key="r", amount_fen=500, overpaid_fen=200, detail=WHO, **one)
    assert lines_of(refund) == {"receivable:P01": 200, "revenue:P01": 300, "refunds_payable": -500}
    promise = postings.promise_paid(
        key="reservation:R", channel="hold:x", lot="P01", amount_fen=1_000, owner_permille=700, at=NOON, visit_id=1
    )
    assert lines_of(promise) == {"preauthorised:x": 1_000, "revenue:P01": -300, "owner_payable:P01": -700}
    assert (promise.key, promise.visit_id, promise.detail["owner_permille"]) == ("reservation:R", 1, 700)
    stated = postings.month_stated(
        operator="op1", month=DAY, version=1, operator_fen=9_000, district_fen=1_000, at=NOON
    )
    assert lines_of(stated) == {"distributed:op1": 10_000, "operator_payable:op1": -9_000, "district_share": -1_000}


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (EtcState.AWAITING_TAC, EtcState.READY, {"etc_clearing": 500, "etc_awaiting_tac": -500}),
        (EtcState.AWAITING_TAC, EtcState.HELD, {"etc_held": 500, "etc_awaiting_tac": -500}),
        (EtcState.HELD, EtcState.READY, {"etc_clearing": 500, "etc_held": -500}),
        (EtcState.HELD, EtcState.REJECTED, {"receivable:P01": 500, "etc_held": -500}),
        (EtcState.PACKED, EtcState.DISPUTED, {"etc_disputed": 500, "etc_clearing": -500}),
        (EtcState.DISPUTED, EtcState.BOOKED, {"etc_clearing": 500, "etc_disputed": -500}),
        (EtcState.DISPUTED, EtcState.BAD_DEBT, {"bad_debt:P01": 500, "etc_disputed": -500}),
        (EtcState.READY, EtcState.PACKED, None),
        (EtcState.PACKED, EtcState.READY, None),
        (EtcState.PACKED, EtcState.BOOKED, None),
    ],
)
def test_money_moves_with_the_state(before: EtcState, after: EtcState, lines: dict[str, int] | None) -> None:
    entry = postings.etc_changed(a_transaction(state=before), after, NOON)
    if lines is None:
        assert entry is None
    else:
        assert lines_of(entry) == lines
        assert entry is not None
        assert entry.key == f"etc_{after.value}:T1:1"


def test_what_has_no_visit_is_not_booked() -> None:
    homeless = a_transaction(visit_id=None)
    assert postings.etc_changed(homeless, EtcState.READY, NOON) is None
    with pytest.raises(ValueError, match="has no visit"):
        postings.etc_paid(homeless)
    with pytest.raises(ValueError, match="was rejected"):
        postings.etc_paid(a_transaction(state=EtcState.REJECTED))


def test_every_change_of_state_that_moves_money_has_a_key_of_its_own() -> None:
    """No walk through the table comes twice by a state whose entry would then have a key that is booked already."""

    def walk(state: EtcState, keys: tuple[str, ...]) -> None:
        for after in etc_rules.CHANGES[state]:
            entry = postings.etc_changed(a_transaction(state=state), after, NOON)
            if entry is not None:
                assert entry.key not in keys
                walk(after, (*keys, entry.key))
            elif (state, after) != (EtcState.PACKED, EtcState.READY):  # packed again: nothing is booked on that way
                walk(after, keys)

    for first in (EtcState.AWAITING_TAC, EtcState.HELD, EtcState.READY):
        walk(first, ())


# transactions and completions


def test_every_check_is_decided() -> None:
    """A check is blocking, told, or about the reading only; a new one must be put somewhere."""
    reading = {
        *(Check.TAC_ABSENT, Check.PLATE_FORM, Check.COLOR_UNKNOWN, Check.VEHICLE_CLASS, Check.WRONG_WAY),
        *(Check.CLOCK_SUSPECT, Check.ENTRY_AFTER_EXIT),
    }
    assert set(Check) == {check for check in Check if check in etc_rules.ROUTED} | reading
    assert not reading & etc_rules.ROUTED
    assert {Check.TAC_FORM, Check.BALANCE, Check.AMOUNT_RANGE} <= BLOCKING
    assert not {Check.OBU_CARD_PLATES, Check.CAMERA_ETC_PLATES} & BLOCKING


@pytest.mark.parametrize(
    ("etc", "other"),
    [
        (None, {}),
        (EtcPart(amount_fen=None), {}),
        (EtcPart(amount_fen=0), {}),
        (EtcPart(amount_fen=-5), {}),
        (EtcPart(amount_fen=5), {"kind": LaneEventKind.FEE_REQUEST}),
        (EtcPart(amount_fen=5), {"kind": LaneEventKind.COMPLETION}),
    ],
)
def test_only_a_passage_with_money_is_a_transaction(etc: EtcPart | None, other: dict[str, Any]) -> None:
    assert transaction_of(an_exit(etc, **other)) is None


def test_money_taken_on_the_way_in_is_a_transaction_too() -> None:
    paid = EtcPart(terminal_no="T1", terminal_serial="1", tac="A1B2C3D4", amount_fen=500)
    transaction = transaction_of(an_exit(paid, kind=LaneEventKind.ENTRY))
    assert transaction is not None
    assert (transaction.amount_fen, transaction.state) == (500, EtcState.READY)


def test_an_exit_with_money_is_ready_waits_or_is_held() -> None:
    whole = EtcPart(terminal_no="T1", terminal_serial="1", tac="A1B2C3D4", amount_fen=500)

    def state(etc: EtcPart, *flags: str) -> tuple[EtcState, tuple[str, ...]]:
        transaction = transaction_of(an_exit(etc, flags=flags))
        assert transaction is not None
        return transaction.state, transaction.reasons

    assert state(whole) == (EtcState.READY, ())
    assert state(whole, "camera_etc_plates") == (EtcState.READY, ())
    assert state(replace(whole, tac=""), "tac_absent") == (EtcState.AWAITING_TAC, ())
    assert state(replace(whole, tac=None), "balance") == (EtcState.HELD, ("balance",))
    assert state(whole, "card_length", "balance") == (EtcState.HELD, ("balance", "card_length"))
    assert state(replace(whole, terminal_serial=None)) == (EtcState.HELD, ("terminal_missing",))


def test_a_completion_adds_the_tac_and_no_money() -> None:
    outcome, after = complete(a_transaction(), a_reply())
    assert outcome is Completion.COMPLETED
    assert after == a_transaction(tac="A1B2C3D4", state=EtcState.READY, completion_event_id=9)
    assert complete(after, a_reply("a1b2c3d4", None)) == (Completion.KNOWN, after)
    for other in (a_reply("FFFFFFFF"), a_reply(amount_fen=600), a_reply(None)):
        assert complete(after, other) == (Completion.DIFFERS, after)


@pytest.mark.parametrize("tac", ["224", "A1B2C3DG", "A1B2C3D4A1"])
def test_what_is_no_tac_completes_nothing_and_the_next_reply_does(tac: str) -> None:
    waiting = a_transaction()
    assert complete(waiting, a_reply(tac)) == (Completion.DIFFERS, waiting)
    assert complete(waiting, a_reply())[0] is Completion.COMPLETED


def test_a_doubtful_completion_holds_and_a_held_one_stays_held() -> None:
    assert complete(a_transaction(), a_reply(amount_fen=600))[1].reasons == ("completion_amount",)
    outcome, doubtful = complete(a_transaction(), a_reply(flags=("tac_form", "clock_suspect")))
    assert (outcome, doubtful.state, doubtful.reasons) == (Completion.HELD, EtcState.HELD, ("tac_form",))
    outcome, held = complete(a_transaction(state=EtcState.HELD, reasons=("balance",)), a_reply())
    assert (outcome, held.tac, held.reasons) == (Completion.HELD, "A1B2C3D4", ("balance",))


@pytest.mark.parametrize("state", [EtcState.REJECTED, EtcState.BAD_DEBT])
def test_a_late_reply_revives_nothing(state: EtcState) -> None:
    gone = a_transaction(state=state)
    assert complete(gone, a_reply()) == (Completion.DIFFERS, gone)


def test_only_a_repeat_of_the_same_transaction_brings_a_tac() -> None:
    repeat = LaneRepeat(
        id=5,
        device_id=3,
        lot_id=1,
        record_no=13,
        event_id=7,
        reason=RepeatReason.TRANSACTION_REPEATED,
        occurred_at=NOON,
        received_at=NOON,
        tac="A1B2C3D4",
        amount_fen=500,
    )
    reply = reply_of_repeat(repeat)
    assert reply is not None
    assert complete(a_transaction(), reply)[0] is Completion.COMPLETED
    assert reply_of_repeat(replace(repeat, tac=None)) is None
    assert reply_of_repeat(replace(repeat, reason=RepeatReason.RECORD_NO_REUSED)) is None
    assert reply_of_event(an_exit(None, kind=LaneEventKind.COMPLETION)).tac is None


# holds


def a_hold(**other: Any) -> Hold:
    facts: dict[str, Any] = {
        "key": "h",
        "channel": "qr:x",
        "amount_fen": 1000,
        "placed_at": NOON,
        "expires_at": NOON + timedelta(hours=1),
    }
    return Hold(**(facts | other))


def test_a_hold_is_captured_once_and_at_most_whole() -> None:
    taken = hold_rules.capture(a_hold(), 1000, NOON)
    assert (taken.state, taken.captured_fen, taken.ended_at) == (HoldState.CAPTURED, 1000, NOON)
    assert hold_rules.capture(taken, 1000, NOON + timedelta(hours=2)) == taken
    with pytest.raises(InvalidInputError, match="is captured"):
        hold_rules.capture(taken, 999, NOON)
    for wrong in (0, -1, 1001):
        with pytest.raises(InvalidInputError, match="cannot be captured"):
            hold_rules.capture(a_hold(), wrong, NOON)
    with pytest.raises(InvalidInputError, match="refund"):
        hold_rules.release(taken, NOON)


def test_the_clock_alone_expires_a_hold() -> None:
    hold = a_hold()
    assert not hold_rules.is_expired(hold, hold.expires_at - timedelta(microseconds=1))
    assert hold_rules.is_expired(hold, hold.expires_at)
    with pytest.raises(InvalidInputError, match="expired at"):
        hold_rules.capture(hold, 1, hold.expires_at)
    released = hold_rules.release(hold, NOON)
    assert hold_rules.release(released, NOON + timedelta(hours=9)) == released
    assert not hold_rules.is_expired(released, hold.expires_at)
    with pytest.raises(InvalidInputError, match="is released"):
        hold_rules.capture(released, 1, NOON)
    for wrong in ({"amount_fen": 0}, {"expires_at": NOON}):
        with pytest.raises(InvalidInputError, match="Hold h"):
            a_hold(**wrong)
