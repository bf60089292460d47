"""ETC transactions: their life cycle, what holds one back, and what a late TAC does (rules).

awaiting_tac ──► ready ──► packed ──► booked
  │  │  │          ▲  ▲      │  └──► disputed ──► booked | bad_debt
  │  │  └► held ───┘  └──────┘ the centre refused the package: packed again
  │  └──────┤
  └─────────┴──► rejected (the visit owes again) | bad_debt (nobody pays)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from parking_core.lane_checks import HOLDING, Check, is_tac
from parking_core.lanes import LaneEventKind, RepeatReason

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from parking_core.lanes import LaneEvent, LaneRepeat

TAC_PATIENCE: Final = timedelta(days=7)  # a lane fetches a lost TAC again within its day; a week covers an outage


class EtcState(StrEnum):
    """Where a transaction stands."""

    AWAITING_TAC = "awaiting_tac"  # the card was charged, the reply with its TAC was lost
    HELD = "held"  # a check failed: routed to a person
    READY = "ready"  # to be packed
    PACKED = "packed"
    BOOKED = "booked"  # the centre pays it
    DISPUTED = "disputed"
    REJECTED = "rejected"  # not claimed from the centre: the visit owes it again
    BAD_DEBT = "bad_debt"


CHANGES: Final[Mapping[EtcState, frozenset[EtcState]]] = {
    EtcState.AWAITING_TAC: frozenset({EtcState.READY, EtcState.HELD, EtcState.REJECTED, EtcState.BAD_DEBT}),
    EtcState.HELD: frozenset({EtcState.READY, EtcState.REJECTED, EtcState.BAD_DEBT}),
    EtcState.READY: frozenset({EtcState.PACKED}),
    EtcState.PACKED: frozenset({EtcState.READY, EtcState.BOOKED, EtcState.DISPUTED}),
    EtcState.BOOKED: frozenset(),
    EtcState.DISPUTED: frozenset({EtcState.BOOKED, EtcState.BAD_DEBT}),
    EtcState.REJECTED: frozenset(),
    EtcState.BAD_DEBT: frozenset(),
}

TERMINAL_MISSING: Final = "terminal_missing"  # money without (terminal, serial): kept under the lane's record number
COMPLETION_AMOUNT: Final = "completion_amount"  # the late reply names another amount than the lane's record

# What holds money back: the centre would dispute it, or the amount itself is in doubt.
BLOCKING: Final[frozenset[str]] = HOLDING | {TERMINAL_MISSING, COMPLETION_AMOUNT}
# What the centre cannot be told of: it has no package without these.
UNPACKABLE: Final[frozenset[str]] = frozenset({Check.TAIL_FORM, TERMINAL_MISSING})
# What is told to a person, held back or not. The other checks say how well a lane reads, not what becomes of money.
ROUTED: Final[frozenset[str]] = BLOCKING | {Check.OBU_CARD_PLATES, Check.CAMERA_ETC_PLATES, Check.LIST_VERSION_OLD}


TAKING: Final = frozenset({LaneEventKind.ENTRY, LaneEventKind.EXIT})  # events at which a lane takes money


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcTransaction:
    """Money that a lane took from a card, once a (terminal, serial)."""

    terminal_no: str
    terminal_serial: str
    event_id: int
    device_id: int
    lot_id: int
    amount_fen: int
    occurred_at: datetime
    tac: str | None
    state: EtcState
    reasons: tuple[str, ...] = ()
    id: int = 0  # 0: not stored yet
    lot: str = ""  # code of its visit's lot; of its lane's while there is no visit
    visit_id: int | None = None  # None: not booked yet
    completion_event_id: int | None = None

    @property
    def name(self) -> str:
        """`<terminal>:<serial>`, as in the keys of its entries and differences."""
        return f"{self.terminal_no}:{self.terminal_serial}"


def may_become(before: EtcState, after: EtcState) -> bool:
    """Whether the life cycle allows the change."""
    return after in CHANGES[before]


def transaction_of(event: LaneEvent) -> EtcTransaction | None:
    """The transaction that an exit reports, or an entry where one pays on the way in; None: no money was taken.

    Money without terminal or serial is not lost: it is held under the lane's own record number.
    """
    etc = event.etc
    if event.kind not in TAKING or etc is None or not etc.amount_fen or etc.amount_fen < 0:
        return None
    reasons = {flag for flag in event.flags if flag in BLOCKING}
    terminal_no, terminal_serial = etc.terminal_no, etc.terminal_serial
    if not terminal_no or not terminal_serial:
        reasons.add(TERMINAL_MISSING)
        terminal_no, terminal_serial = f"lane-{event.device_id}", f"record-{event.record_no}"
    tac = etc.tac or None
    complete_state = EtcState.READY if tac else EtcState.AWAITING_TAC
    return EtcTransaction(
        terminal_no=terminal_no,
        terminal_serial=terminal_serial,
        event_id=event.id,
        device_id=event.device_id,
        lot_id=event.lot_id,
        amount_fen=etc.amount_fen,
        occurred_at=event.occurred_at,
        tac=tac,
        state=EtcState.HELD if reasons else complete_state,
        reasons=tuple(sorted(reasons)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TacReply:
    """A reply with a TAC that came apart from its exit: a completion, or the same transaction reported again."""

    name: str  # "event:<id>" or "repeat:<id>"
    event_id: int | None  # of the completion; None: a repeat, which is not in the ledger of events
    occurred_at: datetime
    received_at: datetime
    tac: str | None
    amount_fen: int | None
    flags: tuple[str, ...] = ()


def reply_of_event(completion: LaneEvent) -> TacReply:
    """What a completion event says."""
    etc = completion.etc
    return TacReply(
        name=f"event:{completion.id}",
        event_id=completion.id,
        occurred_at=completion.occurred_at,
        received_at=completion.received_at,
        tac=etc.tac if etc else None,
        amount_fen=etc.amount_fen if etc else None,
        flags=completion.flags,
    )


def reply_of_repeat(repeat: LaneRepeat) -> TacReply | None:
    """What a repeated report says of its transaction; None: nothing that counts.

    One record number with two contents may be about two transactions: its TAC is not taken.
    """
    if repeat.reason is not RepeatReason.TRANSACTION_REPEATED or not repeat.tac:
        return None
    return TacReply(
        name=f"repeat:{repeat.id}",
        event_id=None,
        occurred_at=repeat.occurred_at,
        received_at=repeat.received_at,
        tac=repeat.tac,
        amount_fen=repeat.amount_fen,
    )


class Completion(StrEnum):
    """What a late reply does to its transaction."""

    COMPLETED = "completed"
    HELD = "held"  # it brings the TAC, and a doubt
    KNOWN = "known"  # says what is known already
    DIFFERS = "differs"  # says otherwise, or nothing: the first counts, and a person looks


def complete(transaction: EtcTransaction, reply: TacReply) -> tuple[Completion, EtcTransaction]:
    """What a late reply does: the money is never taken again, only the TAC is added.

    A held transaction stays held when its TAC comes; one that was rejected or lost is not revived by a late reply. What
    has not the form of a TAC is none: the transaction goes on waiting for it.
    """
    tac = reply.tac or None
    same_amount = reply.amount_fen in (None, transaction.amount_fen)
    if tac is None or not is_tac(tac):
        return Completion.DIFFERS, transaction
    if transaction.tac is not None:
        same = transaction.tac.upper() == tac.upper() and same_amount
        return (Completion.KNOWN if same else Completion.DIFFERS), transaction
    if transaction.state not in {EtcState.AWAITING_TAC, EtcState.HELD}:
        return Completion.DIFFERS, transaction
    doubts = {flag for flag in reply.flags if flag in BLOCKING}
    if not same_amount:
        doubts.add(COMPLETION_AMOUNT)
    held = bool(doubts) or transaction.state is EtcState.HELD
    after = replace(
        transaction,
        tac=tac,
        completion_event_id=reply.event_id,
        state=EtcState.HELD if held else EtcState.READY,
        reasons=tuple(sorted({*transaction.reasons, *doubts})),
    )
    return (Completion.HELD if held else Completion.COMPLETED), after
