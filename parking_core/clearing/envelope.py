"""The head of every message: class, type, who to whom, number (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from parking_core.clearing.documents import add, child
from parking_core.clearing.results import MessageError, PackageResult

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from parking_core.clearing.documents import Fields

VERSION: Final = "00010000"


@dataclass(frozen=True, slots=True)
class Parties:
    """Who writes and who reads: 16 hexadecimal digits each, given by the centre when a site is connected."""

    sender: str = "00000000000000B1"
    receiver: str = "0000000000000020"


@dataclass(frozen=True, slots=True)
class Envelope:
    """Class: 1 asks, 5 tells, 6 answers. Type and ContentType of the body together say what a message is."""

    message_class: str
    message_type: str
    number: int

    def put(self, message: Element, parties: Parties) -> None:
        """Writes the head."""
        add(
            child(message, "Header"),
            Version=VERSION,
            MessageClass=self.message_class,
            MessageType=self.message_type,
            SenderId=parties.sender,
            ReceiverId=parties.receiver,
            MessageId=self.number,
        )


def head_of(root: Fields) -> Envelope:
    """The head of a message that came.

    Raises:
        MessageError: it is incomplete (2) or of another version (7).
    """
    try:
        head = root.child("Header")
        version = head.text("Version")
        envelope = Envelope(head.text("MessageClass"), head.text("MessageType"), head.whole("MessageId"))
    except MessageError as error:
        raise MessageError(str(error), PackageResult.HEADER) from error
    if version != VERSION:
        raise MessageError(f"Message/Header/Version is {version[:20]!r}; we speak {VERSION}.", PackageResult.VERSION)
    return envelope
