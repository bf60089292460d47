"""`parking rebuild`: live state again from history."""

from __future__ import annotations

import asyncio
import time

import typer

from onebox import connection
from parking_core.errors import ServiceUnavailableError


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(rebuild)


def rebuild() -> None:
    """Derive the live state again from history: Redis holds nothing that TimescaleDB does not.

    Safe at any time: gateways keep what they record meanwhile and apply it afterwards.

    Example:
        parking rebuild
    """
    import psycopg  # loading these costs every other command 0.3 s
    from redis.exceptions import RedisError  # same

    settings = connection.settings()
    started = time.perf_counter()
    try:
        spaces = asyncio.run(_rebuild(settings.database_url, settings.redis_url))
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError(f"The database cannot be asked ({error}); try `parking status`.") from error
    except RedisError as error:
        raise ServiceUnavailableError(f"Redis cannot be reached ({error}); try `parking status`.") from error
    typer.echo(f"Live state of {spaces} spaces rebuilt from history in {time.perf_counter() - started:.2f} s.")


async def _rebuild(database_url: str, redis_url: str) -> int:
    from redis.asyncio import Redis  # loading these costs every other command 0.3 s

    from parking_core.flows.rebuild_live_state import rebuild_live_state  # same
    from parking_core.store.live_state import LiveState  # same

    redis = Redis.from_url(redis_url, socket_timeout=10.0)
    try:
        return await rebuild_live_state(database_url, LiveState(redis))
    finally:
        await redis.aclose()
