"""What lanes took from ETC cards: each transaction once, completed by late TACs, booked for its visit.

    lane events ──► settle_transactions ──► etc_transactions (ready, awaiting_tac, held)
    pairing     ──► attach_visits       ──► journal: the payment, or its move to another visit
    clearing    ──► change_state        ──► packed, booked, disputed, ... and the journal where money moves

All of it stands in the caller's transaction; doing it again changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from parking_core.lanes import LaneEventKind
from parking_core.reconciliation import Difference, DifferenceName, DifferenceState
from parking_core.settlement import etc, postings
from parking_core.settlement.etc import Completion, EtcState, EtcTransaction, TacReply
from parking_core.store import charges, differences, etc_transactions, journal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.lanes import LaneEvent, LaneRepeat
    from parking_core.settlement import Entry


@dataclass(frozen=True, slots=True)
class SettledTransactions:
    """What a batch of lane events did."""

    new: tuple[EtcTransaction, ...]  # as they stand after the batch; to be attached to visits
    completed: tuple[EtcTransaction, ...]
    differences: tuple[Difference, ...]


def settle_transactions(
    connection: Connection[Any],
    events: Sequence[LaneEvent],
    now: datetime,
    *,
    zone: ZoneInfo,
    repeats: Sequence[LaneRepeat] = (),
) -> SettledTransactions:
    """Keeps the money of exits once a (terminal, serial), and applies late TACs, whichever of the two comes first.

    A transaction that has its visit is booked at once; a new one when `attach_visits` names its visit. Failed checks and
    replies that contradict each other become differences.
    """
    wanted = [one for one in map(etc.transaction_of, events) if one is not None]
    new = etc_transactions.insert_new(connection, wanted)
    replies = _replies(connection, events, repeats, new)
    before, after, found = _complete(connection, replies, zone)
    etc_transactions.update(connection, [one for one, _ in before], after)
    changes = (
        postings.etc_changed(one, other.state, reply.occurred_at, {"reply": reply.name})
        for (one, reply), other in zip(before, after, strict=True)
    )
    journal.book(connection, [entry for entry in changes if entry is not None])
    differences.end(
        connection,
        [f"tac_missing:{one.name}" for one in after],
        DifferenceState.SETTLED,
        f"The TAC came; seen at {now.isoformat(timespec='seconds')}.",
    )
    latest = {one.id: one for one in (*new, *after)}
    found += _failed_checks(events, {one.event_id: one for one in (*wanted, *latest.values())}, zone)
    differences.open_all(connection, found)
    return SettledTransactions(
        tuple(latest[one.id] for one in new),
        tuple(one for one in after if one.state is EtcState.READY),
        tuple(found),
    )


def _replies(
    connection: Connection[Any],
    events: Sequence[LaneEvent],
    repeats: Sequence[LaneRepeat],
    new: Sequence[EtcTransaction],
) -> list[tuple[int, TacReply]]:
    """Replies with the id of the transaction they mean, each once, in the order of receipt.

    One whose exit has not come yet is left out: the exit will look for it.
    """
    by_exit = {one.event_id: one.id for one in new}
    early = etc_transactions.early_replies(connection, list(by_exit))
    arrived = [event for event in events if event.kind is LaneEventKind.COMPLETION]
    meant = etc_transactions.meant_by(connection, arrived)
    again = [(one.event_id, reply) for one in repeats if (reply := etc.reply_of_repeat(one)) is not None]
    repeated = etc_transactions.of_events(connection, sorted({event_id for event_id, _ in again}))
    found = {reply.name: (by_exit[exit_id], reply) for exit_id, reply in early}
    found |= {
        f"event:{event.id}": (meant[event.id], etc.reply_of_event(event)) for event in arrived if event.id in meant
    }
    found |= {reply.name: (repeated[event_id].id, reply) for event_id, reply in again if event_id in repeated}
    return sorted(found.values(), key=lambda one: (one[1].received_at, one[1].name))


def _complete(
    connection: Connection[Any], replies: Sequence[tuple[int, TacReply]], zone: ZoneInfo
) -> tuple[list[tuple[EtcTransaction, TacReply]], list[EtcTransaction], list[Difference]]:
    """Transactions before (with the reply that changes each) and after, and what contradicts."""
    known = {one.id: one for one in etc_transactions.by_ids(connection, sorted({number for number, _ in replies}))}
    current = dict(known)
    changed: dict[int, TacReply] = {}
    found = []
    for number, reply in replies:
        before = current[number]
        outcome, current[number] = etc.complete(before, reply)
        if current[number] != before:
            changed[number] = reply  # once: a transaction takes one TAC
        if outcome is Completion.DIFFERS:
            found.append(_contradiction(before, reply, zone))
        elif outcome is Completion.HELD:
            found.append(_held(current[number], zone))
    return [(known[number], reply) for number, reply in changed.items()], [current[number] for number in changed], found


def _failed_checks(
    events: Sequence[LaneEvent], transactions: Mapping[int, EtcTransaction], zone: ZoneInfo
) -> list[Difference]:
    """Failed checks of what took money: held back or not, a person is told."""
    found = []
    for event in events:
        transaction = transactions.get(event.id)
        if transaction is not None and transaction.state is EtcState.HELD:
            found.append(_held(transaction, zone, event.flags))
        elif event.kind in etc.TAKING and event.etc is not None and event.etc.amount_fen:
            reasons = sorted(flag for flag in event.flags if flag in etc.ROUTED)
            if reasons:
                found.append(
                    Difference(
                        key=f"check_failed:event:{event.id}",
                        name=DifferenceName.CHECK_FAILED,
                        day=event.occurred_at.astimezone(zone).date(),
                        lot_id=event.lot_id,
                        device_id=event.device_id,
                        event_id=event.id,
                        channel="etc",
                        records=1,
                        detail={"reasons": reasons, "held": False},
                    )
                )
    return found


def _held(transaction: EtcTransaction, zone: ZoneInfo, flags: Sequence[str] = ()) -> Difference:
    reasons = {*transaction.reasons, *(flag for flag in flags if flag in etc.ROUTED)}
    return _difference(
        transaction,
        f"check_failed:{transaction.name}",
        DifferenceName.CHECK_FAILED,
        zone,
        amount_fen=transaction.amount_fen,
        detail={"reasons": sorted(reasons), "held": True},
    )


def _contradiction(transaction: EtcTransaction, reply: TacReply, zone: ZoneInfo) -> Difference:
    return _difference(
        transaction,
        f"completion_differs:{transaction.name}:{reply.name}",
        DifferenceName.COMPLETION_DIFFERS,
        zone,
        detail={
            "state": transaction.state.value,
            "reply": reply.name,
            "tac": transaction.tac,
            "reply_tac": reply.tac,
            "reply_amount_fen": reply.amount_fen,
        },
    )


def _difference(
    transaction: EtcTransaction,
    key: str,
    name: DifferenceName,
    zone: ZoneInfo,
    *,
    detail: Mapping[str, Any],
    amount_fen: int = 0,
) -> Difference:
    return Difference(
        key=key,
        name=name,
        day=transaction.occurred_at.astimezone(zone).date(),
        lot_id=transaction.lot_id,
        device_id=transaction.device_id,
        visit_id=transaction.visit_id,
        event_id=transaction.event_id,
        channel="etc",
        records=1,
        amount_fen=amount_fen,
        detail=detail,
    )


def attach_visits(connection: Connection[Any], pairs: Sequence[tuple[int, int]]) -> int:
    """Books the transactions of exits for their visits; `pairs` are ids of exit event and visit, as paired now.

    An exit without money is passed over, and a transaction that has that visit already. One that had another visit is
    moved by two entries under the payment's own time, so that the order of arrival does not show in any day's sums.
    Gives how many payments were booked or moved.
    """
    visits = dict(pairs)
    known = etc_transactions.of_events(connection, list(visits))
    before = [one for event_id, one in known.items() if one.visit_id != visits[event_id]]
    if not before:
        return 0
    lots = charges.lots_of(connection, sorted({visits[one.event_id] for one in before}))
    after = [replace(one, visit_id=visits[one.event_id], lot=lots[visits[one.event_id]]) for one in before]
    etc_transactions.update(connection, before, after)
    differences.place_in_visits(connection, [(one.event_id, visits[one.event_id]) for one in before])
    booked = [postings.etc_paid(new) for old, new in zip(before, after, strict=True) if old.visit_id is None]
    journal.book(connection, [*booked, *_moves(connection, before, after)])
    return len(before)


def _moves(
    connection: Connection[Any], before: Sequence[EtcTransaction], after: Sequence[EtcTransaction]
) -> list[Entry]:
    """Out of the old visit, into the new one. A rejected payment has gone from the visit already: nothing to move."""
    pairs = [
        (old, new)
        for old, new in zip(before, after, strict=True)
        if old.visit_id is not None and old.state is not EtcState.REJECTED
    ]
    earlier = etc_transactions.moves_from(connection, [old.visit_id for old, _ in pairs if old.visit_id is not None])
    entries: list[Entry] = []
    for old, new in pairs:
        if old.visit_id is None or new.visit_id is None:
            continue
        # A payment may leave the same visit more than once: each leaving has its number.
        leaving = f"etc:{old.name}:{old.visit_id}:"
        number = sum(key.startswith(f"moved_out:{leaving}") for key in earlier) + 1
        entries += postings.payment_moved(
            key=f"{leaving}{number}",
            source=(old.visit_id, old.lot),
            target=(new.visit_id, new.lot),
            amount_fen=old.amount_fen,
            at=old.occurred_at,
        )
    return entries


def change_state(
    connection: Connection[Any],
    transaction_ids: Sequence[int],
    after: EtcState,
    at: datetime,
    detail: Mapping[str, Any] | None = None,
) -> list[EtcTransaction]:
    """Brings transactions to a state, with the entries where their money moves; gives those that changed, as they stand.

    One that is in that state already, or whose life cycle does not allow it, is left as it is: compare the answer with
    what was asked for.
    """
    before = [
        one
        for one in etc_transactions.by_ids(connection, transaction_ids)
        if etc.may_become(one.state, after) and one.visit_id is not None
    ]
    changed = [replace(one, state=after) for one in before]
    etc_transactions.update(connection, before, changed)
    entries = (postings.etc_changed(one, after, at, detail) for one in before)
    journal.book(connection, [entry for entry in entries if entry is not None])
    return changed


def flag_missing_tacs(connection: Connection[Any], now: datetime, *, zone: ZoneInfo) -> int:
    """Opens a difference for each transaction whose TAC has been missing for a week; gives how many there are.

    One duty of the worker's day; its transaction is opened here.
    """
    with connection.transaction():
        waiting = etc_transactions.awaiting_since(connection, now - etc.TAC_PATIENCE)
        differences.open_all(
            connection,
            [
                _difference(
                    one,
                    f"tac_missing:{one.name}",
                    DifferenceName.TAC_MISSING,
                    zone,
                    amount_fen=one.amount_fen,
                    detail={"since": one.occurred_at.isoformat()},
                )
                for one in waiting
            ],
        )
    return len(waiting)
