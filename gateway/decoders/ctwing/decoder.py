"""CTWing AEP's push of a geomagnetic bay sensor (LwM2M, JSON). Field table: README."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from gateway.decoders.native.decoder import MAX_PAYLOAD_BYTES, UNREADABLE, Refusal
from gateway.decoders.sensors import Family, Layout, Model, Said, SaidKind, refused
from parking_core.readings import TIME_MAX_US, Reason

_Number = Annotated[float, Meta(ge=-1e9, le=1e9)]
_Count = Annotated[int, Meta(ge=0, le=2**32 - 1)]


class _Report(msgspec.Struct):
    parking_state: Annotated[int, Meta(ge=0, le=1)]
    ptime: Annotated[int, Meta(ge=0, le=TIME_MAX_US // 1000)]
    battery_voltage: _Number | None = None
    signal_power: Annotated[_Number | None, Meta()] = msgspec.field(name="Signal_Power", default=None)
    park_cnt: _Count | None = msgspec.field(name="Park_cnt", default=None)


class _Push(msgspec.Struct):
    payload: msgspec.Raw
    message_type: str = msgspec.field(name="messageType", default="")
    imei: str = msgspec.field(name="IMEI", default="")
    timestamp: int | None = None


_push = msgspec.json.Decoder(_Push).decode
_report = msgspec.json.Decoder(_Report).decode
_fields = msgspec.json.Decoder(dict[str, Any]).decode


def _decode(_port: int, payload: bytes) -> Said | Refusal:
    if len(payload) > MAX_PAYLOAD_BYTES:
        return Refusal(Reason.TOO_LARGE, f"{len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} are read.", payload)
    try:
        push = _push(payload)
        if push.message_type != "dataReport":
            return refused(payload, f"messageType is {push.message_type!r}; only dataReport is read.")
        report, fields = _report(push.payload), _fields(push.payload)
    except msgspec.ValidationError as error:
        return refused(payload, str(error))
    except UNREADABLE as error:
        return Refusal(Reason.MALFORMED, f"Not JSON: {error}", payload)
    return Said(
        kind=SaidKind.CHANGE,
        occupied=report.parking_state == 1,
        battery_v=report.battery_voltage,
        rssi_dbm=report.signal_power,
        seq=report.park_cnt,
        at_us=report.ptime * 1000,
        identity=push.imei or None,
        fields=fields,
    )


FAMILY: Final = Family(
    "ctwing",
    "CTWing geomagnetic (WXHS)",
    (Model("p_md", "Geomagnetic sensor P_MD", {"": Layout("AEP dataReport", _decode)}),),
)
