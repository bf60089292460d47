"""What a device said, checked: columns of accepted readings, and rejections that lose nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

import numpy as np

Readings = np.ndarray[Any, np.dtype[np.void]]

# One accepted reading. Times are microseconds since the epoch; NaN: the device did not say.
READING = np.dtype(
    [
        ("space_id", "i4"),
        ("device_id", "i4"),
        ("lot_id", "i4"),
        ("occurred_us", "i8"),  # device time
        ("received_us", "i8"),  # gateway time
        ("seq", "i8"),  # 0: the device sends none
        ("occupied", "?"),
        ("clock_suspect", "?"),  # the device time lies outside the accepted window
        ("battery_v", "f4"),
        ("rssi_dbm", "f4"),
        ("temperature_c", "f4"),
    ]
)

SEQ_MAX = 2**32 - 1  # the contract's uint32

# What timestamptz can hold and Python can show in every time zone; a device time outside is no time at all.
TIME_MIN_US = -62_135_510_400_000_000  # 0001-01-02
TIME_MAX_US = 253_402_214_399_999_999  # the end of 9999-12-30


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(at_us: int) -> datetime:
    """Aware datetime (UTC) of microseconds since the epoch."""
    return _EPOCH + timedelta(microseconds=at_us)


class Reason(StrEnum):
    """Why a message went to the dead letters. Stable codes: people filter by them."""

    MALFORMED = "malformed"  # not JSON: truncated, NaN, invalid UTF-8
    INVALID = "invalid"  # JSON, but a field is missing or of the wrong type or range
    BAD_TIME = "bad_time"  # no RFC 3339 time with offset and no epoch milliseconds
    TOO_LARGE = "too_large"
    UNKNOWN_TOPIC = "unknown_topic"
    UNKNOWN_DEVICE = "unknown_device"
    DISABLED_DEVICE = "disabled_device"
    WRONG_LOT = "wrong_lot"  # the device is registered, but in another lot than its topic says
    UNKNOWN_SPACE = "unknown_space"  # also: a device of many spaces left the space out
    FOREIGN_SPACE = "foreign_space"  # the space exists, but is not this device's
    UNSUPPORTED_KIND = "unsupported_kind"
    WRONG_NETWORK = "wrong_network"  # another network's server, or the device itself, speaks for a device
    FOREIGN_IDENTITY = "foreign_identity"  # the payload names another device than the one that sends it
    UNKNOWN_LAYOUT = "unknown_layout"  # nobody has said how this make, model and firmware writes its payloads
    NOT_A_LANE = "not_a_lane"  # a device that is registered as no lane sends lane messages
    DECODER_FAILED = "decoder_failed"  # a defect of ours: the message is kept until it is mended
    FOREIGN_COMMAND = "foreign_command"  # a device answers a command that was given to another one
    FLOODING = "flooding"  # one letter a device and minute for all that was more than its measure
    REFUSED_BY_DATABASE = "refused_by_database"


class Source(Protocol):
    """Where a reading came from."""

    @property
    def topic(self) -> str:
        """Topic of its message."""

    @property
    def payload(self) -> bytes:
        """Content of its message."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A message, or one element of an array, that cannot be used; kept whole."""

    topic: str
    payload: bytes
    received_us: int
    redelivered: bool
    reason: Reason
    detail: str

    @property
    def digest(self) -> bytes:
        """SHA-256 of topic and payload: a redelivered letter is recognised by it."""
        return hashlib.sha256(self.topic.encode("utf-8", "surrogateescape") + b"\0" + self.payload).digest()


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign of life: the device was heard; `online` is set by a status message."""

    device_id: int
    heard_us: int
    online: bool | None = None
