"""The MQTT topic grammar of the contract: `parking/v1/{lot}/{device}/{kind}`, built and parsed here and nowhere else.

One kind has two levels: `command/ack`, a device's answer to what it was told on `command`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ROOT = "parking/v1"


class Kind(StrEnum):
    """Last level of a device's topic: what its payload is."""

    OCCUPANCY = "occupancy"
    HEARTBEAT = "heartbeat"
    STATUS = "status"
    LANE = "lane"
    RAW = "raw"
    COMMAND = "command"
    COMMAND_ACK = "command/ack"


@dataclass(frozen=True, slots=True)
class DeviceTopic:
    """A topic taken apart."""

    lot: str
    device: str
    kind: str


def device_topic(lot: str, device: str, kind: Kind) -> str:
    """Topic of one device and kind."""
    return f"{ROOT}/{lot}/{device}/{kind}"


def parse_device_topic(topic: str) -> DeviceTopic | None:
    """Parts of a device's topic, or None where the topic is not one."""
    match topic.split("/"):
        case ["parking", "v1", lot, device, kind] if lot and device and kind:
            return DeviceTopic(lot, device, kind)
        case ["parking", "v1", lot, device, "command", "ack"] if lot and device:
            return DeviceTopic(lot, device, Kind.COMMAND_ACK)
        case _:
            return None
