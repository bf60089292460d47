"""The clearing centre's side of the wire: frames and XML read and written anew, so that no mistake of ours is shared.

Nothing of parking_core.clearing is imported here: what the platform writes is judged by the published layout alone
(hh9net/etc, CenterSettlement-go), where that says nothing by the assumptions that parking_core.clearing.frames names.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias
from xml.etree import ElementTree as ET  # the platform under test is trusted not to attack its own simulator
from xml.sax.saxutils import quoteattr

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Container, Iterable, Mapping
    from datetime import date

Content: TypeAlias = bytes | bool | None  # a message; the transport's reply to one of ours; a damaged message
CENTRE, PLATFORM = "0000000000000020", "00000000000000B1"
_RECORD = {
    "Time": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
    "Fee": r"\d+\.\d\d",
    "Service/ServiceType": "2",
    "ICCard/CardType": "22|23|",
    "ICCard/CardId": r"\w{0,20}",
    "ICCard/PreBalance": r"-?\d+\.\d\d",
    "ICCard/PostBalance": r"-?\d+\.\d\d",
    "Validation/TAC": r"[0-9A-Fa-f]{8}",
    "Validation/TransType": r"\w{0,2}",
    "Validation/TerminalNo": r".+",
    "Validation/TerminalTransNo": r".+",
    "CustomizedData": r".{76}",
    "Id": r".{1,100}",
    "name": r".{1,150}",
    "parkTime": r"\d+",
    "vehicleType": r"\d+",
    "algorithmIdentifier": r"\d",
}


class RefusedError(Exception):
    """A package that the centre does not take; `result` 2 header, 3 schema, 4 content, 7 version."""

    def __init__(self, result: int, why: str) -> None:
        super().__init__(why)
        self.result = result


@dataclass(frozen=True, slots=True)
class Sent:
    """One transaction as it arrived."""

    key: tuple[str, str]  # terminal, serial
    fen: int
    card: str


def frame(number: int, message: bytes) -> bytes:
    """A message as it goes over the wire."""
    payload = zlib.compress(message)
    digest = hashlib.md5(message, usedforsecurity=False).hexdigest()
    return b"%020d%06d%s" % (number, len(payload), digest.encode()) + payload


async def read(stream: asyncio.StreamReader, ours: Container[int]) -> tuple[int, Content]:
    """Number and content of what comes next.

    Raises:
        asyncio.IncompleteReadError: the other side has closed.
    """
    number = int(await stream.readexactly(20))
    if number in ours:
        return number, await stream.readexactly(1) == b"1"
    length, digest = int(await stream.readexactly(6)), await stream.readexactly(32)
    message = zlib.decompress(await stream.readexactly(length))
    if hashlib.md5(message, usedforsecurity=False).hexdigest() != digest.decode().lower():
        return number, None
    return number, message


def class_of(message: bytes) -> tuple[str, str, ET.Element]:
    """MessageClass, MessageType, and the message."""
    root = ET.fromstring(message)  # noqa: S314  # our own platform wrote it, see above
    return root.findtext("Header/MessageClass", ""), root.findtext("Header/MessageType", ""), root


def check_package(number: int, root: ET.Element) -> tuple[date, list[Sent]]:
    """ClearTargetDate and transactions of a package that keeps to the letter.

    Raises:
        RefusedError: it does not.
    """
    if root.findtext("Header/Version") != "00010000":
        raise RefusedError(7, "version")
    head = [root.findtext(f"Header/{name}") for name in ("SenderId", "ReceiverId", "MessageId")]
    if head != [PLATFORM, CENTRE, str(number)] or root.findtext("Body/MessageId") != str(number):
        raise RefusedError(2, f"head {head} under number {number}")
    body = root.find("Body[@ContentType='1']")
    if body is None:
        raise RefusedError(3, "no body of content 1")
    elements = body.findall("Transaction")
    sent = [_transaction(element) for element in elements]
    if not 0 < len(sent) <= 9_999 or body.findtext("Count") != str(len(sent)):
        raise RefusedError(4, f"{len(sent)} records, announced {body.findtext('Count')}")
    if [element.findtext("TransId") for element in elements] != [str(n) for n in range(1, len(sent) + 1)]:
        raise RefusedError(4, "TransId is not 1, 2, 3, ...")
    if _fen(body.findtext("Amount", "")) != sum(one.fen for one in sent):
        raise RefusedError(4, "the total is another one")
    if len({one.key for one in sent}) < len(sent):
        raise RefusedError(4, "a transaction stands twice")
    try:
        day = datetime.strptime(body.findtext("ClearTargetDate", ""), "%Y-%m-%d").date()  # noqa: DTZ007  # a day has no offset
    except ValueError as error:
        raise RefusedError(3, "ClearTargetDate") from error
    return day, sent


def _transaction(element: ET.Element) -> Sent:
    for path, form in _RECORD.items():
        if re.fullmatch(form, element.findtext(path, "\0")) is None:
            raise RefusedError(3, f"{path} is {element.findtext(path)!r}")
    fen, tail = _fen(element.findtext("Fee", "")), element.findtext("CustomizedData", "")
    expected = (
        element.findtext("Validation/TAC", "").lower(),
        f"{fen:08x}",
        re.sub(r"\D", "", element.findtext("Time", "")),
        f"{_fen(element.findtext('ICCard/PostBalance', '')) & 0xFFFFFFFF:08x}",
        f"{_fen(element.findtext('ICCard/PreBalance', '')) & 0xFFFFFFFF:08x}",
    )
    if (tail[:8].lower(), tail[8:16], tail[38:52], tail[56:64], tail[64:72]) != expected:
        raise RefusedError(3, "CustomizedData says otherwise than the fields")
    terminal = element.findtext("Validation/TerminalNo", ""), element.findtext("Validation/TerminalTransNo", "")
    return Sent(terminal, fen, element.findtext("ICCard/CardId", ""))


def _fen(text: str) -> int:
    match = re.fullmatch(r"(-?)(\d+)\.(\d\d)", text)
    if match is None:
        raise RefusedError(3, f"amount {text!r}")
    return int(match[1] + match[2] + match[3])


def _yuan(fen: int) -> str:
    return f"{fen // 100}.{fen % 100:02}"


def _message(head: tuple[str, str, int], content: int, body: str) -> bytes:
    message_class, message_type, number = head
    return (
        f"<Message><Header><Version>00010000</Version><MessageClass>{message_class}</MessageClass>"
        f"<MessageType>{message_type}</MessageType><SenderId>{CENTRE}</SenderId><ReceiverId>{PLATFORM}</ReceiverId>"
        f'<MessageId>{number}</MessageId></Header><Body ContentType="{content}">{body}</Body></Message>'
    ).encode()


def response(number: int, answers: int, result: int) -> bytes:
    """The centre's judgement of a package."""
    return _message(("6", "7", number), 1, f"<MessageId>{answers}</MessageId><Result>{result}</Result>")


