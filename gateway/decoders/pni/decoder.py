"""PNI PlacePod: channel, type and value, one after another. Field table: README."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.decoders.sensors import Family, Layout, Model, Said, SaidKind, refused, signed, unsigned

if TYPE_CHECKING:
    from gateway.decoders.native.decoder import Refusal

# Channel -> (type, bytes of the value); None: the type is not published, and passed over.
_CHANNELS: Final[dict[int, tuple[int | None, int]]] = {
    0x01: (None, 1),  # answer to a recalibration
    0x02: (0x67, 2),  # temperature
    0x03: (0x02, 2),  # battery
    0x05: (None, 1),  # the maker's own
    0x06: (None, 1),  # the maker's own
    0x15: (0x66, 1),  # parking status
    0x1C: (None, 1),  # answer to a deactivation
    0x21: (None, 1),  # vehicles counted
    0x37: (0x66, 1),  # parking status, by the clock
    0x3F: (None, 1),  # answer to a reboot
}
_RECALIBRATED: Final = 0x80  # of the vehicle count


def _decode(_port: int, payload: bytes) -> Said | Refusal:
    if not payload:
        return Said(kind=SaidKind.STARTUP, fields={"startup": "startup"})
    fields: dict[str, Any] = {}
    kind = SaidKind.INFORMATION
    at = 0
    while at < len(payload):
        channel = payload[at]
        if channel not in _CHANNELS:
            return refused(payload, f"Channel 0x{channel:02x} at byte {at} is not known.")
        wire_type, size = _CHANNELS[channel]
        value_at = at + 2
        if value_at + size > len(payload):
            return refused(payload, f"Channel 0x{channel:02x} at byte {at} is cut off.")
        if wire_type is not None and payload[at + 1] != wire_type:
            return refused(
                payload, f"Type 0x{payload[at + 1]:02x} at byte {at + 1} is not that of the channel, 0x{wire_type:02x}."
            )
        if channel in {0x15, 0x37} and payload[value_at] > 1:
            return refused(payload, f"Byte {value_at} is 0x{payload[value_at]:02x}; the occupancy is 00 or 01.")
        kind = _read(channel, payload, value_at, fields) or kind
        at = value_at + size
    return Said(
        kind=kind,
        occupied=fields.get("occupied"),
        battery_v=fields.get("batteryVoltage"),
        temperature_c=fields.get("temperature"),
        fields=fields,
    )


def _read(channel: int, payload: bytes, at: int, fields: dict[str, Any]) -> SaidKind | None:
    """Adds what the channel says, and gives why the device spoke if the channel tells."""
    value = payload[at]
    match channel:
        case 0x01:
            fields["recalibrateResponse"] = "SUCCESSFUL" if value == 1 else "FAILED"
        case 0x02:
            fields["temperature"] = signed(payload, at, 2) / 10
        case 0x03:
            fields["batteryVoltage"] = unsigned(payload, at, 2) / 100
        case 0x15 | 0x37:
            fields["occupied"] = value == 1
            return SaidKind.CHANGE if channel == 0x15 else SaidKind.HEARTBEAT
        case 0x1C:
            fields["deactivate"] = "done"
        case 0x21 if value == _RECALIBRATED:
            fields["reboot"] = "RECALIBRATION"
        case 0x21:
            fields["vehicleCount"] = value
            return SaidKind.COUNT
        case 0x3F:
            fields["reboot"] = "DONE"
            return SaidKind.STARTUP
        case _:
            fields[f"internal_{channel:02x}"] = value
    return None


FAMILY: Final = Family("pni", "PNI Sensor", (Model("placepod", "PlacePod", {"": Layout("channels", _decode)}),))
