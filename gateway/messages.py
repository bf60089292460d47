"""What the subscriber hands on: one MQTT message with its receipt."""

from __future__ import annotations

import msgspec


class RawMessage(msgspec.Struct, frozen=True, gc=False):
    """An MQTT message as it came. `packet_id` is 0 at QoS 0; it may be acknowledged on `connection` only."""

    topic: str
    payload: bytes
    packet_id: int
    redelivered: bool
    received_us: int
    connection: int
    retained: bool = False  # kept by the broker from an earlier time: it says nothing about now
