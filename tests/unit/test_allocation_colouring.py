from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parking_core.allocation import colouring
from parking_core.allocation.colouring import Claim, instance_violations, violations
from parking_core.allocation.generator import NightSpec, draw_night
from parking_core.allocation.instance import Instance
from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int32]

# Two lots of one group each; the hospital is 100 m from lot 0 and as far from lot 1, 2 km from lot 2 that has none.
DOCUMENT: dict[str, Any] = {
    "format": "shared-parking-alloc-1",
    "buffer_min": 15,
    "groups": {"lot": [0, 1], "start": [0, 60], "end": [600, 660], "cap": [1, 2]},
    "lot_price_cents_h": [300, 200, 100],
    "walk_m": [[100, 100, 2000]],
    "requests": {
        "a": [0, 75, 90, 60],
        "d": [60, 585, 150, 120],
        "dest": [0, 0, 0, 0],
        "k_nearest": [1, 2, 2, 3],
        "base": [500, 500, 500, 500],
        "sens": [50, 50, 50, 50],
    },
}
# Worth in lot 0 and lot 1: 500 + price * hours - 50.
GROUPS, SPACES = [0, 0, 1, 1], [0, 0, 0, 1]
VALUE = 750 + 3_000 + 650 + 650


def filled(instance: Instance, order: list[int]) -> Ints:
    """Requests one by one into the first group that still holds them, by counting minute for minute."""
    held = np.zeros((instance.groups, 2_000), dtype=np.int64)
    chosen = np.full(instance.requests, -1, dtype=np.int32)
    for request in order:
        for column in range(instance.first[request], instance.first[request + 1]):
            group, span = instance.group[column], slice(instance.arrive[request], instance.until[column])
            if np.all(held[group, span] < instance.capacity[group]):
                held[group, span] += 1
                chosen[request] = group
                break
    return chosen


def total(instance: Instance, chosen: Ints) -> int:
    column_chosen = instance.group == chosen[instance.request_of_column]
    return int(instance.value[column_chosen].sum())


def test_a_right_result_has_no_violations() -> None:
    assert violations(DOCUMENT, GROUPS, SPACES) == []
    assert violations(DOCUMENT, GROUPS, SPACES, Claim(VALUE, VALUE, 0.0)) == []
    assert violations(DOCUMENT, GROUPS, SPACES, Claim(VALUE, 2 * VALUE, 0.5)) == []
    assert violations(DOCUMENT, [-1] * 4, [-1] * 4, Claim(0, 0, 0.0)) == []
    assert instance_violations(Instance.from_document(DOCUMENT), GROUPS, SPACES, Claim(VALUE, VALUE, 0.0)) == []


@pytest.mark.parametrize(
    ("groups", "spaces", "sentence"),
    [
        ([0, 0, 1], SPACES, "The result has 3 groups for 4 requests."),
        (GROUPS, [0, 0, 0], "The result has 3 spaces for 4 requests."),
        ([0, 0, 1, 2], SPACES, "Request 3 has group 2, there are 2."),
        ([0, 0, 1, -2], [0, 0, 0, -1], "Request 3 has group -2, there are 2."),
        (GROUPS, [0, 0, 0, 2], "Request 3 has space 2 of group 1, which has 2."),
        (GROUPS, [0, 0, 0, -1], "Request 3 has space -1 of group 1, which has 2."),
        ([0, 0, 1, -1], [0, 0, 0, 1], "Request 3 is refused and has space 1."),
        ([1, 0, 1, -1], [1, 0, 0, -1], "Request 0 is in lot 1, none of its 1 nearest."),
        ([0, 1, 1, -1], [0, 1, 0, -1], None),
        (GROUPS, [0, 0, 0, 0], "Requests 3 and 2 are both on space 0 of group 1 at minute 90."),
        ([0, 0, 1, True], SPACES, "Request 3 has group True and space 1, which are no whole numbers."),
        ([0, 0, 1, 1.0], SPACES, "Request 3 has group 1.0 and space 1, which are no whole numbers."),
        ([0, 0, 1, None], SPACES, "Request 3 has group None and space 1, which are no whole numbers."),
    ],
)
def test_every_kind_of_wrong_result_is_named(groups: list[int], spaces: list[int], sentence: str | None) -> None:
    assert violations(DOCUMENT, groups, spaces) == ([] if sentence is None else [sentence])


@pytest.mark.parametrize(
    ("part", "name", "index", "number", "sentence"),
    [
        ("requests", "a", 2, 59, "Request 2 occupies 59 to 165, outside the window of group 1."),
        ("requests", "d", 1, 586, "Request 1 occupies 75 to 601, outside the window of group 0."),
        ("requests", "base", 0, -250, "Request 0 is worth 0 in group 0."),
        ("requests", "d", 0, 61, "Requests 0 and 1 are both on space 0 of group 0 at minute 75."),
        ("groups", "start", 0, 1, "Request 0 occupies 0 to 75, outside the window of group 0."),
        ("groups", "lot", 1, 2, "Request 2 is in lot 2, none of its 2 nearest."),
    ],
)
def test_a_night_that_does_not_admit_the_result_is_named(
    *, part: str, name: str, index: int, number: int, sentence: str
) -> None:
    document = copy.deepcopy(DOCUMENT)
    document[part][name][index] = number
    found = violations(document, GROUPS, SPACES)
    assert sentence in found


def test_equally_near_lots_rank_by_their_number() -> None:
    document = copy.deepcopy(DOCUMENT)
    document["walk_m"] = [[100, 99, 2000]]
    assert "Request 0 is in lot 0, none of its 1 nearest." in violations(document, GROUPS, SPACES)


