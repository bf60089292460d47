"""Uplinks of a network server through a real broker: sent again, redelivered after kills, and counted once."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.load import Load, Message, publish
from tests.builders import now_us
from tests.network_builders import chirpstack

if TYPE_CHECKING:
    from tests.acceptance.stage import Stage

pytestmark = [pytest.mark.services, pytest.mark.acceptance]

DEVICES = 40
SECOND_US = 1_000_000
_EVENTS = (
    "SELECT d.eui, e.seq, e.occupied, (extract(epoch FROM e.occurred_at) * 1000000)::bigint"
    " FROM occupancy_events e JOIN devices d ON d.id = e.device_id"
)


def eui_of(device: int) -> str:
    return f"00c0ffee{device:08x}"


def register(stage: Stage) -> None:
    """The first lot's devices are sensors of Bosch behind ChirpStack."""
    for device in range(1, DEVICES + 1):
        stage.execute(
            "UPDATE devices SET family = 'bosch', model = 'tps110', firmware = '0.39', network = 'chirpstack', eui = %s"
            " WHERE code = %s",
            eui_of(device),
            f"L1-{device:03}",
        )


def uplink(device: int, counter: int, at_us: int, **fields: Any) -> Message:
    payload = bytes([(counter + device) & 1])
    message = chirpstack(eui=eui_of(device), counter=counter, at_us=at_us, payload=payload, **fields)
    return Message(message.topic, message.payload)


def test_uplinks_count_once_whatever_is_sent_again_and_whoever_is_killed(stage: Stage) -> None:
    """Every fourth uplink again with a new deduplicationId and time, the gateway killed twice on the way."""
    register(stage)
    gateway, chance = stage.gateway(), random.Random(5)
    begin_us = now_us() - 3_600 * SECOND_US
    sent, true = [], set()
    for counter in range(100):
        for device in range(1, DEVICES + 1):
            at_us = begin_us + counter * SECOND_US
            sent.append(uplink(device, counter, at_us))
            true.add((eui_of(device), counter, bool((counter + device) & 1), at_us))
            if chance.random() < 0.25:
                again: dict[str, Any] = {"deduplicationId": f"again-{counter}", "adr": True}
                sent.append(uplink(device, counter, at_us + 90 * SECOND_US, **again))
    gateway.start()
    load = Load(stage.services.mqtt_url, sent, 2_000).start()
    for kill in (1, 2):
        load.await_acknowledged(kill * len(sent) // 3)
        gateway.kill()
        gateway.start()
    load.join()
    stage.await_rows(len(true))
    stage.await_rows(len(true), "device_frames")
    time.sleep(0.5)  # what is still on its way must not add to it
    rows = stage.query(_EVENTS)
    assert len(rows) == len(true)
    assert set(rows) == true
    assert stage.count("device_frames") == len(true)
    assert stage.query("SELECT coalesce(sum(seq_missing), 0) FROM device_liveness") == [(0,)]
    assert stage.count("dead_letters") == 0
    stage.settle()
    stage.report(
        f"uplinks of a network: sent {len(sent)} of {len(true)} frames, gateway killed twice: {len(rows)} rows"
    )


def test_zeros_that_are_left_out_joins_and_strangers(stage: Stage) -> None:
    register(stage)
    stage.gateway().start()
    at_us = now_us()
    first = uplink(1, 0, at_us)
    assert "fCnt" not in json.loads(first.payload)
    join = chirpstack("join", eui=eui_of(1), at_us=at_us + SECOND_US, session="0000000b")
    stranger = chirpstack(eui="00c0ffeeffffffff", at_us=at_us)
    again = uplink(1, 0, at_us + 2 * SECOND_US, session="0000000b", port=2)
    raw = Message("parking/v1/L1/L1-001/raw", b"\x01")
    publish(
        stage.services.mqtt_url,
        [first, Message(join.topic, join.payload), Message(stranger.topic, stranger.payload), again, raw],
    )
    stage.await_rows(2)
    stage.await_rows(2, "dead_letters")
    assert stage.query("SELECT count(*), max(highest) FROM device_sessions") == [(2, 0)]
    assert stage.query("SELECT reason FROM dead_letters ORDER BY id") == [("unknown_device",), ("wrong_network",)]
    assert stage.query("SELECT joined_at IS NOT NULL, rssi_dbm FROM device_vitals") == [(True, -87.0)]
