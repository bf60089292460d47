"""Tekzitel TEKZIPARK (magnetic and radar, beacons): port 1 a report, port 2 a report for whoever sets it up. README: fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.decoders.sensors import BatteryState, Family, Layout, Model, Said, SaidKind, refused, signed, unsigned

if TYPE_CHECKING:
    from gateway.decoders.native.decoder import Refusal

_HEAD_BYTES: Final = 3
_DEBUG_BYTES: Final = 12
_SIGNED: Final = ("Deflection_X", "Deflection_Y", "Deflection_Z", "Baseline_X", "Baseline_Y", "Baseline_Z")


def _decode(port: int, payload: bytes) -> Said | Refusal:
    if port not in {1, 2}:
        return refused(payload, f"Port {port} is none of 1 (report) and 2 (report with measures).")
    if len(payload) < _HEAD_BYTES or (port == 2 and len(payload) != _DEBUG_BYTES):
        expected = f"{_DEBUG_BYTES} bytes" if port == 2 else f"at least {_HEAD_BYTES} bytes"
        return refused(payload, f"A report on port {port} has {expected}, not {len(payload)}.")
    if port == 1 and len(payload) > _HEAD_BYTES and len(payload) % 2:
        return refused(payload, f"After the signal a beacon has 2 bytes; {len(payload)} bytes hold half a one.")
    fields = _head(payload)
    fields |= _beacons(payload) if port == 1 else _measures(payload)
    return Said(
        kind=_kind(payload[0]),
        occupied=bool(payload[0] & 0x80),
        battery_state=BatteryState.GOOD if payload[0] & 0x20 else BatteryState.LOW,
        temperature_c=signed(payload, 1),
        fields=fields,
    )


def _kind(head: int) -> SaidKind:
    if head & 0x02:
        return SaidKind.STARTUP
    return SaidKind.HEARTBEAT if head & 0x01 else SaidKind.CHANGE


def _head(payload: bytes) -> dict[str, Any]:
    head = payload[0]
    return {
        "occupied": head >> 7,
        "keepAlive": head & 1,
        "reset": head >> 1 & 1,
        "No_Beacon": head >> 2 & 1,
        "Radar": head >> 3 & 1,
        "Obstruction": head >> 4 & 1,
        "Good_Battery": head >> 5 & 1,
        "Temperature": signed(payload, 1),
        "Parking_ID": payload[2],
    }


def _beacons(payload: bytes) -> dict[str, Any]:
    if len(payload) == _HEAD_BYTES:
        return {}
    beacons = [unsigned(payload, at, 2) for at in range(4, len(payload), 2)]
    return {"Beacon_RSSI": signed(payload, 3), "Beacons": beacons}


def _measures(payload: bytes) -> dict[str, Any]:
    measures: dict[str, Any] = {name: signed(payload, at) for at, name in enumerate(_SIGNED, start=3)}
    return measures | {"Fault_Code": payload[9], "Obstruction": payload[10], "D_Reflection": payload[11]}


FAMILY: Final = Family(
    "tekzitel", "Tekzitel", (Model("tekzipark", "TEKZIPARK", {"": Layout("head of three bytes", _decode)}),)
)
