"""From sessions to messages: order, numbers, bays, disturbances, and what the oracle makes of the same file."""

from __future__ import annotations

import asyncio
import csv
import json
import time
from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.replay import (
    Disturbance,
    ReplayEvent,
    assign_bays,
    clock_skew_us,
    device_codes,
    disturb,
    events_of,
    payload_of,
    publish,
    shift_to,
)
from simulators.sessions import Session
from tests.replay_oracle import HOUR_US, RecordedFile, expected_rows, final_state, hourly_occupancy

if TYPE_CHECKING:
    from pathlib import Path

    from simulators.publisher import Publisher

S = 1_000_000


def _events(*stays: tuple[str, int, int | None]) -> list[ReplayEvent]:
    sessions = [
        Session(bay, a * S, None if d is None else d * S, row) for row, (bay, a, d) in enumerate(stays, start=2)
    ]
    return events_of(sessions, device_codes("L", {session.space or "" for session in sessions}))


def _brief(events: list[ReplayEvent]) -> list[tuple[int, bool]]:
    return [(event.at_us // S, event.occupied) for event in events]


# Few bays and instants, so that equal instants, overlaps and zero lengths are frequent.
stays = st.lists(
    st.tuples(st.sampled_from("AB"), st.integers(0, 12), st.integers(0, 4) | st.none()).map(
        lambda stay: (stay[0], stay[1], None if stay[2] is None else stay[1] + stay[2])
    ),
    max_size=25,
)


def test_a_departure_comes_before_the_next_arrival_of_that_instant() -> None:
    assert _brief(_events(("A", 5, 9), ("A", 1, 5))) == [(1, True), (5, False), (5, True), (9, False)]


def test_a_session_without_length_arrives_then_departs() -> None:
    assert _brief(_events(("A", 5, 5))) == [(5, True), (5, False)]


def test_at_one_instant_first_departures_then_zero_lengths_then_arrivals() -> None:
    events = _events(("A", 5, 9), ("A", 5, 5), ("A", 1, 5))
    assert _brief(events) == [(1, True), (5, False), (5, True), (5, False), (5, True), (9, False)]


def test_overlapping_sessions_go_by_event_order() -> None:
    assert _brief(_events(("A", 1, 6), ("A", 4, 9))) == [(1, True), (4, True), (6, False), (9, False)]


def test_a_car_that_is_still_there_has_no_departure() -> None:
    assert _brief(_events(("A", 1, None))) == [(1, True)]


@given(stays)
def test_events_are_in_order_and_numbered_a_device(some: list[tuple[str, int, int | None]]) -> None:
    events = _events(*some)
    assert all(earlier.at_us <= later.at_us for earlier, later in pairwise(events))
    numbers = defaultdict(list)
    for event in events:
        numbers[event.device].append(event.seq)
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())
    keys = {(event.device, event.space, event.at_us, event.seq, event.occupied) for event in events}
    assert len(keys) == len(events) == sum(1 + (departure is not None) for _, _, departure in some)


@given(stays)
def test_the_oracle_finds_the_same_rows_and_states(
    tmp_path_factory: pytest.TempPathFactory, some: list[tuple[str, int, int | None]]
) -> None:
    events = _events(*some)
    file = _file(tmp_path_factory.mktemp("replay"), some)
    assert sorted((event.space, event.at_us, event.occupied) for event in events) == expected_rows(file)
    last = {event.space: (event.at_us, event.occupied) for event in events}
    assert last == final_state(file)
    minutes: dict[int, float] = defaultdict(float)
    open_since: dict[str, int] = {}
    for event in [*events, *(ReplayEvent(20 * S, bay, "", 0, occupied=False) for bay in "AB")]:
        begin = open_since.pop(event.space, None)
        if begin is not None and event.at_us > begin:
            minutes[0] += (event.at_us - begin) / 60e6
        if event.occupied:
            open_since[event.space] = event.at_us
    assert hourly_occupancy(file, until_us=20 * S) == pytest.approx(dict(minutes))


def _file(folder: Path, some: list[tuple[str, int, int | None]]) -> RecordedFile:
    path = folder / "stays.csv"
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["bay", "in", "out"])
        writer.writerows((bay, arrival, "" if departure is None else departure) for bay, arrival, departure in some)
    return RecordedFile(path, "in", "out", "bay")


def test_the_oracle_divides_stays_by_hours(tmp_path: Path) -> None:
    file = _file(tmp_path, [("A", 3_000, 7_800), ("B", 3_600, 3_660)])
    assert hourly_occupancy(file) == {0: 10.0, HOUR_US: 61.0, 2 * HOUR_US: 10.0}


def test_the_first_free_bay_is_taken() -> None:
    times = [(0, 10), (1, 5), (2, 3), (5, 6), (10, 10), (10, 12)]
    sessions = [Session(None, a * S, d * S, row) for row, (a, d) in enumerate(times)]
    assert [session.space for session in assign_bays(sessions)] == ["001", "002", "003", "002", "001", "001"]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9) | st.none()), max_size=40))
def test_assigned_bays_are_never_taken_twice_and_no_more_than_needed(some: list[tuple[int, int | None]]) -> None:
    sessions = [Session(None, a * S, None if n is None else (a + n) * S, row) for row, (a, n) in enumerate(some)]
    assigned = assign_bays(sessions)
    assert Counter((s.arrival_us, s.departure_us) for s in assigned) == Counter(
        (s.arrival_us, s.departure_us) for s in sessions
    )
    by_bay = defaultdict(list)
    for session in assigned:
        by_bay[session.space].append(session)
    for stays_of_bay in by_bay.values():
        for earlier, later in pairwise(stays_of_bay):
            assert earlier.departure_us is not None
            assert earlier.departure_us <= later.arrival_us
    most = max((_standing(sessions, session.arrival_us) for session in sessions), default=0)
    assert most <= len(by_bay) <= most + 1  # at its own instant a zero-length stay counts as standing or not


