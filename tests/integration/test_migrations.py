from __future__ import annotations

import psycopg
import pytest

from parking_core.errors import InstallationError, ServiceUnavailableError
from parking_core.store.migrate import known_migrations, migrate

pytestmark = pytest.mark.services


def test_a_second_run_applies_nothing(database_url: str) -> None:
    assert migrate(database_url) == []


def test_all_known_migrations_are_written_down(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM schema_migrations ORDER BY name").fetchall()]
    assert names == [migration.name for migration in known_migrations()]


def test_a_migration_that_was_changed_afterwards_is_refused(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE schema_migrations SET checksum = 'other' WHERE name LIKE '0001%'")
    with pytest.raises(InstallationError, match=r"0001_registry_and_history was changed"):
        migrate(database_url)


def test_a_database_that_is_away_is_named() -> None:
    with pytest.raises(ServiceUnavailableError, match="PARKING_DATABASE_URL"):
        migrate("postgresql://parking@127.0.0.1:1/parking")


def test_history_cannot_be_changed(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO occupancy_events (space_id, device_id, occurred_at, received_at, seq, occupied, clock_suspect)"
            " VALUES (1, 1, now(), now(), 0, true, false)"
        )
        connection.commit()
        for statement in ("UPDATE occupancy_events SET occupied = false", "DELETE FROM occupancy_events"):
            with pytest.raises(psycopg.errors.RaiseException, match="immutable"):
                connection.execute(statement)
            connection.rollback()
