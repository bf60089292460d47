"""Fills the registry from a district, in one transaction: all of it or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from parking_core.errors import InvalidInputError, ServiceUnavailableError
from parking_core.store.registry import write_district

if TYPE_CHECKING:
    from collections.abc import Callable

    from parking_core.districts import District


def seed_district(
    database_url: str, district: District, on_rows: Callable[[str, int], None] = lambda _table, _rows: None
) -> dict[str, int]:
    """Adds and corrects what the district names; what it does not name stays. Running it twice changes nothing.

    `on_rows(table, rows)` is called while rows go by. The result counts new or changed rows, a table each.

    Raises:
        ServiceUnavailableError: the database cannot be reached.
        InvalidInputError: the database refuses the rows, or has no schema yet.
    """
    try:
        connection = psycopg.connect(database_url)
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError(
            f"The database cannot be reached ({error}); check PARKING_DATABASE_URL."
        ) from error
    try:
        with connection:
            return write_district(connection, district, on_rows)
    except psycopg.errors.UndefinedTable as error:
        raise InvalidInputError("The database has no schema yet; run `parking migrate` first.") from error
    except psycopg.DataError as error:
        raise InvalidInputError(f"The database refuses the district: {error}") from error
