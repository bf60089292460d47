"""Lane events: what a lane controller reports, understood and in one form (facts), and whom it is about (a rule)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from parking_core.plates import ColorCodes

if TYPE_CHECKING:
    from datetime import datetime

    from parking_core.readings import Source


class LaneEventKind(StrEnum):
    """What happened at the lane."""

    ENTRY = "entry"
    EXIT = "exit"
    FEE_REQUEST = "fee_request"
    MANUAL_OPEN = "manual_open"
    CORRECTION = "correction"  # of an earlier record's plate
    COMPLETION = "completion"  # the TAC of a transaction whose reply was lost
    HOUR_TOTAL = "hour_total"  # how many records, how much money the lane counts in an hour


class LaneSource(StrEnum):
    """What recognised the vehicle."""

    ETC = "etc"
    ANPR = "anpr"
    MANUAL = "manual"


class Way(StrEnum):
    """Which way a lane leads."""

    ENTRY = "entry"
    EXIT = "exit"
    BOTH = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A registered lane: a device of the family `lane`."""

    device_id: int
    code: str
    lot_id: int
    way: Way
    active: bool = True  # the clearing centre has activated the site
    color_codes: ColorCodes = ColorCodes.NATIONAL  # of its camera
    amount_limit_fen: int = 50_000  # of one transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcPart:
    """What the antenna read and did. Amounts in fen; texts as the lane wrote them, plates in the one form."""

    obu_plate: str | None = None
    card_plate: str | None = None
    obu_id: str | None = None
    contract_no: str | None = None
    card_no: str | None = None
    card_network: str | None = None
    card_type: str | None = None  # 22 stored value, 23 credit
    terminal_no: str | None = None
    terminal_serial: str | None = None
    tac: str | None = None
    algorithm: str | None = None
    trade_type: str | None = None
    amount_fen: int | None = None
    balance_before_fen: int | None = None
    balance_after_fen: int | None = None
    status_list_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneEvent:
    """One row of the ledger."""

    id: int
    device_id: int
    lot_id: int
    record_no: int
    kind: LaneEventKind
    source: LaneSource
    occurred_at: datetime
    received_at: datetime
    vehicle: str  # whom the event is taken to be about
    refers_to: int | None = None  # record_no of the same lane
    plate: str | None = None  # the camera's
    plate_color: str | None = None
    vehicle_class: int | None = None
    etc: EtcPart | None = None
    hour_at: datetime | None = None  # hour_total
    hour_records: int | None = None
    hour_amount_fen: int | None = None
    flags: tuple[str, ...] = ()  # failed checks


@dataclass(frozen=True, slots=True)
class LaneReport:
    """An accepted lane message on its way into the ledger. The event's id is 0 and its flags are empty: see `flags`."""

    event: LaneEvent
    flags: tuple[str, ...]  # parking_core.lane_checks.Check
    source: Source

    @property
    def digest(self) -> bytes:
        """SHA-256 of the payload: a redelivery is the same bytes."""
        return hashlib.sha256(self.source.payload).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneRepeat:
    """What the ledger has already, under another record number or with other content. It is never charged."""

    id: int
    device_id: int
    lot_id: int
    record_no: int
    event_id: int  # what it repeats
    reason: RepeatReason
    occurred_at: datetime
    received_at: datetime
    tac: str | None  # a TAC that the first report lacked completes the transaction
    amount_fen: int | None


class RepeatReason(StrEnum):
    """Why a report is a repeat."""

    TRANSACTION_REPEATED = "transaction_repeated"  # one terminal serial under two record numbers
    RECORD_NO_REUSED = "record_no_reused"  # one record number, two contents


UNPLATED = "unplated:"  # what `vehicle` begins with where no plate was read


def vehicle_of(camera: str | None, etc: EtcPart | None, ticket: str | None, lane_code: str, record_no: int) -> str:
    """Whom a lane event is taken to be about: visits pair by it. Plates are in the one form, None: none was read.

    What two of camera, OBU and card agree on. Otherwise the card, whose account is charged; then the OBU, which is
    sealed to the windscreen; then the camera, which misreads. Without any plate a name that the exit can give again
    (contract, OBU, temporary pass), and without one the record itself, so that two strangers are never one.
    """
    obu, card = (etc.obu_plate, etc.card_plate) if etc is not None else (None, None)
    if obu is not None and obu == camera:
        return obu  # outvotes the card, or is joined by it
    plate = card or obu or camera
    if plate is not None:
        return plate
    name = (etc and (etc.contract_no or etc.obu_id)) or ticket or f"{lane_code}:{record_no}"
    return f"{UNPLATED}{name}"
