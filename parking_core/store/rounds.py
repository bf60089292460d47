"""Rounds of the batch allocator: who waits for one, and what came of it. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from parking_core.store.reservations import COLUMNS, reservation_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from psycopg import Connection

    from parking_core.reservations import Reservation

_WAITING = f"""
SELECT {COLUMNS} FROM reservations WHERE state = 'waiting' AND arrive_at < %s ORDER BY id
"""  # noqa: S608  # the columns are a constant

_KEEP = """
INSERT INTO allocation_rounds (kind, at, since, until, requests, served, value_fen, upper_bound_fen, seconds, fairness)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""

_READ = """
SELECT kind, at, since, until, requests, served, value_fen, upper_bound_fen, seconds, fairness FROM allocation_rounds
WHERE at >= %s AND at < %s ORDER BY at DESC, id DESC LIMIT %s
"""

_HELD = "SELECT EXISTS (SELECT FROM allocation_rounds WHERE kind = %s AND at >= %s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a round reached, and what could at most be reached. Money in fen.

    fairness: what floors cost ("cost_of_floors_fen") and a report for each group ("members").
    """

    kind: str
    at: datetime
    since: datetime
    until: datetime
    requests: int
    served: int
    value_fen: int
    upper_bound_fen: int
    seconds: float
    fairness: Mapping[str, Any] = field(default_factory=dict)

    @property
    def gap(self) -> float:
        """Part of the bound that was not reached; 0 when nothing could be."""
        return (self.upper_bound_fen - self.value_fen) / self.upper_bound_fen if self.upper_bound_fen else 0.0


def waiting(connection: Connection[Any], until: datetime) -> list[Reservation]:
    """Requests that wait for a round and begin before a moment, in the order in which they were made."""
    return [reservation_of(row) for row in connection.execute(_WAITING, (until,))]


def keep(connection: Connection[Any], found: Round) -> None:
    """Adds a round to the record."""
    values = (found.since, found.until, found.requests, found.served, found.value_fen, found.upper_bound_fen)
    connection.execute(_KEEP, (found.kind, found.at, *values, found.seconds, Jsonb(dict(found.fairness))))


def read(connection: Connection[Any], since: datetime, until: datetime, limit: int) -> list[Round]:
    """Rounds that were held in [since, until), newest first."""
    names = (
        "kind",
        "at",
        "since",
        "until",
        "requests",
        "served",
        "value_fen",
        "upper_bound_fen",
        "seconds",
        "fairness",
    )
    rows = connection.execute(_READ, (since, until, limit)).fetchall()
    return [Round(**dict(zip(names, row, strict=True))) for row in rows]


def was_held(connection: Connection[Any], kind: str, since: datetime) -> bool:
    """Whether there was a round of a kind since a moment."""
    row = connection.execute(_HELD, (kind, since)).fetchone()
    return bool(row and row[0])