def bookkeeping(number: int, package: int, sent: list[Sent], disputed: Mapping[int, int]) -> bytes:
    """A package is booked, except the disputed records: TransId → reason."""
    confirmed = sum(one.fen for trans_id, one in enumerate(sent, 1) if trans_id not in disputed)
    records = "".join(
        f"<DisputedRecord><TransId>{trans_id}</TransId><Result>{reason}</Result></DisputedRecord>"
        for trans_id, reason in disputed.items()
    )
    return _message(
        ("5", "5", number),
        1,
        f"<MessageId>{package}</MessageId><Count>{len(sent)}</Count><Amount>{_yuan(confirmed)}</Amount>"
        f"<DisputedCount>{len(disputed)}</DisputedCount>{records}",
    )


def decisions(number: int, file: str, decided: Mapping[int, Iterable[tuple[int, int, int]]]) -> bytes:
    """A file of decisions: package → (TransId, 0 paid or 1 bad debt, fen)."""
    parts, count = [], 0
    for package, records in decided.items():
        listed = list(records)
        count += len(listed)
        lines = "".join(
            f"<Transaction><TransId>{trans_id}</TransId><Result>{result}</Result></Transaction>"
            for trans_id, result, _ in listed
        )
        amount = _yuan(sum(fen for _, _, fen in listed))
        parts.append(
            f"<MessageList><MessageId>{package}</MessageId><Count>{len(listed)}</Count><Amount>{amount}</Amount>"
            f"{lines}</MessageList>"
        )
    return _message(("5", "7", number), 2, f"<FileId>{file}</FileId><Count>{count}</Count>{''.join(parts)}")


def totals(number: int, day: date, paid: tuple[int, int], packages: Iterable[int], files: Iterable[str]) -> bytes:
    """What the centre pays for a day: (records, fen), and what is counted in it."""
    listed = "".join(f"<MessageId>{one}</MessageId>" for one in packages)
    listed += "".join(f"<FileId>{one}</FileId>" for one in files)
    return _message(
        ("5", "5", number),
        2,
        f"<ClearTargetDate>{day}</ClearTargetDate><Amount>{_yuan(paid[1])}</Amount><Count>{paid[0]}</Count>"
        f"<List>{listed}</List>",
    )


def status_list(
    number: int, version: str, base: str | None, at: datetime, entries: Iterable[tuple[str, str, int | None]]
) -> bytes:
    """A status list: (card or obu, number, reason; None: taken off)."""
    lines = [
        f"<Entry Kind={quoteattr(kind)} Number={quoteattr(one)} Reason={quoteattr('' if reason is None else str(reason))}/>"
        for kind, one, reason in entries
    ]
    base_text = "" if base is None else f"<BaseVersion>{base}</BaseVersion>"
    return _message(
        ("5", "9", number),
        1 if base is None else 2,
        f"<Version>{version}</Version>{base_text}<PublishedTime>{at:%Y-%m-%dT%H:%M:%S}</PublishedTime>"
        f"<Count>{len(lines)}</Count>{''.join(lines)}",
    )
