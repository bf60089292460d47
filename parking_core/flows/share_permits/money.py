"""Money of permits: a month is held ahead, taken when it begins, and given back in part for openings that were lost.

The API holds and lets go; only the worker takes, gives back and books.

    hold         permit:<code> of the first month, permit:<code>:<yyyy-mm> of the others
    journal      permit:<code>:<yyyy-mm>                    preauthorised:<acquirer> / revenue:<lot>, owner_payable:<lot>
                 permit_refund:<code>:<yyyy-mm>:<fen>       the other way; fen is what was lost of the month so far
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import structlog

from parking_core.errors import InvalidInputError
from parking_core.flows.share_permits import openings
from parking_core.reservations import PermitState
from parking_core.settlement import Hold, HoldState, postings
from parking_core.settlement import holds as hold_rules
from parking_core.share_permits import HELD_AHEAD, DrawState, months_of, worth_fen
from parking_core.sharing import read_terms
from parking_core.store import holds, journal, permit_draws, permit_months, share_permits
from parking_core.store.permit_months import PaidMonth

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.share_permits import Month, SharedPermit
    from parking_core.store.share_permits import AgreementOfClass

log = structlog.get_logger()

_BITE: Final = 200  # permits looked up at a time; each is a transaction


@dataclass(frozen=True, slots=True)
class Settled:
    """What a pass did with the money of permits; fen."""

    held: int = 0
    charged_fen: int = 0
    refunded_fen: int = 0


def hold_month(
    connection: Connection[Any], permit: SharedPermit, month: Month, now: datetime, *, channel: str, zone: ZoneInfo
) -> None:
    """Holds the price of a month, once; nothing where permits cost nothing. The caller's transaction holds it."""
    if not permit.price_fen:
        return
    known = permit_months.of_permit(connection, permit.id)
    key = f"permit:{permit.code}:{_name(month.begins, zone)}" if known else f"permit:{permit.code}"
    holds.place(
        connection,
        Hold(key=key, channel=channel, amount_fen=permit.price_fen, placed_at=now, expires_at=month.ends),
    )
    permit_months.add(
        connection,
        PaidMonth(permit_id=permit.id, begins=month.begins, ends=month.ends, price_fen=permit.price_fen, hold_key=key),
    )


def release_months(connection: Connection[Any], permit: SharedPermit, since: datetime, now: datetime) -> None:
    """Lets go of what is held for months that begin at a moment or later. The caller's transaction holds it."""
    for month in permit_months.of_permit(connection, permit.id):
        if month.begins >= since and month.charged_at is None and month.hold_key:
            hold = holds.lock(connection, month.hold_key)
            if hold.state is HoldState.PLACED:
                holds.end(connection, hold_rules.release(hold, now))


def count_lost(connection: Connection[Any], permit: SharedPermit, zone: ZoneInfo) -> None:
    """Counts again what the openings that a locked permit has lost are worth. The caller's transaction holds it.

    Where the owner has ended it, all that had not begun by then is lost, but for what was moved.
    """
    if permit.class_id is None:
        return
    windows = share_permits.agreement(connection, permit.class_id).windows
    ended = permit.ended_at if permit.state is PermitState.ENDED_BY_OWNER else None
    for month in permit_months.of_permit(connection, permit.id):
        begins = max(month.begins, permit.valid_from)
        all_of_it = [opening.begins for opening in openings.windows_openings(windows, zone, begins, month.ends)]
        until = month.ends if ended is None else min(max(ended, begins), month.ends)
        lost = permit_draws.count(connection, permit.id, DrawState.REFUNDED, begins, until)
        lost += sum(at >= until for at in all_of_it)
        lost -= permit_draws.count(connection, permit.id, DrawState.MOVED, until, month.ends)  # kept elsewhere
        worth = worth_fen(month.price_fen, lost, len(all_of_it))
        if worth > month.lost_fen:  # what was given back stays given
            permit_months.stand(connection, replace(month, lost_fen=worth))


def settle_permit_money(connection: Connection[Any], now: datetime, *, zone: ZoneInfo, channel: str) -> Settled:
    """Takes what months that have begun cost, gives back what was lost, holds what begins soon; a transaction a permit.

    Doing it again changes nothing.
    """
    total = Settled()
    while True:
        bite = permit_months.to_settle(connection, now, now + HELD_AHEAD, _BITE)
        for permit_id in bite:
            with connection.transaction():
                one = _settle(connection, permit_id, now, zone, channel)
            total = Settled(
                total.held + one.held, total.charged_fen + one.charged_fen, total.refunded_fen + one.refunded_fen
            )
        if len(bite) < _BITE:
            return total


