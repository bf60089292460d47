"""Real services for the tests that need them, started once a run; every test gets a database of its own."""

from __future__ import annotations

import hashlib
import itertools
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql
from redis import Redis

from onebox import services as onebox_services
from parking_core.store.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onebox.services import RunningServices

REPOSITORY = Path(__file__).parents[1]
_TEMPLATE = "parking_template"
_numbers = itertools.count(1)


def private_folder(name: str) -> Path:
    """A folder that outlives the run, so that the next one downloads nothing; one a user and a checkout."""
    checkout = hashlib.sha256(str(REPOSITORY).encode()).hexdigest()[:10]
    base = Path(os.environ.get("PARKING_TEST_FOLDER") or Path(tempfile.gettempdir()) / f"parking-test-{os.getuid()}")
    folder = base / f"{checkout}-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    base.chmod(0o755)  # the service user passes through it
    return folder


@pytest.fixture(scope="session")
def services() -> Iterator[RunningServices]:
    """Private TimescaleDB, Mosquitto and Redis of this run."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PARKING_")}
    environ["PARKING_RUNTIME"] = str(shared_runtime())
    running = onebox_services.start(_unused_home(), environ=environ)
    try:
        _make_template(running)
        yield running
    finally:
        onebox_services.stop(running)


def _unused_home() -> Path:
    """The first home that no other run on this machine uses at the moment."""
    homes = (private_folder(f"home-{number}") for number in itertools.count(1))
    return next(home for home in homes if not onebox_services.taken(home))


def shared_runtime() -> Path:
    """The unpacked programs, used by every home that a test makes."""
    return private_folder("runtime")


@pytest.fixture
def database_url(services: RunningServices) -> Iterator[str]:
    """A migrated, empty database that lives for one test."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with _admin(services) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER parking").format(
                sql.Identifier(name), sql.Identifier(_TEMPLATE)
            )
        )
    try:
        yield _with_database(services.database_url, name)
    finally:
        with _admin(services) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def redis_url(services: RunningServices) -> str:
    """An empty Redis."""
    with Redis.from_url(services.redis_url) as redis:
        redis.flushall()
    return services.redis_url


@pytest.fixture
def mqtt_url(services: RunningServices) -> str:
    """The broker, with a credential that may publish for any device."""
    return services.mqtt_url


@pytest.fixture
def mqtt_gateway_url(services: RunningServices) -> str:
    """The broker, with the gateway's credential."""
    return services.mqtt_gateway_url


def _admin(services: RunningServices) -> psycopg.Connection:
    assert services.admin_url is not None, "tests run against private services"
    return psycopg.connect(services.admin_url, autocommit=True)


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def _make_template(services: RunningServices) -> None:
    assert services.admin_url is not None, "tests run against private services"
    with _admin(services) as admin:
        stale = admin.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE 'test\\_%%' OR datname = %s", (_TEMPLATE,)
        )
        for (name,) in stale.fetchall():
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER parking").format(sql.Identifier(_TEMPLATE)))
    with psycopg.connect(_with_database(services.admin_url, _TEMPLATE), autocommit=True) as template:
        template.execute("CREATE EXTENSION timescaledb")
    migrate(_with_database(services.database_url, _TEMPLATE))
    with psycopg.connect(_with_database(services.admin_url, _TEMPLATE), autocommit=True) as template:
        template.execute("SELECT _timescaledb_functions.stop_background_workers()")  # a template may have no sessions
