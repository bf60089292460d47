"""The tables as Python sees them equal the sum of the migrations, and the migrations are numbered without gaps."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from parking_core.store.tables import metadata
from tests.conventions.source import REPOSITORY, report

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MIGRATIONS = REPOSITORY / "parking_core" / "store" / "migrations"
MIGRATION_NAME = re.compile(r"(\d{4})_[a-z][a-z0-9_]*\.sql")
# Not described in tables/: the job queue's tables, which come with its own schema, and the ledger of migrate.py itself.
NOT_OURS = ("procrastinate_", "schema_migrations")


def misnumbered(names: Iterable[str]) -> list[str]:
    findings = []
    numbers = []
    for name in sorted(names):
        if match := MIGRATION_NAME.fullmatch(name):
            numbers.append(int(match[1]))
        else:
            findings.append(f"{name}: a migration is called NNNN_what_it_does.sql.")
    for position, number in enumerate(numbers, start=1):
        if number != position:
            findings.append(
                f"migration {number:04} stands where {position:04} is expected; number migrations from 0001 without gaps "
                "and never twice: renumber the one that is not released yet."
            )
            break
    return findings


def is_ours(_object: object, name: str | None, kind: str, *_: object) -> bool:
    return not (kind == "table" and (name or "").startswith(NOT_OURS))


def differences(connection: sqlalchemy.Connection, expected: sqlalchemy.MetaData) -> list[str]:
    """What the tables of the database have otherwise than the metadata says: names, columns, types, defaults, keys, indexes."""
    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True, "include_object": is_ours}
    )
    found: list[Any] = compare_metadata(context, expected)
    # Alterations of one column come as a list of their own.
    flat = [change for entry in found for change in (entry if isinstance(entry, list) else [entry])]
    return [
        f"{change[0]}: {' '.join(str(part) for part in change[1:])}; write the migration that makes it so, or mend "
        "parking_core/store/tables/."
        for change in flat
    ]


@pytest.fixture
def connection(database_url: str) -> Iterator[sqlalchemy.Connection]:
    url = sqlalchemy.make_url(database_url).set(drivername="postgresql+psycopg")
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


@pytest.mark.services
def test_the_tables_equal_the_sum_of_the_migrations(connection: sqlalchemy.Connection) -> None:
    findings = differences(connection, metadata)
    assert not findings, report(findings)


@pytest.mark.services
def test_a_planted_column_table_type_and_default_are_found(connection: sqlalchemy.Connection) -> None:
    expected = sqlalchemy.MetaData()
    for table in metadata.sorted_tables:
        table.to_metadata(expected)
    expected.tables["lots"].append_column(sqlalchemy.Column("planted", sqlalchemy.Integer))
    sqlalchemy.Table("planted_table", expected, sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True))
    expected.tables["spaces"].c.code.type = sqlalchemy.BigInteger()
    expected.tables["spaces"].c.kind.server_default = sqlalchemy.DefaultClause("planted")
    findings = report(differences(connection, expected))
    assert "add_column" in findings
    assert "planted_table" in findings
    assert "modify_type" in findings
    assert "modify_default" in findings


def test_migrations_are_numbered_without_gaps() -> None:
    names = [path.name for path in MIGRATIONS.iterdir() if not path.name.startswith("_")]
    assert names, "no migration was found"
    findings = misnumbered(names)
    assert not findings, report(findings)


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        (["0001_registry.sql", "0002_rollups.sql"], False),
        (["0001_registry.sql", "0003_rollups.sql"], True),
        (["0001_registry.sql", "0001_rollups.sql"], True),
        (["0002_registry.sql"], True),
        (["0001_registry.sql", "rollups.sql"], True),
    ],
)
def test_a_gap_a_double_and_a_bad_name_are_found(names: list[str], wrong: bool) -> None:  # noqa: FBT001  # a table of cases
    assert bool(misnumbered(names)) is wrong
