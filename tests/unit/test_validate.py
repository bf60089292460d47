"""Messages against the registry: each becomes a reading, a sign of life or a rejection, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.decoders.native import decoder as native
from gateway.validate import Validator
from parking_core.readings import Reason
from parking_core.topics import Kind, device_topic
from tests.builders import NOON_US, WINDOW, a_device, a_message, a_payload, a_registry

if TYPE_CHECKING:
    from gateway.messages import RawMessage

SECOND_US = 1_000_000
MANY = a_device(id=8, code="d8", space_id=None, spaces={"s81": 81, "s82": 82})
OFF = a_device(id=9, code="d9", enabled=False)


def a_validator() -> Validator:
    return Validator(a_registry(a_device(), MANY, OFF, foreign=frozenset({"elsewhere"})), WINDOW)


def test_a_reading_carries_what_device_and_registry_know() -> None:
    found = a_validator().sort([a_message(a_payload(seq=3, battery_v=3.5))])
    (row,) = found.readings
    assert (row["space_id"], row["device_id"], row["lot_id"], row["seq"]) == (70, 7, 1, 3)
    assert (row["occurred_us"], row["received_us"]) == (NOON_US, NOON_US)
    assert bool(row["occupied"])
    assert not row["clock_suspect"]
    assert row["battery_v"] == np.float32(3.5)
    assert np.isnan(row["rssi_dbm"])
    assert found.heard_us == {7: NOON_US}
    assert found.observed_seqs == [(7, 3)]
    assert not found.explicit
    assert not found.rejections


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("parking/v1///occupancy", a_payload(), Reason.UNKNOWN_TOPIC),
        ("parking/v1/l1/nobody/occupancy", a_payload(), Reason.UNKNOWN_DEVICE),
        ("parking/v1/l2/d7/occupancy", a_payload(), Reason.WRONG_LOT),
        ("parking/v1/l1/d9/occupancy", a_payload(), Reason.DISABLED_DEVICE),
        ("parking/v1/l1/d7/raw", a_payload(), Reason.UNSUPPORTED_KIND),
        ("parking/v1/l1/d7/nonsense", a_payload(), Reason.UNSUPPORTED_KIND),
        ("parking/v1/l1/d7/occupancy", a_payload(space="elsewhere"), Reason.FOREIGN_SPACE),
        ("parking/v1/l1/d7/occupancy", a_payload(space="nowhere"), Reason.UNKNOWN_SPACE),
        ("parking/v1/l1/d8/occupancy", a_payload(), Reason.UNKNOWN_SPACE),
        ("parking/v1/l1/d7/occupancy", a_payload(at=10**18), Reason.BAD_TIME),
        ("parking/v1/l1/d7/occupancy", b'{"occupied":true,"at":1e308}', Reason.BAD_TIME),
        ("parking/v1/l1/d7/occupancy", b"{", Reason.MALFORMED),
        ("parking/v1/l1/d7/heartbeat", b"{}", Reason.INVALID),
        ("parking/v1/l1/d7/status", b"asleep", Reason.INVALID),
    ],
)
def test_what_cannot_be_used_is_kept_with_its_reason(topic: str, payload: bytes, reason: Reason) -> None:
    found = a_validator().sort([a_message(payload, topic=topic)])
    (rejection,) = found.rejections
    assert (rejection.topic, rejection.payload, rejection.reason) == (topic, payload, reason)
    assert rejection.detail
    assert not len(found.readings)
    assert not found.heard_us


def test_a_bad_message_takes_no_good_one_with_it() -> None:
    messages = [a_message(a_payload(seq=1)), a_message(b"\xff"), a_message(a_payload(seq=2))]
    found = a_validator().sort(messages)
    assert found.readings["seq"].tolist() == [1, 2]
    assert list(found.sources) == [messages[0], messages[2]]
    assert [rejection.payload for rejection in found.rejections] == [b"\xff"]


def test_a_decoder_that_raises_costs_its_own_message_only(monkeypatch: pytest.MonkeyPatch) -> None:
    read = native.decode_occupancy

    def fragile(payload: bytes) -> object:
        if b"13" in payload:
            raise ZeroDivisionError("thirteen")
        return read(payload)

    monkeypatch.setattr(native, "decode_occupancy", fragile)
    found = a_validator().sort([a_message(a_payload(at=NOON_US // 1000, seq=seq)) for seq in (1, 13, 2)])
    assert found.readings["seq"].tolist() == [1, 2]
    (rejection,) = found.rejections
    assert rejection.reason is Reason.DECODER_FAILED
    assert "thirteen" in rejection.detail


def test_an_array_gives_a_reading_an_element_and_a_letter_a_bad_one() -> None:
    good = [a_payload(space="s81", seq=1), a_payload(space="s82", seq=2)]
    payload = b"[" + b",".join([good[0], a_payload(space="elsewhere"), good[1]]) + b"]"
    found = a_validator().sort([a_message(payload, topic=device_topic("l1", "d8", Kind.OCCUPANCY))])
    assert found.readings["space_id"].tolist() == [81, 82]
    (rejection,) = found.rejections
    assert rejection.reason is Reason.FOREIGN_SPACE
    assert native.decode_occupancy(rejection.payload) == native.decode_occupancy(a_payload(space="elsewhere"))


@pytest.mark.parametrize(
    ("skew_us", "suspect"),
    [
        (WINDOW.latest_us, False),
        (WINDOW.latest_us + 1000, True),
        (WINDOW.earliest_us, False),
        (WINDOW.earliest_us - 1000, True),
    ],
)
def test_the_edges_of_the_clock_window_belong_to_it(skew_us: int, suspect: bool) -> None:  # noqa: FBT001  # an expectation of the table above
    found = a_validator().sort([a_message(a_payload(at=(NOON_US + skew_us) // 1000))])
    assert found.readings["clock_suspect"].tolist() == [suspect]
    assert found.readings["occurred_us"].tolist() == [NOON_US + skew_us], "the ledger needs what the device said"


@pytest.mark.parametrize("bound_s", [2**62, 10**13])
def test_a_device_may_have_a_window_wider_than_all_of_time(bound_s: int) -> None:
    device = a_device(clock_earliest_s=-bound_s, clock_latest_s=bound_s)
    found = Validator(a_registry(device), WINDOW).sort(
        [a_message(a_payload(at=0)), a_message(a_payload(at=4 * 10**12))]
    )
    assert not found.readings["clock_suspect"].any()


def test_a_device_has_a_window_of_its_own() -> None:
    device = a_device(clock_earliest_s=-10, clock_latest_s=10)
    found = Validator(a_registry(device), WINDOW).sort([a_message(a_payload(at=NOON_US // 1000 + 11_000))])
    assert found.readings["clock_suspect"].tolist() == [True]


def test_suspect_elements_of_one_array_keep_apart_by_their_receipt() -> None:
    payload = b"[" + b",".join([a_payload(at=0), a_payload(at=1), a_payload(at=2)]) + b"]"
    found = a_validator().sort([a_message(payload), a_message(a_payload(at=3), received_us=NOON_US + 1)])
    receipts = found.readings["received_us"].tolist()
    assert len(set(receipts)) == 4
    assert receipts == sorted(receipts)


def test_a_heartbeat_is_a_sign_of_life_that_must_be_durable_at_once() -> None:
    topic = device_topic("l1", "d7", Kind.HEARTBEAT)
    found = a_validator().sort([a_message(a_payload(seq=5), topic=topic)])
    assert found.heard_us == {7: NOON_US}
    assert found.explicit == {7}
    assert found.observed_seqs == [(7, 5)]
    assert not len(found.readings)


@pytest.mark.parametrize(
    ("payload", "retained", "heard_us"),
    [(b"online", False, NOON_US), (b"online", True, 0), (b"offline", False, 0), (b"offline", True, 0)],
)
def test_only_a_fresh_online_says_that_the_device_was_heard(payload: bytes, retained: bool, heard_us: int) -> None:  # noqa: FBT001  # an expectation of the table above
    topic = device_topic("l1", "d7", Kind.STATUS)
    found = a_validator().sort([a_message(payload, topic=topic, retained=retained)])
    assert (found.heard_us, found.online) == ({7: heard_us}, {7: payload == b"online"})


def test_offline_does_not_forget_what_was_heard_before_it() -> None:
    status = device_topic("l1", "d7", Kind.STATUS)
    found = a_validator().sort([a_message(), a_message(b"offline", topic=status, received_us=NOON_US + 1)])
    assert found.heard_us == {7: NOON_US}


def test_our_own_commands_are_passed_over() -> None:
    found = a_validator().sort([a_message(b"{}", topic="parking/v1/l1/d7/command")])
    assert not found.rejections
    assert not len(found.readings)


_messages = st.lists(
    st.tuples(
        st.sampled_from(["l1/d7", "l1/d8", "l1/d9", "l2/d7", "l1/nobody", "/"]),
        st.sampled_from(["occupancy", "heartbeat", "status", "raw", "x"]),
        st.sampled_from([a_payload(), a_payload(space="s81"), a_payload(at=0), b"online", b"{", b"", b"[]"]),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(_messages)
def test_every_message_becomes_exactly_one_thing(drawn: list[tuple[str, str, bytes]]) -> None:
    messages = [a_message(payload, topic=f"parking/v1/{path}/{kind}") for path, kind, payload in drawn]
    found = a_validator().sort(messages)
    alone = [a_validator().sort([message]) for message in messages]
    assert len(found.readings) == sum(len(one.readings) for one in alone)
    assert len(found.rejections) == sum(len(one.rejections) for one in alone)
    for one in alone:
        assert len(one.readings) + len(one.rejections) + len(one.explicit) == 1


def an_ack(**fields: Any) -> RawMessage:
    payload = {"id": "6f1c0a52-5b7e-4f0e-9a53-0c1d2e3f4a5b", "result": "done", "at": NOON_US // 1000} | fields
    return a_message(msgspec.json.encode(payload), topic=device_topic("l1", "d7", Kind.COMMAND_ACK))


def test_an_answer_to_a_command_is_kept_apart_and_is_a_sign_of_life() -> None:
    found = Validator(a_registry(), WINDOW).sort([an_ack(reason="blocked", result="refused")])
    (ack,) = found.acks
    assert (str(ack.command_id), ack.device_id, ack.result) == ("6f1c0a52-5b7e-4f0e-9a53-0c1d2e3f4a5b", 7, "refused")
    assert (ack.reason, ack.acked_us, ack.received_us) == ("blocked", NOON_US, NOON_US)
    assert found.heard_us == {7: NOON_US}
    assert not found.rejections
    assert not len(found.readings)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"id": "17"}, Reason.INVALID),
        ({"result": "perhaps"}, Reason.INVALID),
        ({"reason": "x" * 201}, Reason.INVALID),
        ({"reason": "\0"}, Reason.INVALID),
        ({"at": "yesterday"}, Reason.BAD_TIME),
        ({"at": 10**18}, Reason.BAD_TIME),
    ],
)
def test_an_answer_that_cannot_be_read_is_a_dead_letter(fields: dict[str, Any], reason: Reason) -> None:
    found = Validator(a_registry(), WINDOW).sort([an_ack(**fields)])
    assert [letter.reason for letter in found.rejections] == [reason]
    assert not found.acks


def test_a_command_on_its_way_is_nobodys_message() -> None:
    found = Validator(a_registry(), WINDOW).sort([a_message(topic=device_topic("l1", "d7", Kind.COMMAND))])
    assert not found.rejections
    assert not found.acks
