"""Rows of fixed width between PostgreSQL's binary COPY and NumPy: columns at a fraction of a microsecond a row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from psycopg import Connection, sql

    Columns = np.ndarray[Any, np.dtype[np.void]]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WIRE_EPOCH_US = 946_684_800_000_000  # PostgreSQL counts from 2000-01-01
_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_BEGINNING_OF_TIME = np.iinfo(np.int64).min  # -infinity on the wire


def moment(at_us: int) -> datetime:
    """Aware datetime of microseconds since the epoch."""
    return EPOCH + timedelta(microseconds=int(at_us))


def read_rows(
    connection: Connection,
    copy: str | sql.Composable,
    parameters: Mapping[str, object],
    fields: Sequence[tuple[str, str]],
) -> Columns:
    """Rows of a `COPY (...) TO STDOUT (FORMAT BINARY)`; no value may be NULL.

    `fields` names the columns and their types: `i4`, `i8`, `?`, or `at` for a timestamptz, which becomes microseconds
    since the epoch (i8). -infinity stays the smallest integer.

    Raises:
        ValueError: the columns are not of these types, or a value is NULL.
    """
    wire = _wire(fields)
    with connection.cursor() as cursor, cursor.copy(copy, parameters) as stream:  # type: ignore[arg-type]  # the stubs want a literal; these are the store's own constants
        answer = b"".join(stream)
    body = memoryview(answer)[len(_SIGNATURE) : len(answer) - len(_TRAILER)]
    if len(body) % wire.itemsize:
        raise ValueError("Rows of a binary COPY have another width than their fields; look for a NULL or another type.")
    raw = np.frombuffer(body, wire)
    rows = np.empty(len(raw), [(name, "i8" if kind == "at" else kind) for name, kind in fields])
    if np.any(raw["columns"] != len(fields)):
        raise ValueError("Rows of a binary COPY have another number of columns than fields.")
    for name, kind in fields:
        if np.any(raw[f"{name} size"] != wire[name].itemsize):
            raise ValueError(f"Column {name} of a binary COPY is NULL or no {kind}.")
        rows[name] = raw[name]
        if kind == "at":
            rows[name] = np.where(rows[name] == _BEGINNING_OF_TIME, _BEGINNING_OF_TIME, rows[name] + _WIRE_EPOCH_US)
    return rows


def write_rows(connection: Connection, copy: str, fields: Sequence[tuple[str, str]], rows: Mapping[str, Any]) -> None:
    """Sends columns to a `COPY ... FROM STDIN (FORMAT BINARY)`; types as in `read_rows`, also `f8` and `i4[n]`."""
    wire = _wire(fields)
    raw = np.zeros(len(rows[fields[0][0]]), wire)
    raw["columns"] = len(fields)
    for name, kind in fields:
        raw[f"{name} size"] = wire[name].itemsize
        if kind.startswith("i4["):
            raw[name]["dimensions"], raw[name]["lower"] = 1, 1
            raw[name]["element"], raw[name]["length"] = 23, int(kind[3:-1])  # 23: the type integer
            raw[name]["values"]["size"] = 4
            raw[name]["values"]["value"] = rows[name]
        else:
            raw[name] = rows[name] - _WIRE_EPOCH_US if kind == "at" else rows[name]
    with connection.cursor() as cursor, cursor.copy(copy.encode()) as stream:
        stream.write(_SIGNATURE)
        stream.write(raw.tobytes())
        stream.write(_TRAILER)


def _wire(fields: Sequence[tuple[str, str]]) -> np.dtype[np.void]:
    parts: list[tuple[str, Any]] = [("columns", ">i2")]
    for name, kind in fields:
        parts += [(f"{name} size", ">i4"), (name, _wire_type(kind))]
    return np.dtype(parts)


def _wire_type(kind: str) -> Any:  # noqa: ANN401  # what numpy.dtype takes: a name or a list of fields
    if kind.startswith("i4["):
        value = np.dtype([("size", ">i4"), ("value", ">i4")])
        head = [(name, ">i4") for name in ("dimensions", "nulls", "element", "length", "lower")]
        return np.dtype([*head, ("values", value, (int(kind[3:-1]),))])
    return {"at": ">i8", "i4": ">i4", "i8": ">i8", "f8": ">f8", "?": "?"}[kind]
