"""Movebroad MVB-VD33D-P2 (geomagnetic and radar, NB-IoT): binary messages of CTWing services. Field tables: README."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.decoders.movebroad.services import P2_1, P2_2, P2_3, Service
from gateway.decoders.sensors import Family, Layout, Model, Said, refused
from parking_core.readings import TIME_MAX_US

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.decoders.native.decoder import Refusal

_HEAD: Final = struct.Struct(">BHH")  # type, service, length
_DATA, _EVENT = 0x02, 0x07
_SECRET: Final = frozenset({"ICCID", "IMSI"})  # of the subscriber: nothing here needs them


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the services of one module."""

    services: Mapping[int, Service]

    def decode(self, _port: int, payload: bytes) -> Said | Refusal:
        if len(payload) < _HEAD.size:
            return refused(payload, f"A message has at least {_HEAD.size} bytes, not {len(payload)}.")
        kind, number, length = _HEAD.unpack_from(payload)
        if kind not in {_DATA, _EVENT}:
            return refused(payload, f"Type 0x{kind:02x} is none of 02 (data) and 07 (event).")
        if length != len(payload) - _HEAD.size:
            return refused(payload, f"The head says {length} bytes, {len(payload) - _HEAD.size} follow.")
        service = self.services.get(number)
        if service is None:
            known = ", ".join(map(str, self.services))
            return refused(payload, f"Service {number} is not known; known are {known}.")
        fields = service.read(payload[_HEAD.size :])
        if isinstance(fields, str):
            return refused(payload, f"{service.name}: {fields}")
        return _said(service, fields, payload)


def _said(service: Service, fields: dict[str, Any], payload: bytes) -> Said | Refusal:
    state = fields.get("SpotStatus", fields.get("parking_state"))
    if state not in {0, 1, None}:
        return refused(payload, f"{service.name}: the state is {state}; it is 0 (free) or 1 (occupied).")
    at_us = _time(fields)
    if at_us is not None and not 0 < at_us <= TIME_MAX_US:
        return refused(payload, f"{service.name}: the time is none.")
    volts = fields.get("battery_voltage")
    return Said(
        kind=service.kind,
        occupied=None if state is None else state == 1,
        battery_v=volts if volts is None or math.isfinite(volts) else None,
        temperature_c=fields.get("MCUTemp"),
        seq=fields.get("SpotCount"),
        at_us=at_us,
        firmware=fields.get("mcu_firmware"),
        identity=fields.get("SN", fields.get("IMEI")),
        fields={name: _finite(value) for name, value in fields.items() if name not in _SECRET},
        quarantined={} if volts is None or math.isfinite(volts) else {"battery_v": "It is no number."},
    )


def _time(fields: Mapping[str, Any]) -> int | None:
    if "DateTime" in fields:
        return int(fields["DateTime"]) * 1_000_000
    return int(fields["ptime"]) * 1000 if "ptime" in fields else None


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


FAMILY: Final = Family(
    "movebroad",
    "Movebroad",
    tuple(
        Model(
            f"vd33d-p2-{number}",
            f"MVB-VD33D-P2, CTWing module {number}",
            {"": Layout(f"P2_{number}", _Reader(table).decode)},
        )
        for number, table in ((1, P2_1), (2, P2_2), (3, P2_3))
    ),
)
