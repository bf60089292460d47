"""SQL stands in one place, and a flow opens and ends the one transaction."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from tests.conventions.source import IMPORT_ROOTS, Source, planted, report, sources

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SQL_HOME = "parking_core/store/"
# Not checked at all: benchmarks (a peer carries its own SQL, that is what makes it a peer) and tests (they look at the
# tables as an outside program does). Simulators are checked: they speak MQTT and HTTP only.
STATEMENT = re.compile(
    r"""\s*(?:--[^\n]*\n\s*)*(?:
        SELECT\s | INSERT\s+INTO\s | UPDATE\s+[\w."{}]+\s+SET\s | DELETE\s+FROM\s | MERGE\s+INTO\s | COPY\s+[\w."({}]
      | WITH\s+(?:RECURSIVE\s+)?\w+\s*(?:\([^)]*\)\s*)?AS\s | TRUNCATE\s | VACUUM\b | LISTEN\s+\w | NOTIFY\s+\w
      | (?:CREATE|ALTER|DROP)\s+(?:OR\s+REPLACE\s+|UNIQUE\s+|UNLOGGED\s+|TEMP(?:ORARY)?\s+|MATERIALIZED\s+)*
        (?:TABLE|INDEX|VIEW|SCHEMA|TYPE|FUNCTION|TRIGGER|SEQUENCE|ROLE|USER|DATABASE|EXTENSION|SYSTEM)\s
    )""",
    re.VERBOSE,
)
SMALL_LETTERS = re.compile(r"\s*(?:select\s.+\sfrom\s|insert\s+into\s|update\s+\w+\s+set\s|delete\s+from\s)", re.DOTALL)
# onebox makes the database server itself, before any schema exists; what the server holds is the store's.
SERVER_SETUP = re.compile(
    r"\s*(?:(?:CREATE|ALTER|DROP)\s+(?:ROLE|USER|DATABASE|EXTENSION|SYSTEM)\s|SELECT\s+(?:1\b|pg_|version\(|.*\bpg_(?:roles|database|settings|extension|available_extensions)\b))",
    re.DOTALL,
)
COMMITTING_PLACES = ("parking_core/flows/", "parking_core/store/migrate")


def docstrings(tree: ast.Module) -> set[int]:
    """Identities of the constants that are documentation."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, documented) and node.body and isinstance(first := node.body[0], ast.Expr):
            found.add(id(first.value))
    return found


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every string with its line; a formatted one with `{}` for what is filled in, and each once."""
    skipped = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped.update(id(part) for part in node.values)
            filled = (str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield node.lineno, "".join(filled)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.lineno, node.value


def sql_outside_the_store(files: Sequence[Source]) -> list[str]:
    findings = []
    for file in files:
        if file.path.startswith(SQL_HOME):
            continue
        for number, text in texts(file.tree):
            if not (STATEMENT.match(text) or SMALL_LETTERS.match(text)):
                continue
            if file.root == "onebox" and SERVER_SETUP.match(text):
                continue
            findings.append(
                f"{file.path}:{number}: SQL ({' '.join(text.split())[:50]!r}); "
                "write it as a named function in parking_core/store/ that gives domain records, and call that."
            )
    return findings


def commits_below_the_flow(files: Sequence[Source]) -> list[str]:
    return [
        f"{file.path}:{node.lineno}: commits; take the connection from the caller and leave the transaction to the flow "
        "in parking_core/flows/, so that a batch is stored whole or not at all."
        for file in files
        if not file.path.startswith(COMMITTING_PLACES)
        for node in ast.walk(file.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit"
    ]


def test_sql_stands_in_the_store_only() -> None:
    findings = sql_outside_the_store(sources(*IMPORT_ROOTS))
    assert not findings, report(findings)


def test_only_flows_commit() -> None:
    findings = commits_below_the_flow(sources(*IMPORT_ROOTS))
    assert not findings, report(findings)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT id FROM lots",
        "\n    INSERT INTO dead_letters (topic) VALUES (%s)",
        "UPDATE devices SET enabled = false",
        "DELETE FROM dirty_buckets",
        "COPY occupancy_events (space_id) FROM STDIN (FORMAT BINARY)",
        "WITH newest AS (SELECT 1) SELECT * FROM newest",
        "CREATE UNLOGGED TABLE staging (LIKE occupancy_events)",
        "-- the newest state\nSELECT DISTINCT ON (space_id) occupied FROM occupancy_events",
        "select code from lots",
    ],
)
def test_a_statement_outside_the_store_is_found(statement: str) -> None:
    code = f"query = {statement!r}\n"
    assert len(sql_outside_the_store(planted("gateway/planted.py", code))) == 1
    assert len(sql_outside_the_store(planted("onebox/planted.py", code))) == 1
    assert sql_outside_the_store(planted("parking_core/store/planted.py", code)) == []


def test_a_formatted_statement_is_found_once() -> None:
    assert len(sql_outside_the_store(planted("api/planted.py", 'q = f"SELECT {column} FROM {table}"'))) == 1
    assert len(sql_outside_the_store(planted("api/planted.py", 'q = f"UPDATE {table} SET x = 1"'))) == 1


@pytest.mark.parametrize(
    "sentence",
    [
        "Select a lot first.",
        "COPY",
        "Update the lock file.",
        "With shared spaces as a class",
        "CREATE a lot with `parking seed`.",
    ],
)
def test_a_sentence_is_not_taken_for_sql(sentence: str) -> None:
    assert sql_outside_the_store(planted("api/planted.py", f"help_text = {sentence!r}\n")) == []


def test_documentation_may_quote_sql() -> None:
    assert (
        sql_outside_the_store(planted("api/planted.py", 'def f():\n    """SELECT id FROM lots in Python."""\n')) == []
    )


def test_onebox_may_set_up_the_server_but_not_read_its_tables() -> None:
    assert sql_outside_the_store(planted("onebox/planted.py", 'q = "CREATE ROLE parking LOGIN"')) == []
    assert len(sql_outside_the_store(planted("onebox/planted.py", 'q = "SELECT code FROM lots"'))) == 1
    assert len(sql_outside_the_store(planted("gateway/planted.py", 'q = "CREATE ROLE parking LOGIN"'))) == 1


def test_a_commit_below_the_flow_is_found() -> None:
    code = "async def store(connection):\n    await connection.commit()\n"
    assert len(commits_below_the_flow(planted("parking_core/store/events.py", code))) == 1
    assert len(commits_below_the_flow(planted("gateway/pipeline.py", code))) == 1
    assert commits_below_the_flow(planted("parking_core/flows/ingest.py", code)) == []
