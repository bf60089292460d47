"""The worker's loops of health and signs as the worker runs them: with its own login, its metrics, and Redis away."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from benchmarks.device_week import ZONE
from parking_core.flows.rebuild_live_state import rebuild_live_state
from parking_core.health.conditions import Condition
from parking_core.store import conditions
from parking_core.store.live_state import LiveState
from tests.integration.test_command_device import street  # noqa: F401  # the fixture
from worker import metrics
from worker.health import Health
from worker.signs import Signs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onebox.services import RunningServices

pytestmark = pytest.mark.services


@pytest.fixture
def login(services: RunningServices, database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """The worker's own, with no more rights than it has."""
    own = urlsplit(services.database_urls["worker"])._replace(path=urlsplit(database_url).path)
    with psycopg.connect(urlunsplit(own), autocommit=True) as connection:
        yield connection


def events_of(street: psycopg.Connection[Any], days: int) -> None:  # noqa: F811  # the fixture
    """A bay that changes every hour, up to three hours ago."""
    now = datetime.now(UTC)
    rows = street.execute("SELECT id, space_id FROM devices WHERE space_id IS NOT NULL").fetchall()
    for device, space in rows:
        for hour in range(3, days * 24):
            at = now - timedelta(hours=hour, minutes=7)
            street.execute(
                "INSERT INTO occupancy_events (space_id, device_id, occurred_at, received_at, seq, occupied, clock_suspect)"
                " VALUES (%s, %s, %s, %s, %s, %s, false)",
                (space, device, at, at, 1_000_000 - hour, hour % 2 == 0),
            )
        street.execute(
            "INSERT INTO device_liveness (device_id, last_heard_at) VALUES (%s, %s)", (device, now - timedelta(hours=3))
        )


def value(metric: Any, *labels: str) -> float:
    child = metric.labels(*labels) if labels else metric
    return float(child._value.get())


def test_health_closes_what_is_over_and_judges_with_the_workers_rights(
    street: psycopg.Connection[Any],  # noqa: F811  # the fixture
    login: psycopg.Connection[Any],
) -> None:
    events_of(street, days=3)
    health = Health(login, ZONE)
    assert asyncio.run(health.step()) >= 900
    (days,) = street.execute("SELECT count(DISTINCT day) FROM bay_days").fetchone() or (0,)
    assert days in {2, 3}, "by the hour at which this runs"
    silent = conditions.open_conditions(street)[Condition.SILENT]
    assert len(silent) == 5
    assert value(metrics.DEVICE_CONDITIONS, "silent") == 5
    assert len(conditions.page(street, most=100)) == 5
    street.execute("UPDATE device_liveness SET last_heard_at = now()")
    asyncio.run(health.step())
    assert conditions.page(street, most=100) == []
    assert value(metrics.DEVICE_CONDITIONS, "silent") == 0


def test_signs_are_told_from_live_state_and_left_alone_while_it_is_away(
    street: psycopg.Connection[Any],  # noqa: F811  # the fixture
    login: psycopg.Connection[Any],
    database_url: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events_of(street, days=1)

    async def refuse(_self: LiveState) -> dict[int, tuple[int, int]]:
        raise RedisConnectionError("away")

    async def scene() -> None:
        async with Redis.from_url(redis_url) as redis:
            await rebuild_live_state(database_url, LiveState(redis))
            signs = Signs(login, redis)
            before = value(metrics.SIGNS_TOLD)
            assert await signs.step() == 15
            assert value(metrics.SIGNS_TOLD) == before + 1
            monkeypatch.setattr(LiveState, "counts_by_lot", refuse)
            assert await signs.step() == 15
            assert value(metrics.SIGNS_TOLD) == before + 1

    asyncio.run(scene())
    told = street.execute("SELECT payload FROM commands WHERE kind = 'show_sign'").fetchone()
    assert told is not None
    known = street.execute("SELECT count(DISTINCT space_id) FROM occupancy_events").fetchone()
    assert known is not None
    assert 0 <= told[0]["counts"]["L1"] <= known[0]


@pytest.mark.parametrize("table", ["device_days", "bay_days", "lot_days", "device_conditions", "work_items"])
def test_what_the_worker_found_no_gateway_can_touch(services: RunningServices, database_url: str, table: str) -> None:
    own = urlsplit(services.database_urls["gateway"])._replace(path=urlsplit(database_url).path)
    with psycopg.connect(urlunsplit(own), autocommit=True) as gateway, pytest.raises(InsufficientPrivilege):
        gateway.execute(f"DELETE FROM {table}")
    api = urlsplit(services.database_urls["api"])._replace(path=urlsplit(database_url).path)
    with psycopg.connect(urlunsplit(api), autocommit=True) as reader, pytest.raises(InsufficientPrivilege):
        reader.execute(f"DELETE FROM {table}")
