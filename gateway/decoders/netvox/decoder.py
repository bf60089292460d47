"""Netvox R719A: port 6 reports, port 7 answers to configuration. Field table: README."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.decoders.sensors import BatteryState, Family, Layout, Model, Said, SaidKind, refused, unsigned

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.decoders.native.decoder import Refusal

_BYTES: Final = 11
_LOW: Final = 0x80  # of the volts: the battery is low
DEVICES: Final = {"R719A": 89, "R719B": 175}


def _report(name: str, payload: bytes) -> Said | Refusal:
    if payload[2] == 0:
        fields = {
            "Device": name,
            "SWver": payload[3] / 10,
            "HWver": payload[4],
            "Datecode": payload[5:9].hex(),
        }
        return Said(kind=SaidKind.STARTUP, firmware=f"{payload[3] / 10:g}", fields=fields)
    if payload[2] != 1:
        return refused(payload, f"Report type {payload[2]} is none of 0 (version) and 1 (state).")
    if payload[4] > 1:
        return refused(payload, f"Byte 4 is 0x{payload[4]:02x}; the occupancy is 00 or 01.")
    volts, is_low = (payload[3] & 0x7F) / 10, bool(payload[3] & _LOW)
    occupied = payload[4] == 1
    return Said(
        kind=SaidKind.CHANGE,
        occupied=occupied,
        battery_v=volts,
        battery_state=BatteryState.LOW if is_low else BatteryState.GOOD,
        fields={"Device": name, "Volt": volts, "LowBattery": is_low, "CarOnOff": payload[4]},
    )


def _answer(name: str, payload: bytes) -> Said | Refusal:
    fields: dict[str, Any]
    match payload[0]:
        case 0x81:
            fields = {"Cmd": "ConfigReportRsp", "Status": "Failure" if payload[2] else "Success"}
        case 0x82:
            fields = {
                "Cmd": "ReadConfigReportRsp",
                "MinTime": unsigned(payload, 2, 2),
                "MaxTime": unsigned(payload, 4, 2),
                "BatteryChange": payload[6] / 10,
            }
        case command:
            return refused(payload, f"Command 0x{command:02x} is none of 81 (configured) and 82 (configuration).")
    return Said(kind=SaidKind.INFORMATION, fields={"Device": name, **fields})


def _of(name: str) -> Callable[[int, bytes], Said | Refusal]:
    def decode(port: int, payload: bytes) -> Said | Refusal:
        if port not in {6, 7}:
            return refused(payload, f"Port {port} is none of 6 (report) and 7 (configuration).")
        if len(payload) != _BYTES:
            return refused(payload, f"A message has {_BYTES} bytes, not {len(payload)}.")
        if payload[1] != DEVICES[name]:
            return refused(payload, f"Device type 0x{payload[1]:02x} is not that of {name}, 0x{DEVICES[name]:02x}.")
        if port == 7:
            return _answer(name, payload)
        if payload[0] != 1:
            return refused(payload, f"Version {payload[0]} of the payload is not known; 1 is.")
        return _report(name, payload)

    return decode


FAMILY: Final = Family(
    "netvox",
    "Netvox",
    (
        Model("r719a", "Wireless Parking Sensor R719A", {"": Layout("version 1", _of("R719A"))}),
        Model("r719b", "Wireless Parking Sensor R719B", {"": Layout("version 1", _of("R719B"))}),
    ),
)
