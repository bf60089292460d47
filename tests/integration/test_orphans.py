"""Who is gone for good: asked only by a gateway that has itself reported for long enough to know."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest

from gateway import registry
from gateway.registry import STEADY_S, RegistryView
from parking_core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.services

ADOPT_AFTER_S = 30


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(registry, "monotonic", clock)
    return clock


def play(database_url: str, story: Callable[[RegistryView], Awaitable[None]]) -> None:
    """The story of gateway `1`, while `2` was heard an hour ago for the last time."""
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO gateways (instance, seen_at) VALUES ('2', now() - interval '1 hour')")

    async def run() -> None:
        view = RegistryView(
            Settings(database_url=database_url, redis_url="redis://r", mqtt_url="mqtt://m", instance="1")
        )
        try:
            await story(view)
        finally:
            await view.close()

    asyncio.run(run())


async def report_for(view: RegistryView, clock: Clock, seconds: float) -> None:
    until = clock.now + seconds
    while clock.now < until:
        clock.now = min(until, clock.now + STEADY_S / 2)
        assert await view.refresh()


def test_an_orphan_is_claimed_once_by_a_gateway_that_has_reported_long_enough(database_url: str, clock: Clock) -> None:
    async def story(view: RegistryView) -> None:
        assert await view.claim_orphan() is None  # has not reported yet
        assert await view.refresh()
        await report_for(view, clock, ADOPT_AFTER_S - 1)
        assert await view.claim_orphan() is None
        await report_for(view, clock, 1)
        assert await view.claim_orphan() == "2"
        assert await view.claim_orphan() is None  # the claim itself counts as a sign of life

    play(database_url, story)


def test_after_an_outage_nobody_is_taken_for_gone_before_all_could_report(database_url: str, clock: Clock) -> None:
    async def story(view: RegistryView) -> None:
        assert await view.refresh()
        await report_for(view, clock, ADOPT_AFTER_S)
        clock.now += ADOPT_AFTER_S  # the database was away: `2` could not report either
        assert await view.claim_orphan() is None
        assert await view.refresh()
        assert await view.claim_orphan() is None
        await report_for(view, clock, ADOPT_AFTER_S)
        assert await view.claim_orphan() == "2"

    play(database_url, story)
