"""Frames on the wire to the clearing centre: how a message is wrapped, and a reader that survives what comes.

    number 20 digits, zeros in front │ length of the payload, 6 digits │ MD5 of <Message>..</Message>, 32 hex │ payload
    number 20 digits                 │ 1 taken over, 0 not: the transport's reply, no judgement of the content

The source (hh9net/etc) calls the payload "LZ77" without saying which. Our assumption: zlib (RFC 1950), the common
container of LZ77. It also leaves open how replies and messages of both directions share a connection. Our assumption:
each side numbers its messages from a range of its own, so that a number which this side has sent marks a reply.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field
from typing import Final

from parking_core.errors import InvalidInputError

NUMBER_DIGITS: Final = 20
LENGTH_DIGITS: Final = 6
DIGEST_DIGITS: Final = 32
HEAD_BYTES: Final = NUMBER_DIGITS + LENGTH_DIGITS + DIGEST_DIGITS
REPLY_BYTES: Final = NUMBER_DIGITS + 1
LARGEST_PAYLOAD: Final = 10**LENGTH_DIGITS - 1  # six digits
LARGEST_MESSAGE: Final = 16_000_000  # plain; a full package has 150 kB, deflate could make 1 GB of 999,999 bytes

_BEGIN, _END = b"<Message", b"</Message>"
_HEX = frozenset(b"0123456789abcdefABCDEF")


class FrameError(InvalidInputError):
    """The stream cannot be followed any more: where the next frame begins is not known. Close the connection."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message as it came: its number and the plain XML."""

    number: int
    message: bytes


@dataclass(frozen=True, slots=True)
class DamagedFrame:
    """A frame whose end is known and whose content is not what its head says: answer 0, the other side sends again."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class TransportReply:
    """What the other side's transport says of a message of ours."""

    number: int
    taken: bool


def digest_of(message: bytes) -> str:
    """MD5 (hex) of `<Message>..</Message>`; an XML declaration before it does not count."""
    begin, end = message.find(_BEGIN), message.rfind(_END)
    part = message[begin : end + len(_END)] if 0 <= begin < end else message
    return hashlib.md5(part, usedforsecurity=False).hexdigest()  # a check sum that the protocol prescribes


def encode_frame(number: int, message: bytes) -> bytes:
    """The bytes that carry a message.

    Raises:
        InvalidInputError: number or message do not fit into a frame.
    """
    payload = zlib.compress(message)
    if not 0 <= number < 10**NUMBER_DIGITS:
        raise InvalidInputError(f"Message number {number} does not fit into {NUMBER_DIGITS} digits.")
    if len(payload) > LARGEST_PAYLOAD or len(message) > LARGEST_MESSAGE:
        raise InvalidInputError(
            f"Message {number} has {len(message)} bytes, compressed {len(payload)}; a frame holds {LARGEST_PAYLOAD} "
            "compressed. Split it."
        )
    head = f"{number:0{NUMBER_DIGITS}}{len(payload):0{LENGTH_DIGITS}}{digest_of(message)}"
    return head.encode() + payload


def encode_reply(number: int, *, taken: bool) -> bytes:
    """The transport's reply to message `number`."""
    return f"{number:0{NUMBER_DIGITS}}{int(taken)}".encode()


@dataclass(slots=True)
class FrameReader:
    """Takes bytes as they come and gives what is complete. Holds at most one unfinished frame."""

    sent: set[int] = field(default_factory=set)  # numbers that this side has sent on this connection
    _waiting: bytearray = field(default_factory=bytearray)

    def feed(self, received: bytes) -> list[Frame | DamagedFrame | TransportReply]:
        """All frames and replies that `received` completes.

        Raises:
            FrameError: the bytes are no head; what was complete before them is lost with the connection and comes again.
        """
        self._waiting += received
        complete: list[Frame | DamagedFrame | TransportReply] = []
        while (one := self._next()) is not None:
            complete.append(one)
        return complete

    def end(self) -> None:
        """The other side has closed.

        Raises:
            FrameError: it did so in the middle of a frame.
        """
        if self._waiting:
            raise FrameError(f"The connection ended in the middle of a frame, {len(self._waiting)} bytes into it.")

    def _next(self) -> Frame | DamagedFrame | TransportReply | None:
        waiting = self._waiting
        if len(waiting) < REPLY_BYTES:
            return None
        number = _whole_number(waiting[:NUMBER_DIGITS], "message number")
        if number in self.sent:
            reply = TransportReply(number, _taken(waiting[NUMBER_DIGITS]))
            del waiting[:REPLY_BYTES]
            return reply
        if len(waiting) < HEAD_BYTES:
            return None
        length = _whole_number(waiting[NUMBER_DIGITS : NUMBER_DIGITS + LENGTH_DIGITS], "length")
        digest = bytes(waiting[NUMBER_DIGITS + LENGTH_DIGITS : HEAD_BYTES])
        if not _HEX.issuperset(digest):
            raise FrameError(f"The check sum of message {number} is not 32 hexadecimal digits.")
        if len(waiting) < HEAD_BYTES + length:
            return None
        payload = bytes(waiting[HEAD_BYTES : HEAD_BYTES + length])
        del waiting[: HEAD_BYTES + length]
        return _open(number, digest.decode().lower(), payload)


def _open(number: int, digest: str, payload: bytes) -> Frame | DamagedFrame:
    inflate = zlib.decompressobj()
    try:
        message = inflate.decompress(payload, LARGEST_MESSAGE)
    except zlib.error as error:
        return DamagedFrame(number, f"the payload cannot be decompressed ({error})")
    if inflate.unconsumed_tail:
        return DamagedFrame(number, f"the payload holds more than {LARGEST_MESSAGE} bytes")
    if not inflate.eof or inflate.unused_data:
        return DamagedFrame(number, "the payload does not end where the length says")
    if digest_of(message) != digest:
        return DamagedFrame(number, "the check sum is another one")
    return Frame(number, message)


def _whole_number(digits: bytearray, what: str) -> int:
    if not digits.isdigit():
        raise FrameError(f"The {what} of a frame is {bytes(digits)!r}; it must be digits.")
    return int(digits)


def _taken(result: int) -> bool:
    if result not in b"01":
        raise FrameError(f"A transport reply ends in {chr(result)!r}; it must be 0 or 1.")
    return result == ord("1")
