"""Reads recorded parking sessions from a CSV file: who stood where, from when until when."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EPOCH, EPOCH_MS = "epoch", "epoch_ms"
_ISO = "iso"
# Tried in this order on the first values of a file when no format is given.
_GUESSES = (
    EPOCH,
    _ISO,
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
)
_SAMPLE = 500  # values looked at for a guess
_ROLES = ("space", "arrival", "departure")
_OFFSET = re.compile(r"(?P<sign>[+-])(?P<hours>\d{2}):?(?P<minutes>\d{2})", re.ASCII)
_SPACE_CODE = re.compile(r"[^\x00-\x1f]{1,64}")
_ORIGIN = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST, _LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Session:
    """One stay. `space` is None where the file names none; `departure_us` None: the car is still there.

    Times are microseconds since the epoch; `row` is the line's number in the file, the heading being line 1.
    """

    space: str | None
    arrival_us: int
    departure_us: int | None
    row: int


@dataclass(frozen=True, slots=True)
class BadRow:
    """Why a row cannot be used."""

    row: int
    column: str
    reason: str

    def __str__(self) -> str:
        return f"row {self.row}, column {self.column!r}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns that hold what is needed."""

    arrival: str
    departure: str
    space: str | None = None

    @classmethod
    def parse(cls, text: str) -> Columns:
        """Columns from `space=..,arrival=..,departure=..`; a name may hold commas and blanks.

        Raises:
            InvalidInputError: arrival or departure is missing, or a role is unknown or given twice.
        """
        named: dict[str, str] = {}
        for part in re.split(r",(?=\s*\w+\s*=)", text):
            role, equals, column = part.partition("=")
            role = role.strip()
            if not equals or role not in _ROLES or role in named or not column.strip():
                raise InvalidInputError(
                    f"--columns has the part {part!r}; write space=NAME,arrival=NAME,departure=NAME, each once."
                )
            named[role] = column.strip()
        if not {"arrival", "departure"} <= named.keys():
            raise InvalidInputError(f"--columns is {text!r}; it must name at least arrival=NAME and departure=NAME.")
        return cls(named["arrival"], named["departure"], named.get("space"))


