"""Posting rules: one function an event, each giving one balanced entry (rules). The table heads the package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parking_core.settlement.accounts import (
    ACQUIRER_FEES,
    BANK,
    DISTRICT_SHARE,
    ETC_AWAITING_TAC,
    ETC_CLEARING,
    ETC_DISPUTED,
    ETC_HELD,
    MOVED,
    REFUNDS_PAYABLE,
    Account,
    AccountKind,
    account_of_channel,
    receivable,
    revenue,
)
from parking_core.settlement.entries import Entry, EntryKind, Posting, transfer
from parking_core.settlement.etc import EtcState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime

    from parking_core.settlement.etc import EtcTransaction


def charge_changed(*, visit_id: int, version: int, lot: str, delta_fen: int, at: datetime) -> Entry:
    """A visit's new charge: the difference to the version before; `delta_fen` is not 0.

    A first version of 500 fen: DR receivable 500 / CR revenue 500; a second of 300: the other way by 200.
    """
    return Entry(
        key=f"charge:{visit_id}:{version}",
        kind=EntryKind.CHARGE,
        occurred_at=at,
        visit_id=visit_id,
        postings=transfer(receivable(lot), revenue(lot), delta_fen),
        detail={"version": version},
    )


def account_of_state(state: EtcState, lot: str) -> Account:
    """Where the money of a transaction stands in a state.

    Packed and booked ones are still in clearing: they leave it with the cleared day. A rejected one is owed again.
    """
    match state:
        case EtcState.READY | EtcState.PACKED | EtcState.BOOKED:
            return ETC_CLEARING
        case EtcState.AWAITING_TAC:
            return ETC_AWAITING_TAC
        case EtcState.HELD:
            return ETC_HELD
        case EtcState.DISPUTED:
            return ETC_DISPUTED
        case EtcState.REJECTED:
            return receivable(lot)
        case EtcState.BAD_DEBT:
            return Account(AccountKind.BAD_DEBT, lot)


def etc_paid(transaction: EtcTransaction) -> Entry:
    """Money that a lane took from a card, for the visit the transaction is attached to.

    500 fen, complete: DR etc_clearing 500 / CR receivable 500; without its TAC: DR etc_awaiting_tac 500.

    Raises:
        ValueError: it has no visit yet, or a person has ended it before it was booked.
    """
    if transaction.visit_id is None:
        raise ValueError(f"Transaction {transaction.name} has no visit; attach one before it is booked.")
    if transaction.state is EtcState.REJECTED:
        raise ValueError(f"Transaction {transaction.name} was rejected before it was booked.")
    return Entry(
        key=f"etc:{transaction.name}",
        kind=EntryKind.ETC_PAYMENT,
        occurred_at=transaction.occurred_at,
        visit_id=transaction.visit_id,
        postings=transfer(
            account_of_state(transaction.state, transaction.lot), receivable(transaction.lot), transaction.amount_fen
        ),
        detail={"state": transaction.state.value, "event_id": transaction.event_id},
    )


_ENTRY_OF_STATE = {
    EtcState.READY: EntryKind.ETC_READY,
    EtcState.HELD: EntryKind.ETC_HELD,
    EtcState.REJECTED: EntryKind.ETC_REJECTED,
    EtcState.DISPUTED: EntryKind.ETC_DISPUTED,
    EtcState.BOOKED: EntryKind.ETC_BOOKED,
    EtcState.BAD_DEBT: EntryKind.BAD_DEBT,
}


def etc_changed(
    transaction: EtcTransaction, after: EtcState, at: datetime, detail: Mapping[str, Any] | None = None
) -> Entry | None:
    """A booked transaction that becomes `after`; None: its money stays where it is, or it is not booked yet.

    A late TAC: DR etc_clearing / CR etc_awaiting_tac. Disputed: DR etc_disputed / CR etc_clearing; decided as paid: the
    other way; as bad debt: DR bad_debt / CR etc_disputed. Rejected: DR receivable / CR etc_held.
    """
    source = account_of_state(transaction.state, transaction.lot)
    target = account_of_state(after, transaction.lot)
    if source == target or transaction.visit_id is None:
        return None
    return Entry(
        key=f"etc_{after.value}:{transaction.name}",
        kind=_ENTRY_OF_STATE[after],
        occurred_at=at,
        visit_id=transaction.visit_id,
        postings=transfer(target, source, transaction.amount_fen),
        detail=detail or {},
    )


def day_cleared(*, day: date, version: int, amount_fen: int, at: datetime) -> Entry:
    """The centre has cleared a day: its money is on our bank account. A corrected total is a version more, by the delta.

    12,000 fen: DR bank 12,000 / CR etc_clearing 12,000.
    """
    return Entry(
        key=f"clearing_day:{day.isoformat()}:{version}",
        kind=EntryKind.CLEARING_DAY,
        occurred_at=at,
        postings=transfer(BANK, ETC_CLEARING, amount_fen),
        detail={"day": day.isoformat()},
    )


def qr_paid(*, acquirer: str, reference: str, visit_id: int, lot: str, amount_fen: int, at: datetime) -> Entry:
    """A payment that an acquirer has confirmed; its reference books it once.

    500 fen: DR acquirer:<code> 500 / CR receivable:<lot> 500.
    """
    return Entry(
        key=f"qr:{acquirer}:{reference}",
        kind=EntryKind.QR_PAYMENT,
        occurred_at=at,
        visit_id=visit_id,
        postings=transfer(Account(AccountKind.ACQUIRER, acquirer), receivable(lot), amount_fen),
    )


def cash_paid(*, operator: str, reference: str, visit_id: int, lot: str, amount_fen: int, at: datetime) -> Entry:
    """Cash that an operator's staff took; the receipt's number books it once.

    500 fen: DR cash:<operator> 500 / CR receivable:<lot> 500.
    """
    return Entry(
        key=f"cash:{operator}:{reference}",
        kind=EntryKind.CASH_PAYMENT,
        occurred_at=at,
        visit_id=visit_id,
        postings=transfer(Account(AccountKind.CASH, operator), receivable(lot), amount_fen),
    )


def hold_captured(*, key: str, channel: str, visit_id: int, lot: str, amount_fen: int, at: datetime) -> Entry:
    """What was taken of a promise.

    500 fen of "qr:tongpay": DR acquirer:tongpay 500 / CR receivable:<lot> 500.
    """
    return Entry(
        key=f"hold:{key}",
        kind=EntryKind.HOLD_CAPTURED,
        occurred_at=at,
        visit_id=visit_id,
        postings=transfer(account_of_channel(channel), receivable(lot), amount_fen),
        detail={"channel": channel},
    )


def owner_part(amount_fen: int, permille: int) -> int:
    """The owner's part of what a promise of his spaces earned, rounded half up to whole fen; the rest is the operator's.

    >>> owner_part(999, 700)
    699
    """
    return (amount_fen * permille * 2 + 1000) // 2000


def promise_paid(
    *,
    key: str,
    channel: str,
    lot: str,
    amount_fen: int,
    owner_permille: int,
    at: datetime,
    visit_id: int | None = None,
    kept_fen: int = 0,
    detail: Mapping[str, Any] | None = None,
) -> Entry:
    """What was taken for a promise of a shared space, or given back of it (below 0): its hold's key books it once.

    1,000 fen of "hold:tongpay" at 70 % for the owner: DR preauthorised:tongpay 1,000 / CR revenue:<lot> 300,
    CR owner_payable:<lot> 700. `kept_fen` is what had been taken and not given back before it: the owner is left with his
    part of what is left, whatever was rounded, so that he keeps nothing of a promise that is given back in pieces.
    """
    owner_fen = owner_part(kept_fen + amount_fen, owner_permille) - owner_part(kept_fen, owner_permille)
    lines = (
        (account_of_channel(channel), amount_fen),
        (revenue(lot), owner_fen - amount_fen),
        (Account(AccountKind.OWNER_PAYABLE, lot), -owner_fen),
    )
    return Entry(
        key=key,
        kind=EntryKind.PROMISE_PAID,
        occurred_at=at,
        visit_id=visit_id,
        postings=tuple(Posting(account, fen) for account, fen in lines if fen),
        detail={**(detail or {}), "channel": channel, "owner_permille": owner_permille, "kept_fen": kept_fen},
    )


def acquirer_paid_out(*, acquirer: str, day: date, amount_fen: int, fee_fen: int, at: datetime) -> Entry:
    """An acquirer's bill of a day: what it had taken for us comes to the bank, less its fee.

    10,000 fen, fee 38: DR bank 9,962, DR acquirer_fees 38 / CR acquirer:<code> 10,000.
    """
    lines = (
        (BANK, amount_fen - fee_fen),
        (ACQUIRER_FEES, fee_fen),
        (Account(AccountKind.ACQUIRER, acquirer), -amount_fen),
    )
    return Entry(
        key=f"acquirer_bill:{acquirer}:{day.isoformat()}",
        kind=EntryKind.ACQUIRER_BILL,
        occurred_at=at,
        postings=tuple(Posting(account, fen) for account, fen in lines if fen),
        detail={"day": day.isoformat()},
    )


def refund_ordered(
    *, key: str, visit_id: int, lot: str, amount_fen: int, overpaid_fen: int, at: datetime, detail: Mapping[str, Any]
) -> Entry:
    """First stage of a refund: it is owed to the driver.

    What was paid too much (`overpaid_fen`) leaves the receivable; the rest is an allowance and lessens the revenue.
    500 fen of which 200 were overpaid: DR receivable 200, DR revenue 300 / CR refunds_payable 500.
    """
    overpaid = max(0, min(overpaid_fen, amount_fen))
    lines = ((receivable(lot), overpaid), (revenue(lot), amount_fen - overpaid), (REFUNDS_PAYABLE, -amount_fen))
    return Entry(
        key=f"refund_ordered:{key}",
        kind=EntryKind.REFUND_ORDERED,
        occurred_at=at,
        visit_id=visit_id,
        postings=tuple(Posting(account, fen) for account, fen in lines if fen),
        detail=detail,
    )


def refund_paid(
    *, key: str, visit_id: int, channel: str, amount_fen: int, at: datetime, detail: Mapping[str, Any]
) -> Entry:
    """Second stage of a refund: the channel has paid it.

    500 fen by "qr:tongpay": DR refunds_payable 500 / CR acquirer:tongpay 500.
    """
    return Entry(
        key=f"refund_paid:{key}",
        kind=EntryKind.REFUND_PAID,
        occurred_at=at,
        visit_id=visit_id,
        postings=transfer(REFUNDS_PAYABLE, account_of_channel(channel), amount_fen),
        detail={**detail, "channel": channel},
    )


def written_off(
    *, key: str, visit_id: int, lot: str, amount_fen: int, at: datetime, detail: Mapping[str, Any]
) -> Entry:
    """Arrears that are given up.

    500 fen: DR write_off:<lot> 500 / CR receivable:<lot> 500.
    """
    return Entry(
        key=f"write_off:{key}",
        kind=EntryKind.WRITE_OFF,
        occurred_at=at,
        visit_id=visit_id,
        postings=transfer(Account(AccountKind.WRITE_OFF, lot), receivable(lot), amount_fen),
        detail=detail,
    )


def payment_moved(
    *,
    key: str,
    source: tuple[int, str],
    target: tuple[int, str],
    amount_fen: int,
    at: datetime,
    detail: Mapping[str, Any] | None = None,
) -> tuple[Entry, Entry]:
    """A payment that belongs to another visit: out of `source`, into `target` (visit and lot code each).

    500 fen: DR receivable:<lot> 500 / CR moved 500 on the one; DR moved 500 / CR receivable:<lot> 500 on the other.
    """
    out = Entry(
        key=f"moved_out:{key}",
        kind=EntryKind.MOVED_OUT,
        occurred_at=at,
        visit_id=source[0],
        postings=transfer(receivable(source[1]), MOVED, amount_fen),
        detail={**(detail or {}), "payment": key, "to_visit": target[0]},
    )
    into = Entry(
        key=f"moved_in:{key}",
        kind=EntryKind.MOVED_IN,
        occurred_at=at,
        visit_id=target[0],
        postings=transfer(MOVED, receivable(target[1]), amount_fen),
        detail={**(detail or {}), "payment": key, "from_visit": source[0]},
    )
    return out, into


def month_stated(
    *, operator: str, month: date, version: int, operator_fen: int, district_fen: int, at: datetime
) -> Entry:
    """An operator's statement of a month: the money is shared out. A further version books the deltas to the one before.

    10,000 fen at 10 % for the district: DR distributed 10,000 / CR operator_payable 9,000, CR district_share 1,000.
    """
    lines = (
        (Account(AccountKind.DISTRIBUTED, operator), operator_fen + district_fen),
        (Account(AccountKind.OPERATOR_PAYABLE, operator), -operator_fen),
        (DISTRICT_SHARE, -district_fen),
    )
    return Entry(
        key=f"statement:{operator}:{month.isoformat()}:{version}",
        kind=EntryKind.STATEMENT,
        occurred_at=at,
        postings=tuple(Posting(account, fen) for account, fen in lines if fen),
        detail={"month": month.isoformat(), "version": version},
    )
