"""Native JSON of the contract: occupancy (one reading or an array), heartbeat, status, and answers to commands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from uuid import UUID  # noqa: TC003  # msgspec reads the annotations when it runs

import msgspec

from parking_core.commands import AckResult  # noqa: TC001  # msgspec reads the annotations when it runs
from parking_core.readings import SEQ_MAX, TIME_MAX_US, TIME_MIN_US, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_PAYLOAD_BYTES = 65_536  # an array of some 500 readings; more belongs in several messages
MOST_REFUSALS = 100  # bad elements kept one by one; 64 KiB may hold 32,000, which would cost more than all good traffic
_PLAUSIBLE = msgspec.Meta(ge=-1e6, le=1e6)  # keeps infinities out of 4-byte floats
_EPOCH = datetime.fromtimestamp(0, UTC)
_MICROSECOND = timedelta(microseconds=1)

Seq = Annotated[int, msgspec.Meta(ge=0, le=SEQ_MAX)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)] | int | float
Measure = Annotated[float, _PLAUSIBLE] | None


class OccupancyRecord(msgspec.Struct, gc=False):
    """One reading as the device writes it."""

    occupied: bool
    at: Moment
    space: str | None = None
    seq: Seq = 0
    battery_v: Measure = None
    rssi_dbm: Measure = None
    temperature_c: Measure = None


class HeartbeatRecord(msgspec.Struct, gc=False):
    """A sign of life."""

    at: Moment
    seq: Seq = 0


class CommandAckRecord(msgspec.Struct, gc=False):
    """A device's answer to a command."""

    id: UUID
    result: AckResult
    at: Moment
    reason: Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00]*$")] | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a payload, or one element of an array, cannot be used; `payload` is what can be retried by itself."""

    reason: Reason
    detail: str
    payload: bytes


# Everything that a byte string can make the JSON decoder raise.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_EMPTY_ARRAY = Refusal(Reason.INVALID, "The array holds no reading.", b"[]")

_one_or_many: Callable[[bytes], OccupancyRecord | list[OccupancyRecord | Refusal]] = msgspec.json.Decoder(
    OccupancyRecord | list[OccupancyRecord]
).decode
_one = msgspec.json.Decoder(OccupancyRecord).decode
_heartbeat = msgspec.json.Decoder(HeartbeatRecord).decode
_command_ack = msgspec.json.Decoder(CommandAckRecord).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


def decode_occupancy(payload: bytes) -> OccupancyRecord | list[OccupancyRecord | Refusal] | Refusal:
    """Readings of a payload; an array's good elements survive its bad ones, unless these are too many."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        return _too_large(payload)
    try:
        return _one_or_many(payload) or _EMPTY_ARRAY
    except UNREADABLE as error:
        if payload.lstrip()[:1] != b"[":
            return _refusal(error, payload)
    try:
        elements = _elements(payload)
    except UNREADABLE as error:
        return _refusal(error, payload)
    decoded: list[OccupancyRecord | Refusal] = []
    refused = 0
    for element in elements:
        record = _decode_element(bytes(element))
        decoded.append(record)
        if type(record) is Refusal:
            refused += 1
            if refused > MOST_REFUSALS:
                detail = (
                    f"More than {MOST_REFUSALS} of its {len(elements)} elements cannot be used; one: {record.detail}"
                )
                return Refusal(record.reason, detail, payload)
    return decoded


def decode_heartbeat(payload: bytes) -> HeartbeatRecord | Refusal:
    """A heartbeat's content."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        return _too_large(payload)
    try:
        return _heartbeat(payload)
    except UNREADABLE as error:
        return _refusal(error, payload)


def decode_command_ack(payload: bytes) -> CommandAckRecord | Refusal:
    """An answer to a command; its time can be held by the database."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        return _too_large(payload)
    try:
        record = _command_ack(payload)
    except UNREADABLE as error:
        return _refusal(error, payload)
    if microseconds(record.at) is None:
        return Refusal(Reason.BAD_TIME, f"{record.at!r} is no time between the years 1 and 9999.", payload)
    return record


def decode_status(payload: bytes) -> bool | Refusal:
    """True for `online`, False for `offline`."""
    match payload:
        case b"online" | b'"online"':
            return True
        case b"offline" | b'"offline"':
            return False
        case _:
            return Refusal(Reason.INVALID, "A status is the word online or offline.", payload)


def microseconds(moment: datetime | float) -> int | None:
    """Microseconds since the epoch of an RFC 3339 time or of epoch milliseconds; None where it is no time."""
    if type(moment) is int:
        us = moment * 1000
    elif isinstance(moment, datetime):
        us = (moment - _EPOCH) // _MICROSECOND
    elif math.isfinite(moment * 1000):
        us = round(moment * 1000)
    else:
        return None
    return us if TIME_MIN_US <= us <= TIME_MAX_US else None


def _decode_element(element: bytes) -> OccupancyRecord | Refusal:
    try:
        return _one(element)
    except UNREADABLE as error:
        return _refusal(error, element)


def _too_large(payload: bytes) -> Refusal:
    return Refusal(Reason.TOO_LARGE, f"{len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} are read.", payload)


def _refusal(error: Exception, payload: bytes) -> Refusal:
    if not isinstance(error, msgspec.ValidationError):
        return Refusal(Reason.MALFORMED, f"Not JSON: {error}", payload)
    detail = str(error)
    reason = Reason.BAD_TIME if "$.at" in detail or "[...].at" in detail else Reason.INVALID
    return Refusal(reason, detail, payload)


def encode(record: OccupancyRecord) -> bytes:
    """The record as a payload of its own, so that one element of an array can be retried alone."""
    return msgspec.json.encode(record)
