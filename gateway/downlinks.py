"""Commands to devices behind network servers: the family's bytes, in the message that the server takes.

ChirpStack  application/{application}/device/{eui}/command/down      {"devEui", "id", "confirmed", "fPort", "data"}
TTS         v3/{application}/devices/{device}/down/push              {"downlinks": [{..., "correlation_ids": ["parking:command:ID"]}]}
LORIOT      loriot/v1/{application}/{eui}/down                       {"cmd": "tx", "EUI", "port", "confirmed", "data"}

All are confirmed downlinks: the server tells when the device has them. LORIOT does not say of which, so those end by their deadline.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from gateway.decoders.configuration import downlinks_of
from gateway.decoders.downlinks import encode
from gateway.envelopes.things_stack import COMMAND
from parking_core.commands import CommandKind
from parking_core.topics import Kind, device_topic

if TYPE_CHECKING:
    from parking_core.commands import DueCommand


def message_of(command: DueCommand) -> tuple[str, bytes] | str:
    """Topic and payload of a command, or why the device cannot be told."""
    if not command.network:
        return device_topic(command.lot, command.device, Kind.COMMAND), command.wire()
    if command.kind is not CommandKind.CONFIGURE:
        return f"A device of the network {command.network} takes no {command.kind}; it can be configured."
    bytes_ = configuration_of(command)
    if isinstance(bytes_, str):
        return bytes_
    if not command.application or command.eui is None:
        return f"Device {command.device!r} has not been heard through {command.network} yet; nobody knows its address there."
    topic, content = _wrapped(command, *bytes_)
    return topic, json.dumps(content, separators=(",", ":")).encode()


def configuration_of(command: DueCommand) -> tuple[int, bytes] | str:
    """Port and bytes of a setting, or why there are none."""
    name, values = command.payload.get("name"), command.payload.get("values")
    known = {downlink.name: downlink for downlink in downlinks_of(command.family, command.model)}
    if not known:
        return f"Nothing is known that a {command.family} {command.model} could be told."
    if name not in known:
        return f"A {command.family} {command.model} has no setting {name!r}; known are {', '.join(sorted(known))}."
    return encode(known[name], values if isinstance(values, dict) else {})


def _wrapped(command: DueCommand, port: int, payload: bytes) -> tuple[str, dict[str, Any]]:
    data = base64.b64encode(payload).decode()
    match command.network:
        case "chirpstack":
            content = {"devEui": command.eui, "id": str(command.id), "confirmed": True, "fPort": port, "data": data}
            return f"application/{command.application}/device/{command.eui}/command/down", content
        case "things_stack":
            application, _, device = str(command.application).partition("/")
            downlink = {
                "f_port": port,
                "frm_payload": data,
                "confirmed": True,
                "priority": "NORMAL",
                "correlation_ids": [f"{COMMAND}{command.id}"],
            }
            return f"v3/{application}/devices/{device}/down/push", {"downlinks": [downlink]}
        case _:
            eui = str(command.eui)
            content = {"cmd": "tx", "EUI": eui.upper(), "port": port, "confirmed": True, "data": payload.hex()}
            return f"loriot/v1/{command.application}/{eui}/down", content
