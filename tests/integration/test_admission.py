"""The worker's loop of who may connect: floods are shut out for a while, strangers are expelled."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from parking_core.floods import SUSPEND_FOR, Flood
from parking_core.flows import keep_credentials
from parking_core.store import floods
from tests.integration.test_device_credentials import LOT, enters, keeper, registry  # noqa: F401  # fixtures
from worker.admission import Admission

if TYPE_CHECKING:
    from onebox.services import RunningServices
    from parking_core.store.keeper import Keeper

pytestmark = pytest.mark.services


def report(url: str, *rows: Flood) -> None:
    async def play() -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await floods.report(connection, rows)

    asyncio.run(play())


def us(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)


def test_a_flood_that_goes_on_is_shut_out_and_let_in_again(
    services: RunningServices,
    registry: psycopg.Connection[Any],  # noqa: F811  # the fixture
    keeper: Keeper,  # noqa: F811  # the fixture
    database_url: str,
) -> None:
    name, calm = f"{LOT}-001", f"{LOT}-002"
    now = datetime.now(UTC)
    secret = keep_credentials.issue(registry, keeper, name, by="ann", now=now)
    other = keep_credentials.issue(registry, keeper, calm, by="ann", now=now)
    admission = Admission(registry, keeper)
    report(database_url, Flood(name, 900, us(now)), Flood(calm, 3, us(now)), Flood("nobody", 5, us(now)))
    asyncio.run(admission.step())
    assert enters(services, name, secret), "a moment is no flood yet"
    report(database_url, Flood(name, 900, us(now + timedelta(seconds=6))))
    asyncio.run(admission.step())
    assert not enters(services, name, secret)
    assert enters(services, calm, other)
    (row,) = registry.execute(
        "SELECT suspended_for FROM device_credentials WHERE suspended_until IS NOT NULL"
    ).fetchall()
    assert "1800 messages" in row[0]
    asyncio.run(admission.step())
    registry.execute("UPDATE device_credentials SET suspended_until = suspended_until - %s", (SUSPEND_FOR,))
    registry.execute(
        "UPDATE device_floods SET newest_at = newest_at - interval '1 minute', since = since - interval '1 minute'"
    )
    asyncio.run(admission.step())
    assert enters(services, name, secret)


def test_a_later_flood_begins_anew(registry: psycopg.Connection[Any], database_url: str) -> None:  # noqa: F811  # the fixture
    now = datetime.now(UTC)
    name = f"{LOT}-001"
    report(database_url, Flood(name, 10, us(now - timedelta(minutes=5))))
    report(database_url, Flood(name, 7, us(now)))
    assert registry.execute("SELECT left_out, newest_at - since FROM device_floods").fetchall() == [(7, timedelta())]


def test_clients_that_nobody_registered_are_expelled(
    services: RunningServices,
    registry: psycopg.Connection[Any],  # noqa: F811  # the fixture
    keeper: Keeper,  # noqa: F811  # the fixture
) -> None:
    keeper.admit(f"{LOT}-stranger", "word")
    secret = keep_credentials.issue(registry, keeper, f"{LOT}-001", by="ann", now=datetime.now(UTC))
    admission = Admission(registry, keeper)
    admission._compare(datetime.now(UTC))
    assert not enters(services, f"{LOT}-stranger", "word")
    assert enters(services, f"{LOT}-001", secret)


def test_a_broker_that_is_away_is_asked_again(registry: psycopg.Connection[Any]) -> None:  # noqa: F811  # the fixture
    from parking_core.store.keeper import Keeper as RealKeeper  # beside the fixture's name

    registry.execute(
        "INSERT INTO device_credentials (device_id, salt, hash, iterations, issued_at, suspended_until)"
        " SELECT id, 'a', 'b', 1, now(), now() - interval '1 second' FROM devices LIMIT 1"
    )
    with closing(registry):
        assert asyncio.run(Admission(registry, RealKeeper("mqtt://keeper:word@127.0.0.1:9")).step()) > 5
