"""The topic grammar: what is built is parsed, and nothing else is a device's topic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parking_core.topics import DeviceTopic, Kind, device_topic, parse_device_topic

_code = st.text(min_size=1).filter(lambda text: "/" not in text)


@given(_code, _code, st.sampled_from(Kind))
def test_what_is_built_is_parsed(lot: str, device: str, kind: Kind) -> None:
    assert parse_device_topic(device_topic(lot, device, kind)) == DeviceTopic(lot, device, kind)


def test_an_unknown_kind_is_for_others_to_judge() -> None:
    assert parse_device_topic("parking/v1/l/d/smell") == DeviceTopic("l", "d", "smell")


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "parking/v1/l/d",
        "parking/v1/l/d/occupancy/x",
        "parking/v1/l/d/command/x",
        "parking/v1/l//command/ack",
        "parking/v1/l/d/ack/command",
        "parking/v2/l/d/occupancy",
        "Parking/v1/l/d/occupancy",
        "parking/v1//d/occupancy",
        "parking/v1/l//occupancy",
        "parking/v1/l/d/",
        "/parking/v1/l/d/occupancy",
    ],
)
def test_other_topics_are_none(topic: str) -> None:
    assert parse_device_topic(topic) is None
