"""The services of the three modules: numbers, and the fields of each in their order, big-endian."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.decoders.sensors import SaidKind

if TYPE_CHECKING:
    from collections.abc import Mapping

# How a field stands on the wire: a struct code, "text:N" of N characters, or "text" with its length in two bytes before it.
TEXT: Final = "text"
_LENGTH: Final = struct.Struct(">H")


@dataclass(frozen=True, slots=True)
class Service:
    """A kind of message."""

    name: str
    kind: SaidKind
    fields: tuple[tuple[str, str], ...]
    is_open: bool = False  # what follows is passed over

    def read(self, payload: bytes) -> dict[str, Any] | str:
        """Names and values, or why they cannot be read."""
        values: dict[str, Any] = {}
        at = 0
        for name, wire in self.fields:
            size = _size(wire, payload, at)
            start = at + (_LENGTH.size if wire == TEXT else 0)
            if size is None or start + size > len(payload):
                return f"it ends within {name}."
            values[name] = _value(wire, payload[start : start + size])
            at = start + size
        if at != len(payload) and not self.is_open:
            return f"{len(payload) - at} bytes are left after the last field."
        return values


def _size(wire: str, payload: bytes, at: int) -> int | None:
    if wire == TEXT:
        return int(_LENGTH.unpack_from(payload, at)[0]) if at + _LENGTH.size <= len(payload) else None
    if wire.startswith("text:"):
        return int(wire.removeprefix("text:"))
    return struct.calcsize(">" + wire)


def _value(wire: str, content: bytes) -> object:
    if wire.startswith(TEXT):
        return content.rstrip(b"\0").decode("ascii", "backslashreplace")
    value: object = struct.unpack(">" + wire, content)[0]
    return value


_SIGNAL: Final = (("rsrp", "i"), ("sinr", "i"), ("pci", "i"), ("ecl", "i"), ("cell_id", "i"))
_BATTERY: Final = (("battery_voltage", "f"), ("battery_value", "i"))
_STATE: Final = (("parking_state", "B"), ("error_code", "B"), ("parking_change", "B"), ("magnetic_value", "i"))
_AXES: Final = (("magnetic_value_x", "H"), ("magnetic_value_y", "H"), ("magnetic_value_z", "H"))
_HEARTBEAT: Final = (
    ("ICCID", "text:20"),
    ("heartbeat_time", "f"),
    ("protect_time", "f"),
    ("saas_version", "text:6"),
    ("manufacturer_id", "text:18"),
    ("IMSI", "text:15"),
    ("IMEI", "text:15"),
    ("nb_firmware", TEXT),
    ("nb_module", TEXT),
    ("mcu_firmware", TEXT),
    ("terminal_type", TEXT),
    ("manufacturer_name", TEXT),
    *_SIGNAL,
    *_BATTERY,
    ("signal_power", "h"),
    ("snr", "h"),
    ("tx_power", "h"),
    *_STATE,
)
_SPOT_STATUS: Final = (
    ("SN", "text:8"),
    ("DateTime", "I"),
    ("SpotCount", "H"),
    ("SpotStatus", "B"),
    ("MagneticX", "h"),
    ("MagneticY", "h"),
    ("MagneticZ", "h"),
    ("MagneticDiff", "H"),
    ("RadarDistance", "B"),
    ("RadarStrength", "B"),
    ("RadarCoverCount", "B"),
    ("RadarDiff", "B"),
    ("NBRssi", "B"),
    ("NBSnr", "b"),
    ("MCUTemp", "b"),
    ("QMCTemp", "b"),
    ("MagneticBackX", "h"),
    ("MagneticBackY", "h"),
    ("MagneticBackZ", "h"),
    ("Debugval", "h"),
    ("Radarval", TEXT),
    ("Radarback", TEXT),
)

_EVENTS: Final[Mapping[int, Service]] = {
    1001: Service("ParkingChange", SaidKind.INFORMATION, (("parking_change", "B"),)),
    1002: Service("ErrorCode", SaidKind.INFORMATION, (("error_code", "B"),)),
    1003: Service("LowVoltage", SaidKind.INFORMATION, (("battery_voltage", "f"),)),
    1004: Service("MagneticDisturb", SaidKind.INFORMATION, (("magnetic_value", "i"),)),
}
_OF_ITSELF: Final = (("SN", "text:8"),)

P2_1: Final[Mapping[int, Service]] = {
    2: Service("SpotStatusData", SaidKind.CHANGE, _SPOT_STATUS),
    3: Service("WorkInfo", SaidKind.INFORMATION, _OF_ITSELF, is_open=True),
    4: Service("BasicInfo", SaidKind.INFORMATION, _OF_ITSELF, is_open=True),
    5: Service("DynamicInfo", SaidKind.INFORMATION, _OF_ITSELF, is_open=True),
}
P2_2: Final[Mapping[int, Service]] = {
    1: Service("DataReport", SaidKind.CHANGE, (*_BATTERY, ("ptime", "q"), *_STATE)),
    2: Service("SignalReport", SaidKind.INFORMATION, _SIGNAL),
    3: Service("HeartBeat", SaidKind.HEARTBEAT, _HEARTBEAT),
    **_EVENTS,
}
P2_3: Final[Mapping[int, Service]] = {
    1: Service("DataReport", SaidKind.CHANGE, (("parking_state", "B"),)),
    2: Service("SignalReport", SaidKind.INFORMATION, _SIGNAL),
    101: Service("ExtraReport", SaidKind.CHANGE, (*_BATTERY, ("ptime", "q"), *_STATE, *_AXES)),
    102: Service("HeartBeat", SaidKind.HEARTBEAT, (*_HEARTBEAT, *_AXES)),
    **_EVENTS,
}
