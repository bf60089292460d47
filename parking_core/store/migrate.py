"""Brings the schema up to date: numbered SQL files, each applied once, in one transaction each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import psycopg
from procrastinate.schema import SchemaManager

from parking_core.errors import InstallationError, ServiceUnavailableError

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 7_201_001  # advisory lock: two processes never migrate at once

_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered SQL file."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text: an applied migration must not change any more."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def known_migrations() -> list[Migration]:
    """All migrations of this version in order."""
    return [Migration(path.stem, path.read_text("utf-8")) for path in sorted(MIGRATIONS.glob("*.sql"))]


def migrate(database_url: str) -> list[str]:
    """Applies what is missing and gives the names of the applied migrations.

    Raises:
        ServiceUnavailableError: the database cannot be reached.
        InstallationError: an applied migration was changed afterwards, or one fails.
    """
    try:
        connection = psycopg.connect(database_url, autocommit=True)
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError(
            f"The database cannot be reached ({error}); check PARKING_DATABASE_URL."
        ) from error
    with connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        connection.execute("SET client_min_messages TO warning")
        connection.execute(_LEDGER)
        known = connection.execute("SELECT name, checksum FROM schema_migrations").fetchall()
        applied: dict[str, str] = dict(known)
        return [migration.name for migration in known_migrations() if _apply(connection, migration, applied)]


def _apply(connection: psycopg.Connection, migration: Migration, applied: dict[str, str]) -> bool:
    if migration.name in applied:
        if applied[migration.name] != migration.checksum:
            raise InstallationError(
                f"Migration {migration.name} was changed after it had been applied; restore it and add a new one."
            )
        return False
    try:
        with connection.transaction():
            connection.execute(_with_job_queue(migration.sql).encode())
            connection.execute(
                "INSERT INTO schema_migrations (name, checksum) VALUES (%s, %s)", (migration.name, migration.checksum)
            )
    except psycopg.Error as error:
        raise InstallationError(f"Migration {migration.name} failed: {error}") from error
    return True


def _with_job_queue(sql: str) -> str:
    """The job queue's own schema where a migration asks for it, so that its text is not copied here."""
    marker = "-- include: procrastinate"
    return sql.replace(marker, SchemaManager.get_schema()) if marker in sql else sql