@dataclass(frozen=True, slots=True)
class SessionFile:
    """What a file holds: usable sessions in the order of the file, and the rows that are not."""

    sessions: list[Session]
    bad_rows: list[BadRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a file is written. `time_format` is a strptime format, `epoch`, `epoch_ms`, or None: found out."""

    delimiter: str = ","
    encoding: str = "utf-8"
    timezone: str = "UTC"  # of times that carry no offset
    time_format: str | None = None


def read_sessions(path: Path, columns: Columns, dialect: Dialect) -> SessionFile:
    """The sessions of a CSV file with a heading.

    Raises:
        InvalidInputError: the file cannot be read as told, a column does not exist, or the times' format is not clear.
    """
    zone = time_zone(dialect.timezone)
    if len(dialect.delimiter) != 1:
        raise InvalidInputError(f"--delimiter is {dialect.delimiter!r}; give one character.")
    rows = _rows(path, dialect)
    heading = next(rows, (0, []))[1]
    at = _positions(path, heading, columns)
    body = list(rows)
    time_format = dialect.time_format or _guessed_format(body, at)
    reader = _RowReader(columns, at, _time_parser(time_format, zone))
    sessions: list[Session] = []
    bad_rows: list[BadRow] = []
    for row, values in body:
        match reader.read(row, values):
            case Session() as session:
                sessions.append(session)
            case BadRow() as bad:
                bad_rows.append(bad)
    return SessionFile(sessions, bad_rows)


def time_zone(name: str) -> tzinfo:
    """Time zone from an IANA name or an offset such as +08:00.

    Raises:
        InvalidInputError: there is no such zone.
    """
    if match := _OFFSET.fullmatch(name):
        offset = timedelta(hours=int(match["hours"]), minutes=int(match["minutes"]))
        return timezone(-offset if match["sign"] == "-" else offset)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInputError(
            f"--timezone is {name!r}, which is no time zone; write Asia/Shanghai, UTC or +08:00."
        ) from error


def _rows(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of their line; blank lines are left out."""
    encoding = "utf-8-sig" if dialect.encoding.lower().replace("_", "-") in {"utf-8", "utf8"} else dialect.encoding
    try:
        with path.open(encoding=encoding, newline="") as file:
            reader = csv.reader(file, delimiter=dialect.delimiter)
            for values in reader:
                if any(value.strip() for value in values):
                    yield reader.line_num, values
    except LookupError as error:
        raise InvalidInputError(
            f"--encoding is {dialect.encoding!r}, which Python does not know; try latin-1."
        ) from error
    except UnicodeError as error:
        raise InvalidInputError(
            f"{path} is not written in {dialect.encoding} ({error}); try --encoding latin-1."
        ) from error
    except csv.Error as error:
        raise InvalidInputError(f"{path} is no CSV file ({error}); check --delimiter.") from error
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read ({error.strerror}); check the path.") from error


@dataclass(frozen=True, slots=True)
class _Positions:
    arrival: int
    departure: int
    space: int | None


def _positions(path: Path, heading: list[str], columns: Columns) -> _Positions:
    names = [name.strip() for name in heading]

    def position(column: str) -> int:
        if names.count(column) != 1:
            how = "has no column" if column not in names else "has more than one column"
            raise InvalidInputError(
                f"{path} {how} {column!r}; its columns are {names}. Check --columns and --delimiter."
            )
        return names.index(column)

    space = None if columns.space is None else position(columns.space)
    return _Positions(position(columns.arrival), position(columns.departure), space)


class _RowReader:
    def __init__(self, columns: Columns, at: _Positions, parse: Callable[[str], int]) -> None:
        self._columns, self._at, self._parse = columns, at, parse

    def read(self, row: int, values: list[str]) -> Session | BadRow:
        columns, at = self._columns, self._at
        space = None
        if at.space is not None:
            space = _value(values, at.space)
            if not _SPACE_CODE.fullmatch(space):
                return BadRow(row, columns.space or "", f"{space!r} is no code of a space (1 to 64 characters)")
        try:
            arrival_us = self._parse(_value(values, at.arrival))
        except (ValueError, OverflowError) as error:
            return BadRow(row, columns.arrival, str(error))
        text = _value(values, at.departure)
        try:
            departure_us = self._parse(text) if text else None
        except (ValueError, OverflowError) as error:
            return BadRow(row, columns.departure, str(error))
        if departure_us is not None and departure_us < arrival_us:
            return BadRow(row, columns.departure, f"{text!r} lies before the arrival")
        return Session(space, arrival_us, departure_us, row)


def _value(values: list[str], position: int) -> str:
    return values[position].strip() if position < len(values) else ""


def _guessed_format(body: list[tuple[int, list[str]]], at: _Positions) -> str:
    """The one format that reads nearly all of the first values (a bad row must not decide)."""
    values = [_value(row, at.arrival) for _, row in body[:_SAMPLE]] + [
        _value(row, at.departure) for _, row in body[:_SAMPLE]
    ]
    values = [value for value in values if value]
    fits = {guess: _readable(values, guess) for guess in _GUESSES}
    best = max(fits.values(), default=0)
    winners = [guess for guess, count in fits.items() if count == best]
    if best == 0 or best < 0.5 * len(values):
        example = values[0] if values else ""
        raise InvalidInputError(
            f"The format of the times (for example {example!r}) is not known; give it by --time-format '%Y-%m-%d %H:%M'."
        )
    if len(winners) > 1:
        raise InvalidInputError(
            f"The times (for example {values[0]!r}) can be read as {' or '.join(winners)}; choose by --time-format."
        )
    return winners[0]


def _readable(values: list[str], time_format: str) -> int:
    parse, count = _time_parser(time_format, UTC), 0
    for value in values:
        try:
            parse(value)
        except (ValueError, OverflowError):
            continue
        count += 1
    return count


def _time_parser(time_format: str, zone: tzinfo) -> Callable[[str], int]:
    """Reads text as microseconds since the epoch; the function raises ValueError with the reason."""
    if time_format in {EPOCH, EPOCH_MS}:
        scale = 1_000_000 if time_format == EPOCH else 1_000
        return lambda text: _checked(_ORIGIN + timedelta(microseconds=round(float(text) * scale)), text)
    if time_format == _ISO:
        return lambda text: _checked(_aware(datetime.fromisoformat(text), zone), text)
    return lambda text: _checked(_aware(datetime.strptime(text, time_format), zone), text)  # noqa: DTZ007  # made aware at once


def _aware(moment: datetime, zone: tzinfo) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


def _checked(moment: datetime, text: str) -> int:
    if not _EARLIEST <= moment <= _LATEST:
        raise ValueError(f"{text!r} lies outside the years 1900 to 2200; is --time-format right?")
    return (moment - _ORIGIN) // timedelta(microseconds=1)
