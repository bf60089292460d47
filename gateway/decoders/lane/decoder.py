"""Lane messages of the contract: what a lane controller says of a passage, of money, or of itself."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from gateway.decoders.native.decoder import MAX_PAYLOAD_BYTES, UNREADABLE, Moment, Refusal, microseconds
from parking_core.lanes import LaneEventKind, LaneSource
from parking_core.readings import Reason

if TYPE_CHECKING:
    from datetime import tzinfo

HOUR: Final = timedelta(hours=1)
_NUMBER_MAX = 2**53 - 1  # whole numbers that every JSON writer keeps
# PostgreSQL's text holds no NUL.
Text = Annotated[str, msgspec.Meta(max_length=128, pattern=r"^[^\x00]*$")]
Whole = Annotated[int, msgspec.Meta(ge=0, le=_NUMBER_MAX)]
Name = Text | Whole  # a number or code that some controllers write without quotes
# A negative amount is wrong and is kept: a check flags it. A fraction of a fen is no amount at all.
Fen = Annotated[int, msgspec.Meta(ge=-_NUMBER_MAX, le=_NUMBER_MAX)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
VehicleClass = Annotated[int, msgspec.Meta(ge=-32_768, le=32_767)]
Code = Annotated[int, msgspec.Meta(ge=-_NUMBER_MAX, le=_NUMBER_MAX)]
CalendarDay = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-?\d{2}-?\d{2}$")]


class PlateRecord(msgspec.Struct, gc=False):
    """What the camera read; `color` is a code of the camera's list or a word."""

    text: Text | None = None
    color: Text | Code | None = None


class EtcRecord(msgspec.Struct, gc=False):
    """What the antenna read and did; amounts in fen. A TAC is text always: as a number it may have lost its zeros."""

    obu_plate: Text | None = None
    card_plate: Text | None = None
    obu_id: Name | None = None
    contract_no: Name | None = None
    card_no: Name | None = None
    card_network: Name | None = None
    card_type: Name | None = None
    terminal_no: Name | None = None
    terminal_serial: Name | None = None
    tac: Text | None = None
    algorithm: Name | None = None
    trade_type: Name | None = None
    amount_fen: Fen | None = None
    balance_before_fen: Fen | None = None
    balance_after_fen: Fen | None = None
    status_list_version: Name | None = None
    card_expires: CalendarDay | None = None  # last day
    obu_expires: CalendarDay | None = None


class LaneRecord(msgspec.Struct, gc=False):
    """One message as the lane writes it."""

    event: LaneEventKind
    record_no: Whole
    at: Moment
    source: LaneSource | None = None
    plate: PlateRecord | None = None
    vehicle_class: VehicleClass | None = None
    etc: EtcRecord | None = None
    refers_to: Whole | None = None
    ticket: Text | None = None  # temporary pass of a vehicle without a plate
    hour: Text | None = None  # hour_total
    count: Count | None = None
    amount_fen: Fen | None = None
    money_fen: Fen | None = None
    money: Fen | None = None


_record = msgspec.json.Decoder(LaneRecord).decode


def decode_lane(payload: bytes) -> LaneRecord | Refusal:
    """A lane's message, or why it cannot be used. Fields that the kind of event needs are there."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        return Refusal(Reason.TOO_LARGE, f"{len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} are read.", payload)
    try:
        record = _record(payload)
    except UNREADABLE as error:
        return _refusal(error, payload)
    if microseconds(record.at) is None:
        detail = f"{record.at!r} milliseconds since the epoch is no time between the years 1 and 9999."
        return Refusal(Reason.BAD_TIME, detail, payload)
    lacking = _lacking(record)
    return Refusal(Reason.INVALID, lacking, payload) if lacking else record


def amount_of_hour(record: LaneRecord) -> int | None:
    """Fen that the lane counted in an hour, under whichever name it gives them."""
    return next((fen for fen in (record.amount_fen, record.money_fen, record.money) if fen is not None), None)


def text_of(name: str | int | None) -> str | None:
    """A number or code as text, whichever way it was written."""
    return str(name) if isinstance(name, int) else name


def hour_of(record: LaneRecord, at: datetime, zone: tzinfo) -> datetime | str:
    """Start (UTC) of the hour of an hour_total, or what is wrong with it. Absent: the zone's last full hour before."""
    if record.hour is None:
        return at.astimezone(zone).replace(minute=0, second=0, microsecond=0).astimezone(UTC) - HOUR
    try:
        if len(record.hour) == 10 and record.hour.isdecimal():
            hour = datetime.strptime(record.hour, "%Y%m%d%H").replace(tzinfo=zone)
        else:
            hour = datetime.fromisoformat(record.hour)
    except ValueError:
        return f"The hour {record.hour!r} is neither an RFC 3339 time nor YYYYMMDDHH."
    if hour.tzinfo is None or (hour.minute, hour.second, hour.microsecond) != (0, 0, 0):
        return f"The hour {record.hour!r} must be the start of an hour, with its offset."
    if microseconds(hour) is None:
        return f"The hour {record.hour!r} is no time between the years 1 and 9999."
    return hour.astimezone(UTC)


def day_of(text: str | None) -> date | None:
    """The day of YYYYMMDD or YYYY-MM-DD; None where there is no such day in the calendar."""
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        return None


def _lacking(record: LaneRecord) -> str:
    """What the kind of event needs and the message does not say; empty: nothing."""
    match record.event:
        case LaneEventKind.CORRECTION:
            if record.refers_to is None:
                return "A correction needs refers_to, the record_no of the record that it corrects."
            if record.plate is None:
                return "A correction needs the plate that was really there."
        case LaneEventKind.COMPLETION:
            etc = record.etc
            if etc is None or not etc.tac:
                return "A completion needs etc.tac, the code that had not come."
            if record.refers_to is None and not (etc.terminal_no and etc.terminal_serial):
                return "A completion needs refers_to, or etc.terminal_no and etc.terminal_serial."
        case LaneEventKind.HOUR_TOTAL:
            if record.count is None:
                return "An hour_total needs count, the number of records that the lane made in the hour."
        case LaneEventKind.ENTRY | LaneEventKind.EXIT | LaneEventKind.FEE_REQUEST | LaneEventKind.MANUAL_OPEN:
            pass
    return ""


def _refusal(error: Exception, payload: bytes) -> Refusal:
    if not isinstance(error, msgspec.ValidationError):
        return Refusal(Reason.MALFORMED, f"Not JSON: {error}", payload)
    detail = str(error)
    return Refusal(Reason.BAD_TIME if "`$.at`" in detail else Reason.INVALID, detail, payload)
