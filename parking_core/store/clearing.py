"""Packages, the centre's messages and cleared days as rows. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.clearing.packages import CHANGES, PackageState, next_try_at
from parking_core.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from psycopg import Connection

# A transaction without a visit is not in the journal yet: its money would be cleared before it is booked.
_READY = """
SELECT id, changed_at FROM etc_transactions WHERE state = 'ready' AND visit_id IS NOT NULL
ORDER BY id LIMIT %s FOR UPDATE
"""

_WAITING = "SELECT count(*), coalesce(sum(amount_fen), 0)::bigint FROM etc_transactions WHERE state = 'ready'"

_ADD = """
INSERT INTO etc_packages (state, records, amount_fen, clearing_day, parent_id, body, created_at, next_try_at)
SELECT 'packed', n.records, n.amount_fen, %(day)s, %(parent)s, '', %(now)s, %(now)s
FROM unnest(%(records)s::integer[], %(amounts)s::bigint[]) WITH ORDINALITY AS n (records, amount_fen, position)
ORDER BY n.position RETURNING id
"""

_FILL = """
UPDATE etc_packages SET body = n.body FROM unnest(%s::bigint[], %s::bytea[]) AS n (id, body) WHERE etc_packages.id = n.id
"""

_DUE = """
SELECT id, body, tries FROM etc_packages WHERE state IN ('packed', 'sent') AND next_try_at <= %s
ORDER BY id LIMIT %s FOR UPDATE
"""

_MARK_SENT = """
UPDATE etc_packages SET state = 'sent', sent_at = coalesce(sent_at, %(now)s), tries = tries + 1, next_try_at = n.again_at
FROM unnest(%(ids)s::bigint[], %(again)s::timestamptz[]) AS n (id, again_at) WHERE etc_packages.id = n.id
"""

_LOCK = """
SELECT id, state, records, amount_fen, clearing_day, tries FROM etc_packages WHERE id = %s FOR UPDATE
"""

_CHANGE = """
UPDATE etc_packages SET state = %(state)s, result = coalesce(%(result)s, result),
    answered_at = CASE WHEN %(result)s::smallint IS NULL THEN answered_at ELSE %(now)s END,
    booked_at = CASE WHEN %(state)s = 'booked' THEN %(now)s ELSE booked_at END,
    next_try_at = %(again)s
WHERE id = %(id)s AND state = ANY(%(from)s)
"""

# What came under a number first counts; a repeat only counts up. `body` tells whether it is the same.
_KEEP = """
INSERT INTO clearing_messages (message_no, kind, body, received_at) VALUES (%(no)s, %(kind)s, %(body)s, %(now)s)
ON CONFLICT (message_no) DO UPDATE SET repeats = clearing_messages.repeats + 1
RETURNING id, kind, repeats, body = %(body)s, result
"""

_REPLACE = "UPDATE clearing_messages SET kind = %s, body = %s, received_at = %s, problem = NULL WHERE id = %s"

_FINISH = "UPDATE clearing_messages SET applied_at = %s, result = %s, problem = %s WHERE id = %s"

_UNAPPLIED = "SELECT id, message_no, body FROM clearing_messages WHERE applied_at IS NULL ORDER BY id LIMIT 1000"

_TOTAL = "SELECT records, amount_fen, packages, files, version FROM clearing_totals WHERE clearing_day = %s FOR UPDATE"

_SET_TOTAL = """
INSERT INTO clearing_totals (clearing_day, records, amount_fen, packages, files, received_at)
VALUES (%(day)s, %(records)s, %(amount)s, %(packages)s, %(files)s, %(now)s)
ON CONFLICT (clearing_day) DO UPDATE SET records = excluded.records, amount_fen = excluded.amount_fen,
    packages = excluded.packages, files = excluded.files, received_at = excluded.received_at,
    version = clearing_totals.version + 1
RETURNING version
"""

_OURS = """
SELECT count(*), coalesce(sum(amount_fen), 0)::bigint FROM etc_transactions WHERE clearing_day = %s AND state = 'booked'
"""

_PACKAGES_OF_DAY = "SELECT id FROM etc_packages WHERE clearing_day = %s AND state = 'booked'"

# Packages that should be cleared by now: never booked, or of a day of which no totals have come.
_NOT_CLEARED = """
SELECT p.id, p.state, p.records, p.amount_fen, p.clearing_day, p.tries FROM etc_packages p
WHERE p.clearing_day < %s
  AND (p.state IN ('packed', 'sent', 'accepted')
       OR (p.state = 'booked' AND NOT EXISTS (SELECT FROM clearing_totals t WHERE t.clearing_day = p.clearing_day)))
ORDER BY p.id
"""

_CLEARED_AFTER_ALL = """
SELECT d.key FROM differences d JOIN etc_packages p ON d.key = 'not_cleared:' || p.id
WHERE d.name = 'not_cleared' AND d.state = 'open'
  AND (p.state IN ('held', 'refused')
       OR (p.state = 'booked' AND EXISTS (SELECT FROM clearing_totals t WHERE t.clearing_day = p.clearing_day)))
"""


@dataclass(frozen=True, slots=True)
class PackageRow:
    """A package as it stands."""

    number: int
    state: PackageState
    records: int
    amount_fen: int
    clearing_day: date
    tries: int


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message of the centre under its number. `same`: what is kept has the content that came now."""

    id: int
    kind: str
    repeats: int
    same: bool
    result: int | None


@dataclass(frozen=True, slots=True)
class DayTotal:
    """What the centre says of a day; `version` counts its corrections."""

    records: int
    amount_fen: int
    packages: frozenset[int]
    files: frozenset[int]
    version: int


