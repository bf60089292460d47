"""ASCII frames of bays behind a concentrator: `(31489A00)`. Field table: README."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.decoders.sensors import BatteryState, Family, Layout, Model, Said, SaidKind, refused

if TYPE_CHECKING:
    from gateway.decoders.native.decoder import Refusal

_FRAME: Final = re.compile(rb"\((\d{5})([@ABC])([0-9A-F]{2})\)")
_STATES: Final = {b"@": (False, False), b"A": (True, False), b"B": (False, True), b"C": (True, True)}
_FAULTS: Final = {
    0x80: "sensor",
    0x40: "saturated",
    0x20: "radar",
    0x10: "temperature",
    0x08: "clock",
    0x04: "communication",
    0x01: "battery low",
}
_BATTERY_LOW: Final = 0x01
_HIGHEST: Final = 0xFFFF


def _decode(_port: int, payload: bytes) -> Said | Refusal:
    frame = _FRAME.fullmatch(payload.strip())
    if frame is None:
        return refused(payload, "A frame is (, five digits, one of @ A B C, two hexadecimal digits, ).")
    address = int(frame[1])
    if address > _HIGHEST:
        return refused(payload, f"Address {address} is more than {_HIGHEST}: a concentrator's octet and a bay's.")
    occupied, is_faulty = _STATES[frame[2]]
    bits = int(frame[3], 16)
    concentrator, bay = address >> 8, address & 0xFF
    return Said(
        kind=SaidKind.CHANGE,
        occupied=occupied,
        battery_state=BatteryState.LOW if bits & _BATTERY_LOW else BatteryState.GOOD,
        bay=str(bay),
        identity=str(concentrator),
        fields={
            "concentrator": concentrator,
            "bay": bay,
            "status": frame[2].decode(),
            "faulty": is_faulty,
            "faults": [name for bit, name in _FAULTS.items() if bits & bit],
        },
    )


FAMILY: Final = Family(
    "bay_frames",
    "ASCII bay frames",
    (Model("concentrator", "Concentrator of LoRa bays", {"": Layout("ten characters", _decode)}),),
)