def _settle(connection: Connection[Any], permit_id: int, now: datetime, zone: ZoneInfo, channel: str) -> Settled:
    permit = share_permits.lock(connection, permit_id)
    if permit.class_id is None:
        return Settled()
    held = _hold_next(connection, permit, now, zone, channel)
    count_lost(connection, permit, zone)
    agreement = share_permits.agreement(connection, permit.class_id)
    charged = refunded = 0
    for month in permit_months.of_permit(connection, permit_id):
        begun = month.begins <= now and month.begins < min(permit.ended_at or permit.valid_until, permit.valid_until)
        if month.charged_at is None and begun:
            charged += _charge(connection, permit, agreement, month, now=now, zone=zone)
        elif month.charged_at is not None and month.refunded_fen < month.lost_fen:
            refunded += _refund(connection, permit, agreement, month, now=now, zone=zone)
    return Settled(held, charged, refunded)


def _hold_next(connection: Connection[Any], permit: SharedPermit, now: datetime, zone: ZoneInfo, channel: str) -> int:
    """Holds months that begin soon; gives how many."""
    if permit.state is not PermitState.ACTIVE or permit.withdrawn_at is not None:
        return 0
    known = {month.begins for month in permit_months.of_permit(connection, permit.id)}
    soon = [
        month
        for month in months_of(permit.first_day, permit.months, zone)
        if month.begins <= now + HELD_AHEAD and month.begins < permit.valid_until and month.begins not in known
    ]
    for month in soon:
        hold_month(connection, permit, month, now, channel=channel, zone=zone)
    return len(soon)


def _charge(
    connection: Connection[Any],
    permit: SharedPermit,
    agreement: AgreementOfClass,
    month: PaidMonth,
    *,
    now: datetime,
    zone: ZoneInfo,
) -> int:
    """Takes what is held for a month, less what of it is lost already; gives how much that is."""
    amount = month.price_fen - month.lost_fen
    taken = 0
    if month.hold_key is not None:
        hold = holds.lock(connection, month.hold_key)
        try:
            ended = hold_rules.capture(hold, amount, now) if amount else hold_rules.release(hold, now)
        except InvalidInputError as error:  # it expired: nobody charged the permit for a month
            log.warning("the price of a permit's month cannot be taken", permit=permit.code, error=str(error))
        else:
            holds.end(connection, ended)
            taken = ended.captured_fen
    if taken:
        _book(connection, permit, agreement, taken, key=_key(permit, month, zone), channel=hold.channel, now=now)
    permit_months.stand(connection, replace(month, charged_at=now, charged_fen=taken, refunded_fen=month.lost_fen))
    return taken


def _refund(
    connection: Connection[Any],
    permit: SharedPermit,
    agreement: AgreementOfClass,
    month: PaidMonth,
    *,
    now: datetime,
    zone: ZoneInfo,
) -> int:
    """Gives back what was lost since the month was charged; gives how much that is."""
    given = min(month.lost_fen - month.refunded_fen, month.charged_fen)
    if given and month.hold_key is not None:
        channel = holds.lock(connection, month.hold_key).channel
        key = f"permit_refund:{permit.code}:{_name(month.begins, zone)}:{month.lost_fen}"
        _book(connection, permit, agreement, -given, key=key, channel=channel, now=now, kept_fen=month.charged_fen)
    after = replace(month, charged_fen=month.charged_fen - given, refunded_fen=month.lost_fen)
    permit_months.stand(connection, after)
    return given


def _book(
    connection: Connection[Any],
    permit: SharedPermit,
    agreement: AgreementOfClass,
    amount_fen: int,
    *,
    key: str,
    channel: str,
    now: datetime,
    kept_fen: int = 0,
) -> None:
    entry = postings.promise_paid(
        key=key,
        channel=channel,
        lot=agreement.names.lot,
        amount_fen=amount_fen,
        owner_permille=read_terms(agreement.terms).owner_permille,
        at=now,
        kept_fen=kept_fen,
        detail={"permit": permit.code},
    )
    journal.book(connection, [entry])


def _key(permit: SharedPermit, month: PaidMonth, zone: ZoneInfo) -> str:
    return f"permit:{permit.code}:{_name(month.begins, zone)}"


def _name(begins: datetime, zone: ZoneInfo) -> str:
    return f"{begins.astimezone(zone):%Y-%m}"
