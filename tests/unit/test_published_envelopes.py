"""Messages of network servers that others published: read as their sources say. Not part of this repository."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.decoders.native.decoder import Refusal
from gateway.envelopes.network import Fate, Join, Remark, Status, Uplink
from gateway.sensors import NETWORKS
from parking_core.readings import Reason
from tests.conftest import REPOSITORY

FOLDER = Path(os.environ.get("PARKING_SHARED_DATA") or REPOSITORY.parent / "shared" / "data") / "gateway"

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"{FOLDER} is not there; set PARKING_SHARED_DATA to the folder that holds gateway/"
)


def published(name: str) -> Any:
    return json.loads((FOLDER / name).read_text("utf-8"))


def read(topic: str, content: object) -> Any:
    payload = content.encode() if isinstance(content, str) else json.dumps(content).encode()
    _, reader = NETWORKS[topic.partition("/")[0]]
    return reader(topic, payload)


def topic_of(vector: dict[str, Any]) -> str:
    eui = vector["devEui"]
    match vector["platform"]:
        case "ChirpStack":
            return f"application/a/device/{eui}/event/up"
        case "LORIOT":
            return f"loriot/v1/a/{eui}/up"
        case _:
            return "v3/a@t/devices/d/up"


def test_every_envelope_gives_its_device_its_counter_and_its_bytes() -> None:
    vectors = published("lns_envelopes.json")
    assert vectors
    for vector in vectors:
        said = read(topic_of(vector), vector["envelope"])
        assert isinstance(said, Uplink), vector["source_path"]
        told = (said.eui, said.port, said.counter, said.payload.hex())
        expected = (vector["devEui"], vector["fPort"], vector["fCnt"], vector["bytes_hex"].lower())
        assert told == expected, vector["source_path"]
        results = vector["expected_thingsboard_result"]
        times = {
            each["ts"]
            for result in (results if isinstance(results, list) else [results])
            for each in result.get("telemetry", ())
        }
        assert said.at_us // 1000 in times or not times, vector["source_path"]


def test_every_event_of_chirpstack_is_read() -> None:
    kinds = {}
    for event, one in published("chirpstack_v4_events.json")["events"].items():
        eui = one["example"]["deviceInfo"]["devEui"]
        kinds[event] = read(f"application/a/device/{eui}/event/{event}", one["example"])
    assert {event: type(said) for event, said in kinds.items()} == {
        "up": Uplink, "status": Status, "join": Join, "ack": Fate, "txack": Fate, "log": Remark, "location": Remark,
        "integration": Remark,
    }  # fmt: skip
    assert (kinds["up"].counter, kinds["up"].session) == (0, "00189440")
    assert kinds["status"].battery_percent == pytest.approx(88.3)
    assert (kinds["ack"].command, kinds["ack"].delivered) == ("1bbcab1d-6ec6-4136-b3f5-d63be1dc08de", True)


def test_every_message_of_the_things_stack_is_read_and_the_broken_one_refused() -> None:
    examples = published("tts_v3_messages.json")["examples"]
    events = {"Uplink": "up", "Join": "join", "Downlink event": "down/ack", "Downlink failed event": "down/failed"}
    said = {
        event: read(f"v3/app1@t/devices/dev1/{event}", examples[f"{title} message example"]["example"])
        for title, event in events.items()
    }
    assert {event: type(one) for event, one in said.items()} == {
        "up": Uplink, "join": Join, "down/ack": Fate, "down/failed": Fate,
    }  # fmt: skip
    assert (said["up"].payload, said["up"].port) == (b"\x82\x41\xde", 0)
    assert said["down/failed"].reason == "application downlink payload is too long"
    broken = read("v3/app1@t/devices/dev1/up", examples["Uplink message example"]["raw_text"])
    assert isinstance(broken, Refusal)
    assert broken.reason is Reason.MALFORMED
