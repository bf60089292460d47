"""Lane events: what a lane controller reports, understood and in one form (facts)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


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