def ready(connection: Connection[Any], most: int) -> list[tuple[int, datetime]]:
    """Transactions that may be packed, in the order in which they are: id, and since when it is ready. Locks them."""
    return connection.execute(_READY, (most,)).fetchall()


def waiting(connection: Connection[Any]) -> tuple[int, int]:
    """How many transactions wait to be packed, and their fen."""
    row = connection.execute(_WAITING).fetchone()
    return row if row is not None else (0, 0)


def add_packages(
    connection: Connection[Any],
    sums: Sequence[tuple[int, int]],
    *,
    day: date,
    now: datetime,
    parent: int | None = None,
) -> list[int]:
    """New packages, one for each (records, fen); gives their numbers in that order. Their bodies come by `fill`."""
    rows = connection.execute(
        _ADD,
        {
            "records": [records for records, _ in sums],
            "amounts": [amount for _, amount in sums],
            "day": day,
            "parent": parent,
            "now": now,
        },
    ).fetchall()
    return sorted(row[0] for row in rows)


def fill(connection: Connection[Any], bodies: dict[int, bytes]) -> None:
    """Keeps the messages as they are sent."""
    connection.execute(_FILL, (list(bodies), list(bodies.values())))


def take_due(connection: Connection[Any], now: datetime, most: int) -> list[tuple[int, bytes]]:
    """Packages to be sent now, marked as sent once more: number and message."""
    rows = connection.execute(_DUE, (now, most)).fetchall()
    if rows:
        again = [next_try_at(now, tries + 1) for _, _, tries in rows]
        connection.execute(_MARK_SENT, {"now": now, "ids": [row[0] for row in rows], "again": again})
    return [(number, body) for number, body, _ in rows]


def lock_package(connection: Connection[Any], number: int) -> PackageRow | None:
    """A package, locked; None: we never made it."""
    if number >= 2**63:
        return None
    row = connection.execute(_LOCK, (number,)).fetchone()
    return None if row is None else PackageRow(row[0], PackageState(row[1]), *row[2:])


def change_package(
    connection: Connection[Any],
    number: int,
    state: PackageState,
    now: datetime,
    *,
    result: int | None = None,
    again_at: datetime | None = None,
) -> None:
    """Moves a package on.

    Raises:
        NotFoundError: its life cycle does not allow it; nothing was changed.
    """
    before = [one.value for one, after in CHANGES.items() if state in after]
    parameters = {"id": number, "state": state.value, "result": result, "now": now, "again": again_at, "from": before}
    if connection.execute(_CHANGE, parameters).rowcount != 1:
        raise NotFoundError(f"Package {number} cannot become {state.value}; look at its state in etc_packages.")


def keep_message(connection: Connection[Any], number: int, kind: str, body: bytes, now: datetime) -> KeptMessage:
    """Keeps a message under its number; of a repeated one the first counts."""
    parameters = {"no": f"{number:020}", "kind": kind, "body": body, "now": now}
    row = connection.execute(_KEEP, parameters).fetchone()
    if row is None:
        raise NotFoundError(f"Message {number} could not be kept; is it deleted at this moment?")
    return KeptMessage(*row)


def replace_message(connection: Connection[Any], message_id: int, kind: str, body: bytes, now: datetime) -> None:
    """A message that could not be read came again under its number, with other content."""
    connection.execute(_REPLACE, (kind, body, now, message_id))


def finish_message(
    connection: Connection[Any], message_id: int, applied_at: datetime | None, result: int, problem: str | None = None
) -> None:
    """What became of a message; `applied_at` None: it waits."""
    connection.execute(_FINISH, (applied_at, result, problem, message_id))


def unapplied(connection: Connection[Any]) -> list[tuple[int, int, bytes]]:
    """Messages that wait for others, oldest first: id, number, content."""
    rows = connection.execute(_UNAPPLIED).fetchall()
    return [(message_id, int(number), body) for message_id, number, body in rows]


def total_of(connection: Connection[Any], day: date) -> DayTotal | None:
    """What the centre has said of a day; None: nothing yet."""
    row = connection.execute(_TOTAL, (day,)).fetchone()
    return None if row is None else DayTotal(row[0], row[1], frozenset(row[2]), frozenset(row[3]), row[4])


def set_total(connection: Connection[Any], day: date, total: DayTotal, now: datetime) -> int:
    """Keeps what the centre says of a day; gives the version that this is. `total.version` does not matter."""
    row = connection.execute(
        _SET_TOTAL,
        {
            "day": day,
            "records": total.records,
            "amount": total.amount_fen,
            "packages": sorted(total.packages),
            "files": sorted(total.files),
            "now": now,
        },
    ).fetchone()
    return int(row[0]) if row is not None else 1


def ours_of(connection: Connection[Any], day: date) -> tuple[int, int]:
    """Our books of a clearing day: booked records and their fen."""
    row = connection.execute(_OURS, (day,)).fetchone()
    return row if row is not None else (0, 0)


def packages_of(connection: Connection[Any], day: date) -> frozenset[int]:
    """Numbers of the booked packages of a clearing day."""
    return frozenset(number for (number,) in connection.execute(_PACKAGES_OF_DAY, (day,)).fetchall())


def not_cleared(connection: Connection[Any], before: date) -> list[PackageRow]:
    """Packages of days before that are not booked, or whose day the centre has not cleared."""
    rows = connection.execute(_NOT_CLEARED, (before,)).fetchall()
    return [PackageRow(row[0], PackageState(row[1]), *row[2:]) for row in rows]


def cleared_after_all(connection: Connection[Any]) -> list[str]:
    """Keys of open `not_cleared` differences whose package is cleared now, or refused and named as such."""
    return [key for (key,) in connection.execute(_CLEARED_AFTER_ALL).fetchall()]
