"""LORIOT: `loriot/v1/{application}/{eui}/up`, JSON with the payload in hexadecimal. Field table: README of this folder.

LORIOT names no session. It checks frame counters itself, so a frame that it received later than another and that has a
lower counter belongs to a new session (parking_core.frames). It publishes a frame up to twice, as `rx` at once and as `gw`
with all gateways that heard it: one frame.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from gateway.decoders.native.decoder import Refusal
from gateway.envelopes.network import Measure, Remark, Said, Uplink, eui_of, read_json
from parking_core.readings import SEQ_MAX, TIME_MAX_US, Reason

Milliseconds = Annotated[int, Meta(ge=0, le=TIME_MAX_US // 1000)]
_BATTERY_MOST: Final = 254  # LoRaWAN's DevStatusAns: 0 external power, 1 to 254 a level, 255 not known


class _Reception(msgspec.Struct, gc=False):
    rssi: Measure = 0.0
    snr: Measure = 0.0


class _Message(msgspec.Struct, gc=False):
    cmd: str
    eui: str = msgspec.field(name="EUI", default="")
    ts: Milliseconds | None = None
    fcnt: Annotated[int, Meta(ge=0, le=SEQ_MAX)] | None = None
    port: Annotated[int, Meta(ge=0, le=255)] = 0
    data: str = ""
    encdata: str = ""
    rssi: Measure | None = None
    snr: Measure | None = None
    gws: list[_Reception] = []
    bat: Annotated[int, Meta(ge=0, le=255)] = 255


_message = msgspec.json.Decoder(_Message).decode


def read(topic: str, payload: bytes) -> Said:
    """What a message says; the DevEUI of the topic and that of the message must agree."""
    match topic.split("/"):
        case ["loriot", "v1", _, eui, "up"]:
            said = read_json(payload, lambda content: _read(content, topic))
        case _:
            return Refusal(Reason.UNKNOWN_TOPIC, "LORIOT is to publish to loriot/v1/{application}/{eui}/up.", payload)
    if not isinstance(said, Refusal) and said.eui != eui_of(eui):
        return Refusal(Reason.INVALID, f"The message is of device {said.eui!r}, its topic of {eui!r}.", payload)
    return said


def _read(payload: bytes, topic: str) -> Said:
    message = _message(payload)
    eui = eui_of(message.eui)
    if eui is None:
        return Refusal(Reason.INVALID, f"EUI is {message.eui!r}; a DevEUI has 16 hexadecimal digits.", payload)
    if message.cmd not in {"rx", "gw"}:
        return Remark(eui)
    if message.ts is None or message.fcnt is None:
        return Refusal(Reason.INVALID, "An uplink has `ts` and `fcnt`.", payload)
    if message.encdata and not message.data:
        return Refusal(
            Reason.INVALID, "The payload is encrypted (`encdata`): give LORIOT the application's key.", payload
        )
    try:
        data = bytes.fromhex(message.data)
    except ValueError:
        return Refusal(Reason.INVALID, f"`data` is no hexadecimal: {message.data[:40]!r}.", payload)
    best = max(message.gws, key=lambda one: one.snr, default=None)
    return Uplink(
        eui=eui,
        session="",
        counter=message.fcnt,
        port=message.port,
        payload=data,
        at_us=message.ts * 1000,
        rssi_dbm=message.rssi if best is None else best.rssi,
        snr_db=message.snr if best is None else best.snr,
        battery_percent=100 * message.bat / _BATTERY_MOST if 1 <= message.bat <= _BATTERY_MOST else None,
        application=topic.split("/")[2],
    )
