"""Dingtek DO200, DO201 and DO202: frames from 80 to 81 on port 3. Field table: README."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.decoders.sensors import BatteryState, Family, Layout, Model, Said, SaidKind, refused, signed, unsigned

if TYPE_CHECKING:
    from gateway.decoders.native.decoder import Refusal

_PORT: Final = 3
_UPLOAD, _ALARM, _PARAMETERS = 0x01, 0x02, 0x03


@dataclass(frozen=True, slots=True)
class _Table:
    """Where one model keeps what."""

    code: int  # device type
    telemetry_bytes: int
    parameter_bytes: int
    has_level: bool = True
    has_climate: bool = True

    def decode(self, port: int, payload: bytes) -> Said | Refusal:
        if port != _PORT:
            return refused(payload, f"Port {port} is not {_PORT}.")
        if len(payload) < 5 or payload[0] != 0x80 or payload[-1] != 0x81:
            return refused(payload, "A frame begins with 80 and ends with 81.")
        if payload[2] != self.code:
            return refused(payload, f"Device type 0x{payload[2]:02x} is not 0x{self.code:02x}.")
        if payload[3] == _PARAMETERS and len(payload) == self.parameter_bytes:
            return self._parameters(payload)
        if payload[3] in {_UPLOAD, _ALARM} and len(payload) == self.telemetry_bytes:
            return self._telemetry(payload)
        return refused(
            payload,
            f"A frame of type {payload[3]} and {len(payload)} bytes is none of telemetry (1 or 2, {self.telemetry_bytes}) "
            f"and parameters (3, {self.parameter_bytes}).",
        )

    def _telemetry(self, payload: bytes) -> Said:
        occupied, battery_low = bool(payload[7] >> 4), bool(payload[8] & 0x0F)
        volts = unsigned(payload, 9, 2) / 100
        fields: dict[str, Any] = {
            "volt": volts,
            "alarmPark": occupied,
            "alarmLevel": bool(payload[7] & 0x0F),
            "alarmMagnet": bool(payload[8] >> 4),
            "alarmBattery": battery_low,
            "xMagnet": signed(payload, 11, 2),
            "yMagnet": signed(payload, 13, 2),
            "zMagnet": signed(payload, 15, 2),
        }
        if self.has_level:
            fields["level"] = unsigned(payload, 5, 2)
        temperature = None
        if self.has_climate:
            temperature = signed(payload, 17)
            fields |= {"temperature": temperature, "humidity": payload[18]}
        counter = unsigned(payload, 19 if self.has_climate else 17, 2)
        fields["frameCounter" if self.has_climate else "Frame_Counter"] = counter
        return Said(
            kind=SaidKind.CHANGE if payload[3] == _ALARM else SaidKind.HEARTBEAT,
            occupied=occupied,
            battery_v=volts,
            battery_state=BatteryState.LOW if battery_low else BatteryState.GOOD,
            temperature_c=temperature,
            seq=counter,
            fields=fields,
        )

    def _parameters(self, payload: bytes) -> Said:
        firmware = f"{payload[5]}.{payload[6]}"
        fields: dict[str, Any] = {"firmware": firmware, "uploadInterval": payload[7]}
        if self.has_climate:
            fields["detectInterval"] = payload[8]
            if self.has_level:
                fields["levelThreshold"] = payload[9]
            fields |= {"magnetThreshold": unsigned(payload, 10, 2), "batteryThreshold": payload[12]}
        else:
            fields |= {
                "ultraDetectInterval": payload[8],
                "magDetectInterval": payload[9],
                "magThreshold": unsigned(payload, 12, 2),
            }
        return Said(kind=SaidKind.INFORMATION, firmware=firmware, fields=fields)


DO200: Final = _Table(0x02, 21, 17, has_climate=False)
DO201: Final = _Table(0x31, 23, 16)
DO202: Final = _Table(0x32, 23, 16, has_level=False)

FAMILY: Final = Family(
    "dingtek",
    "Dingtek",
    (
        Model("do200", "Parking sensor DO200 (ultrasonic and magnetic)", {"": Layout("DO200", DO200.decode)}),
        Model("do201", "Parking sensor DO201 (ultrasonic and magnetic)", {"": Layout("DO201", DO201.decode)}),
        Model("do202", "Parking sensor DO202 (magnetic)", {"": Layout("DO202", DO202.decode)}),
    ),
)
