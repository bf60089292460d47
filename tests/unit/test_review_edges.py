"""Payloads and times at the edge of what can be taken: bounded work, and nothing that a reader cannot show."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from api.board import moment
from gateway.decoders.native import decoder as native
from gateway.validate import Validator
from parking_core.readings import TIME_MAX_US, TIME_MIN_US, Reason
from parking_core.topics import Kind, device_topic
from tests.builders import WINDOW, a_message, a_payload, a_registry


def test_an_array_of_thousands_of_bad_elements_is_one_letter() -> None:
    payload = b"[" + b",".join([b"1"] * 32_000) + b"]"
    found = Validator(a_registry(), WINDOW).sort([a_message(payload)] * 50)
    assert [(letter.reason, letter.payload) for letter in found.rejections] == [(Reason.INVALID, payload)] * 50
    assert "32000 elements" in found.rejections[0].detail


@pytest.mark.parametrize(("bad", "letters", "readings"), [(native.MOST_REFUSALS, native.MOST_REFUSALS, 1), (101, 1, 0)])
def test_bad_elements_are_kept_one_by_one_up_to_a_bound(bad: int, letters: int, readings: int) -> None:
    payload = b"[" + b",".join([*[b"1"] * bad, a_payload(space="s70")]) + b"]"
    found = Validator(a_registry(), WINDOW).sort([a_message(payload)])
    assert (len(found.rejections), len(found.readings)) == (letters, readings)


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "Pacific/Kiritimati", "Etc/GMT+12", "UTC"])
@pytest.mark.parametrize("at_us", [TIME_MIN_US, TIME_MAX_US])
def test_every_accepted_time_can_be_shown_everywhere(zone: str, at_us: int) -> None:
    shown = moment(at_us, ZoneInfo(zone))
    assert shown is not None
    assert shown[:4] in {"0001", "9999"}


def test_times_that_some_zone_cannot_show_are_refused() -> None:
    for at in ("9999-12-31T20:00:00Z", "0001-01-01T04:00:00Z"):
        found = Validator(a_registry(), WINDOW).sort([a_message(a_payload(at=at))])
        assert [letter.reason for letter in found.rejections] == [Reason.BAD_TIME]


@pytest.mark.parametrize("kind", [Kind.OCCUPANCY, Kind.HEARTBEAT])
def test_what_the_broker_kept_is_recorded_but_is_no_sign_of_life(kind: Kind) -> None:
    topic = device_topic("l1", "d7", kind)
    for retained, heard in ((True, False), (False, True)):
        found = Validator(a_registry(), WINDOW).sort([a_message(a_payload(), topic=topic, retained=retained)])
        assert len(found.readings) == (kind is Kind.OCCUPANCY)
        assert bool(found.heard_us) is heard
        assert not found.rejections


def test_a_bad_message_that_the_broker_kept_is_one_letter_however_often_it_comes() -> None:
    found = Validator(a_registry(), WINDOW).sort([a_message(b"{", retained=True)])
    assert [letter.redelivered for letter in found.rejections] == [True]
