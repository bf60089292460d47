"""Lanes, their messages and their reports, with defaults that no test needs to repeat. Plates and cards are invented."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

from gateway.lanes import LaneReader
from gateway.messages import RawMessage
from parking_core.districts import District, LaneRecord
from parking_core.lanes import EtcPart, Lane, LaneEvent, LaneEventKind, LaneReport, LaneSource, Way
from parking_core.readings import moment
from parking_core.topics import Kind, device_topic
from tests.builders import NOON_US, a_device, a_lot

if TYPE_CHECKING:
    from parking_core.store.devices import Device

SHANGHAI = "Asia/Shanghai"

ETC: dict[str, Any] = {
    "obu_plate": "苏B12345",
    "card_plate": "苏B12345",
    "obu_id": "32010000A1B2C3D4",
    "contract_no": "3201000000000001",
    "card_no": "32010000000000000017",
    "card_network": "3201",
    "card_type": "23",
    "terminal_no": "013200000001",
    "terminal_serial": "00000001",
    "tac": "0A1B2C3D",
    "algorithm": "1",
    "trade_type": "09",
    "amount_fen": 1_000,
    "balance_before_fen": 1_999_921_000,
    "balance_after_fen": 1_999_920_000,
    "status_list_version": "20260601120000",
}


def lane_district(*, lots: int = 1) -> District:
    """Lots `L1`, ... with two watched bays and the lanes `L1-E1` (in) and `L1-X1` (out)."""
    made = []
    for number in range(1, lots + 1):
        lot = a_lot(f"L{number}", 2)
        lanes = [LaneRecord(f"{lot.code}-E1", "entry"), LaneRecord(f"{lot.code}-X1", "exit")]
        made.append(msgspec.structs.replace(lot, lanes=lanes))
    return District(name="lanes", lots=made)


def a_lane(**other: Any) -> Lane:
    """The way out of lot 1, device 7."""
    facts: dict[str, Any] = {"device_id": 7, "code": "x1", "lot_id": 1, "way": Way.EXIT}
    return Lane(**(facts | other))


def a_lane_device(lane: Lane | None = None, **other: Any) -> Device:
    """Its controller."""
    lane = lane or a_lane()
    facts: dict[str, Any] = {"id": lane.device_id, "code": lane.code, "family": "lane", "lot_id": lane.lot_id}
    return a_device(**(facts | {"space_id": None, "spaces": {}, "lane": lane} | other))


def lane_payload(**fields: Any) -> bytes:
    """An exit at noon that charged 10 yuan; `etc` replaces single fields of the transaction, None leaves it out."""
    etc = fields.pop("etc", {})
    message = {
        "event": "exit",
        "record_no": 1,
        "at": NOON_US // 1000,
        "plate": {"text": "苏B·12345", "color": 0},
        "vehicle_class": 1,
        "source": "etc",
        "etc": None if etc is None else ETC | etc,
    } | fields
    return msgspec.json.encode({name: value for name, value in message.items() if value is not None})


def lane_message(payload: bytes | None = None, **other: Any) -> RawMessage:
    """A lane message of device `x1` in lot `l1`, received at noon."""
    facts: dict[str, Any] = {
        "topic": device_topic("l1", "x1", Kind.LANE),
        "payload": lane_payload() if payload is None else payload,
        "packet_id": 1,
        "redelivered": False,
        "received_us": NOON_US,
        "connection": 1,
    }
    return RawMessage(**(facts | other))


def a_report(lane: Lane | None = None, *, received_us: int = NOON_US, **fields: Any) -> LaneReport:
    """The report of a message as the gateway reads it."""
    message = lane_message(lane_payload(**fields), received_us=received_us)
    report = LaneReader(ZoneInfo(SHANGHAI)).read(message, a_lane_device(lane))
    assert isinstance(report, LaneReport), report
    return report


def an_event(**other: Any) -> LaneEvent:
    """An exit at noon that charged 10 yuan; `etc` replaces single fields, None leaves it out."""
    etc = other.pop("etc", {})
    facts: dict[str, Any] = {
        "id": 1,
        "device_id": 7,
        "lot_id": 1,
        "record_no": 1,
        "kind": LaneEventKind.EXIT,
        "source": LaneSource.ETC,
        "occurred_at": moment(NOON_US),
        "received_at": moment(NOON_US),
        "vehicle": "苏B12345",
        "plate": "苏B12345",
        "plate_color": "blue",
        "vehicle_class": 1,
        "etc": None if etc is None else EtcPart(**(ETC | etc)),
    }
    return LaneEvent(**(facts | other))
