"""Native JSON: whatever comes in, readings or refusals come out."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.decoders.native import decoder as native
from parking_core.readings import SEQ_MAX, TIME_MAX_US, TIME_MIN_US, Reason
from tests.builders import NOON_US, a_payload

_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_nearly = st.fixed_dictionaries(
    {"occupied": st.booleans() | _json, "at": st.integers() | st.floats() | st.datetimes().map(str) | _json},
    optional={"space": st.text() | _json, "seq": st.integers() | _json, "battery_v": st.floats() | _json},
)
_payloads = st.one_of(
    st.binary(),
    _json.map(lambda value: json.dumps(value).encode()),
    _nearly.map(lambda value: json.dumps(value).encode()),
    st.lists(_nearly | _json, max_size=4).map(lambda value: json.dumps(value).encode()),
)


@settings(max_examples=400, deadline=None)
@given(_payloads)
def test_decoding_never_raises_and_loses_no_element(payload: bytes) -> None:
    decoded = native.decode_occupancy(payload)
    outcomes = decoded if isinstance(decoded, list) else [decoded]
    assert outcomes, "a payload vanished"
    for outcome in outcomes:
        if isinstance(outcome, native.Refusal):
            assert outcome.reason in {Reason.MALFORMED, Reason.INVALID, Reason.BAD_TIME}
            assert outcome.detail
            assert outcome.payload in payload, "what is kept is not what came"
        else:
            assert type(outcome) is native.OccupancyRecord
            us = native.microseconds(outcome.at)
            assert us is None or TIME_MIN_US <= us <= TIME_MAX_US
            assert native.decode_occupancy(native.encode(outcome)) == outcome, "one element cannot be retried alone"


@settings(max_examples=200, deadline=None)
@given(_payloads)
def test_heartbeats_and_status_never_raise(payload: bytes) -> None:
    assert isinstance(native.decode_heartbeat(payload), native.HeartbeatRecord | native.Refusal)
    assert isinstance(native.decode_status(payload), bool | native.Refusal)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_is_the_same_as_text_and_as_milliseconds(moment: datetime) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    milliseconds = (moment - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)
    said = [a_payload(at=moment.isoformat()), a_payload(at=milliseconds)]
    records = [native.decode_occupancy(payload) for payload in said]
    assert all(isinstance(record, native.OccupancyRecord) for record in records)
    first, second = (native.microseconds(record.at) for record in records if isinstance(record, native.OccupancyRecord))
    assert first == second == milliseconds * 1000


@pytest.mark.parametrize(
    ("at", "us"),
    [
        (0, 0),
        (-1, -1000),
        (1.5, 1500),
        (1e308, None),
        (-1e308, None),
        (math.inf, None),
        (math.nan, None),
        (10**400, None),
        (TIME_MAX_US // 1000, TIME_MAX_US - 999),
        (TIME_MAX_US // 1000 + 1, None),
    ],
)
def test_milliseconds_outside_of_all_time_are_no_time(at: float, us: int | None) -> None:
    assert native.microseconds(at) == us


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.MALFORMED),
        (a_payload()[:-1], Reason.MALFORMED),
        (b'{"occupied":true,"at":NaN}', Reason.MALFORMED),
        (b'{"occupied":true,"at":1,"space":"\xff"}', Reason.MALFORMED),
        (b'{"occupied":true,"at":1,"space":"\\ud800 "}', Reason.MALFORMED),
        (b"[" * 60_000, Reason.MALFORMED),
        (b"null", Reason.INVALID),
        (b"[]", Reason.INVALID),
        (a_payload(occupied="yes"), Reason.INVALID),
        (a_payload(occupied=1), Reason.INVALID),
        (a_payload(seq=-1), Reason.INVALID),
        (a_payload(seq=SEQ_MAX + 1), Reason.INVALID),
        (a_payload(seq=1.5), Reason.INVALID),
        (a_payload(battery_v=1e7), Reason.INVALID),
        (a_payload(at=None), Reason.BAD_TIME),
        (a_payload(at="2026-01-01T00:00:00"), Reason.BAD_TIME),
        (a_payload(at="yesterday"), Reason.BAD_TIME),
        (a_payload(space="x" * native.MAX_PAYLOAD_BYTES), Reason.TOO_LARGE),
    ],
)
def test_what_cannot_be_read_is_refused_whole(payload: bytes, reason: Reason) -> None:
    refusal = native.decode_occupancy(payload)
    assert isinstance(refusal, native.Refusal)
    assert (refusal.reason, refusal.payload) == (reason, payload)


def test_good_elements_of_an_array_survive_its_bad_ones() -> None:
    payload = b"[" + b",".join([a_payload(seq=1), b"17", a_payload(seq=2), a_payload(at="never")]) + b"]"
    decoded = native.decode_occupancy(payload)
    assert isinstance(decoded, list)
    kinds = [outcome.reason if isinstance(outcome, native.Refusal) else outcome.seq for outcome in decoded]
    assert kinds == [1, Reason.INVALID, 2, Reason.BAD_TIME]


def test_everything_a_record_may_hold_is_read() -> None:
    fields = {"space": "A1", "seq": SEQ_MAX, "battery_v": 3.6, "rssi_dbm": -90.0, "temperature_c": -12.5}
    record = native.decode_occupancy(a_payload(occupied=False, **fields))
    assert isinstance(record, native.OccupancyRecord)
    assert msgspec.structs.asdict(record) == {"occupied": False, "at": NOON_US // 1000, **fields}


@pytest.mark.parametrize(
    ("payload", "online"), [(b"online", True), (b'"online"', True), (b"offline", False), (b'"offline"', False)]
)
def test_a_status_is_a_word(payload: bytes, online: bool) -> None:  # noqa: FBT001  # the expectation of a table
    assert native.decode_status(payload) is online
