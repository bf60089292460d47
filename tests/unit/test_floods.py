"""A device that floods is limited, and nobody else notices; what is left out is counted and told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.floods import LETTER_US, MEASURE, RESERVE, FloodGate
from parking_core.readings import Reason
from tests.builders import NOON_US, a_device, a_message, a_registry
from tests.network_builders import EUI, a_lora_device, chirpstack

if TYPE_CHECKING:
    from gateway.messages import RawMessage

SECOND_US = 1_000_000
REGISTRY = a_registry(
    a_device(),
    a_device(id=8, code="camera", space_id=None, spaces={f"s{number}": number for number in range(100, 200)}),
    a_lora_device(id=9, code="bay-9", space_id=90, spaces={"s90": 90}),
)


def messages(device: str, number: int, at_us: int) -> list[RawMessage]:
    return [a_message(topic=f"parking/v1/l1/{device}/occupancy", received_us=at_us) for _ in range(number)]


def flood(gate: FloodGate, device: str, a_second: int, seconds: int, begin_us: int = NOON_US) -> tuple[int, int]:
    """Messages sent and read, in batches of fifty milliseconds."""
    sent = read = 0
    for tick in range(seconds * 20):
        batch = messages(device, a_second // 20, begin_us + tick * 50_000)
        sent += len(batch)
        read += len(gate.sieve(batch, REGISTRY))
    return sent, read


def test_a_hundred_thousand_messages_of_a_minute_are_limited() -> None:
    gate = FloodGate()
    sent, read = flood(gate, "d7", 1660, 60)
    assert sent == 99_600
    assert RESERVE < read < RESERVE + 60 * MEASURE + 3 * 1660, "reserve, measure, and what a window sees too late"


def test_nobody_else_is_limited() -> None:
    gate = FloodGate()
    read = 0
    for tick in range(400):
        at_us = NOON_US + tick * 50_000
        kept = gate.sieve([*messages("d7", 200, at_us), *messages("bay-9", 1, at_us)], REGISTRY)
        read += sum("bay-9" in message.topic for message in kept)
    assert read == 400


@pytest.mark.parametrize(
    ("device", "a_second", "seconds"),
    [
        ("d7", 20, 900),  # its measure, for ever
        ("d7", 2000, 4),  # a backlog of days
        ("camera", 1900, 60),  # a hundred bays: a hundred times the measure
    ],
)
def test_what_a_sound_device_sends_is_read(device: str, a_second: int, seconds: int) -> None:
    sent, read = flood(FloodGate(), device, a_second, seconds)
    assert read == sent


def test_it_is_read_again_when_it_has_stopped() -> None:
    gate = FloodGate()
    flood(gate, "d7", 4000, 20)
    later_us = NOON_US + 60 * SECOND_US
    gate.sieve(messages("d7", 1, later_us), REGISTRY)
    sent, read = flood(gate, "d7", 20, 30, later_us + SECOND_US)
    assert read == sent


def test_a_networks_device_is_told_by_its_eui() -> None:
    gate = FloodGate()
    read = 0
    for tick in range(400):
        at_us = NOON_US + tick * 50_000
        read += len(gate.sieve([chirpstack(received_us=at_us)] * 200, REGISTRY))
    assert RESERVE < read < RESERVE + 20 * MEASURE + 3 * 4000
    (report,) = gate.reports(NOON_US + 400 * 50_000)
    assert (report.sender, report.left_out) == (EUI, 80_000 - read)


def test_other_lots_and_kinds_in_the_topic_do_not_hide_a_sender() -> None:
    gate = FloodGate()
    read = 0
    for tick in range(400):
        at_us = NOON_US + tick * 50_000
        batch = [
            a_message(topic=f"parking/v1/l{number}/d7/{'raw' if number % 2 else 'heartbeat'}", received_us=at_us)
            for number in range(200)
        ]
        read += len(gate.sieve(batch, REGISTRY))
    assert read < RESERVE + 20 * MEASURE + 3 * 4000


def test_one_letter_a_minute_says_what_was_left_out() -> None:
    gate = FloodGate()
    assert gate.letters(NOON_US) == []
    sent, read = flood(gate, "d7", 4000, 30)
    assert gate.letters(NOON_US + 30 * SECOND_US) == [], "not yet a minute"
    (letter,) = gate.letters(NOON_US + LETTER_US)
    assert letter.reason is Reason.FLOODING
    assert f"{sent - read} messages of 'd7'" in letter.detail
    assert gate.letters(NOON_US + 2 * LETTER_US) == []


def test_a_stopping_gateway_tells_what_it_has_left_out() -> None:
    gate = FloodGate()
    gate.letters(NOON_US)
    flood(gate, "d7", 4000, 10)
    assert len(gate.letters(NOON_US + 1, is_last=True)) == 1


def test_reports_add_up_to_what_was_left_out() -> None:
    gate = FloodGate()
    reported, left_out = 0, 0
    for second in range(30):
        at_us = NOON_US + second * SECOND_US
        sent, read = flood(gate, "d7", 4000, 1, at_us)
        left_out += sent - read
        reported += sum(report.left_out for report in gate.reports(at_us + SECOND_US))
        gate.letters(at_us + SECOND_US)
    reported += sum(report.left_out for report in gate.reports(NOON_US + 60 * SECOND_US))
    assert reported == left_out > 0


def test_made_up_topics_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.floods._MOST_TOPICS", 1000)
    gate = FloodGate()
    for number in range(20_000):
        gate.sieve(messages(f"made-up-{number}", 1, NOON_US + number * 1000), REGISTRY)
    assert len(gate._senders) <= 1000
    assert len(gate._counts) <= 1100
    assert not gate._above
