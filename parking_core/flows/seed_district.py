"""Fills the registry from a district, in one transaction: all of it or nothing."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from parking_core.errors import InvalidInputError, ServiceUnavailableError
from parking_core.store.registry import add_recorded_lot, count_spaces, watchers_of, widen_clocks, write_district

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from parking_core.districts import District, LotRecord


def seed_district(
    database_url: str, district: District, on_rows: Callable[[str, int], None] = lambda _table, _rows: None
) -> dict[str, int]:
    """Adds and corrects what the district names; what it does not name stays. Running it twice changes nothing.

    `on_rows(table, rows)` is called while rows go by. The result counts new or changed rows, a table each.

    Raises:
        ServiceUnavailableError: the database cannot be reached.
        InvalidInputError: the database refuses the rows, or has no schema yet.
    """
    with _registry(database_url) as connection:
        return write_district(connection, district, on_rows)


@dataclass(frozen=True, slots=True)
class RecordedLot:
    """A lot that recorded sessions can be replayed into."""

    watchers: dict[str, str]  # code of the device of each bay
    known_clocks_moved: bool  # devices that gateways knew already got another clock window


def register_recorded_lot(database_url: str, lot: LotRecord, clock_s: tuple[int, int]) -> RecordedLot:
    """Makes sure that a lot, its bays and a device for each exist.

    What is known already stays, except that `clock_s` (earliest, latest; seconds relative to the first receipt) becomes
    the clock window of those devices.

    Raises:
        ServiceUnavailableError: the database cannot be reached.
        InvalidInputError: a code belongs to a device of another lot, or the database refuses a row.
    """
    with _registry(database_url) as connection:
        new = add_recorded_lot(connection, lot)
        known = watchers_of(connection, lot.code)
        watchers = {space.code: device for space in lot.spaces if (device := known[space.code]) is not None}
        missing = [space.code for space in lot.spaces if space.code not in watchers]
        if missing:
            raise InvalidInputError(
                f"Space {missing[0]} of lot {lot.code} got no device: its code is taken in another lot; choose another --lot."
            )
        moved = widen_clocks(connection, lot.code, sorted(set(watchers.values())), clock_s)
        return RecordedLot(watchers, known_clocks_moved=moved > new)


def known_watchers(database_url: str, lot: str) -> dict[str, str | None]:
    """Code of the device that watches each bay of a lot (None: no device). Empty: there is no such lot.

    Raises:
        ServiceUnavailableError: the database cannot be reached.
    """
    with _registry(database_url) as connection:
        return watchers_of(connection, lot)


def spaces_beside(database_url: str, district: District) -> int:
    """Bays in the registry that a seeded district does not name: another's, or those of an earlier version of it.

    Raises:
        ServiceUnavailableError: the database cannot be reached.
    """
    with _registry(database_url) as connection:
        return count_spaces(connection) - district.space_count()


@contextmanager
def _registry(database_url: str) -> Iterator[psycopg.Connection]:
    """One connection, one transaction, and the database's refusals in words."""
    try:
        connection = psycopg.connect(database_url)
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError(
            f"The database cannot be reached ({error}); check PARKING_DATABASE_URL."
        ) from error
    try:
        with connection:
            yield connection
    except psycopg.errors.UndefinedTable as error:
        raise InvalidInputError("The database has no schema yet; run `parking migrate` first.") from error
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise InvalidInputError(f"The database refuses a row: {error}") from error
