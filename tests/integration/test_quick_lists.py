"""Lists reach the database as they are, whatever is in them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from parking_core.store.quick_lists import use_quick_lists

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.services

_AWKWARD = [
    "",
    " ",
    "NULL",
    "null",
    '"',
    "\\",
    '\\"',
    "{",
    "}",
    "a,b",
    "a\nb",
    "\t",
    "苏B·12345",
    "\u3000",
    "{}",
    '{"a"}',
]


@pytest.fixture(scope="module")
def db(services: Any) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        use_quick_lists(connection)
        yield connection


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([], "integer"),
        ([None, None], "bigint"),
        ([1, None, -2, 2**62], "bigint"),
        ([3, 70_000], "integer"),
        ([True, False, None], "boolean"),
        ([*_AWKWARD, None], "text"),
        ([b"", b'\x00\xff\\"', None], "bytea"),
        ([datetime(2026, 5, 4, 12, 0, 0, 123456, UTC), None], "timestamptz"),
        ([date(2026, 5, 4)], "date"),
        ([[1, 2], [3, 4]], "integer"),
        ([["a", '"'], ["\\", " "]], "text"),
    ],
)
def test_a_list_comes_back_as_it_was(db: psycopg.Connection[Any], values: list[Any], kind: str) -> None:
    for _ in range(7):  # sent plain, then prepared
        row = db.execute(f"SELECT %s::{kind}[]", (values,)).fetchone()
        assert row == (values,)


def test_json_comes_back_as_it_was(db: psycopg.Connection[Any]) -> None:
    values = [{"text": text, "list": [text, None, 1]} for text in _AWKWARD]
    row = db.execute("SELECT %s::jsonb[]", ([Jsonb(value) for value in values],)).fetchone()
    assert row == (values,)


def test_a_vehicle_is_found_by_it(db: psycopg.Connection[Any]) -> None:
    row = db.execute("SELECT %s = ANY(%s)", ("苏B12345", ["苏B1", "苏B12345"])).fetchone()
    assert row == (True,)
