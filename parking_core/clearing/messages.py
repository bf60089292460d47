"""What the centre tells us and we tell the centre, beside packages: each message read and written (pure).

class type content   message
  5    7     1       package of transactions (packages.py), ours
  6    any   any     response: number of the message it answers, result 1-8; of both sides
  5    5     1       bookkeeping of one package: counts, and the disputed records with their reasons
  5    7     2       dispute decisions of a FileId (YYYYMMDD and perhaps a digit): 0 paid, 1 bad debt
  5    5     2       totals of a ClearTargetDate: what is paid, and which packages and files are in it
  5    9    1, 2     status list, full or increment        } the source shows no XML of these;
  1    9     1       request of the full status list, ours } form and type 9 are our assumption
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Final, TypeAlias

from parking_core.clearing.documents import add, child, local, root_of, start, write
from parking_core.clearing.envelope import Envelope, Parties, head_of
from parking_core.clearing.packages import RECORD_LIMIT
from parking_core.clearing.results import DISPUTE_REASONS, MessageError, PackageResult
from parking_core.clearing.status_lists import Medium, StatusEntry, StatusList, check
from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from parking_core.clearing.documents import Fields

_PAID, _BAD_DEBT = 0, 1
_MOST_PACKAGES: Final = 100_000  # in one day's totals, or in one decision


@dataclass(frozen=True, slots=True)
class Response:
    """The other side's judgement of one message."""

    number: int
    answers: int
    result: PackageResult


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    """A package was booked, except `disputed`: TransId → reason (DISPUTE_REASONS)."""

    number: int
    package: int
    records: int  # of the package
    amount_fen: int  # confirmed: without the disputed ones
    disputed: dict[int, int]


@dataclass(frozen=True, slots=True)
class Decision:
    """Final word on a disputed record."""

    package: int
    trans_id: int
    paid: bool


@dataclass(frozen=True, slots=True)
class DisputeDecisions:
    """Decisions of one file; its first eight digits are the clearing day to which the paid ones belong."""

    number: int
    file: int
    clearing_day: date
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class ClearingTotals:
    """What the centre pays for a day: confirmed records of packages, and disputed ones that were decided as paid."""

    number: int
    clearing_day: date
    records: int
    amount_fen: int
    packages: frozenset[int]
    files: frozenset[int]


@dataclass(frozen=True, slots=True)
class StatusListMessage:
    """A status list given out."""

    number: int
    content: StatusList


CentreMessage: TypeAlias = Response | Bookkeeping | DisputeDecisions | ClearingTotals | StatusListMessage


def read_message(message: bytes, zone: ZoneInfo) -> CentreMessage:
    """A message of the centre, checked.

    Raises:
        MessageError: it cannot be used; its `result` is what the centre is told.
    """
    root = root_of(message)
    head = head_of(root)
    body = root.child("Body")
    match head.message_class, head.message_type, body.attribute("ContentType"):
        case "6", _, _:
            return Response(head.number, body.whole("MessageId"), PackageResult(body.whole("Result", 1, 8)))
        case "5", "5", "1":
            return _bookkeeping(head.number, body)
        case "5", "7", "2":
            return _decisions(head.number, body)
        case "5", "5", "2":
            return _totals(head.number, body)
        case "5", "9", "1" | "2":
            return StatusListMessage(head.number, _status_list(body, zone))
        case message_class, message_type, content:
            raise MessageError(
                f"Class {message_class[:8]!r}, type {message_type[:8]!r}, content {content[:8]!r} is no message that "
                "the centre sends.",
                PackageResult.HEADER,
            )


def _bookkeeping(number: int, body: Fields) -> Bookkeeping:
    records = body.whole("Count", 1, RECORD_LIMIT - 1)
    disputed = dict[int, int]()
    for record in body.children("DisputedRecord"):
        trans_id = record.whole("TransId", 1, RECORD_LIMIT - 1)
        if trans_id in disputed or trans_id > records:
            raise MessageError(f"{record.path}/TransId {trans_id} stands twice or not at all.", PackageResult.CONTENT)
        disputed[trans_id] = record.whole("Result", 1, max(DISPUTE_REASONS))
    if len(disputed) != body.whole("DisputedCount"):
        raise MessageError(
            f"Body/DisputedCount is {body.whole('DisputedCount')}, and {len(disputed)} records are listed.",
            PackageResult.CONTENT,
        )
    return Bookkeeping(number, body.whole("MessageId"), records, body.fen("Amount"), disputed)


