from __future__ import annotations

import json
import os
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parking_core.allocation.generator import (
    ARRIVAL_CLASSES,
    Demand,
    LotKind,
    Night,
    NightSpec,
    Supply,
    draw_night,
    past_days,
    with_load,
)
from parking_core.errors import InvalidInputError
from tests.conftest import REPOSITORY

FOLDER = Path(os.environ.get("PARKING_SHARED_DATA") or REPOSITORY.parent / "shared" / "data") / "alloc"
SMALL = NightSpec(spaces=200, requests=500)
DISTRICT = NightSpec(spaces=4_000, requests=20_000)


def equal(one: Supply | Demand, other: Supply | Demand) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))


def test_the_same_seed_is_the_same_night_and_another_seed_another() -> None:
    night, again, other = draw_night(SMALL), draw_night(SMALL), draw_night(replace(SMALL, seed=2))
    assert equal(night.supply, again.supply)
    assert equal(night.demand, again.demand)
    assert night.document() == again.document()
    assert not equal(night.supply, other.supply)
    assert not equal(night.demand, other.demand)


def test_past_days_have_the_same_lots_and_other_requests() -> None:
    night, past = draw_night(SMALL), past_days(SMALL, 3)
    assert [day.day for day in past] == [1, 2, 3]
    assert all(equal(day.supply, night.supply) for day in past)
    demands = [night.demand, *(day.demand for day in past)]
    assert not any(equal(one, other) for i, one in enumerate(demands) for other in demands[:i])
    assert len({day.document()["name"] for day in (night, *past)}) == 4


def test_the_volume_of_past_days_can_differ_from_the_night() -> None:
    assert [len(day.demand.arrive) for day in past_days(SMALL, 2, volume=1 / 1.3)] == [385, 385]
    assert equal(past_days(SMALL, 1, volume=0.7)[0].supply, draw_night(SMALL).supply)


@settings(max_examples=40, deadline=None)
@given(
    lots=st.integers(1, 60),
    more=st.integers(0, 300),
    requests=st.integers(0, 200),
    seed=st.integers(0, 2**40),
    own=st.booleans(),
)
def test_every_night_keeps_the_rules_of_its_format(
    *, lots: int, more: int, requests: int, seed: int, own: bool
) -> None:
    night = draw_night(NightSpec(lots + more, requests, lots, seed, own_windows=own))
    supply, demand = night.supply, night.demand
    assert supply.capacity.sum() == lots + more
    assert np.array_equal(np.unique(supply.lot), np.arange(lots))  # every lot has a space
    assert len({*zip(supply.lot, supply.start, supply.end, strict=True)}) == len(supply.lot)
    assert np.all((supply.start >= 0) & (supply.start < supply.end) & (supply.end <= 1440))
    assert np.all(supply.start % 15 == 0)
    assert np.all(supply.end % 15 == 0)
    assert len(demand.arrive) == requests
    assert np.all((demand.arrive >= 0) & (demand.arrive < demand.depart) & (demand.depart + 15 <= 1440))
    assert np.all(demand.arrive % 5 == 0)
    assert np.all(demand.depart % 5 == 0)
    assert np.all(demand.book <= demand.arrive)
    assert np.all(np.diff(demand.book[demand.book_order]) >= 0)
    assert np.isclose(supply.destination_share.sum(), 1.0)
    assert json.loads(json.dumps(night.document()))["requests"]["book"] == demand.book.tolist()


@pytest.mark.parametrize("own", [False, True])
def test_every_request_has_a_column_and_the_instance_is_of_the_document(*, own: bool) -> None:
    night = draw_night(replace(SMALL, own_windows=own))
    instance = night.instance()
    assert instance.requests == 500
    assert np.all(np.diff(instance.first) >= 1)
    assert np.array_equal(instance.arrive, night.demand.arrive)
    assert instance.capacity.sum() == 200
    assert np.all(instance.until - instance.depart[instance.request_of_column] == 15)


def test_own_windows_are_nearly_one_a_space_and_classes_at_most_four_a_lot() -> None:
    classes = draw_night(DISTRICT).supply
    assert np.bincount(classes.lot).max() <= 4
    own = draw_night(replace(SMALL, own_windows=True)).supply
    assert len(own.lot) > 0.9 * 200


def test_a_spec_with_a_load_asks_for_that_load() -> None:
    for load in (0.5, 2.5):
        spec = with_load(replace(SMALL, spaces=1_000), load)
        assert draw_night(spec).load == pytest.approx(load, rel=0.07)


def test_a_longer_buffer_leaves_no_request_that_no_window_admits() -> None:
    night = draw_night(replace(SMALL, buffer_min=60))
    assert night.document()["buffer_min"] == 60
    assert np.all(np.diff(night.instance().first) >= 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"spaces": 42},
        {"lots": 0},
        {"requests": -1},
        {"seed": -1},
        {"buffer_min": -5},
    ],
)
def test_a_spec_that_cannot_be_drawn_says_so(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError, match=r"spaces cannot fill|not negative"):
        replace(SMALL, **wrong)  # type: ignore[arg-type]  # every wrong value is a number


