"""What tests of flows stand on: a fresh database, and a town in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.visit_rows import Town

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def db(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """As the owner of the tables, each statement a transaction."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def town(db: psycopg.Connection[Any]) -> Town:
    """Two lots with lanes and a tariff."""
    return Town(db)
