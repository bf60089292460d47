"""Record numbers of a lane: what is missing, whatever order they come in, and counts that begin anew."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from parking_core.lane_numbers import REACH, Received, Run, follow, spaces
from parking_core.readings import moment
from tests.builders import NOON_US


def number(record_no: int) -> Received:
    at = moment(NOON_US) + timedelta(seconds=record_no % 1_000)
    return Received(record_no, at, at)


def numbers(*record_nos: int) -> list[Received]:
    return [number(record_no) for record_no in record_nos]


def test_a_lane_starts_where_its_first_record_is() -> None:
    followed = follow([], numbers(70, 71, 72))
    assert followed.runs == (Run(70, 72),)
    assert not followed.gaps
    assert not followed.leaps


def test_a_hole_is_a_gap_that_the_next_record_shows() -> None:
    followed = follow([Run(1, 5)], numbers(6, 9))
    assert followed.runs == (Run(1, 9),)
    ((first, last, after),) = [(gap.first, gap.last, gap.after.record_no) for gap in followed.gaps]
    assert (first, last, after) == (7, 8, 9)


def test_a_record_before_the_first_moves_the_start() -> None:
    followed = follow([Run(10, 12)], numbers(7))
    assert followed.runs == (Run(7, 12),)
    assert [(gap.first, gap.last) for gap in followed.gaps] == [(8, 9)]


def test_a_count_that_begins_anew_names_no_number() -> None:
    followed = follow([Run(1_000_000, 1_000_005)], numbers(0, 1, 3))
    assert followed.runs == (Run(0, 3), Run(1_000_000, 1_000_005))
    assert [(gap.first, gap.last) for gap in followed.gaps] == [(2, 2)]
    assert [(leap.below, leap.to.record_no) for leap in followed.leaps] == [(None, 0)]


def test_a_leap_upwards_is_one_finding_and_not_a_billion() -> None:
    followed = follow([Run(1, 5)], numbers(10**9, 10**9 + 1))
    assert followed.runs == (Run(1, 5), Run(10**9, 10**9 + 1))
    assert not followed.gaps
    assert [(leap.below, leap.to.record_no) for leap in followed.leaps] == [(5, 10**9)]
    after = follow(followed.runs, numbers(6))
    assert after.runs[0] == Run(1, 6)
    assert not after.leaps


def test_what_comes_between_two_runs_joins_them() -> None:
    far = 1 + 2 * REACH
    runs = follow([Run(0, 1)], numbers(far)).runs
    followed = follow(runs, numbers(REACH + 1))
    assert followed.runs == (Run(0, far),)
    assert [(gap.first, gap.last) for gap in followed.gaps] == [(2, REACH), (REACH + 2, far - 1)]


@given(st.lists(st.lists(st.integers(0, 60) | st.integers(0, 60).map(lambda n: 20_000 + n), max_size=30), max_size=6))
def test_the_order_of_arrival_does_not_matter(batches: list[list[int]]) -> None:
    runs: tuple[Run, ...] = ()
    named: set[int] = set()
    for batch in batches:
        fresh = [one for one in batch if not any(run.first <= one <= run.last for run in runs)]
        followed = follow(runs, numbers(*fresh))
        found = [one for gap in followed.gaps for one in range(gap.first, gap.last + 1)]
        assert not named & set(found), "a number is named once"
        named.update(found)
        runs = followed.runs
    seen = {one for batch in batches for one in batch}
    assert runs == follow([], numbers(*seen)).runs
    inside = {one for run in runs for one in range(run.first, run.last + 1)}
    assert inside - seen == named - seen, "every number of a run was received or is named"


@given(st.sets(st.integers(0, 200), max_size=40))
def test_spaces_are_everything_outside_the_runs(seen: set[int]) -> None:
    runs = follow([], numbers(*seen)).runs
    free = {one for first, last in spaces(runs, highest=300) for one in range(first, last + 1)}
    assert free == set(range(301)) - {one for run in runs for one in range(run.first, run.last + 1)}
