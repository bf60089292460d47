"""Bosch parking lot sensors (TPS110 and older): port 1 a change, port 2 a heartbeat, port 3 a start. Field table: README."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.decoders.native.decoder import Refusal
from gateway.decoders.sensors import Family, Layout, Model, Said, SaidKind, refused, signed

if TYPE_CHECKING:
    from collections.abc import Callable

_RESETS: Final = {1: "watchdog", 2: "power on", 3: "system request", 4: "other"}
_STARTUP_BYTES: Final = 17
_OF_ITSELF: Final = {4: "device information", 5: "device usage", 6: "debug"}  # nothing published but the debug code


def _occupied(payload: bytes, at: int) -> bool | Refusal:
    if payload[at] > 1:
        return refused(payload, f"Byte {at} is 0x{payload[at]:02x}; the occupancy is 00 or 01.")
    return payload[at] == 1


def _change(payload: bytes) -> Said | Refusal:
    if len(payload) != 1:
        return refused(payload, f"A change has 1 byte, not {len(payload)}.")
    occupied = _occupied(payload, 0)
    if isinstance(occupied, Refusal):
        return occupied
    return Said(kind=SaidKind.CHANGE, occupied=occupied, fields={"type": "parking status", "occupied": occupied})


def _heartbeat(payload: bytes) -> Said | Refusal:
    if len(payload) not in {1, 2}:
        return refused(payload, f"A heartbeat has 1 byte, or 2 with the temperature, not {len(payload)}.")
    occupied = _occupied(payload, 0)
    if isinstance(occupied, Refusal):
        return occupied
    temperature = {"temperature": signed(payload, 1)} if len(payload) == 2 else {}
    return Said(
        kind=SaidKind.HEARTBEAT,
        occupied=occupied,
        temperature_c=temperature.get("temperature"),
        fields={"type": "heartbeat", "occupied": occupied, **temperature},
    )


def _debug_code(payload: bytes, at: int) -> int:
    """Twelve bits, little-endian."""
    return int.from_bytes(payload[at : at + 2], "little") & 0xFFF


def _startup(payload: bytes, version: Callable[[bytes], bytes]) -> Said | Refusal:
    if len(payload) != _STARTUP_BYTES:
        return refused(payload, f"A start has {_STARTUP_BYTES} bytes, not {len(payload)}.")
    occupied = _occupied(payload, 16)
    if isinstance(occupied, Refusal):
        return occupied
    major, minor, patch = version(payload[12:15])
    firmware = f"{major}.{minor}.{patch}"
    fields = {
        "type": "startup",
        "occupied": occupied,
        "debugCodes": [code for at in (0, 4, 8) if (code := _debug_code(payload, at))],
        "debug": payload[:12].hex(),
        "resetCause": _RESETS.get(payload[15]),
        "firmwareVersion": firmware,
    }
    wrong = (
        {"firmware": f"{firmware}: every firmware begins with 0; the bytes are in the other order."} if major else {}
    )
    said = None if wrong else firmware
    return Said(kind=SaidKind.STARTUP, occupied=occupied, firmware=said, fields=fields, quarantined=wrong)


def _of_itself(port: int, payload: bytes) -> Said:
    fields: dict[str, object] = {"type": _OF_ITSELF[port], "bytes": payload.hex()}
    if port == 6 and len(payload) >= 6:
        fields["debugCode"] = _debug_code(payload, 4)
    return Said(kind=SaidKind.INFORMATION, fields=fields)


def _layout(name: str, version: Callable[[bytes], bytes]) -> Layout:
    def decode(port: int, payload: bytes) -> Said | Refusal:
        match port:
            case 1:
                return _change(payload)
            case 2:
                return _heartbeat(payload)
            case 3:
                return _startup(payload, version)
            case 4 | 5 | 6:
                return _of_itself(port, payload)
            case _:
                return refused(payload, f"Port {port} is none of 1 (change), 2 (heartbeat), 3 (start) and 4 to 6.")

    return Layout(name, decode)


FORWARD: Final = _layout("version forward", lambda three: three)
REVERSED: Final = _layout("version reversed", lambda three: three[::-1])

FAMILY: Final = Family(
    "bosch",
    "Bosch",
    (
        Model(
            "tps110",
            "Parking Lot Sensor TPS110",
            {"": FORWARD, "0.23": REVERSED, "0.22": REVERSED, "0.21": REVERSED},
        ),
    ),
)
