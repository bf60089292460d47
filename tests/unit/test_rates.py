"""Token buckets: how often one client may ask."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.rates import Buckets, client_key


def test_a_burst_then_the_rate() -> None:
    buckets = Buckets(rate=2, burst=3)
    assert [buckets.take("a", 0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b", 0) == 0, "others are not counted with it"
    assert buckets.take("a", 0.5) == 0
    assert buckets.take("a", 0.5) > 0
    assert buckets.is_empty("a", 0.5)
    assert not buckets.is_empty("a", 1.0)
    assert not buckets.is_empty("unknown", 0)


@given(st.lists(st.floats(0, 2), max_size=200))
def test_never_more_than_burst_and_rate_allow(pauses: list[float]) -> None:
    buckets, now, taken = Buckets(rate=1, burst=5), 0.0, 0
    for pause in pauses:
        now += pause
        taken += buckets.take("a", now) == 0
    assert taken <= 5 + now + 1e-6


def test_a_clock_that_stands_or_goes_back_gives_nothing() -> None:
    buckets = Buckets(rate=1, burst=1)
    assert buckets.take("a", 10) == 0
    assert buckets.take("a", 5) == 1


def test_memory_is_bounded_and_the_longest_unused_go() -> None:
    buckets = Buckets(rate=1, burst=1, most=3)
    for client in ("a", "b", "c", "a", "d"):
        buckets.take(client, 0)
    assert len(buckets) == 3
    assert buckets.is_empty("a", 0), "it was used after b"
    assert not buckets.is_empty("b", 0), "forgotten: full again"


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_who_is_one_client(host: str, key: str) -> None:
    assert client_key(host) == key
