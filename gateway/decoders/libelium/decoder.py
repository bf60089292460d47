"""Libelium Smart Parking V2: eleven bytes on any port, two of head. Field table: README."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.decoders.sensors import BatteryState, Family, Layout, Model, Said, SaidKind, refused, signed

if TYPE_CHECKING:
    from gateway.decoders.native.decoder import Refusal

_BYTES: Final = 11
_TYPES: Final = {
    0: ("INFO", SaidKind.CHANGE),
    1: ("KEEP_ALIVE", SaidKind.HEARTBEAT),
    2: ("CONFIG_UP", SaidKind.INFORMATION),
    3: ("CONFIG_DOWN", SaidKind.INFORMATION),
    4: ("START_FRAME_1", SaidKind.STARTUP),
    5: ("START_FRAME_2", SaidKind.STARTUP),
    6: ("RTC_SYNC", SaidKind.INFORMATION),
    7: ("RTC_UPDATE", SaidKind.INFORMATION),
}
_WITH_TEMPERATURE: Final = (0, 1)


def _decode(payload: bytes, *, with_temperature: bool) -> Said | Refusal:
    if len(payload) != _BYTES:
        return refused(payload, f"A frame has {_BYTES} bytes, not {len(payload)}.")
    head, sequence = payload[0], payload[1]
    number = head & 0x07
    name, kind = _TYPES[number]
    occupied, battery_low = bool(head & 0x80), bool(head & 0x40)
    fields: dict[str, Any] = {
        "frame_type": name,
        "status": "OCCUPIED" if occupied else "VACANT",
        "battery_low": battery_low,
        "sequence": sequence,
        "payload_hex": payload[2:].hex(),
    }
    temperature = None
    if with_temperature and number in _WITH_TEMPERATURE:
        temperature = signed(payload, 3)
        fields |= {"sensor_error": payload[2], "temperature": temperature}
    return Said(
        kind=kind,
        occupied=occupied,
        battery_state=BatteryState.LOW if battery_low else BatteryState.GOOD,
        temperature_c=temperature,
        seq=sequence,
        firmware=str(payload[2]) if with_temperature and number == 4 else None,
        fields=fields,
    )


def _head_only(_port: int, payload: bytes) -> Said | Refusal:
    return _decode(payload, with_temperature=False)


def _third(_port: int, payload: bytes) -> Said | Refusal:
    return _decode(payload, with_temperature=True)


FAMILY: Final = Family(
    "libelium",
    "Libelium",
    (
        Model(
            "smart-parking-v2",
            "Plug & Sense Smart Parking V2",
            {"": Layout("head only", _head_only), "3": Layout("firmware 3", _third)},
        ),
    ),
)