@pytest.mark.parametrize(
    ("claim", "sentence"),
    [
        (Claim(VALUE + 1, 2 * VALUE, 0.5 - 1 / 2 / VALUE), f"The result claims a value of {VALUE + 1}; its"),
        (Claim(VALUE, VALUE - 1, -1 / (VALUE - 1)), f"The upper bound {VALUE - 1} is below the value"),
        (Claim(VALUE, 2 * VALUE, 0.4), "The result claims a gap of 0.4; its value and bound give 0.5"),
        (Claim(VALUE, 2 * VALUE, float("nan")), "The result claims a gap of nan"),
    ],
)
def test_a_claim_that_is_not_true_is_named(claim: Claim, sentence: str) -> None:
    found = violations(DOCUMENT, GROUPS, SPACES, claim)
    assert len(found) == 1
    assert found[0].startswith(sentence)


def test_the_value_rule_rounds_downwards_also_below_zero() -> None:
    document = copy.deepcopy(DOCUMENT)
    document["lot_price_cents_h"] = [-1, 200, 100]  # a place that pays: -1 * 60 // 60 and -1 * 510 // 60 = -9
    document["walk_m"] = [[1, 100, 2000]]
    document["requests"]["sens"] = [99, 99, 50, 50]  # 99 // 100 = 0
    assert violations(document, GROUPS, SPACES, Claim(499 + 491 + 1_300, 10_000, 0.771)) == []


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), own=st.booleans(), order_seed=st.integers(0, 100))
def test_first_fit_colours_whatever_keeps_the_capacities(*, seed: int, own: bool, order_seed: int) -> None:
    night = draw_night(NightSpec(60, 150, lots=12, seed=seed, own_windows=own))
    instance, document = night.instance(), night.document()
    chosen = filled(instance, np.random.default_rng(order_seed).permutation(150).tolist())
    found = colouring.spaces(instance, chosen)
    value = total(instance, chosen)
    claim = Claim(value, value + 100, 100 / (value + 100))
    assert violations(document, chosen.tolist(), found.tolist(), claim) == []
    assert instance_violations(instance, chosen.tolist(), found.tolist(), claim) == []
    assert np.array_equal(found == -1, chosen == -1)
    for group in set(chosen.tolist()) - {-1}:
        mine = chosen == group
        until = instance.depart[mine] + 15
        most = max(int(np.sum((instance.arrive[mine] <= at) & (until > at))) for at in instance.arrive[mine])
        assert found[mine].max() + 1 == most  # no more spaces than stand there at one instant


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=st.integers(0, 50))
def test_both_checkers_agree_on_any_pair_of_arrays(*, data: st.DataObject, seed: int) -> None:
    night = draw_night(NightSpec(15, 25, lots=5, seed=seed))
    instance = night.instance()
    some = st.lists(st.integers(-1, instance.groups), min_size=25, max_size=25)
    groups, spaces = data.draw(some), data.draw(st.lists(st.integers(-1, 2), min_size=25, max_size=25))
    by_rule = violations(night.document(), groups, spaces)
    by_columns = instance_violations(instance, groups, spaces)
    assert len(by_rule) == len(by_columns)
    assert [each.split()[:2] for each in by_rule] == [each.split()[:2] for each in by_columns]


def test_a_stay_that_is_moved_onto_another_is_found_wherever_it_is() -> None:
    night = draw_night(NightSpec(200, 500))
    instance = night.instance()
    chosen = filled(instance, list(range(500)))
    found = colouring.spaces(instance, chosen)
    moved = 0
    for request in np.flatnonzero(found > 0).tolist():
        changed = found.copy()
        changed[request] = 0
        others = np.flatnonzero((chosen == chosen[request]) & (found == 0))
        meets = np.any(
            (instance.arrive[others] < instance.depart[request] + 15)
            & (instance.depart[others] + 15 > instance.arrive[request])
        )
        assert bool(violations(night.document(), chosen.tolist(), changed.tolist())) == bool(meets)
        moved += int(meets)
    assert moved > 10


def test_colouring_refuses_what_does_not_fit() -> None:
    instance = Instance.from_document(DOCUMENT)
    assert colouring.spaces(instance, np.array(GROUPS, np.int32)).tolist() == [0, 0, 1, 0]
    with pytest.raises(InvalidInputError, match="Group 0 holds more than 1 at minute 90"):
        colouring.spaces(instance, np.array([0, 0, 0, -1], np.int32))
    with pytest.raises(InvalidInputError, match="Request 0 cannot use group 1"):
        colouring.spaces(instance, np.array([1, 0, 1, 1], np.int32))
    with pytest.raises(InvalidInputError, match="Request 3 cannot use group 9"):
        colouring.spaces(instance, np.array([0, 0, 1, 9], np.int32))
    with pytest.raises(InvalidInputError, match="Request 3 cannot use group -7"):
        colouring.spaces(instance, np.array([0, 0, 1, -7], np.int32))


def test_a_night_without_columns_refuses_everyone() -> None:
    instance = draw_night(NightSpec(50, 0)).instance()
    assert colouring.spaces(instance, np.zeros(0, np.int32)).tolist() == []
    none = replace(
        DOCUMENT_INSTANCE, first=np.zeros(5, np.int64), group=EMPTY, value=EMPTY.astype(np.int64), until=EMPTY
    )
    assert colouring.spaces(none, np.full(4, -1, np.int32)).tolist() == [-1] * 4
    with pytest.raises(InvalidInputError, match="Request 1 cannot use group 0"):
        colouring.spaces(none, np.array([-1, 0, -1, -1], np.int32))


DOCUMENT_INSTANCE = Instance.from_document(DOCUMENT)
EMPTY = np.zeros(0, np.int32)
