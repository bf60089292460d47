"""Which frame is which, and how many are missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parking_core.frames import (
    GAP_MOST,
    NEAR_TURN,
    RESENT_US,
    TURN,
    Frame,
    Session,
    Vitals,
    advanced,
    missing_change,
    newest,
    session_of,
    unfolded,
)

MINUTE_US = 60_000_000


def a_frame(counter: int, at_us: int) -> Frame:
    return Frame(7, "", counter, at_us, at_us)


def test_the_first_frame_of_a_server_that_names_no_session_names_one() -> None:
    assert session_of(a_frame(5, MINUTE_US), []) == "~60000000"


def test_a_later_frame_with_a_lower_counter_begins_a_session() -> None:
    known = [Session("~1", 1, 9 * MINUTE_US, 500)]
    assert session_of(a_frame(501, 10 * MINUTE_US), known) == "~1"
    assert session_of(a_frame(0, 10 * MINUTE_US), known) == f"~{10 * MINUTE_US}"


def test_a_frame_that_is_told_again_stays_in_its_session() -> None:
    known = [Session("~1", 1, 9 * MINUTE_US, 500), Session("~2", 10 * MINUTE_US, 12 * MINUTE_US, 3)]
    assert session_of(a_frame(500, 9 * MINUTE_US), known) == "~1"
    assert session_of(a_frame(3, 12 * MINUTE_US), known) == "~2"
    assert session_of(a_frame(3, 13 * MINUTE_US), known) == "~2", "repeated by the device: the server's time is newer"
    assert session_of(a_frame(7, 0), known) == "~1", "earlier than all that is known"


def test_a_frame_that_is_sent_again_soon_begins_no_session() -> None:
    known = [Session("~1", 1, 9 * MINUTE_US, 500)]
    assert session_of(a_frame(498, 10 * MINUTE_US), known) == "~1"
    assert session_of(a_frame(498, 10 * MINUTE_US + RESENT_US), known) != "~1"


@pytest.mark.parametrize(
    ("highest", "counter", "minute", "expected"),
    [
        (10, 11, 2, 11),
        (-1, 3, 2, 3),  # joined, and nothing heard yet
        (TURN - 1, 0, 2, TURN),
        (TURN - 5, 7, 2, TURN + 7),
        (TURN - 1, 3, 0, 3),  # of before: told again
        (40_000, 3, 2, 3),  # sent again, or a device that restarted: whatever time it carries
        (TURN + 2, TURN - 1, 0, TURN - 1),  # late, from before the turn
        (TURN + 900, 901, 2, TURN + 901),
        (2 * TURN - 1, 0, 2, 2 * TURN),
        (TURN - 1, TURN, 2, TURN),  # a server that sends 32 bits
        (TURN + 7, TURN + 6, 2, TURN + 6),
        (3, TURN - 2, 2, TURN - 2),
        (TURN - NEAR_TURN - 1, 0, 2, 0),
    ],
)
def test_sixteen_bits_are_counted_on(highest: int, counter: int, minute: int, expected: int) -> None:
    session = Session("s", 0, MINUTE_US, highest)
    assert unfolded(a_frame(counter, minute * MINUTE_US), session) == expected


@given(st.integers(TURN - 50, TURN - 1), st.permutations(range(1, 60)), st.data())
def test_a_turn_in_any_order_counts_each_frame_once(first: int, others: list[int], data: st.DataObject) -> None:
    """Frames of one session across the turn, after the first in any order, some twice, each with its own receipt."""
    session = advanced(None, "s", [a_frame(first, 0)])
    counted = {first}
    order = others + data.draw(st.lists(st.sampled_from(others), max_size=20))
    for number in order:
        frame = a_frame((first + number) % TURN, number * MINUTE_US)
        counter = unfolded(frame, session)
        counted.add(counter)
        session = advanced(session, "s", [a_frame(counter, frame.at_us)])
    assert counted == set(range(first, first + 60))


@given(st.lists(st.integers(0, 200), unique=True, min_size=1))
def test_what_is_missing_is_what_lies_between(counters: list[int]) -> None:
    """In any order and any batches, the sum is the number of holes above the first batch's lowest."""
    session: Session | None = None
    missing = 0
    middle = max(1, len(counters) // 2)
    for batch in (counters[:middle], counters[middle:]):
        if batch:
            missing += missing_change(session, batch)
            session = advanced(session, "s", [a_frame(counter, 1) for counter in batch])
    lowest = min(counters[:middle])
    early = sum(counter < lowest for counter in counters)
    assert missing == max(counters) - lowest + 1 - (len(counters) - early) - early


def test_a_join_makes_the_first_frames_missing_when_they_are() -> None:
    joined = Session("s", 0, 0, -1)
    assert missing_change(joined, [0]) == 0
    assert missing_change(joined, [2]) == 2
    assert missing_change(None, [2]) == 0


def test_a_counter_that_jumps_far_counts_anew() -> None:
    session = Session("s", 0, 0, 10)
    assert missing_change(session, [10 + GAP_MOST]) == GAP_MOST - 1
    assert missing_change(session, [11 + GAP_MOST]) == 0


def test_of_each_value_the_newest_is_kept() -> None:
    (merged,) = newest(
        [
            Vitals(device_id=7, at_us=3, rssi_dbm=-90.0, restarted=True),
            Vitals(device_id=7, at_us=1, battery_v=3.6, rssi_dbm=-80.0),
        ]
    )
    assert merged == Vitals(device_id=7, at_us=3, battery_v=3.6, rssi_dbm=-90.0, restarted=True)
