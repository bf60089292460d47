"""What people decide about money: refunds, write-offs, held transactions, bad debts. One transaction each.

Every decision names who made it and why, is booked as a further entry under its own key, and ends the difference that
asked for it; what a visit owes after it is said as after a lane record. The same key again changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.errors import InvalidInputError, NotFoundError
from parking_core.flows.charge_visits import review_visits
from parking_core.flows.pay_arrears import ArrearsPayment, pay_arrears
from parking_core.flows.settle_transactions import change_state
from parking_core.reconciliation import DifferenceName, DifferenceState
from parking_core.settlement import AccountKind, account, postings
from parking_core.settlement.accounts import account_of_channel
from parking_core.settlement.etc import CHANGES, UNPACKABLE, EtcState
from parking_core.store import differences, etc_transactions, journal, lane_work, visit_money

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.settlement import EtcTransaction
    from parking_core.store.visit_money import VisitMoney

_OVERPAYMENTS = (DifferenceName.OVERPAID, DifferenceName.PAID_TWICE)
_CHANNELS = {AccountKind.ACQUIRER: "qr", AccountKind.CASH: "cash"}


@dataclass(frozen=True, slots=True)
class Decision:
    """Who decides and why. `key` names the decision: the same one again is the same decision."""

    key: str
    by: str
    reason: str

    def __post_init__(self) -> None:
        for name in ("key", "by", "reason"):
            if not getattr(self, name).strip():
                raise InvalidInputError(f"A correction of money needs its {name}; it is kept in the journal.")

    def detail(self) -> dict[str, Any]:
        """What the journal keeps of it."""
        return {"by": self.by, "reason": self.reason}

    def explanation(self, done: str) -> str:
        """What a difference says that this decision ended."""
        return f"{done} by {self.by}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Corrected:
    """What a decision did."""

    entry: str  # key in the journal
    amount_fen: int
    new: bool  # False: it had been booked before, nothing changed
    channel: str = ""  # of a refund: the way it is paid


def order_refund(
    connection: Connection[Any],
    visit_id: int,
    amount_fen: int,
    decision: Decision,
    now: datetime,
    *,
    channel: str = "",
    zone: ZoneInfo,
) -> Corrected:
    """First stage: the visit's driver is to get `amount_fen` back, by `channel` ("" the way most of it was paid).

    What was paid too much is given back; more than that lessens what the visit cost.

    Raises:
        NotFoundError: there is no such visit.
        InvalidInputError: more than was paid, or no way to pay it back.
    """
    with connection.transaction():
        lane_work.take_turn(connection)
        money = visit_money.lock(connection, visit_id)
        key = f"refund_ordered:{decision.key}"
        if (earlier := _booked_amount(connection, key, visit_id)) is not None:
            return Corrected(key, earlier[0], new=False, channel=earlier[1])
        if not 0 < amount_fen <= money.refundable_fen:
            raise InvalidInputError(
                f"Visit {visit_id} has {money.refundable_fen} fen that can be given back; a refund of {amount_fen} cannot."
            )
        channel = channel or _usual_channel(money)
        if account_of_channel(channel).kind is AccountKind.PREAUTHORISED:
            raise InvalidInputError(
                f"A refund of visit {visit_id} cannot go by {channel}, which is money of promises; `parking money give-back` "
                "gives that back, a visit's goes by bank, qr:<acquirer> or cash:<operator>."
            )
        entry = postings.refund_ordered(
            key=decision.key,
            visit_id=visit_id,
            lot=money.lot,
            amount_fen=amount_fen,
            overpaid_fen=-money.owed_fen,
            at=now,
            detail={**decision.detail(), "channel": channel, "amount_fen": amount_fen},
        )
        journal.book(connection, [entry])
        if -money.owed_fen <= amount_fen:
            explanation = decision.explanation("A refund was ordered")
            differences.end_of_visits(connection, [visit_id], _OVERPAYMENTS, DifferenceState.SETTLED, explanation)
        review_visits(connection, [visit_id], zone)
    return Corrected(entry.key, amount_fen, new=True, channel=channel)


def _usual_channel(money: VisitMoney) -> str:
    """The way most of the money came. ETC money comes back from the bank: the centre knows no negative record."""
    code = max(money.paid_into, key=lambda one: money.paid_into[one], default="")
    paid_into = account(code) if code else None
    if paid_into is None or paid_into.kind not in _CHANNELS:
        return "bank"
    return f"{_CHANNELS[paid_into.kind]}:{paid_into.of}"


def _booked_amount(connection: Connection[Any], key: str, visit_id: int) -> tuple[int, str] | None:
    """Amount and channel of a decision that was booked before; None: it was not.

    Raises:
        InvalidInputError: its key is that of a decision about another visit.
    """
    entry = journal.entry(connection, key)
    if entry is None:
        return None
    if entry.visit_id != visit_id:
        raise InvalidInputError(f"{key} was booked for visit {entry.visit_id}; give this decision another key.")
    return sum(fen for _, fen in entry.postings if fen > 0), str(entry.detail.get("channel", ""))


def pay_refund(connection: Connection[Any], visit_id: int, decision: Decision, now: datetime) -> Corrected:
    """Second stage: the channel has paid the refund that was ordered under the same key.

    Raises:
        NotFoundError: no refund was ordered under this key.
        InvalidInputError: it was ordered for another visit.
    """
    with connection.transaction():
        lane_work.take_turn(connection)
        visit_money.lock(connection, visit_id)
        ordered = _booked_amount(connection, f"refund_ordered:{decision.key}", visit_id)
        if ordered is None:
            raise NotFoundError(f"No refund {decision.key!r} was ordered; order it before it is paid.")
        amount_fen, channel = ordered
        entry = postings.refund_paid(
            key=decision.key,
            visit_id=visit_id,
            channel=channel or "bank",
            amount_fen=amount_fen,
            at=now,
            detail=decision.detail(),
        )
        new = bool(journal.book(connection, [entry]))
    return Corrected(entry.key, amount_fen, new=new, channel=channel)


def write_off(
    connection: Connection[Any],
    visit_id: int,
    decision: Decision,
    now: datetime,
    *,
    amount_fen: int | None = None,
    zone: ZoneInfo,
) -> Corrected:
    """Gives up what a visit owes, or `amount_fen` of it.

    Raises:
        NotFoundError: there is no such visit.
        InvalidInputError: it owes less.
    """
    with connection.transaction():
        lane_work.take_turn(connection)
        money = visit_money.lock(connection, visit_id)
        key = f"write_off:{decision.key}"
        if (earlier := _booked_amount(connection, key, visit_id)) is not None:
            return Corrected(key, earlier[0], new=False)
        amount = money.owed_fen if amount_fen is None else amount_fen
        if not 0 < amount <= money.owed_fen:
            raise InvalidInputError(
                f"Visit {visit_id} owes {max(0, money.owed_fen)} fen; {amount} cannot be written off."
            )
        entry = postings.written_off(
            key=decision.key, visit_id=visit_id, lot=money.lot, amount_fen=amount, at=now, detail=decision.detail()
        )
        journal.book(connection, [entry])
        if amount == money.owed_fen:
            differences.end_of_visits(
                connection,
                [visit_id],
                (DifferenceName.ARREARS, DifferenceName.TAILGATED),
                DifferenceState.WRITTEN_OFF,
                decision.explanation("Written off"),
            )
        review_visits(connection, [visit_id], zone)
    return Corrected(entry.key, amount, new=True)


def set_off(
    connection: Connection[Any], visit_id: int, decision: Decision, now: datetime, *, zone: ZoneInfo
) -> Corrected:
    """Sets what a visit was paid too much against what its vehicle owes for other visits, the oldest first.

    Raises:
        NotFoundError: there is no such visit.
        InvalidInputError: it was not paid too much, or its vehicle owes nothing.
    """
    with connection.transaction():
        lane_work.take_turn(connection)
        money = visit_money.lock(connection, visit_id)
        key = f"moved_out:arrears:{decision.key}:1"
        if (earlier := _booked_amount(connection, key, visit_id)) is not None:
            return Corrected(key, earlier[0], new=False)
        if money.owed_fen >= 0:
            raise InvalidInputError(f"Visit {visit_id} was not paid too much; there is nothing to set off.")
        part = ArrearsPayment(
            payment=decision.key,
            visit_id=visit_id,
            vehicle=money.vehicle,
            amount_fen=-money.owed_fen,
            at=now,
            detail=decision.detail(),
        )
        owing = [arrear.visit_id for arrear in journal.unpaid_visits(connection, [money.vehicle])]
        if not pay_arrears(connection, [part]):
            raise InvalidInputError(f"The vehicle of visit {visit_id} owes nothing for other visits; order a refund.")
        left = journal.owed_by_visit(connection, [visit_id])[visit_id]
        if left == 0:
            explanation = decision.explanation("Set off against arrears")
            differences.end_of_visits(connection, [visit_id], _OVERPAYMENTS, DifferenceState.SETTLED, explanation)
        review_visits(connection, [visit_id, *owing], zone)
    return Corrected(key, left - money.owed_fen, new=True)


def release_held(
    connection: Connection[Any],
    terminal: tuple[str, str],
    decision: Decision,
    now: datetime,
    *,
    zone: ZoneInfo,
) -> Corrected:
    """A held transaction is good after all: it goes to the clearing centre. `terminal` is terminal number and serial.

    Raises:
        NotFoundError: there is no such transaction.
        InvalidInputError: it is not held, its TAC is missing, or no package can hold it.
    """
    return _decide(connection, terminal, EtcState.READY, _Made(decision, now, zone))


def reject_held(
    connection: Connection[Any],
    terminal: tuple[str, str],
    decision: Decision,
    now: datetime,
    *,
    zone: ZoneInfo,
) -> Corrected:
    """A transaction that is held, or whose TAC never came, is not claimed: its visit owes the money again.

    Raises:
        NotFoundError: there is no such transaction.
        InvalidInputError: its life cycle does not allow it.
    """
    return _decide(connection, terminal, EtcState.REJECTED, _Made(decision, now, zone))


def book_bad_debt(
    connection: Connection[Any],
    terminal: tuple[str, str],
    decision: Decision,
    now: datetime,
    *,
    zone: ZoneInfo,
) -> Corrected:
    """Nobody will pay a transaction that is held, disputed or without TAC, and its driver is not asked again.

    Raises:
        NotFoundError: there is no such transaction.
        InvalidInputError: its life cycle does not allow it.
    """
    return _decide(connection, terminal, EtcState.BAD_DEBT, _Made(decision, now, zone))


@dataclass(frozen=True, slots=True)
class _Made:
    """A decision with its time, and the zone of its day."""

    decision: Decision
    now: datetime
    zone: ZoneInfo


def _decide(connection: Connection[Any], terminal: tuple[str, str], after: EtcState, made: _Made) -> Corrected:
    decision = made.decision
    with connection.transaction():
        lane_work.take_turn(connection)
        transaction = etc_transactions.by_name(connection, *terminal)
        if transaction is None:
            raise NotFoundError(
                f"There is no transaction {terminal[0]}:{terminal[1]}; give terminal number and serial."
            )
        key = f"etc_{after.value}:{transaction.name}"
        if transaction.state is after and journal.booked(connection, [key]):
            return Corrected(key, transaction.amount_fen, new=False)
        _refuse_unless_decidable(transaction, after)
        change_state(connection, [transaction.id], after, made.now, {**decision.detail(), "decision": decision.key})
        state = DifferenceState.WRITTEN_OFF if after is EtcState.BAD_DEBT else DifferenceState.SETTLED
        differences.end(
            connection,
            [
                f"check_failed:{transaction.name}",
                f"tac_missing:{transaction.name}",
                f"disputed:{transaction.name}",
            ],
            state,
            decision.explanation(f"The transaction became {after.value}"),
        )
        if transaction.visit_id is not None:
            review_visits(connection, [transaction.visit_id], made.zone)
    return Corrected(key, transaction.amount_fen, new=True)


def _refuse_unless_decidable(transaction: EtcTransaction, after: EtcState) -> None:
    """A person decides what is held, disputed or incomplete; the rest is the clearing centre's."""
    if transaction.visit_id is None:
        raise InvalidInputError(f"Transaction {transaction.name} has no visit yet; decide when its exit is paired.")
    decidable = transaction.state in {EtcState.HELD, EtcState.AWAITING_TAC, EtcState.DISPUTED}
    if not decidable or after not in CHANGES[transaction.state]:
        raise InvalidInputError(
            f"Transaction {transaction.name} is {transaction.state.value}; it cannot become {after.value}."
        )
    unpackable = UNPACKABLE.intersection(transaction.reasons)
    if after is EtcState.READY and unpackable:
        raise InvalidInputError(
            f"Transaction {transaction.name} does not fit a package to the centre ({', '.join(sorted(unpackable))}); "
            "reject it, and its visit owes the money again."
        )
    if after is EtcState.READY and transaction.tac is None:
        raise InvalidInputError(
            f"Transaction {transaction.name} has no TAC, so the centre would not pay it; "
            "wait for its completion, reject it or book it as bad debt."
        )
