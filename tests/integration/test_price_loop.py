"""The worker's loop of prices: one day a pass, and a rest when none is due."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.shared_town import EVENING, HOSPITAL, HOUR, ZONE, SharedTown
from worker.prices import Prices

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.services


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as mine:
        yield mine


def test_one_day_a_pass_until_all_are_priced(db: psycopg.Connection[Any], connection: psycopg.Connection[Any]) -> None:
    shared = SharedTown(db)
    now = EVENING
    loop = Prices(connection, ZONE, "hold:acq", clock=lambda: now)
    assert asyncio.run(loop.step()) == 2.0  # nothing is shared
    shared.lot([1])
    for back in range(1, 15):
        arrive = EVENING - timedelta(days=back) + HOUR
        db.execute(
            "INSERT INTO asked_demand (asked_at, arrive_at, depart_at, lat, lon, walk_m, user_group, granted)"
            " SELECT %s, %s, %s, %s, %s, 500, 'any', true FROM generate_series(1, 9)",
            (arrive - HOUR / 4, arrive, arrive + 2 * HOUR, *HOSPITAL),
        )
    waits = [asyncio.run(loop.step()) for _ in range(36)]
    assert waits == [0.1] * 35 + [2.0]
    dear = db.execute(
        "SELECT count(*) FROM capacity_prices WHERE (SELECT sum(fen) FROM unnest(price) AS p (fen)) > 300000"
    ).fetchone()
    assert dear is not None
    assert dear[0] >= 3  # the days that the town offers
    now = EVENING + timedelta(minutes=1)
    assert [asyncio.run(loop.step()) for _ in range(3)] == [0.1, 0.1, 2.0]
