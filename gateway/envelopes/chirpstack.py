"""ChirpStack v4: `application/{application}/device/{eui}/event/{event}`, JSON. Field table: README of this folder.

Its JSON is proto3's: a field that is zero, false or empty is left out, so what is missing is zero and no mistake.
`deduplicationId` is new at every reception: a frame is known by session and counter instead.
"""

from __future__ import annotations

from datetime import datetime  # msgspec reads the annotations when it runs
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from gateway.decoders.native.decoder import Refusal
from gateway.envelopes.network import (
    Fate,
    Join,
    Measure,
    Name,
    Remark,
    Said,
    Status,
    Uplink,
    eui_of,
    microseconds_of,
    read_json,
)
from parking_core.readings import SEQ_MAX, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Moment = Annotated[datetime, Meta(tz=True)]
Counter = Annotated[int, Meta(ge=0, le=SEQ_MAX)]


class _Device(msgspec.Struct, rename="camel", gc=False):
    dev_eui: str
    application_id: Name = ""


class _Reception(msgspec.Struct, rename="camel", gc=False):
    rssi: Measure = 0.0
    snr: Measure = 0.0


class _Up(msgspec.Struct, rename="camel", gc=False):
    time: Moment
    device_info: _Device
    dev_addr: Name = ""
    f_cnt: Counter = 0
    f_port: Annotated[int, Meta(ge=0, le=255)] = 0
    data: bytes = b""
    rx_info: list[_Reception] = []


class _Join(msgspec.Struct, rename="camel", gc=False):
    time: Moment
    device_info: _Device
    dev_addr: Name = ""


class _Status(msgspec.Struct, rename="camel", gc=False):
    time: Moment
    device_info: _Device
    margin: Measure = 0.0
    battery_level: Measure = 0.0
    battery_level_unavailable: bool = False
    external_power_source: bool = False


class _Ack(msgspec.Struct, rename="camel", gc=False):
    time: Moment
    device_info: _Device
    queue_item_id: Name = ""
    acknowledged: bool = False


class _Log(msgspec.Struct, rename="camel", gc=False):
    device_info: _Device
    time: Moment | None = None
    level: str = ""
    code: str = ""
    description: str = ""
    context: dict[str, str] = {}


_up = msgspec.json.Decoder(_Up).decode
_join = msgspec.json.Decoder(_Join).decode
_status = msgspec.json.Decoder(_Status).decode
_ack = msgspec.json.Decoder(_Ack).decode
_log = msgspec.json.Decoder(_Log).decode


def read(topic: str, payload: bytes) -> Said:
    """What an event says; the DevEUI of the topic and that of the event must agree."""
    match topic.split("/"):
        case ["application", _, "device", eui, "event", event] if event in _EVENTS:
            said = read_json(payload, _EVENTS[event])
        case _:
            return Refusal(
                Reason.UNKNOWN_TOPIC, "ChirpStack publishes to application/{id}/device/{eui}/event/{event}.", payload
            )
    if not isinstance(said, Refusal) and said.eui != eui_of(eui):
        return Refusal(Reason.INVALID, f"The event is of device {said.eui!r}, its topic of {eui!r}.", payload)
    return said


def _read_up(payload: bytes) -> Said:
    up = _up(payload)
    if (eui := eui_of(up.device_info.dev_eui)) is None:
        return _no_eui(up.device_info, payload)
    best = max(up.rx_info, key=lambda one: one.snr, default=None)
    return Uplink(
        eui=eui,
        session=up.dev_addr.lower(),
        counter=up.f_cnt,
        port=up.f_port,
        payload=up.data,
        at_us=microseconds_of(up.time),
        rssi_dbm=None if best is None else best.rssi,
        snr_db=None if best is None else best.snr,
        application=up.device_info.application_id,
    )


def _read_join(payload: bytes) -> Said:
    join = _join(payload)
    if (eui := eui_of(join.device_info.dev_eui)) is None:
        return _no_eui(join.device_info, payload)
    return Join(
        eui=eui,
        session=join.dev_addr.lower(),
        at_us=microseconds_of(join.time),
        application=join.device_info.application_id,
    )


def _read_status(payload: bytes) -> Said:
    status = _status(payload)
    if (eui := eui_of(status.device_info.dev_eui)) is None:
        return _no_eui(status.device_info, payload)
    is_known = not (status.battery_level_unavailable or status.external_power_source)
    return Status(
        eui=eui,
        at_us=microseconds_of(status.time),
        battery_percent=status.battery_level if is_known else None,
        margin_db=status.margin,
        external_power=status.external_power_source,
    )


def _read_ack(payload: bytes) -> Said:
    ack = _ack(payload)
    if (eui := eui_of(ack.device_info.dev_eui)) is None:
        return _no_eui(ack.device_info, payload)
    reason = "" if ack.acknowledged else "the device did not confirm it"
    return Fate(
        eui=eui, command=ack.queue_item_id, delivered=ack.acknowledged, at_us=microseconds_of(ack.time), reason=reason
    )


def _read_txack(payload: bytes) -> Said:
    sent = _ack(payload)
    if (eui := eui_of(sent.device_info.dev_eui)) is None:
        return _no_eui(sent.device_info, payload)
    return Fate(eui=eui, command=sent.queue_item_id, delivered=None, at_us=microseconds_of(sent.time))


def _read_log(payload: bytes) -> Said:
    """A downlink that was given up is logged with its queue item; other lines are the network's own affair."""
    line = _log(payload)
    if (eui := eui_of(line.device_info.dev_eui)) is None:
        return _no_eui(line.device_info, payload)
    item = line.context.get("queue_item_id", "")
    if not item or line.level != "ERROR" or line.time is None:
        return Remark(eui)
    return Fate(eui=eui, command=item, delivered=False, at_us=microseconds_of(line.time), reason=line.description[:200])


def _read_remark(payload: bytes) -> Said:
    device = _log(payload).device_info
    eui = eui_of(device.dev_eui)
    return _no_eui(device, payload) if eui is None else Remark(eui)


_EVENTS: Final[Mapping[str, Callable[[bytes], Said]]] = {
    "up": _read_up,
    "join": _read_join,
    "status": _read_status,
    "ack": _read_ack,
    "txack": _read_txack,
    "log": _read_log,
    "location": _read_remark,
    "integration": _read_remark,
}


def _no_eui(device: _Device, payload: bytes) -> Refusal:
    return Refusal(
        Reason.INVALID, f"deviceInfo.devEui is {device.dev_eui!r}; a DevEUI has 16 hexadecimal digits.", payload
    )
