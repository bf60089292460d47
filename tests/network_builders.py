"""What network servers publish, as we write it for tests: devices and identities are invented."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from tests.builders import NOON_US, a_device, a_message

if TYPE_CHECKING:
    from gateway.messages import RawMessage
    from parking_core.store.devices import Device

EUI = "00c0ffee00000007"
APPLICATION = "11111111-2222-3333-4444-555555555555"


def stamp(at_us: int) -> str:
    """RFC 3339, as the servers write it."""
    return (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at_us)).isoformat().replace("+00:00", "Z")


def a_lora_device(**other: Any) -> Device:
    """Device `d7` of make Bosch, for which ChirpStack speaks."""
    facts: dict[str, Any] = {
        "family": "bosch",
        "model": "tps110",
        "firmware": "0.39",
        "network": "chirpstack",
        "eui": EUI,
    }
    return a_device(**(facts | other))


def chirpstack(event: str = "up", *, eui: str = EUI, received_us: int | None = None, **fields: Any) -> RawMessage:
    """An event of ChirpStack; zero values are left out as there. `payload` are the device's bytes; received at once."""
    at_us = fields.pop("at_us", NOON_US)
    payload = fields.pop("payload", b"\x01")
    session = fields.pop("session", "01a2b3c4")
    content: dict[str, Any] = {
        "time": stamp(at_us),
        "deviceInfo": {"applicationId": APPLICATION, "devEui": eui},
        "devAddr": session,
        "fCnt": fields.pop("counter", 0),
        "fPort": fields.pop("port", 1),
        "data": base64.b64encode(payload).decode(),
        "rxInfo": [{"rssi": -101, "snr": 3.5}, {"rssi": -87, "snr": 8.25}],
    }
    if event != "up":
        content = {name: content[name] for name in ("time", "deviceInfo", "devAddr")}
    content = {name: value for name, value in (content | fields).items() if value}
    return _message(
        f"application/{APPLICATION}/device/{eui}/event/{event}", content, at_us if received_us is None else received_us
    )


def things_stack(event: str = "up", *, received_us: int | None = None, **fields: Any) -> RawMessage:
    """A message of The Things Stack."""
    at_us = fields.pop("at_us", NOON_US)
    at = stamp(at_us)
    ids = {"device_id": "bay-7", "dev_eui": fields.pop("eui", EUI).upper()}
    content: dict[str, Any] = {"end_device_ids": ids, "received_at": at}
    if event == "up":
        content["uplink_message"] = {
            "session_key_id": fields.pop("session", "AYfqmQ=="),
            "f_cnt": fields.pop("counter", 0),
            "f_port": fields.pop("port", 1),
            "frm_payload": base64.b64encode(fields.pop("payload", b"\x01")).decode(),
            "rx_metadata": [{"rssi": -95, "snr": 4}],
            "received_at": at,
        }
    return _message(
        f"v3/bays@district/devices/bay-7/{event}", content | fields, at_us if received_us is None else received_us
    )


def loriot(*, received_us: int | None = None, **fields: Any) -> RawMessage:
    """An uplink of LORIOT."""
    eui, at_us = fields.pop("eui", EUI), fields.pop("at_us", NOON_US)
    content = {
        "cmd": "rx",
        "EUI": eui.upper(),
        "ts": at_us // 1000,
        "fcnt": fields.pop("counter", 0),
        "port": fields.pop("port", 1),
        "rssi": -90,
        "snr": 7,
        "data": fields.pop("payload", b"\x01").hex().upper(),
    }
    return _message(f"loriot/v1/bays/{eui}/up", content | fields, at_us if received_us is None else received_us)


def _message(topic: str, content: dict[str, Any], received_us: int) -> RawMessage:
    return a_message(msgspec.json.encode(content), topic=topic, received_us=received_us)
