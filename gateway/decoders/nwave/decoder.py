"""Nwave sensors: NPS310SM, NPS405 (G4) in both published layouts, and the counter NCC405. Field table: README."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.decoders.sensors import BatteryState, Family, Layout, Model, Said, SaidKind, refused, signed, unsigned

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.decoders.native.decoder import Refusal

_RESETS_310: Final = {1: "watchdog", 2: "power_on", 3: "user_request", 4: "brownout", 5: "other"}
_RESETS_405: Final = {
    0: "rejoining_lorawan_network",
    1: "watchdog",
    2: "power_on",
    3: "user_request",
    6: "brownout",
    7: "other",
}
# The battery's thresholds of the vendor: warm and cold, in millivolts.
_COLD_C: Final = -5.0
_CRITICAL_MV, _LOW_MV = 2900, 3000
_COLD_LESS_MV: Final = 100


def _millivolts(byte: int) -> int:
    return 2500 + 4 * byte


def _battery(millivolts: int, temperature_c: float) -> BatteryState:
    less = _COLD_LESS_MV if temperature_c < _COLD_C else 0
    if millivolts < _CRITICAL_MV - less:
        return BatteryState.CRITICAL
    return BatteryState.LOW if millivolts < _LOW_MV - less else BatteryState.GOOD


_HEALTH: Final = {BatteryState.GOOD: "normal", BatteryState.LOW: "low", BatteryState.CRITICAL: "critical"}


def _previous(compressed: int) -> dict[str, Any]:
    """How long the state before lasted, in minutes: exact to 90, by 5 to 240, by 60 to 660, and "more"."""
    if compressed < 90:
        minutes, error = compressed, 0
    elif compressed < 120:
        minutes, error = 90 + (compressed - 90) * 5, 4
    elif compressed < 127:
        minutes, error = 240 + (compressed - 120) * 60, 59
    else:
        minutes, error = 660, None
    return {
        "previous_state_duration": minutes,
        "previous_state_duration_error": error,
        "previous_state_duration_overflow": compressed == 127,
    }


def _lowest_bit(byte: int) -> tuple[bool, int]:
    return bool(byte & 1), byte >> 1


def _highest_bit(byte: int) -> tuple[bool, int]:
    return bool(byte >> 7), byte & 0x7F


def _length(payload: bytes, what: str, expected: int) -> Refusal | None:
    if len(payload) == expected:
        return None
    plural = "" if expected == 1 else "s"
    return refused(payload, f"{what} has {expected} byte{plural}, not {len(payload)}.")


def _start(payload: bytes, resets: dict[int, str], *, with_occupancy: bool) -> Said | Refusal:
    if (refusal := _length(payload, "A start", 5 if with_occupancy else 4)) is not None:
        return refusal
    firmware = ".".join(map(str, payload[:3]))
    fields: dict[str, Any] = {
        "type": "startup",
        "firmware_version": firmware,
        "reset_cause": resets.get(payload[3]),
    }
    if not with_occupancy:
        return Said(kind=SaidKind.STARTUP, firmware=firmware, fields=fields)
    occupied = bool(payload[4] & 1)
    return Said(kind=SaidKind.STARTUP, occupied=occupied, firmware=firmware, fields={**fields, "occupied": occupied})


def _debug(payload: bytes) -> Said:
    return Said(kind=SaidKind.INFORMATION, fields={"type": "debug", "bytes": payload.hex()})


def _nps310(port: int, payload: bytes) -> Said | Refusal:
    if port == 3:
        return _start(payload, _RESETS_310, with_occupancy=True)
    if port == 6:
        return _debug(payload)
    if port not in {1, 2}:
        return refused(payload, f"Port {port} is none of 1 (change), 2 (heartbeat), 3 (start) and 6 (debug).")
    if (refusal := _length(payload, "A change or a heartbeat", 1)) is not None:
        return refusal
    if payload[0] > 1:
        return refused(payload, f"Byte 0 is 0x{payload[0]:02x}; the occupancy is 00 or 01.")
    occupied = payload[0] == 1
    kind, name = (SaidKind.CHANGE, "parking_status") if port == 1 else (SaidKind.HEARTBEAT, "heartbeat")
    return Said(kind=kind, occupied=occupied, fields={"type": name, "occupied": occupied})


def _nps405(name: str, split: Callable[[int], tuple[bool, int]]) -> Layout:
    def decode(port: int, payload: bytes) -> Said | Refusal:
        match port:
            case 1:
                return _nps405_change(payload, split)
            case 2:
                return _nps405_heartbeat(payload, split)
            case 3:
                return _start(payload, _RESETS_405, with_occupancy=True)
            case 6:
                return _debug(payload)
            case 10:
                return _tag(payload, split)
            case _:
                return refused(
                    payload,
                    f"Port {port} is none of 1 (change), 2 (heartbeat), 3 (start), 6 (debug) and 10 (tag).",
                )

    return Layout(name, decode)


def _nps405_change(payload: bytes, split: Callable[[int], tuple[bool, int]]) -> Said | Refusal:
    if (refusal := _length(payload, "A change", 1)) is not None:
        return refusal
    occupied, duration = split(payload[0])
    fields = {"type": "parking_status", "occupied": occupied, **_previous(duration)}
    return Said(kind=SaidKind.CHANGE, occupied=occupied, fields=fields)


def _nps405_heartbeat(payload: bytes, split: Callable[[int], tuple[bool, int]]) -> Said | Refusal:
    if len(payload) not in {3, 6}:
        return refused(payload, f"A heartbeat has 3 or 6 bytes, not {len(payload)}.")
    occupied, hardware = split(payload[0])
    millivolts, temperature_c = _millivolts(payload[1]), signed(payload, 2) / 2 + 10
    battery = _battery(millivolts, temperature_c)
    return Said(
        kind=SaidKind.HEARTBEAT,
        occupied=occupied,
        battery_v=millivolts / 1000,
        battery_state=battery,
        temperature_c=temperature_c,
        fields={
            "type": "heartbeat",
            "occupied": occupied,
            "hw_health_status": hardware,
            "battery_voltage": millivolts / 1000,
            "battery_health": _HEALTH[battery],
            "temperature": temperature_c,
        },
    )


def _tag(payload: bytes, split: Callable[[int], tuple[bool, int]]) -> Said | Refusal:
    if (refusal := _length(payload, "A tag's registration", 5)) is not None:
        return refusal
    occupied, duration = split(payload[0])
    fields: dict[str, Any] = {"type": "user_registration", "tag_id": payload[1:].hex().lstrip("0").upper() or "0"}
    if not occupied:  # the vendor's codec says nothing of the space then
        return Said(kind=SaidKind.INFORMATION, fields={**fields, "occupied": None})
    return Said(kind=SaidKind.CHANGE, occupied=True, fields={**fields, "occupied": True, **_previous(duration)})


def _ncc405(name: str, health: Callable[[int], int]) -> Layout:
    def decode(port: int, payload: bytes) -> Said | Refusal:
        match port:
            case 1:
                if (refusal := _length(payload, "A count", 2)) is not None:
                    return refusal
                count = unsigned(payload, 0, 2)
                return Said(kind=SaidKind.COUNT, seq=count, fields={"type": "counter_update", "counter_value": count})
            case 2:
                return _ncc405_heartbeat(payload, health)
            case 3:
                return _start(payload, _RESETS_405, with_occupancy=False)
            case 6:
                return _debug(payload)
            case _:
                return refused(payload, f"Port {port} is none of 1 (count), 2 (heartbeat), 3 (start) and 6 (debug).")

    return Layout(name, decode)


def _ncc405_heartbeat(payload: bytes, health: Callable[[int], int]) -> Said | Refusal:
    if (refusal := _length(payload, "A heartbeat", 3)) is not None:
        return refusal
    volts = _millivolts(payload[1]) / 1000
    return Said(
        kind=SaidKind.HEARTBEAT,
        battery_v=volts,
        fields={
            "type": "heartbeat",
            "hw_health_status": health(payload[0]),
            "battery_voltage": volts,
            "battery_voltage_mean_24h": _millivolts(payload[2]) / 1000,
        },
    )


LOWEST_BIT: Final = _nps405("occupancy in the lowest bit", _lowest_bit)
HIGHEST_BIT: Final = _nps405("occupancy in the highest bit", _highest_bit)

FAMILY: Final = Family(
    "nwave",
    "Nwave",
    (
        Model("nps310sm", "Smart Parking Sensor NPS310SM", {"": Layout("one byte", _nps310)}),
        Model("nps405", "Smart Parking Sensor G4 (NPS405 SM and FM)", {"": LOWEST_BIT}),
        Model("nps405-msb", "Smart Parking Sensor G4 as published until 2022", {"": HIGHEST_BIT}),
        Model("ncc405", "Car Counter G4 (NCC405 SM and FM)", {"": _ncc405("seven bits", lambda byte: byte & 0x7F)}),
        Model(
            "ncc405-msb", "Car Counter G4 as published until 2022", {"": _ncc405("upper bits", lambda byte: byte >> 3)}
        ),
    ),
)