def _standing(sessions: list[Session], at_us: int) -> int:
    return sum(s.arrival_us <= at_us and (s.departure_us is None or s.departure_us > at_us) for s in sessions)


def test_device_codes_fit_into_topics_and_stay_different() -> None:
    codes = device_codes("L", ["a/b", "a+b", "a b", "c"])
    assert len(set(codes.values())) == 4
    assert codes["c"] == "L-c"
    assert not any(set("/+# ") & set(code) for code in codes.values())


def test_a_shift_moves_everything_by_the_same() -> None:
    events = _events(("A", 10, 25), ("B", 12, 20))
    moved = shift_to(events, 1_000 * S)
    assert max(event.at_us for event in moved) == 1_000 * S
    assert {new.at_us - old.at_us for new, old in zip(moved, events, strict=True)} == {975 * S}
    assert shift_to([], 5) == []


MANY = _events(*((f"B{n % 40}", 60 * n, 60 * n + 1_500) for n in range(2_000)))


def test_undisturbed_events_stay_as_they_are() -> None:
    assert disturb(MANY, Disturbance(), seed=1) == MANY


def test_duplicates_lose_nothing_and_double_the_asked_share() -> None:
    disturbed = disturb(MANY, Disturbance(duplicates=0.05), seed=1)
    copies = Counter(disturbed)
    assert copies.keys() == set(MANY)
    assert set(copies.values()) == {1, 2}
    assert len(disturbed) - len(MANY) == pytest.approx(0.05 * len(MANY), rel=0.25)


def test_reordering_stays_within_its_limit_and_does_happen() -> None:
    disturbed = disturb(MANY, Disturbance(reorder_s=600), seed=1)
    assert sorted(disturbed, key=lambda event: (event.at_us, event.space, event.seq)) == sorted(
        MANY, key=lambda event: (event.at_us, event.space, event.seq)
    )
    newest, overtaken, worst = 0, 0, 0
    for event in disturbed:
        overtaken += event.at_us < newest
        worst = max(worst, newest - event.at_us)
        newest = max(newest, event.at_us)
    assert overtaken > 0.5 * len(MANY)
    assert 300 * S < worst <= 600 * S


def test_each_clock_is_wrong_by_a_constant_that_is_known_beforehand() -> None:
    disturbance = Disturbance(duplicates=0.05, reorder_s=600, skew_s=60)
    truth = {(event.device, event.seq): event.at_us for event in MANY}
    wrong = defaultdict(set)
    for event in disturb(MANY, disturbance, seed=4):
        wrong[event.device].add(event.at_us - truth[event.device, event.seq])
    assert wrong == {device: {clock_skew_us(device, disturbance, 4)} for device in wrong}
    offsets = [offset for found in wrong.values() for offset in found]
    assert all(abs(offset) <= 60 * S for offset in offsets)
    assert min(offsets) < -20 * S
    assert max(offsets) > 20 * S


def test_the_seed_decides() -> None:
    disturbance = Disturbance(duplicates=0.2, reorder_s=100)
    assert disturb(MANY, disturbance, 1) == disturb(MANY, disturbance, 1)
    assert disturb(MANY, disturbance, 1) != disturb(MANY, disturbance, 2)


@pytest.mark.parametrize(
    ("at_us", "at"),
    [(1_609_459_200_123_000, 1_609_459_200_123), (1_609_459_200_000_001, "2021-01-01T00:00:00.000001+00:00")],
)
def test_payloads_keep_the_time_exactly(at_us: int, at: int | str) -> None:
    payload = json.loads(payload_of(ReplayEvent(at_us, "A", "L-A", 7, occupied=True)))
    assert payload == {"space": "A", "occupied": True, "at": at, "seq": 7}


class _Notebook:
    """Stands in for the broker connection."""

    def __init__(self) -> None:
        self.written: list[tuple[float, str, bytes]] = []
        self.drained = False

    async def publish(self, topic: str, payload: bytes) -> None:
        self.written.append((time.perf_counter(), topic, payload))

    async def drain(self) -> None:
        self.drained = True


def _publish(events: list[ReplayEvent], speed: float | None) -> tuple[_Notebook, list[int]]:
    notebook, told = _Notebook(), list[int]()
    report = asyncio.run(publish(events, "L", cast("Publisher", notebook), speed, told.append))
    assert report.published == len(events) == len(notebook.written)
    assert notebook.drained
    return notebook, told


def test_everything_is_published_in_order_and_reported() -> None:
    notebook, told = _publish(MANY, None)
    assert sum(told) == len(MANY)
    assert [payload for _, _, payload in notebook.written] == [payload_of(event) for event in MANY]
    assert {topic for _, topic, _ in notebook.written} == {f"parking/v1/L/L-B{n}/occupancy" for n in range(40)}


def test_speed_keeps_the_distances() -> None:
    notebook, _ = _publish(_events(("A", 0, 10), ("A", 20, 30)), 100.0)
    offsets = [at - notebook.written[0][0] for at, _, _ in notebook.written]
    for offset, expected in zip(offsets, [0.0, 0.1, 0.2, 0.3], strict=True):
        assert expected - 0.01 < offset < expected + 0.25  # the machine may be busy, but it must not hurry
