"""`parking gateway`, `api`, `worker`, `migrate`: one process in the foreground, as in a real deployment."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from onebox import connection

_Port = Annotated[int, typer.Option(min=0, max=65_535, help="HTTP port; 0: PARKING_HTTP_PORT, else 8000.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(gateway)
    app.command()(api)
    app.command()(worker)
    app.command()(migrate)


def gateway(
    *, instance: Annotated[str, typer.Option(help="Names this gateway; the broker keeps its session under it.")] = ""
) -> None:
    """Run one gateway in the foreground: MQTT in, TimescaleDB and live state out.

    Takes PARKING_DATABASE_URL, PARKING_REDIS_URL and PARKING_MQTT_URL, or the running services of PARKING_HOME.

    Example:
        parking gateway --instance 2
    """
    _become("gateway", {"PARKING_INSTANCE": instance} if instance else {})


def api(*, port: _Port = 0) -> None:
    """Run one API process in the foreground.

    Example:
        parking api --port 8010
    """
    _become("api", {"PARKING_HTTP_PORT": str(port)} if port else {})


def worker() -> None:
    """Run the worker in the foreground: visits, charges, payments and clearing; reconciliation; rollups, silences, retention."""
    _become("worker", {})


def migrate() -> None:
    """Bring the schema up to date. Repeatable; prints what was applied.

    Example:
        PARKING_DATABASE_URL=postgresql://parking:...@db/parking parking migrate
    """
    from parking_core.store.migrate import migrate as apply  # loading it costs every other command 0.15 s

    applied = apply(connection.settings().database_url)
    typer.echo("\n".join(f"applied {name}" for name in applied) or "The schema is up to date.")


def _become(module: str, extra: dict[str, str]) -> None:
    """Replace this process, so that signals and the exit code are the module's own."""
    environ = connection.process_environ(os.environ, module)
    os.execve(sys.executable, [sys.executable, "-m", module], {**environ, **extra})  # noqa: S606  # no shell is wanted
