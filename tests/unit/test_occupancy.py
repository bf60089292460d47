"""The vectorised rule beside a slow one that looks at every bay in every second."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parking_core.occupancy import (
    BAY,
    BUCKET_US,
    CLOSURE,
    DWELL_CLASSES,
    DWELL_CLASSES_S,
    EVENT,
    FREE,
    NEVER,
    OCCUPIED,
    SILENCE,
    STRETCH,
    UNKNOWN,
    History,
    closing_bays,
    roll_up,
    state_digest,
)

SECOND = 1_000_000
START = 1_700_000_100 * SECOND  # a bucket's start
BUCKETS = 3
SPAN_S = BUCKETS * 300

Rows = Any


def history(
    events: list[tuple[int, int, int, bool]],
    *,
    bays: int = 2,
    silences: list[tuple[int, int, int]] | None = None,
    closures: list[tuple[int, int]] | None = None,
    buckets: int = BUCKETS,
) -> History:
    """One lot whose bays are unknown at first; seconds relative to START."""
    opening = np.array([(0, 10 + bay, UNKNOWN, NEVER, NEVER) for bay in range(bays)], BAY)
    return History(
        np.array([(7, START, buckets)], STRETCH),
        opening,
        np.array([(bay, START + at * SECOND, seq, occupied) for bay, at, seq, occupied in events], EVENT),
        np.array([(bay, START + a * SECOND, START + b * SECOND) for bay, a, b in silences or []], SILENCE),
        np.array([(0, START + a * SECOND, START + b * SECOND) for a, b in closures or []], CLOSURE),
    )


class SlowLot:
    """Looks at each second on its own."""

    def __init__(self, world: History, bays: int) -> None:
        self.bays = bays
        self.by_bay: list[list[tuple[int, int, bool]]] = [
            sorted(
                ((int(at) - START) // SECOND, int(seq), bool(occupied))
                for bay, at, seq, occupied in world.events.tolist()
                if bay == which
            )
            for which in range(bays)
        ]
        self.silences = [(b, (a - START) // SECOND, (e - START) // SECOND) for b, a, e in world.silences.tolist()]
        self.closures = [((a - START) // SECOND, (e - START) // SECOND) for _, a, e in world.closures.tolist()]

    def state(self, bay: int, second: int) -> int:
        seen = [event for event in self.by_bay[bay] if event[0] <= second]
        if not seen:
            return UNKNOWN
        for which, began, ended in self.silences:
            heard = any(began <= at <= second for at, _, _ in self.by_bay[bay])
            if which == bay and began <= second < ended and not heard:
                return UNKNOWN
        return OCCUPIED if seen[-1][2] else FREE

    def minutes(self, bucket: int, until_s: int) -> tuple[int, int, int, int]:
        occupied = unknown = full = closed = 0
        for second in range(bucket * 300, min((bucket + 1) * 300, until_s)):
            states = [self.state(bay, second) for bay in range(self.bays)]
            occupied += states.count(OCCUPIED)
            unknown += states.count(UNKNOWN)
            full += FREE not in states and OCCUPIED in states
            closed += any(began <= second < ended for began, ended in self.closures)
        return occupied, unknown, full, closed

    def turnover(self, bucket: int, until_s: int) -> tuple[int, int, list[int]]:
        arrivals, departures = 0, 0
        dwells: list[int] = []
        for events in self.by_bay:
            state, arrived = UNKNOWN, None
            for at, _, occupied in events:
                here = bucket * 300 <= at < min((bucket + 1) * 300, until_s)
                if occupied and state == FREE:
                    arrivals += here
                    arrived = at
                if not occupied and state == OCCUPIED:
                    departures += here
                    if here and arrived is not None:
                        dwells.append(at - arrived)
                    arrived = None
                state = OCCUPIED if occupied else FREE
        return arrivals, departures, dwells


def assert_equals_the_slow_lot(world: History, until_s: int, bays: int = 2) -> None:
    rows = roll_up(world, START + until_s * SECOND)
    slow = SlowLot(world, bays)
    for bucket, row in enumerate(rows):
        minutes = tuple(int(row[name]) // SECOND for name in ("occupied_us", "unknown_us", "full_us", "closed_us"))
        assert minutes == slow.minutes(bucket, until_s)
        arrivals, departures, dwells = slow.turnover(bucket, until_s)
        assert (row["arrivals"], row["departures"], row["dwell_count"]) == (arrivals, departures, len(dwells))
        assert row["dwell_sum_us"] == sum(dwells) * SECOND
        assert row["dwell_histogram"].sum() == len(dwells)
        assert row["spaces"] == bays


def moments(latest: int = SPAN_S - 1) -> st.SearchStrategy[int]:
    """Few values beside the edges, so that instants coincide."""
    return st.one_of(st.sampled_from([0, 299, 300, 301, 599, 600, 899]), st.integers(0, latest))


EVENTS = st.lists(st.tuples(st.integers(0, 1), moments(), st.integers(0, 2), st.booleans()), max_size=14)
SILENCES = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-200, SPAN_S), st.integers(0, 500)), max_size=2, unique_by=lambda s: s[0]
).map(lambda spans: [(bay, began, began + length) for bay, began, length in spans])


@settings(max_examples=150, deadline=None)
@given(EVENTS, SILENCES, st.integers(601, SPAN_S), st.tuples(st.integers(-50, 900), st.integers(1, 700)))
def test_equals_the_slow_lot(
    events: list[tuple[int, int, int, bool]],
    silences: list[tuple[int, int, int]],
    until_s: int,
    closure: tuple[int, int],
) -> None:
    world = history(events, silences=silences, closures=[(closure[0], closure[0] + closure[1])])
    assert_equals_the_slow_lot(world, until_s)


@settings(max_examples=100, deadline=None)
@given(EVENTS, st.randoms(use_true_random=False), SILENCES)
def test_order_of_arrival_changes_nothing(events: list[Any], random: Any, silences: list[Any]) -> None:
    shuffled = list(events)
    random.shuffle(shuffled)
    now = START + SPAN_S * SECOND
    first, second = history(events, silences=silences), history(shuffled, silences=silences)
    assert roll_up(first, now).tobytes() == roll_up(second, now).tobytes()


@settings(max_examples=100, deadline=None)
@given(EVENTS, SILENCES, st.integers(1, BUCKETS - 1))
def test_a_stretch_in_two_parts_equals_the_whole(events: list[Any], silences: list[Any], cut: int) -> None:
    now = START + SPAN_S * SECOND
    whole = history(events, silences=silences)
    rows = roll_up(whole, now)
    edge = START + cut * BUCKET_US
    early, late = whole.events[whole.events["at_us"] < edge], whole.events[whole.events["at_us"] >= edge]
    left = replace(whole, stretches=np.array([(7, START, cut)], STRETCH), events=early)
    closing = closing_bays(left, np.array([edge]))
    right = replace(whole, stretches=np.array([(7, edge, BUCKETS - cut)], STRETCH), bays=closing, events=late)
    parts = np.concatenate([roll_up(left, now), roll_up(right, now)])
    assert parts.tobytes() == rows.tobytes()
    assert closing_bays(whole, np.array([edge])).tobytes() == closing.tobytes()
    assert state_digest(closing, 1)[0] == rows["digest"][cut - 1]


@settings(max_examples=60, deadline=None)
@given(EVENTS, EVENTS)
def test_lots_beside_each_other_do_not_mix(left: list[Any], right: list[Any]) -> None:
    now = START + SPAN_S * SECOND
    one, other = history(left), history(right, buckets=2, bays=3)
    other = replace(other, events=other.events[other.events["at_us"] < START + 2 * BUCKET_US])
    stretches = np.concatenate([one.stretches, other.stretches])
    shifted_bays, shifted_events = other.bays.copy(), other.events.copy()
    shifted_bays["stretch"], shifted_bays["space_id"] = 1, shifted_bays["space_id"] + 100
    shifted_events["bay"] += len(one.bays)
    other_bays = other.bays.copy()
    other_bays["space_id"] += 100
    both = History(
        stretches,
        np.concatenate([one.bays, shifted_bays]),
        np.concatenate([one.events, shifted_events]),
        one.silences,
        one.closures,
    )
    alone = [roll_up(one, now), roll_up(replace(other, bays=other_bays), now)]
    assert roll_up(both, now).tobytes() == np.concatenate(alone).tobytes()


def rows_of(events: list[tuple[int, int, int, bool]], **more: Any) -> Rows:
    return roll_up(history(events, **more), START + SPAN_S * SECOND)


def test_a_departure_and_the_next_arrival_of_one_instant_are_both_seen() -> None:
    rows = rows_of([(0, 10, 0, False), (0, 20, 0, True), (0, 60, 0, True), (0, 60, 0, False)], bays=1)
    assert (rows["arrivals"][0], rows["departures"][0]) == (2, 1)
    assert rows["dwell_sum_us"][0] == 40 * SECOND


def test_the_first_event_of_a_bay_is_no_arrival_and_its_stay_has_no_length() -> None:
    rows = rows_of([(0, 10, 0, True), (0, 60, 0, False)], bays=1)
    assert (rows["arrivals"][0], rows["departures"][0], rows["dwell_count"][0]) == (0, 1, 0)


def test_repeats_are_no_arrivals() -> None:
    rows = rows_of([(0, 0, 0, False), (0, 10, 1, True), (0, 20, 2, True), (0, 30, 3, False)], bays=1)
    assert (rows["arrivals"][0], rows["departures"][0], rows["dwell_sum_us"][0]) == (1, 1, 20 * SECOND)


def test_an_event_delivered_late_ends_the_silence_it_fell_into() -> None:
    silent = rows_of([(0, 0, 0, False)], bays=1, silences=[(0, 100, 400)])
    corrected = rows_of([(0, 0, 0, False), (0, 150, 1, True)], bays=1, silences=[(0, 100, 400)])
    assert silent["unknown_us"].tolist() == [200 * SECOND, 100 * SECOND, 0]
    assert corrected["unknown_us"].tolist() == [50 * SECOND, 0, 0]
    assert corrected["occupied_us"].tolist() == [150 * SECOND, 300 * SECOND, 300 * SECOND]


def test_no_known_bay_is_not_full() -> None:
    assert rows_of([], bays=2)["full_us"].tolist() == [0, 0, 0]
    assert rows_of([(0, 0, 0, True)], bays=2)["full_us"].tolist() == [300 * SECOND] * 3


@pytest.mark.parametrize("seconds", DWELL_CLASSES_S)
def test_a_stay_as_long_as_a_class_belongs_to_it_and_a_longer_one_to_the_next(seconds: int) -> None:
    place = DWELL_CLASSES_S.index(seconds)
    for length, expected in ((seconds, place), (seconds + 1, place + 1)):
        days = 1 + length // 300
        rows = roll_up(
            history([(0, 0, 0, False), (0, 1, 0, True), (0, 1 + length, 0, False)], bays=1, buckets=days),
            START + days * BUCKET_US,
        )
        assert rows["dwell_histogram"].sum(axis=0).tolist() == [int(i == expected) for i in range(DWELL_CLASSES)]


def test_a_bucket_that_is_not_over_counts_up_to_now() -> None:
    rows = roll_up(history([(0, 0, 0, True), (0, 650, 0, False)], bays=1), START + 640 * SECOND)
    assert rows["elapsed_us"].tolist() == [300 * SECOND, 300 * SECOND, 40 * SECOND]
    assert rows["occupied_us"][2] == 40 * SECOND
    assert rows["departures"].sum() == 0


def test_a_stretch_that_has_not_begun_is_refused() -> None:
    with pytest.raises(ValueError, match="none that has not begun"):
        roll_up(history([]), START + 2 * BUCKET_US)


def test_every_part_of_a_state_moves_the_digest() -> None:
    bay = (0, 5, OCCUPIED, START, START + 1)
    variants = [bay, (0, 6, *bay[2:]), (0, 5, FREE, *bay[3:]), (*bay[:3], NEVER, bay[4]), (*bay[:4], START + 2)]
    digests = {int(state_digest(np.array([variant], BAY), 1)[0]) for variant in variants}
    assert len(digests) == len(variants)
    both = np.array([bay, (0, 9, UNKNOWN, NEVER, NEVER)], BAY)
    assert state_digest(both, 1)[0] == state_digest(both[:1], 1)[0]
