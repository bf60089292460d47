"""What network servers say, in our own messages and in those that others published."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decoders.native.decoder import Refusal
from gateway.envelopes import chirpstack as chirpstack_json
from gateway.envelopes import loriot as loriot_json
from gateway.envelopes import things_stack as things_stack_json
from gateway.envelopes.network import Fate, Join, Remark, Status, Uplink
from gateway.sensors import NETWORKS
from gateway.validate import Validator
from parking_core.readings import Reason
from tests.builders import NOON_US, WINDOW, a_message, a_registry
from tests.network_builders import APPLICATION, EUI, a_lora_device, chirpstack, loriot, things_stack

if TYPE_CHECKING:
    from gateway.messages import RawMessage
    from gateway.sorting import Sorted


def said(message: RawMessage) -> Any:
    _, read = NETWORKS[message.topic.partition("/")[0]]
    return read(message.topic, message.payload)


def sort(*messages: RawMessage, **device: Any) -> Sorted:
    return Validator(a_registry(a_lora_device(**device)), WINDOW).sort(messages)


def test_chirpstack_leaves_zeros_out() -> None:
    assert said(chirpstack(counter=0, port=0, payload=b"")) == Uplink(
        eui=EUI,
        session="01a2b3c4",
        counter=0,
        port=0,
        payload=b"",
        at_us=NOON_US,
        rssi_dbm=-87.0,
        snr_db=8.25,
        application=APPLICATION,
    )


def test_all_servers_tell_the_same_of_the_same_frame() -> None:
    frames = [said(build(counter=17, port=2, payload=b"\x01\x12")) for build in (chirpstack, things_stack, loriot)]
    told = [(one.eui, one.counter, one.port, one.payload, one.at_us) for one in frames]
    assert told == [(EUI, 17, 2, b"\x01\x12", NOON_US)] * 3
    assert [one.session for one in frames] == ["01a2b3c4", "AYfqmQ==", ""]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (chirpstack("join"), Join(eui=EUI, session="01a2b3c4", at_us=NOON_US, application=APPLICATION)),
        (
            chirpstack("status", margin=9, batteryLevel=88.5),
            Status(eui=EUI, at_us=NOON_US, battery_percent=88.5, margin_db=9.0),
        ),
        (
            chirpstack("status", externalPowerSource=True),
            Status(eui=EUI, at_us=NOON_US, margin_db=0.0, external_power=True),
        ),
        (
            chirpstack("ack", queueItemId="c1", acknowledged=True),
            Fate(eui=EUI, command="c1", delivered=True, at_us=NOON_US),
        ),
        (chirpstack("txack", queueItemId="c1"), Fate(eui=EUI, command="c1", delivered=None, at_us=NOON_US)),
        (chirpstack("log", level="ERROR", code="UPLINK_MIC", description="MIC"), Remark(EUI)),
        (
            things_stack("join", join_accept={"session_key_id": "AYfqmQ=="}),
            Join(eui=EUI, session="AYfqmQ==", at_us=NOON_US, application="bays@district/bay-7"),
        ),
        (
            things_stack("down/ack", correlation_ids=["as:downlink:01", "parking:command:c1"]),
            Fate(eui=EUI, command="c1", delivered=True, at_us=NOON_US),
        ),
        (
            things_stack(
                "down/failed",
                correlation_ids=["parking:command:c1"],
                downlink_failed={"error": {"name": "too_long", "message_format": "payload is too long"}},
            ),
            Fate(eui=EUI, command="c1", delivered=False, at_us=NOON_US, reason="payload is too long"),
        ),
        (loriot(cmd="txd"), Remark(EUI)),
    ],
)
def test_what_else_servers_say(message: RawMessage, expected: object) -> None:
    assert said(message) == expected


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (chirpstack(fCnt=-1), Reason.INVALID),
        (chirpstack(fCnt=2**32), Reason.INVALID),
        (chirpstack(data="not base64!"), Reason.INVALID),
        (chirpstack(time="yesterday"), Reason.BAD_TIME),
        (chirpstack(deviceInfo={"devEui": "7"}), Reason.INVALID),
        (chirpstack(eui="00c0ffee00000008", deviceInfo={"devEui": EUI}), Reason.INVALID),
        (chirpstack("guess"), Reason.UNKNOWN_TOPIC),
        (things_stack(uplink_message={"f_cnt": 1.5}), Reason.INVALID),
        (things_stack("up/normalized"), Reason.UNKNOWN_TOPIC),
        (loriot(data="0G"), Reason.INVALID),
        (loriot(data="", encdata="c0ffee"), Reason.INVALID),
        (loriot(ts=None), Reason.INVALID),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(message: RawMessage, reason: Reason) -> None:
    refusal = said(message)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is reason
    assert refusal.detail


@given(
    st.binary()
    | st.recursive(st.none() | st.floats() | st.text(), lambda v: st.dictionaries(st.text(), v))
    .map(json.dumps)
    .map(str.encode)
)
def test_whatever_comes_is_answered(payload: bytes) -> None:
    for read, topic in (
        (chirpstack_json.read, f"application/a/device/{EUI}/event/up"),
        (things_stack_json.read, "v3/a/devices/d/up"),
        (loriot_json.read, f"loriot/v1/a/{EUI}/up"),
    ):
        assert isinstance(read(topic, payload), (Uplink, Refusal, Remark))


def test_an_uplink_becomes_a_reading_of_its_space() -> None:
    found = sort(chirpstack(counter=41, payload=b"\x01"))
    (row,) = found.readings
    assert (row["space_id"], row["device_id"], row["seq"], bool(row["occupied"])) == (70, 7, 41, True)
    assert (row["occurred_us"], row["rssi_dbm"]) == (NOON_US, -87)
    (frame,) = found.frames
    assert (frame.device_id, frame.session, frame.counter) == (7, "01a2b3c4", 41)
    assert found.frame_rows == {0: 0}
    assert not found.heard_us, "a sign of life once the frame is known to be new"


def test_a_heartbeat_tells_how_the_device_is() -> None:
    found = sort(chirpstack(port=2, payload=b"\x00\x12"))
    (vitals,) = found.frame_vitals.values()
    assert (vitals.temperature_c, vitals.snr_db, vitals.application) == (18, 8.25, APPLICATION)


@pytest.mark.parametrize(
    ("message", "device", "reason"),
    [
        (chirpstack(eui="00c0ffee00000009"), {}, Reason.UNKNOWN_DEVICE),
        (things_stack(), {}, Reason.WRONG_NETWORK),
        (chirpstack(), {"network": ""}, Reason.WRONG_NETWORK),
        (chirpstack(), {"enabled": False}, Reason.DISABLED_DEVICE),
        (chirpstack(), {"model": "tps999"}, Reason.UNKNOWN_LAYOUT),
        (chirpstack(), {"space_id": None, "spaces": {"a": 1, "b": 2}}, Reason.UNKNOWN_SPACE),
        (chirpstack(port=9), {}, Reason.INVALID),
    ],
)
def test_an_envelope_of_a_device_that_is_not_so_is_kept(
    message: RawMessage, device: dict[str, Any], reason: Reason
) -> None:
    found = sort(message, **device)
    (rejection,) = found.rejections
    assert (rejection.reason, rejection.payload) == (reason, message.payload)
    assert not found.frames
    assert not len(found.readings)
    assert len(found.unknown) == (reason is Reason.UNKNOWN_DEVICE)


def test_a_device_of_a_network_does_not_speak_itself() -> None:
    found = sort(a_message(b"\x01", topic="parking/v1/l1/d7/raw"))
    assert [rejection.reason for rejection in found.rejections] == [Reason.WRONG_NETWORK]


def test_a_frame_for_the_network_alone_is_a_frame() -> None:
    found = sort(chirpstack(counter=3, port=0, payload=b""))
    assert not found.rejections
    assert [frame.counter for frame in found.frames] == [3]
    assert not len(found.readings)


@pytest.mark.parametrize(
    "fields",
    [
        {"devAddr": "0" * 5000},
        {"devAddr": "a\0"},
        {"rxInfo": [{"rssi": 1e300, "snr": 1}]},
        {"time": "9999-12-31T23:59:59-23:00"},
        {"fCnt": 2**32},
    ],
)
def test_what_no_database_holds_is_refused(fields: dict[str, Any]) -> None:
    found = sort(chirpstack(**fields))
    assert len(found.rejections) == 1 or found.readings["clock_suspect"].all()


def test_a_server_whose_clock_runs_away_does_not_end_the_session() -> None:
    (frame,) = sort(chirpstack(at_us=NOON_US + 10**15, received_us=NOON_US)).frames
    assert frame.at_us == NOON_US


def test_of_states_that_are_delivered_again_the_last_counts() -> None:
    bays = {"family": "bay_frames", "model": "concentrator", "network": "", "eui": None, "space_id": None}
    device = {**bays, "spaces": {"a": 1, "b": 2}, "bays": {"1": 1, "2": 2}}
    messages = [
        a_message(payload, topic="parking/v1/l1/d7/raw", redelivered=redelivered)
        for payload, redelivered in (
            (b"(00001A00)", False), (b"(00001@00)", True), (b"(00002A00)", True), (b"(00001A00)", True)
        )
    ]  # fmt: skip
    found = sort(*messages, **device)
    assert not found.rejections
    assert found.state_rows == frozenset({0, 1, 2, 3})
    assert found.outdated_rows == frozenset({1})
    assert {row for row in (0, 1, 2, 3) if found.readings["space_id"][row] == 1} == {0, 1, 3}


def test_joins_and_states_are_signs_of_life_unless_they_are_old() -> None:
    found = sort(chirpstack("join"), chirpstack("status", batteryLevel=50.0))
    assert found.heard_us == {7: NOON_US}
    assert [join.session for join in found.joins] == ["01a2b3c4"]
    assert [vitals.battery_percent for vitals in found.vitals] == [50.0]
    assert not sort(chirpstack("join", received_us=NOON_US + 86_400_000_000)).heard_us
