"""What is told of small counts: nothing, and nothing that they follow from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parking_core.suppression import OTHER, K, told


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"full": 9, "kept": 7}, {"full": 9, "kept": 7}),
        ({"full": 9, "kept": 3, "past": 2}, {"full": 9, OTHER: 5}),
        ({"full": 9, "kept": 6, "past": 2}, {"full": 9, OTHER: 8}),
        ({"full": 9, "past": 1}, {OTHER: 10}),
        ({"full": 2, "past": 2}, {}),
        ({}, {}),
    ],
)
def test_examples(counts: dict[str, int], expected: dict[str, int]) -> None:
    assert told(counts) == expected


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 12)))
def test_no_small_count_is_told_and_none_follows(counts: dict[str, int]) -> None:
    found = told(counts)
    assert all(count >= K for count in found.values())
    assert sum(found.values()) in (0, sum(counts.values()))
    assert all(counts[name] == count for name, count in found.items() if name != OTHER)
