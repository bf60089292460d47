"""A message of the clearing centre: kept under its number, applied once, answered; what waits for it is applied after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from parking_core.clearing.documents import local, root_of
from parking_core.clearing.envelope import Envelope, head_of
from parking_core.clearing.messages import (
    Bookkeeping,
    ClearingTotals,
    DisputeDecisions,
    Response,
    StatusListMessage,
    read_message,
    write_response,
)
from parking_core.clearing.results import MessageError, PackageResult
from parking_core.clearing.status_lists import Fit
from parking_core.flows import apply_clearing
from parking_core.flows.apply_clearing import NotYetError
from parking_core.flows.apply_status_list import take_over
from parking_core.store import clearing

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.clearing.envelope import Parties
    from parking_core.clearing.messages import CentreMessage

UNREADABLE: Final = "unreadable"
_RESPONSES_FROM: Final = 5 * 10**18  # numbers of our responses: this and the id of the message that is answered
REQUESTS_FROM: Final = 7 * 10**18  # numbers of our requests: this and microseconds


@dataclass(frozen=True, slots=True)
class Received:
    """What became of a message. `answer` is a message of ours that tells the centre; None: a response wants none."""

    kind: str
    result: PackageResult
    problem: str | None = None
    answer: tuple[int, bytes] | None = None
    lacks_full_list: bool = False  # an increment does not fit: ask for the full status list


@dataclass(frozen=True, slots=True)
class _Context:
    now: datetime
    zone: ZoneInfo
    parties: Parties


@dataclass(frozen=True, slots=True)
class _Outcome:
    """`applied` False: the message waits for another."""

    result: PackageResult
    problem: str | None = None
    applied: bool = True
    lacks_full_list: bool = False


def receive(
    connection: Connection[Any], number: int, body: bytes, now: datetime, *, zone: ZoneInfo, parties: Parties
) -> Received:
    """One message in one transaction. Sent again, it changes nothing and is answered as a duplicate (5).

    What cannot be read is kept with the reason and answered with 2, 3, 4 or 7; the same number with other content is
    read again. A message that builds on one that has not come is kept and applied after that one.

    Args:
        connection: of the worker.
        number: of the frame; the message's own must be the same.
        body: the plain message.
        now: aware.
        zone: of the times in the message.
        parties: who we are and who the centre is.
    """
    context = _Context(now, zone, parties)
    try:
        message: CentreMessage | MessageError = _read(number, body, zone)
    except MessageError as error:
        message = error
    kind = UNREADABLE if isinstance(message, MessageError) else type(message).__name__
    with connection.transaction():
        kept = clearing.keep_message(connection, number, kind, body, now)
        if kept.repeats and not (kept.kind == UNREADABLE and not kept.same):
            problem = None if kept.same else "the number was used for another content, which counts"
            result = PackageResult.DUPLICATE if kept.same else PackageResult.CONTENT
            return Received(kind, result, problem, _answer(kept.id, body, result, context))
        if kept.repeats:
            clearing.replace_message(connection, kept.id, kind, body, now)
        outcome = _apply(connection, message, context)
        clearing.finish_message(connection, kept.id, now if outcome.applied else None, outcome.result, outcome.problem)
        if outcome.applied:
            _apply_waiting(connection, context)
    answer = None if isinstance(message, Response) else _answer(kept.id, body, outcome.result, context)
    return Received(kind, outcome.result, outcome.problem, answer, outcome.lacks_full_list)


def _read(number: int, body: bytes, zone: ZoneInfo) -> CentreMessage:
    message = read_message(body, zone)
    if message.number != number:
        raise MessageError(
            f"The frame has number {number} and the message in it {message.number}.", PackageResult.HEADER
        )
    return message


def _apply(connection: Connection[Any], message: CentreMessage | MessageError, context: _Context) -> _Outcome:
    try:
        match message:
            case MessageError():
                return _Outcome(message.result, str(message))
            case Response():
                odd = apply_clearing.apply_response(
                    connection, message, context.now, zone=context.zone, parties=context.parties
                )
            case Bookkeeping():
                odd = apply_clearing.apply_bookkeeping(connection, message, context.now)
            case DisputeDecisions():
                odd = apply_clearing.apply_disputes(connection, message, context.now)
            case ClearingTotals():
                agree = apply_clearing.apply_clearing_totals(connection, message, context.now)
                return _Outcome(PackageResult.ACCEPTED if agree else PackageResult.TOTALS)
            case StatusListMessage():
                how = take_over(connection, message.content, context.now)
                if how is Fit.GAP:
                    problem = (
                        f"status list {message.content.version} builds on {message.content.base}, which is missing"
                    )
                    return _Outcome(PackageResult.ACCEPTED, problem, applied=False, lacks_full_list=True)
                return _Outcome(PackageResult.ACCEPTED, "older than what is known" if how is Fit.OLD else None)
    except NotYetError as error:
        return _Outcome(PackageResult.ACCEPTED, str(error), applied=False)
    return _Outcome(PackageResult.ACCEPTED if odd is None else PackageResult.CONTENT, odd)


def _apply_waiting(connection: Connection[Any], context: _Context) -> None:
    """Applies what waited, again and again while anything moves: one message may free several."""
    moved = True
    while moved:
        moved = False
        for message_id, number, body in clearing.unapplied(connection):
            outcome = _apply(connection, _read(number, body, context.zone), context)
            if outcome.applied:
                clearing.finish_message(connection, message_id, context.now, outcome.result, outcome.problem)
                moved = True


def _answer(message_id: int, body: bytes, result: PackageResult, context: _Context) -> tuple[int, bytes]:
    number = _RESPONSES_FROM + message_id
    try:
        head = head_of(root_of(body))
    except MessageError:
        head = Envelope("5", "0", 0)  # its head cannot be read: the transport's number is all that both sides know
    return number, write_response(number, head, result, context.parties, local(context.now, context.zone))
