"""A day of a bay folded from its events, beside a plain walk through them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from parking_core.health.activity import HOUR_US, HOURS, STILL, LotClock, LotDays, activity_of, usual
from parking_core.health.conditions import NEVER
from parking_core.health.days import BAY_DAY, EVENT, FLICKER_US, follow, lot_changes, measure_calm

if TYPE_CHECKING:
    from collections.abc import Iterable

SECOND = 1_000_000
DAY = 24 * HOUR_US
NONE = np.zeros(0, BAY_DAY)


def events(*rows: tuple[int, int, int, bool]) -> Any:
    """Of (device, space, at, occupied), each measuring something of its own."""
    found = np.zeros(len(rows), EVENT)
    for name, column in zip(("device_id", "space_id", "at_us", "occupied"), zip(*rows, strict=True), strict=True):
        found[name] = column
    found["received_us"] = found["at_us"] + SECOND
    found["seq"] = np.arange(len(rows))
    found["measured"] = 1 + np.arange(len(rows))
    return found


def plain(rows: Any, before: Any) -> dict[tuple[int, int], dict[str, Any]]:
    """The same, one event at a time."""
    bays: dict[tuple[int, int], dict[str, Any]] = {
        (int(row["space_id"]), int(row["device_id"])): {
            "messages": 0, "changes": 0, "flickers": 0, "measured": 0, "repeats": 0,
            "occupied": bool(row["occupied"]), "changed_us": int(row["changed_us"]), "last_us": int(row["last_us"]),
            "run": int(row["run"]), "print": int(row["print"]), "run_us": int(row["run_us"]),
        }
        for row in before
    }  # fmt: skip
    for event in sorted(rows, key=lambda row: (row["at_us"], row["seq"], row["occupied"])):
        key, at_us = (int(event["space_id"]), int(event["device_id"])), int(event["at_us"])
        bay = bays.setdefault(
            key,
            {"messages": 0, "changes": 0, "flickers": 0, "measured": 0, "repeats": 0, "occupied": None,
             "changed_us": at_us, "last_us": at_us, "run": 0, "print": 0, "run_us": NEVER},
        )  # fmt: skip
        bay["messages"] += 1
        if bay["occupied"] is not None and bay["occupied"] != bool(event["occupied"]):
            bay["changes"] += 1
            bay["flickers"] += at_us - bay["changed_us"] <= FLICKER_US
            bay["changed_us"] = at_us
        bay["occupied"], bay["last_us"] = bool(event["occupied"]), at_us
        if event["measured"]:
            bay["measured"] += 1
            same = bay["print"] == event["measured"]
            bay["repeats"] += same
            bay["run"] = bay["run"] + 1 if same else 1
            bay["run_us"] = bay["run_us"] if same else at_us
            bay["print"] = int(event["measured"])
    return bays


def test_days_equal_a_plain_walk_whatever_comes() -> None:
    rng = np.random.default_rng(3)
    before, expected_before = NONE, NONE
    for day in range(12):
        number = int(rng.integers(0, 400))
        rows = np.zeros(number, EVENT)
        rows["device_id"], rows["space_id"] = rng.integers(1, 6, number), rng.integers(1, 5, number)
        rows["at_us"] = day * DAY + rng.integers(0, 40, number) * rng.integers(1, 5, number) * 4 * SECOND
        rows["received_us"] = rows["at_us"] + rng.integers(-9, 9, number) * SECOND
        rows["seq"] = rng.permutation(number)
        rows["occupied"] = rng.random(number) < 0.5
        rows["measured"] = rng.integers(0, 4, number)
        courses = follow(rows, before)
        found = courses.bays
        wanted = plain(rows, expected_before)
        assert [(int(row["space_id"]), int(row["device_id"])) for row in found] == sorted(wanted)
        for row in found:
            bay = wanted[int(row["space_id"]), int(row["device_id"])]
            assert {name: row[name].item() for name in bay} == bay
        before = expected_before = found


def test_a_first_word_is_no_change_and_the_calm_begins_with_it() -> None:
    courses = follow(events((1, 7, 0, True), (1, 7, 600 * SECOND, False)), NONE)
    (bay,) = courses.bays
    assert (bay["messages"], bay["changes"], bay["changed_us"]) == (2, 1, 600 * SECOND)
    assert courses.before_us.tolist() == [0]


def test_flickers_are_counted_apart_and_not_the_life_of_a_lot() -> None:
    rows = events(
        (1, 7, 0, False), (1, 7, HOUR_US, True), (1, 7, HOUR_US + SECOND, False), (1, 7, 3 * HOUR_US, True)
    )  # fmt: skip
    courses = follow(rows, NONE)
    assert (courses.bays["changes"][0], courses.bays["flickers"][0]) == (3, 1)
    changes = lot_changes(courses, np.array([0]), 1, 0)
    assert changes[0, :4].tolist() == [0, 1, 0, 1]


def test_the_clock_is_read_from_what_was_not_underway_for_long() -> None:
    rows = events(*[(1, 7, minute * 60 * SECOND, bool(minute % 2)) for minute in range(8)])
    rows["received_us"] = rows["at_us"] - 51 * SECOND
    rows["received_us"][:4] += 3_600 * SECOND  # kept for an hour
    (bay,) = follow(rows, NONE).bays
    assert bay["clock_us"] == 51 * SECOND
    rows["suspect"] = True
    (bay,) = follow(rows, NONE).bays
    assert (bay["clock_us"], bay["suspects"]) == (NEVER, 8)


def test_calm_is_measured_in_what_the_lot_did_meanwhile() -> None:
    rows = events((1, 7, 0, False), (1, 7, 2 * HOUR_US, True), (1, 7, 10 * HOUR_US, False))
    activity = np.zeros((1, 1, HOURS))
    activity[0, 0, :8] = 0.5  # a change in two hours of an ordinary bay, until eight
    (bay,) = measure_calm(follow(rows, NONE), np.array([0]), LotClock.of(0, activity))
    assert (bay["calm_free"], bay["calm_taken"]) == (pytest.approx(1.0), pytest.approx(3.0))


def days_of(changes: Iterable[Any], bays: float, kinds: list[int]) -> LotDays:
    """Days of one lot."""
    stacked = np.array(list(changes), np.float64)[:, None, :]
    return LotDays(stacked, np.full((len(kinds), 1), bays), np.array(kinds), stacked / bays)


def test_activity_follows_the_kind_of_day_and_how_the_day_is() -> None:
    work, off = np.zeros(HOURS), np.full(HOURS, 1.0)
    work[8:18] = 30
    past = days_of([work] * 5 + [off] * 2, 10, [0] * 5 + [1] * 2)
    expected = usual(past, 0)
    assert expected is not None
    assert expected[0, 12] > 20 * expected[0, 3]
    half = activity_of(work[None] / 2, np.array([10.0]), expected, past, 24.0)
    full = activity_of(work[None], np.array([10.0]), expected, past, 24.0)
    assert half.sum() == pytest.approx(full.sum() / 2, rel=0.1)
    assert activity_of(work[None], np.array([10.0]), expected, past, 6.0)[0, 6:].sum() == 0


def test_a_lot_that_is_closed_stands_still_and_one_that_is_dead_for_days_does_not() -> None:
    work = np.full(HOURS, 2.0)
    past = days_of([work] * 14, 10, [0] * 14)
    others = LotDays(
        np.repeat(past.changes, 50, axis=1),
        np.repeat(past.bays, 50, axis=1),
        past.kinds,
        np.repeat(past.activity, 50, axis=1),
    )
    expected = usual(others, 0)
    today = np.repeat(work[None], 50, axis=0)
    today[7], today[:, 16:] = 0, 0
    activity = activity_of(today, others.bays[-1], expected, others, 16.0)
    assert 48 / HOURS * 16 < STILL < 48
    assert activity[7].sum() < 0.35 * activity[8].sum()
    dead = LotDays(others.changes.copy(), others.bays, others.kinds, others.activity)
    dead.changes[-2:, 7] = 0
    again = activity_of(today, others.bays[-1], expected, dead, 16.0)
    assert again[7].sum() > 0.8 * again[8].sum()


def test_a_small_lot_borrows_the_districts_hours() -> None:
    rng = np.random.default_rng(1)
    shape = np.zeros(HOURS)
    shape[6:22] = 3
    large, small = rng.poisson(shape * 20, (10, HOURS)), np.zeros((10, HOURS))
    small[:, 9] = 1
    changes = np.stack([large, small], axis=1).astype(np.float64)
    past = LotDays(changes, np.tile([100.0, 2.0], (10, 1)), np.zeros(10, np.int64), changes)
    expected = usual(past, 0)
    assert expected is not None
    assert expected[1, 9] > expected[1, 15] > 0
    assert expected[1, 3] == 0


def test_the_clock_of_a_lot_goes_on_between_hours_and_stands_before_its_days() -> None:
    clock = LotClock.of(1000 * HOUR_US, np.full((2, 3, HOURS), 2.0))
    lots = np.zeros(3, np.int64)
    at = clock.at(lots, np.array([NEVER, 1000 * HOUR_US + HOUR_US // 2, 1100 * HOUR_US]))
    assert at.tolist() == [0, 1, 96]
