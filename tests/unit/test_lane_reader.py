"""Lane messages on their way into the ledger: routed, understood, flagged, or refused with a clear sentence."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.validate import MAY_BE_NEW, Validator
from parking_core.lanes import LaneEventKind, LaneSource
from parking_core.plates import ColorCodes
from parking_core.readings import Reason, moment
from parking_core.topics import Kind, device_topic
from tests.builders import NOON_US, WINDOW, a_device, a_payload, a_registry
from tests.lane_builders import SHANGHAI, a_lane, a_lane_device, a_report, lane_message, lane_payload

DAY_US = 86_400_000_000


def a_validator(**lane: Any) -> Validator:
    return Validator(a_registry(a_lane_device(a_lane(**lane)), a_device(id=8)), WINDOW, ZoneInfo(SHANGHAI))


def test_a_lane_message_is_a_report_and_a_sign_of_life() -> None:
    found = a_validator().sort([lane_message()])
    (report,) = found.lane_reports
    assert (report.event.device_id, report.event.lot_id, report.event.record_no) == (7, 1, 1)
    assert (report.event.kind, report.event.source) == (LaneEventKind.EXIT, LaneSource.ETC)
    assert (report.event.occurred_at, report.event.received_at) == (moment(NOON_US), moment(NOON_US))
    assert (report.flags, report.source.payload) == ((), lane_payload())
    assert found.heard_us == {7: NOON_US}
    assert not found.rejections
    assert not len(found.readings)


def test_a_retained_lane_message_says_nothing_about_now() -> None:
    found = a_validator().sort([lane_message(retained=True)])
    assert len(found.lane_reports) == 1
    assert not found.heard_us


def test_lanes_send_heartbeat_and_status_as_others_do() -> None:
    validator = a_validator()
    beat = lane_message(b'{"at":1}', topic=device_topic("l1", "x1", Kind.HEARTBEAT))
    status = lane_message(b"online", topic=device_topic("l1", "x1", Kind.STATUS))
    assert validator.sort([beat]).explicit == {7}
    assert validator.sort([status]).online == {7: True}
    reading = lane_message(a_payload(), topic=device_topic("l1", "x1", Kind.OCCUPANCY))
    assert [one.reason for one in validator.sort([reading]).rejections] == [Reason.UNKNOWN_SPACE]


def test_a_device_that_is_no_lane_sends_no_lane_messages() -> None:
    message = lane_message(topic=device_topic("l1", "d7", Kind.LANE))
    (rejection,) = a_validator().sort([message]).rejections
    assert (rejection.reason, rejection.detail) == (Reason.NOT_A_LANE, "Device 'd7' is registered, but as no lane.")
    assert Reason.NOT_A_LANE in MAY_BE_NEW, "it may have become one a moment ago"


@pytest.mark.parametrize(
    ("fields", "reason", "sentence"),
    [
        ({"etc": {"amount_fen": 10.5}}, Reason.INVALID, "`$.etc.amount_fen`"),
        ({"etc": {"amount_fen": 10.0}}, Reason.INVALID, "`$.etc.amount_fen`"),
        ({"etc": {"tac": 224}}, Reason.INVALID, "`$.etc.tac`"),
        ({"event": "passage"}, Reason.INVALID, "`$.event`"),
        ({"record_no": 2**63}, Reason.INVALID, "`$.record_no`"),
        ({"at": "today"}, Reason.BAD_TIME, "RFC3339"),
        ({"at": 10**18}, Reason.BAD_TIME, "between the years 1 and 9999"),
        ({"event": "correction"}, Reason.INVALID, "A correction needs refers_to"),
        ({"event": "completion", "etc": {"tac": None}}, Reason.INVALID, "A completion needs etc.tac"),
        ({"event": "hour_total"}, Reason.INVALID, "An hour_total needs count"),
        ({"event": "hour_total", "count": 1, "hour": "2026-06-01T08:30Z"}, Reason.BAD_TIME, "start of an hour"),
        ({"event": "hour_total", "count": 1, "hour": "2026-06-01T08:00"}, Reason.BAD_TIME, "with its offset"),
        ({"event": "hour_total", "count": 1, "hour": "0001-01-01T00:00+08:00"}, Reason.BAD_TIME, "years 1 and 9999"),
        ({"plate": {"text": "x" * 200}}, Reason.INVALID, "`$.plate.text`"),
        ({"padding": "x" * 70_000}, Reason.TOO_LARGE, "at most 65536"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(fields: dict[str, Any], reason: Reason, sentence: str) -> None:
    message = lane_message(lane_payload(**fields))
    (rejection,) = a_validator().sort([message]).rejections
    assert rejection.reason is reason
    assert sentence in rejection.detail
    assert rejection.payload == message.payload


def test_numbers_and_codes_may_come_without_quotes() -> None:
    quoted = {"terminal_no": "21320101", "terminal_serial": "17", "card_type": "23", "card_network": "3201"}
    plain = {name: int(text) for name, text in quoted.items()} | {"algorithm": 1, "obu_id": None}
    etc = a_report(etc=plain).event.etc
    assert etc is not None
    assert {name: getattr(etc, name) for name in quoted} == quoted
    assert (etc.algorithm, etc.obu_id, etc.tac) == ("1", None, "0A1B2C3D")


def test_colours_are_read_by_the_list_of_the_lane() -> None:
    plate = {"text": "苏B12345", "color": 1}
    assert a_report(a_lane(), plate=plate).event.plate_color == "yellow"
    assert a_report(a_lane(color_codes=ColorCodes.P4YUN), plate=plate).event.plate_color == "blue"


@pytest.mark.parametrize(
    ("ahead_us", "suspect"),
    [(0, False), (-89 * DAY_US, False), (-91 * DAY_US, True), (299_000_000, False), (301_000_000, True)],
)
def test_a_lane_that_was_away_for_weeks_is_believed_and_an_impossible_clock_is_not(
    ahead_us: int,
    suspect: bool,  # noqa: FBT001  # a column of the table
) -> None:
    report = a_report(at=(NOON_US + ahead_us) // 1000)
    assert ("clock_suspect" in report.flags) is suspect
    assert report.event.occurred_at == moment(NOON_US if suspect else NOON_US + ahead_us)


def test_a_device_may_have_a_clock_window_of_its_own() -> None:
    device = a_lane_device(clock_earliest_s=-60, clock_latest_s=60)
    validator = Validator(a_registry(device), WINDOW)
    (report,) = validator.sort([lane_message(lane_payload(at=NOON_US // 1000 - 61_000))]).lane_reports
    assert report.flags == ("clock_suspect",)


@pytest.mark.parametrize(
    ("fields", "hour_at"),
    [
        ({"hour": "2026060108"}, datetime(2026, 6, 1, 0, tzinfo=UTC)),
        ({"hour": "2026-06-01T08:00:00+08:00"}, datetime(2026, 6, 1, 0, tzinfo=UTC)),
        ({"at": "2026-06-01T10:00:02+08:00"}, datetime(2026, 6, 1, 1, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("name", ["amount_fen", "money_fen", "money"])
def test_an_hour_is_told_in_several_ways(fields: dict[str, Any], hour_at: datetime, name: str) -> None:
    said: dict[str, Any] = {"event": "hour_total", "count": 3, "etc": None, "plate": None, name: 4_000}
    report = a_report(**(said | fields))
    event = report.event
    assert (event.hour_at, event.hour_records, event.hour_amount_fen) == (hour_at, 3, 4_000)
    assert event.vehicle == "unplated:x1:1", "an hour is about nobody"


def test_a_correction_is_about_the_plate_it_gives() -> None:
    report = a_report(event="correction", refers_to=4, plate={"text": "苏B99999"})
    assert report.event.vehicle == "苏B99999"


def test_an_expiry_is_read_where_it_is_given() -> None:
    assert a_report(etc={"card_expires": "20260528"}).flags == ("card_expired",)
    assert a_report(etc={"card_expires": "2026-05-29", "obu_expires": "20250231"}).flags == ()


_any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "color", "tac"]), inner),
    max_leaves=4,
)
_NAMES = ["event", "record_no", "at", "plate", "vehicle_class", "etc", "refers_to", "hour", "count", "ticket", "source"]


@given(st.dictionaries(st.sampled_from(_NAMES), _any | st.sampled_from(list(LaneEventKind))), st.binary(max_size=40))
def test_every_message_becomes_one_report_or_one_letter(fields: dict[str, Any], junk: bytes) -> None:
    good = msgspec.json.decode(lane_payload())
    for payload in (msgspec.json.encode(good | fields), junk):
        found = a_validator().sort([lane_message(payload)])
        assert len(found.lane_reports) + len(found.rejections) == 1
        assert Reason.DECODER_FAILED not in {rejection.reason for rejection in found.rejections}
