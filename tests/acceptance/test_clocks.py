"""Times, order and numbers through a real gateway: late, early, doubled and impossible messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parking_core.topics import Kind, device_topic
from tests.acceptance.load import Load, Message
from tests.acceptance.processes import until
from tests.builders import a_payload, now_us

if TYPE_CHECKING:
    from tests.acceptance.stage import Stage

pytestmark = [pytest.mark.services, pytest.mark.acceptance]

HOUR_MS = 3_600_000
_STATE = "SELECT s.id FROM spaces s JOIN lots l ON l.id = s.lot_id WHERE l.code = 'L1' AND s.code = %s"


def said(device: str, **fields: object) -> Message:
    return Message(device_topic("L1", f"L1-{device}", Kind.OCCUPANCY), a_payload(**fields))


def send(stage: Stage, *messages: Message) -> None:
    """Publishes in this order and waits until a last reading of another device is in the live state."""
    marker = said("040", at=now_us() // 1000, seq=0)
    Load(stage.services.mqtt_url, [*messages, marker], rate=1e9).start().join()
    published_us = now_us()
    until(lambda: stage.pulse_us() > published_us + 100_000, 10, "the gateway does not come to rest")


def live(stage: Stage, space: str) -> tuple[int, bool] | None:
    """(seq, occupied) of a space of lot L1."""
    ((space_id,),) = stage.query(_STATE, space)
    rows = stage.image().spaces
    found = rows[rows["space_id"] == space_id]
    return (int(found["seq"][0]), bool(found["occupied"][0])) if len(found) else None


def test_out_of_order_events_enter_history_and_never_set_live_state_back(stage: Stage) -> None:
    stage.gateway().start()
    now_ms = now_us() // 1000
    send(
        stage,
        said("001", at=now_ms, seq=9, occupied=True),
        said("001", at=now_ms - HOUR_MS, seq=8, occupied=False),
        said("002", at=now_ms, seq=5, occupied=True),
        said("002", at=now_ms, seq=4, occupied=False),
        said("003", at=now_ms, seq=1, occupied=True),
        said("003", at=now_ms, seq=1, occupied=False),
    )
    assert [live(stage, space) for space in ("001", "002", "003")] == [(9, True), (5, True), (1, True)]
    assert stage.count() == 7
    stage.settle()


def test_times_outside_the_window_are_flagged_and_enter_once_at_their_first_receipt(stage: Stage) -> None:
    gateway = stage.gateway()
    gateway.start()
    now_ms = now_us() // 1000
    odd = [said("001", at=0, seq=1), said("001", at=now_ms + HOUR_MS, seq=2), said("002", at=now_ms - 200 * HOUR_MS)]
    begins_us = now_us()
    send(stage, *odd, *odd)
    gateway.kill()
    gateway.start()
    send(stage, *odd)
    rows = stage.query(
        "SELECT (extract(epoch FROM occurred_at) * 1000000)::bigint, occurred_at = received_at, seq"
        " FROM occupancy_events WHERE clock_suspect ORDER BY seq"
    )
    assert [(same, seq) for _, same, seq in rows] == [(True, 0), (True, 1), (True, 2)]
    assert all(begins_us <= us <= now_us() for us, _, _ in rows)
    stage.settle()


def test_a_message_that_crosses_the_edge_of_the_window_between_two_receipts_is_one_event(stage: Stage) -> None:
    """In both directions: the window of the second gateway is another one, as time would have made it."""
    at_ms = now_us() // 1000 - HOUR_MS
    leaves, enters = said("001", at=at_ms, seq=3), said("002", at=at_ms - 2 * HOUR_MS, seq=3)
    stage.execute("UPDATE devices SET clock_earliest_s = -5400")
    gateway = stage.gateway()
    gateway.start()
    send(stage, leaves, enters)
    gateway.terminate()
    stage.execute("UPDATE devices SET clock_earliest_s = CASE code WHEN 'L1-001' THEN -60 ELSE -86400 END")
    gateway.start()
    send(stage, leaves, enters)
    found = stage.query("SELECT seq, clock_suspect, count(*) FROM occupancy_events WHERE seq = 3 GROUP BY 1, 2")
    assert sorted(found) == [(3, False, 1), (3, True, 1)]


def test_gaps_are_counted_a_device_and_filled_by_late_messages(stage: Stage) -> None:
    stage.gateway().start()
    now_ms = now_us() // 1000

    def numbered(*numbers: int) -> list[Message]:
        return [said("001", at=now_ms + number, seq=number) for number in numbers]

    def missing() -> int:
        rows = stage.query(
            "SELECT seq_missing FROM device_liveness l JOIN devices d ON d.id = l.device_id WHERE code = 'L1-001'"
        )
        return int(rows[0][0])

    for numbers, expected in (((100, 101, 105), 3), ((103,), 2), ((103, 101, 105), 2), ((104, 102, 106), 0)):
        send(stage, *numbered(*numbers))
        send(stage)  # what a batch finds missing becomes durable with the next
        assert missing() == expected, numbers
    stage.settle()
