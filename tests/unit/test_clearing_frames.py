"""Frames: round trips, every cut, every wrong byte, and payloads that would fill the memory."""

from __future__ import annotations

import hashlib
import random
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parking_core.clearing.frames import (
    HEAD_BYTES,
    LARGEST_MESSAGE,
    DamagedFrame,
    Frame,
    FrameError,
    FrameReader,
    TransportReply,
    digest_of,
    encode_frame,
    encode_reply,
)
from parking_core.errors import InvalidInputError

MESSAGE = b"<Message><Body>\xe8\x8b\x8fB</Body></Message>"
numbers = st.integers(0, 10**20 - 1)


def head(number: int, payload: bytes, digest: str) -> bytes:
    return f"{number:020}{len(payload):06}{digest}".encode() + payload


def test_the_layout_is_the_published_one() -> None:
    wire = encode_frame(114509, MESSAGE)
    assert wire[:20] == b"00000000000000114509"
    assert wire[20:26] == b"%06d" % len(wire[HEAD_BYTES:])
    assert wire[26:58].decode() == hashlib.md5(MESSAGE, usedforsecurity=False).hexdigest()
    assert zlib.decompress(wire[58:]) == MESSAGE
    assert encode_reply(114509, taken=True) == b"000000000000001145091"


def test_a_declaration_before_the_message_does_not_change_its_check_sum() -> None:
    assert digest_of(b'<?xml version="1.0"?>\n' + MESSAGE + b"\n") == digest_of(MESSAGE)


@given(st.lists(st.tuples(numbers, st.binary(max_size=200)), max_size=5), st.integers(1, 64))
def test_what_was_written_is_read_however_it_is_cut(messages: list[tuple[int, bytes]], step: int) -> None:
    wire = b"".join(encode_frame(number, content) for number, content in messages)
    reader = FrameReader()
    read = [one for at in range(0, len(wire), step) for one in reader.feed(wire[at : at + step])]
    assert read == [Frame(number, content) for number, content in messages]
    reader.end()


def test_replies_are_told_from_messages_by_the_numbers_that_were_sent() -> None:
    reader = FrameReader(sent={7})
    wire = encode_reply(7, taken=True) + encode_frame(8, MESSAGE) + encode_reply(7, taken=False)
    assert reader.feed(wire) == [TransportReply(7, taken=True), Frame(8, MESSAGE), TransportReply(7, taken=False)]


@given(st.binary(min_size=1, max_size=400))
def test_no_bytes_do_more_than_close_the_connection(noise: bytes) -> None:
    reader = FrameReader(sent={1})
    with suppress(FrameError):
        for one in reader.feed(noise):
            assert isinstance(one, Frame | DamagedFrame | TransportReply)
        reader.end()


@given(st.data())
def test_a_changed_byte_is_never_taken_for_the_message(data: st.DataObject) -> None:
    wire = bytearray(encode_frame(5, MESSAGE))
    at = data.draw(st.integers(20, len(wire) - 1))
    wire[at] ^= data.draw(st.integers(1, 255))
    reader = FrameReader()
    try:
        read = reader.feed(bytes(wire))
    except FrameError:
        return
    # A check sum in capitals is the same check sum; trailing bits of a deflate stream may not matter.
    assert all(isinstance(one, DamagedFrame) or one == Frame(5, MESSAGE) for one in read)


def test_a_connection_that_ends_inside_a_frame_says_so() -> None:
    reader = FrameReader()
    assert reader.feed(encode_frame(5, MESSAGE)[:-1]) == []
    with pytest.raises(FrameError, match="middle of a frame"):
        reader.end()


def test_a_wrong_check_sum_or_payload_damages_one_frame_and_not_the_next() -> None:
    payload = zlib.compress(MESSAGE)
    wire = (
        head(1, payload, "0" * 32)
        + head(2, b"no deflate", digest_of(MESSAGE))
        + head(3, payload[:-4], digest_of(MESSAGE))
        + head(4, payload + b"more", digest_of(MESSAGE))
        + encode_frame(5, MESSAGE)
    )
    *damaged, good = FrameReader().feed(wire)
    assert [one.number for one in damaged if isinstance(one, DamagedFrame)] == [1, 2, 3, 4]
    assert good == Frame(5, MESSAGE)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zlib.compress(b"\0" * (LARGEST_MESSAGE * 3))
    assert len(bomb) < 999_999
    (read,) = FrameReader().feed(head(9, bomb, "0" * 32))
    assert isinstance(read, DamagedFrame)
    assert "more than" in read.reason


@pytest.mark.parametrize(
    "wire",
    [
        b"x" * 60,
        b"0" * 20 + b"00-001" + b"0" * 40,
        b"0" * 20 + b"000001" + b"g" * 40,
        b"%020d" % 7 + b"2",
    ],
)
def test_what_is_no_head_ends_the_connection(wire: bytes) -> None:
    with pytest.raises(FrameError):
        FrameReader(sent={7}).feed(wire)


def test_a_message_that_does_not_fit_is_refused_before_it_is_sent() -> None:
    with pytest.raises(InvalidInputError, match="Split it"):
        encode_frame(1, random.Random(1).randbytes(1_100_000))
    with pytest.raises(InvalidInputError, match="does not fit"):
        encode_frame(10**20, MESSAGE)