def _decisions(number: int, body: Fields) -> DisputeDecisions:
    file = body.text("FileId", 9)
    try:
        day = datetime.strptime(file[:8], "%Y%m%d").date()  # noqa: DTZ007  # a day has no offset
        file_no = int(file)
    except ValueError as error:
        raise MessageError(f"Body/FileId is {file!r}; it must begin with a day such as 20261123.") from error
    decisions = list[Decision]()
    for package in body.children("MessageList"):
        listed = list(package.children("Transaction"))
        if package.whole("Count", 1, RECORD_LIMIT - 1) != len(listed):
            raise MessageError(f"{package.path}/Count is not {len(listed)}.", PackageResult.CONTENT)
        package_no = package.whole("MessageId")
        for one in listed:
            paid = one.whole("Result", _PAID, _BAD_DEBT) == _PAID
            decisions.append(Decision(package_no, one.whole("TransId", 1, RECORD_LIMIT - 1), paid))
    if body.whole("Count") != len(decisions):
        raise MessageError(f"Body/Count is not {len(decisions)}.", PackageResult.CONTENT)
    if len({(one.package, one.trans_id) for one in decisions}) < len(decisions):
        raise MessageError("A transaction is decided twice in one file.", PackageResult.CONTENT)
    return DisputeDecisions(number, file_no, day, tuple(decisions))


def _totals(number: int, body: Fields) -> ClearingTotals:
    lists = list(body.children("List"))
    packages = [whole_of(one) for part in lists for one in part.children("MessageId") if one.element.text]
    files = [whole_of(one) for part in lists for one in part.children("FileId") if one.element.text]
    if len(packages) + len(files) > _MOST_PACKAGES or len({*packages}) + len({*files}) < len(packages) + len(files):
        raise MessageError("The totals name a package or file twice, or too many.", PackageResult.CONTENT)
    return ClearingTotals(
        number,
        body.day("ClearTargetDate"),
        body.whole("Count", 0, 10**9),
        body.fen("Amount"),
        frozenset(packages),
        frozenset(files),
    )


def whole_of(field: Fields) -> int:
    """The number that is the field's own text."""
    text = (field.element.text or "").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise MessageError(f"{field.path} is {text[:40]!r}; give a number.")
    return int(text)


def _status_list(body: Fields, zone: ZoneInfo) -> StatusList:
    full = body.attribute("ContentType") == "1"
    entries = list[StatusEntry]()
    for one in body.children("Entry"):
        kind, number, reason = one.attribute("Kind"), one.attribute("Number"), one.attribute("Reason")
        if kind not in set(Medium) or len(number) > 32 or not (reason == "" or reason.isdecimal()):
            raise MessageError(f"{one.path} is no entry of a status list.")
        entries.append(StatusEntry(Medium(kind), number, int(reason) if reason else None))
    if body.whole("Count") != len(entries):
        raise MessageError(f"Body/Count is not {len(entries)}.", PackageResult.CONTENT)
    content = StatusList(
        body.text("Version", 32),
        None if full else body.text("BaseVersion", 32),
        body.moment("PublishedTime", zone),
        tuple(entries),
    )
    try:
        check(content)
    except InvalidInputError as error:
        raise MessageError(str(error), PackageResult.CONTENT) from error
    return content


def write_response(number: int, answers: Envelope, result: PackageResult, parties: Parties, at: str) -> bytes:
    """Our judgement of a message, under a number of our own; `at` is local time (documents.local)."""
    message = start()
    replace(answers, message_class="6", number=number).put(message, parties)
    add(child(message, "Body", ContentType=1), MessageId=answers.number, ProcessTime=at, Result=int(result))
    return write(message)


def write_list_request(number: int, parties: Parties, at: datetime, zone: ZoneInfo) -> bytes:
    """Asks for the full status list."""
    message = start()
    Envelope("1", "9", number).put(message, parties)
    add(child(message, "Body", ContentType=1), ProcessTime=local(at, zone))
    return write(message)
