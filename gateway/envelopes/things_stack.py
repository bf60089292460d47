"""The Things Stack v3: `v3/{application}@{tenant}/devices/{device}/{up|join|down/...}`, JSON. Field table: README of this folder.

Its JSON, too, leaves zero values out. A session is named by `session_key_id`; nobody else has it.
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
COMMAND: Final = "parking:command:"  # how a correlation id of ours begins


class _Device(msgspec.Struct, gc=False):
    dev_eui: str = ""
    device_id: str = ""


class _Reception(msgspec.Struct, gc=False):
    rssi: Measure = 0.0
    snr: Measure = 0.0


class _UplinkMessage(msgspec.Struct, gc=False):
    session_key_id: Name = ""
    f_cnt: Counter = 0
    f_port: Annotated[int, Meta(ge=0, le=255)] = 0
    frm_payload: bytes = b""
    rx_metadata: list[_Reception] = []
    received_at: Moment | None = None


class _JoinAccept(msgspec.Struct, gc=False):
    session_key_id: Name = ""
    received_at: Moment | None = None


class _Up(msgspec.Struct, gc=False):
    end_device_ids: _Device
    received_at: Moment
    uplink_message: _UplinkMessage


class _Join(msgspec.Struct, gc=False):
    end_device_ids: _Device
    received_at: Moment
    join_accept: _JoinAccept


class _Failure(msgspec.Struct, gc=False):
    name: str = ""
    message_format: str = ""


class _Failed(msgspec.Struct, gc=False):
    error: _Failure = msgspec.field(default_factory=_Failure)


class _Down(msgspec.Struct, gc=False):
    end_device_ids: _Device  # often without the DevEUI: the command tells the device
    received_at: Moment | None = None
    correlation_ids: list[str] = []
    downlink_failed: _Failed = msgspec.field(default_factory=_Failed)


_up = msgspec.json.Decoder(_Up).decode
_join = msgspec.json.Decoder(_Join).decode
_down = msgspec.json.Decoder(_Down).decode


def read(topic: str, payload: bytes) -> Said:
    """What a message says; its device is the one in `end_device_ids`."""
    match topic.split("/", 4):
        case ["v3", application, "devices", device, event] if event in _EVENTS:
            address = f"{application}/{device}"
            return read_json(payload, lambda content: _EVENTS[event](content, address))
        case _:
            return Refusal(
                Reason.UNKNOWN_TOPIC,
                "The Things Stack publishes to v3/{application}/devices/{device}/{event}.",
                payload,
            )


def _read_up(payload: bytes, application: str) -> Said:
    up = _up(payload)
    if (eui := eui_of(up.end_device_ids.dev_eui)) is None:
        return _no_eui(up.end_device_ids, payload)
    message = up.uplink_message
    best = max(message.rx_metadata, key=lambda one: one.snr, default=None)
    return Uplink(
        eui=eui,
        session=message.session_key_id,
        counter=message.f_cnt,
        port=message.f_port,
        payload=message.frm_payload,
        at_us=microseconds_of(message.received_at or up.received_at),
        rssi_dbm=None if best is None else best.rssi,
        snr_db=None if best is None else best.snr,
        application=application,
    )


def _read_join(payload: bytes, application: str) -> Said:
    join = _join(payload)
    if (eui := eui_of(join.end_device_ids.dev_eui)) is None:
        return _no_eui(join.end_device_ids, payload)
    at = join.join_accept.received_at or join.received_at
    return Join(eui=eui, session=join.join_accept.session_key_id, at_us=microseconds_of(at), application=application)


def _reader_of(*, delivered: bool | None, reason: str = "") -> Callable[[bytes, str], Said]:
    def read_down(payload: bytes, _application: str) -> Said:
        down = _down(payload)
        ours = next((each for each in down.correlation_ids if each.startswith(COMMAND)), "")
        error = down.downlink_failed.error
        return Fate(
            eui=eui_of(down.end_device_ids.dev_eui) or "",
            command=ours.removeprefix(COMMAND),
            delivered=delivered,
            at_us=0 if down.received_at is None else microseconds_of(down.received_at),
            reason=(error.message_format or error.name or reason)[:200],
        )

    return read_down


def _read_remark(payload: bytes, _application: str) -> Said:
    return Remark(eui_of(_down(payload).end_device_ids.dev_eui) or "")


_EVENTS: Final[Mapping[str, Callable[[bytes, str], Said]]] = {
    "up": _read_up,
    "join": _read_join,
    "down/ack": _reader_of(delivered=True),
    "down/nack": _reader_of(delivered=False, reason="the device did not confirm it"),
    "down/sent": _reader_of(delivered=None),
    "down/failed": _reader_of(delivered=False, reason="the network gave it up"),
    "down/queued": _read_remark,
    "location/solved": _read_remark,
    "service/data": _read_remark,
}


def _no_eui(device: _Device, payload: bytes) -> Refusal:
    return Refusal(
        Reason.INVALID, f"end_device_ids.dev_eui is {device.dev_eui!r}; a DevEUI has 16 hexadecimal digits.", payload
    )
