"""A night as arrays: what is read from the format, and what is refused in which words."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parking_core.allocation.events import Commitments, events_of
from parking_core.allocation.instance import FORMAT, Instance, best_total
from parking_core.errors import InvalidInputError

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("PARKING_SHARED_DATA") or REPOSITORY.parent / "shared" / "data") / "alloc"


def document() -> dict[str, Any]:
    """Two lots, three groups, two destinations, four requests."""
    return {
        "format": FORMAT,
        "buffer_min": 15,
        "groups": {"lot": [0, 0, 1], "start": [0, 60, 0], "end": [600, 300, 600], "cap": [1, 2, 3]},
        "lot_price_cents_h": [300, 100],
        "walk_m": [[100, 200], [500, 500]],
        "requests": {
            "a": [0, 60, 60, 60],
            "d": [90, 180, 286, 586],
            "dest": [0, 0, 1, 0],
            "k_nearest": [1, 2, 1, 2],
            "base": [10, 10, 10, 10],
            "sens": [50, 50, 100, 50],
        },
    }


def arrays(**changes: object) -> dict[str, Any]:
    """The arguments of a small instance, some changed."""
    given: dict[str, Any] = {
        "lot": [0],
        "start": [0],
        "end": [100],
        "capacity": [1],
        "arrive": [0, 10],
        "depart": [20, 30],
        "first": [0, 1, 2],
        "group": [0, 0],
        "value": [5, 6],
        "until": [20, 35],
    }
    return given | changes


def test_columns_follow_the_value_rule() -> None:
    night = Instance.from_document(document())
    assert night.first.tolist() == [0, 1, 4, 5, 5]
    # request 0: lot 0 only, the second group opens too late; 10 + 300 * 90 // 60 - 100 * 50 // 100
    # request 1: both lots; 10 + 300 * 2 - 50 twice, 10 + 100 * 2 - 100
    # request 2: both lots are equally far, the tie goes to lot 0, whose second group closes too early for the buffer
    # request 3: nobody is open until 601
    assert night.group.tolist() == [0, 0, 1, 2, 0]
    assert night.value.tolist() == [410, 560, 560, 110, 10 + 300 * 226 // 60 - 500]
    assert night.until.tolist() == [105, 195, 195, 195, 301]
    assert night.capacity.dtype == np.int32
    assert night.value.dtype == np.int64
    assert best_total(night) == 410 + 560 + 640


def test_a_night_without_requests_or_groups_is_a_night() -> None:
    empty = document()
    empty["requests"] = {name: [] for name in empty["requests"]}
    assert Instance.from_document(empty).columns == 0
    closed = document()
    closed["groups"] = {name: [] for name in closed["groups"]}
    night = Instance.from_document(closed)
    assert (night.requests, night.columns, best_total(night)) == (4, 0, 0)


@pytest.mark.parametrize(
    ("path", "wrong", "words"),
    [
        (["format"], "other", "not of the format"),
        (["buffer_min"], None, '"buffer_min" is missing'),
        (["buffer_min"], True, '"buffer_min" is missing'),
        (["buffer_min"], -1, '"buffer_min" is -1'),
        (["requests", "k_nearest"], [1, -2, 1, 2], "k_nearest of request 1 is negative"),
        (["requests", "base"], [10, True, 10, 10], "requests.base holds true or false"),
        (["groups", "cap"], [True, True, False], "groups.cap holds true or false"),
        (["walk_m"], [[100, False], [500, 500]], r"walk_m\[0\] holds true or false"),
        (["groups"], [], '"groups" is missing'),
        (["groups", "cap"], [1, 2], "groups.lot has 3 entries, groups.cap has 2"),
        (["groups", "cap"], [1, 2, -1], "capacity of group 2 is negative"),
        (["groups", "lot"], [0, 0, 2], "lot of group 2 has no price"),
        (["groups", "start"], "now", '"start" is missing in groups, or is no list'),
        (["groups", "end"], [600, 300, 2**40], "groups.end holds a number outside"),
        (["requests", "a"], [0, 60, 60, 6.5], "requests.a must be a list of whole numbers"),
        (["requests", "a"], [[0], 60, 60, 60], "requests.a"),
        (["requests", "d"], [90, 60, 286, 586], "departure of request 1 is not after its arrival"),
        (["requests", "dest"], [0, 0, 7, 0], "destination of request 2 has no walks"),
        (["requests", "base"], [1], "requests.base has 1 entries, requests.a has 4"),
        (["walk_m"], [[100], [500, 500]], r"walk_m\[0\] has 1 entries, there are 2 lots"),
    ],
)
def test_a_wrong_document_is_refused_in_one_sentence(path: list[str], wrong: object, words: str) -> None:
    night = document()
    part = night
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = wrong
    with pytest.raises(InvalidInputError, match=words):
        Instance.from_document(night)


@pytest.mark.parametrize("nothing", [None, [], "night", 7])
def test_what_is_no_document_is_refused(nothing: object) -> None:
    with pytest.raises(InvalidInputError, match="not of the format"):
        Instance.from_document(nothing)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"first": [0, 1]}, "first must rise"),
        ({"first": [0, 2, 1]}, "first must rise"),
        ({"first": [0, 1, 3]}, "first must rise"),
        ({"group": [0, 1]}, "group of column 1 does not exist"),
        ({"group": [0]}, "value has 2 entries, group has 1"),
        ({"value": [5, 0]}, "value of column 1 is not positive"),
        ({"value": [2**52, 1]}, "add up to more than"),
        ({"until": [0, 35]}, "until of column 0 is not after the arrival"),
        ({"first": [0, 2, 2]}, "Request 0 has two columns in the same group"),
        ({"depart": [20, 10]}, "departure of request 1"),
        ({"value": [0.5, 1.0]}, "value must be a list of whole numbers"),
    ],
)
def test_wrong_arrays_are_refused_in_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        Instance(**arrays(**changes))


def test_a_file_is_read_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "night.json"
    path.write_text(json.dumps(document()), encoding="utf-8")
    assert Instance.from_file(path).columns == 5
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"night\.json cannot be read as JSON"):
        Instance.from_file(path)
    with pytest.raises(InvalidInputError, match=r"gone\.json cannot be read"):
        Instance.from_file(tmp_path / "gone.json")


def test_a_certified_night_is_read() -> None:
    path = FOLDER / "sp_cls_S1000_R5000_s1.json"
    if not path.exists():
        pytest.skip(f"{path} is not there; set PARKING_SHARED_DATA to the folder that holds alloc/")
    night = Instance.from_file(path)
    assert (night.groups, night.requests, night.columns) == (120, 5000, 35851)


stays = st.lists(st.tuples(st.integers(0, 2), st.integers(-5, 20), st.integers(1, 9)), max_size=12)


@given(stays, st.lists(st.tuples(st.integers(0, 2), st.integers(-5, 20), st.integers(1, 9)), max_size=5))
def test_points_bind_exactly_as_every_minute_does(
    wishes: list[tuple[int, int, int]], decided: list[tuple[int, int, int]]
) -> None:
    """What fits at the points fits at every minute, for any choice of columns: here all of them, and each alone."""
    group, arrive, stay = (np.array([w[i] for w in wishes], np.int32) for i in range(3))
    night = Instance(
        lot=np.zeros(3, np.int32),
        start=np.full(3, -5),
        end=np.full(3, 40),
        capacity=np.array([1, 2, 9]),
        arrive=arrive,
        depart=arrive + stay,
        first=np.arange(len(wishes) + 1),
        group=group,
        value=np.ones(len(wishes), np.int64),
        until=arrive + stay,
    )
    taken = [np.array([d[i] for d in decided], np.int32) for i in range(3)]
    events = events_of(night, Commitments(taken[0], taken[1], taken[1] + taken[2]))
    assert np.all(events.tail < events.head)
    assert np.all(events.first[group] <= events.tail)
    assert np.all(events.head < events.first[group + 1])
    for chosen in [np.ones(len(wishes), bool), *np.eye(len(wishes), dtype=bool)]:
        at_points = events.room.copy()
        for j in np.flatnonzero(chosen):
            at_points[events.tail[j] : events.head[j]] -= 1
        by_minute = [
            night.capacity[g]
            - sum(1 for j in np.flatnonzero(chosen) if group[j] == g and arrive[j] <= t < arrive[j] + stay[j])
            - sum(1 for d in decided if d[0] == g and d[1] <= t < d[1] + d[2])
            for j in np.flatnonzero(chosen)
            for g, t in [(group[j], t) for t in range(arrive[j], arrive[j] + stay[j])]
        ]
        assert (at_points.min(initial=0) >= 0) == (min(by_minute, default=0) >= 0)
