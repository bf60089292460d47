"""Services of their own for tests that kill them, and a stage for each test."""

from __future__ import annotations

import itertools
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from psycopg import sql
from redis import Redis

from onebox import services as onebox_services
from parking_core.flows.seed_district import seed_district
from tests import conftest
from tests.acceptance.stage import Stage, admin, with_database
from tests.builders import a_district

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from onebox.services import RunningServices

LOTS, SPACES = 5, 40
_numbers = itertools.count(1)
_figures: list[str] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the acceptance tests measured, also where all went well."""
    if _figures:
        terminalreporter.section("acceptance figures")
        for figure in _figures:
            terminalreporter.line(figure)


@pytest.fixture(scope="session")
def breakable_services() -> Iterator[RunningServices]:
    """Services that a test may kill: nobody else uses them."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PARKING_")}
    environ["PARKING_RUNTIME"] = str(conftest.shared_runtime())
    home = conftest.private_folder("faults")
    (home / "mosquitto" / "data" / "mosquitto.db").unlink(missing_ok=True)  # sessions of a run that was cut short
    running = onebox_services.start(home, environ=environ)
    try:
        conftest._make_template(running)
        with admin(running) as connection:  # after a restart TimescaleDB's workers would sit in it again
            connection.execute(
                sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(conftest._TEMPLATE))
            )
        yield running
    finally:
        onebox_services.stop(running)


@contextmanager
def empty_stage(running: RunningServices, folder: Path) -> Iterator[Stage]:
    """All three services up, an empty database with a district of 200 spaces, and its (empty) live state."""
    for service, child in running.children.items():
        if child.poll() is not None:
            onebox_services.restart(running, service)
    name = f"test_{os.getpid()}_faults_{next(_numbers)}"
    with admin(running) as connection:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER parking")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(conftest._TEMPLATE)))
    with Redis.from_url(running.redis_url) as redis:
        redis.flushall()
    district = a_district(lots=LOTS, spaces=SPACES)
    url = with_database(running.database_url, name)
    seed_district(url, district)
    folder.mkdir(exist_ok=True)
    stage = Stage(running, url, district, folder, name, _figures)
    stage.rebuild()
    try:
        yield stage
    finally:
        for service, child in running.children.items():
            if child.poll() is not None:
                onebox_services.restart(running, service)
        stage.end()


@pytest.fixture
def stage(breakable_services: RunningServices, tmp_path: Path) -> Iterator[Stage]:
    """An empty stage."""
    with empty_stage(breakable_services, tmp_path) as stage:
        yield stage


@pytest.fixture
def stages(breakable_services: RunningServices, tmp_path: Path) -> Callable[[str], AbstractContextManager[Stage]]:
    """Empty stages one after the other, each with a database of its own, for tests that compare two."""
    return lambda name: empty_stage(breakable_services, tmp_path / name)