def test_a_buffer_as_long_as_the_night_admits_nobody() -> None:
    with pytest.raises(InvalidInputError, match="Hardly any request fits"):
        draw_night(replace(SMALL, buffer_min=1440))


def test_a_whole_city_is_drawn_in_seconds() -> None:
    began = time.process_time()
    night = draw_night(NightSpec(20_000, 100_000, lots=200))
    assert time.process_time() - began < 3.0  # it takes 0.1 s
    assert night.supply.walk_m.shape == (140, 200)
    assert night.supply.destination_share[:20].sum() == pytest.approx(0.45)
    assert len(night.demand.arrive) == 100_000


def test_the_marginals_are_those_of_the_documentation() -> None:
    night = draw_night(replace(DISTRICT, requests=60_000))
    demand = night.demand
    assert night.supply.walk_m.shape == (30, 43)
    assert np.bincount(night.supply.kind).tolist() == [18, 6, 19]
    assert np.mean(demand.destination < 4) == pytest.approx(0.45, abs=0.02)
    shares = np.bincount(demand.arrival_class) / 60_000
    assert shares == pytest.approx([each.share for each in ARRIVAL_CLASSES], abs=0.02)
    for number, each in enumerate(ARRIVAL_CLASSES):
        stay = (demand.depart - demand.arrive)[demand.arrival_class == number]
        assert each.stay_least - 5 <= stay.min() <= stay.max() <= each.stay_most + 5
    lead = demand.arrive - demand.book
    assert np.mean(lead <= 30) == pytest.approx(0.45 + 0.55 * (1 - np.exp(-30 / 480)), abs=0.01)
    assert np.mean(lead[lead > 30]) == pytest.approx(30 + 480, rel=0.03)
    assert set(demand.k_nearest.tolist()) == set(range(3, 11))


def summary(document: dict[str, object]) -> dict[str, float]:
    """Marginals of a document of the format, whoever made it."""
    groups: dict[str, list[int]] = document["groups"]  # type: ignore[assignment]  # JSON says no types
    requests: dict[str, list[int]] = document["requests"]  # type: ignore[assignment]  # JSON says no types
    kind, lot, cap = np.array(document["lot_kind"]), np.array(groups["lot"]), np.array(groups["cap"])
    start, end, walk = np.array(groups["start"]), np.array(groups["end"]), np.array(document["walk_m"])
    arrive, depart, of_class = (np.array(requests[name]) for name in ("a", "d", "cls"))
    lead = arrive - np.array(requests["book"])
    found = {
        "hospital share": float(np.mean(np.array(requests["dest"]) < 4)),
        "mean walk, hospital, km": walk[:4].mean() / 1_000,
        "mean walk, elsewhere, km": walk[4:].mean() / 1_000,
        "load of a request and space": np.sum(depart - arrive) / np.sum(cap * (end - start)) / len(arrive) * cap.sum(),
        "booked half an hour ahead": float(np.mean(lead <= 30)),
        "mean lead of the others, 10 h": float(np.mean(lead[lead > 30])) / 600,
        "base, 10 yuan": float(np.mean(requests["base"])) / 1_000,
        "sensitivity": float(np.mean(requests["sens"])) / 100,
        "k nearest": float(np.mean(requests["k_nearest"])) / 10,
        "hourly price, 5 yuan": float(np.mean(np.array(document["lot_price_cents_h"]))) / 500,
    }
    for number in range(5):
        mine = of_class == number
        found |= {
            f"share of class {number}": float(np.mean(mine)),
            f"arrival of class {number}, 10 h": float(np.mean(arrive[mine])) / 600,
            f"stay of class {number}, 10 h": float(np.mean((depart - arrive)[mine])) / 600,
        }
    for one in LotKind:
        mine = kind[lot] == one
        found |= {
            f"lots of {one.name}": float(np.mean(kind == one)),
            f"offered minutes a space of {one.name}, day": float(np.average((end - start)[mine], weights=cap[mine]))
            / 1440,
        }
    return found


def mean_of(summaries: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in summaries])) for name in summaries[0]}


@pytest.mark.parametrize("own", [False, True])
def test_the_marginals_are_like_those_of_the_certified_instances(*, own: bool) -> None:
    paths = sorted(FOLDER.glob(f"sp_{'own' if own else 'cls'}_*.json"))
    if not paths:
        pytest.skip(f"{FOLDER} is not there; set PARKING_SHARED_DATA to the folder that holds alloc/")
    theirs = mean_of([summary(json.loads(path.read_text("utf-8"))) for path in paths])
    nights: list[Night] = [draw_night(NightSpec(1_000, 3_000, seed=seed, own_windows=own)) for seed in range(12)]
    ours = mean_of([summary(night.document()) for night in nights])
    apart = {
        name: (round(ours[name], 3), round(theirs[name], 3)) for name in ours if abs(ours[name] - theirs[name]) > 0.07
    }
    assert not apart
