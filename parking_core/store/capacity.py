"""What classes of spaces offer and what is left of it, slot by slot. Nothing here commits.

The rows refuse to be oversold (`never_promised_twice`): whoever takes is told by `taken`.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from psycopg.errors import CheckViolation

from parking_core.errors import CapacityTakenError
from parking_core.slots import SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date, datetime

    from numpy.typing import NDArray
    from psycopg import Connection

    from parking_core.slots import DaySlots

# Arrays come as the database sends them: 20 bytes of head, then each element behind its length. Of each day only the
# slots from `first` until `until`, counted from the first day, are sent: 0.3 us a slot is most of what a look costs.
_READ = """
SELECT d.class_id, d.day,
       array_send(d.free[greatest(%(first)s - n * 288, 0) + 1:least(%(until)s - n * 288, 288)]),
       array_send(p.price[greatest(%(first)s - n * 288, 0) + 1:least(%(until)s - n * 288, 288)]),
       0 < ALL (d.offered[greatest(%(open_first)s - n * 288, 0) + 1:least(%(open_until)s - n * 288, 288)])
FROM capacity_days d LEFT JOIN capacity_prices p USING (class_id, day)
CROSS JOIN LATERAL (SELECT d.day - %(day)s::date) AS place (n)
WHERE d.class_id = ANY(%(classes)s) AND d.day >= %(day)s AND d.day < %(end)s
"""
_READ_LOCKED = f"{_READ} ORDER BY d.class_id, d.day FOR UPDATE OF d"
_HEAD: Final = 20
_FREE = np.dtype([("length", ">i4"), ("slot", ">i2")])
_PRICE = np.dtype([("length", ">i4"), ("slot", ">i4")])
_PRICE_UNIT: Final = 1000  # prices of slots are kept in thousandths of a fen

# Rows of several days are locked in their order, as everywhere.
_TAKE = """
UPDATE capacity_days SET free = shift_slots(free, %s, %s, -1) WHERE class_id = %s AND day = %s
"""

_GIVE = """
UPDATE capacity_days SET free = shift_slots(free, %(first)s, %(until)s, 1)
WHERE class_id = %(class)s AND day = %(day)s AND overdrawn IS NULL
"""

# A space that was promised beyond what is offered by now is gone with its promise.
_GIVE_BACK = """
UPDATE capacity_days SET (offered, free, overdrawn) = (
    SELECT CASE WHEN capacity_days.overdrawn IS NULL THEN capacity_days.offered
                ELSE array_agg((o - (given AND over > 0)::int)::smallint ORDER BY n) END,
           array_agg((f + (given AND over = 0)::int)::smallint ORDER BY n),
           CASE WHEN bool_or(over > 0) THEN array_agg((over - (given AND over > 0)::int)::smallint ORDER BY n) END
    FROM (SELECT o, f, coalesce(v, 0) AS over, n, n > %(first)s AND n <= %(until)s AS given
          FROM unnest(offered, free, overdrawn) WITH ORDINALITY AS s (o, f, v, n)) AS slots)
WHERE class_id = %(class)s AND day = %(day)s
"""

_OFFER = """
INSERT INTO capacity_days (class_id, day, offered, free) VALUES (%(class)s, %(day)s, %(offered)s, %(offered)s)
ON CONFLICT (class_id, day) DO UPDATE SET (offered, free, overdrawn) = (
    SELECT array_agg(greatest(wanted, o - f) ORDER BY n), array_agg(greatest(wanted - (o - f), 0)::smallint ORDER BY n),
           CASE WHEN bool_or(o - f > wanted) THEN array_agg(greatest(o - f - wanted, 0)::smallint ORDER BY n) END
    FROM unnest(excluded.offered, capacity_days.offered, capacity_days.free) WITH ORDINALITY AS s (wanted, o, f, n))
WHERE capacity_days.overdrawn IS NOT NULL OR capacity_days.offered <> excluded.offered
"""

_OFFERED = """
SELECT class_id, day, array_send(offered) FROM capacity_days WHERE class_id = ANY(%s) AND day >= %s AND day < %s
"""

_WANTED = """
SELECT class_id, day, array_send(offered), array_send(overdrawn)
FROM capacity_days WHERE class_id = ANY(%s) AND day >= %s AND day < %s
"""

# A look ahead that began earlier is not written over a later one.
_KEEP_PRICES = """
INSERT INTO capacity_prices (class_id, day, price, solved_at) VALUES (%s, %s, %s, %s)
ON CONFLICT (class_id, day) DO UPDATE SET price = excluded.price, solved_at = excluded.solved_at
WHERE capacity_prices.solved_at < excluded.solved_at
"""

_DROP = """
WITH old AS (DELETE FROM capacity_prices WHERE day < %(before)s)
DELETE FROM capacity_days WHERE day < %(before)s
"""


@dataclass(frozen=True, slots=True, eq=False)
class Capacity:
    """Of classes, from the first slot of `first_day` on.

    Attributes:
        classes: ids, in the order of the rows.
        free: int32[C, S] spaces left; 0 where nothing is offered.
        price: float64[C, S] fen for a slot.
        is_open: ids of classes that offer spaces, however few are left, in all of the slots that were asked about.
    """

    classes: tuple[int, ...]
    first_day: date
    free: NDArray[np.int32]
    price: NDArray[np.float64]
    is_open: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Capacity that somebody wants to look at: of classes, in `days` days, and of these the slots [first, until)."""

    classes: Sequence[int]
    first_day: date
    days: int
    part: tuple[int, int]


def read(
    connection: Connection[Any],
    classes: Sequence[int],
    first_day: date,
    days: int,
    *,
    part: tuple[int, int] | None = None,
    stay: tuple[int, int] | None = None,
    lock: bool = False,
) -> Capacity:
    """What is left of classes in `days` days; a class or day without a row offers nothing.

    Of these days only the slots [first, until) of `part` are looked at, and 0 everywhere else; `stay` are the slots in
    which it is said who is open. With `lock` it stays so until the caller's transaction ends.
    """
    free = np.zeros((len(classes), days * SLOTS), np.int32)
    price = np.zeros((len(classes), days * SLOTS))
    place = {class_id: row for row, class_id in enumerate(classes)}
    first, until = part or (0, days * SLOTS)
    open_first, open_until = stay or (0, 0)
    open_days = dict.fromkeys(classes, 0)
    values = {
        "classes": list(classes),
        "day": first_day,
        "end": first_day + timedelta(days=days),
        "first": first,
        "until": until,
        "open_first": open_first,
        "open_until": open_until,
    }
    with connection.cursor(binary=True) as cursor:
        cursor.execute(_READ_LOCKED if lock else _READ, values)
        for class_id, day, left, cost, is_open in cursor:
            row, begin = place[class_id], (day - first_day).days * SLOTS
            open_days[class_id] += is_open
            there = slice(max(first, begin), min(until, begin + SLOTS))
            free[row, there] = np.frombuffer(left, _FREE, offset=_HEAD)["slot"]
            if cost is not None:
                price[row, there] = np.frombuffer(cost, _PRICE, offset=_HEAD)["slot"] / _PRICE_UNIT
    always = frozenset(class_id for class_id, count in open_days.items() if stay and count == days)
    return Capacity(tuple(classes), first_day, free, price, always)


def read_offered(connection: Connection[Any], classes: Sequence[int], first_day: date, days: int) -> NDArray[np.int32]:
    """What classes offer in `days` days, promised or not, int32[C, S]: 0 outside their windows."""
    offered = np.zeros((len(classes), days * SLOTS), np.int32)
    place = {class_id: row for row, class_id in enumerate(classes)}
    with connection.cursor(binary=True) as cursor:
        cursor.execute(_OFFERED, (list(classes), first_day, first_day + timedelta(days=days)))
        for class_id, day, spaces in cursor:
            begin = (day - first_day).days * SLOTS
            offered[place[class_id], begin : begin + SLOTS] = np.frombuffer(spaces, _FREE, SLOTS, _HEAD)["slot"]
    return offered


def read_wanted(
    connection: Connection[Any], classes: Sequence[int], first_day: date, days: int
) -> dict[tuple[int, date], NDArray[np.int16]]:
    """What classes would offer if nothing were promised, int16[288] by class and day: as `offer` was told last."""
    wanted = {}
    with connection.cursor(binary=True) as cursor:
        cursor.execute(_WANTED, (list(classes), first_day, first_day + timedelta(days=days)))
        for class_id, day, spaces, beyond in cursor:
            found = np.frombuffer(spaces, _FREE, SLOTS, _HEAD)["slot"].astype(np.int16)
            if beyond is not None:
                found -= np.frombuffer(beyond, _FREE, SLOTS, _HEAD)["slot"].astype(np.int16)
            wanted[class_id, day] = found
    return wanted


def keep_prices(
    connection: Connection[Any], classes: Sequence[int], day: date, price: NDArray[np.float64], now: datetime
) -> None:
    """Puts prices of a day in force, float64[C, 288] fen for a slot; `now` is the moment of what they were solved from.

    Sums of slots are kept, within a thousandth of a fen: each slot takes up the rounding of those before it.
    """
    sums = np.rint(np.cumsum(price, axis=1) * _PRICE_UNIT).astype(np.int64)
    parts = np.diff(sums, axis=1, prepend=0)
    rows = [(class_id, day, part, now) for class_id, part in zip(classes, parts.tolist(), strict=True)]
    with connection.cursor() as cursor:
        cursor.executemany(_KEEP_PRICES, rows)


@contextmanager
def taken() -> Iterator[None]:
    """Around statements that take capacity.

    Raises:
        CapacityTakenError: somebody else was faster; the transaction is void.
    """
    try:
        yield
    except CheckViolation as error:
        if error.diag.constraint_name != "never_promised_twice":
            raise
        raise CapacityTakenError("The capacity was taken meanwhile.") from error


def shift(connection: Connection[Any], class_id: int, parts: Sequence[DaySlots], by: int) -> None:
    """Takes (`by` -1) or gives back (1) one space of a class in these slots.

    What is given back where less is offered by now than is promised is not promised again.

    Raises:
        CapacityTakenError: a slot has none left, or is not offered.
    """
    with taken():
        for part in sorted(parts):
            if by > 0:
                values = {"first": part.first, "until": part.until, "class": class_id, "day": part.day}
                if not connection.execute(_GIVE, values).rowcount:
                    connection.execute(_GIVE_BACK, values)
            elif not connection.execute(_TAKE, (part.first, part.until, class_id, part.day)).rowcount:
                raise CapacityTakenError("The capacity of that day is not offered.")


def offer(connection: Connection[Any], class_id: int, offered: Mapping[date, NDArray[np.int16]]) -> None:
    """Sets what a class offers on these days, int16[288] each.

    What is promised already stays promised, also where it is more: so many are offered until those promises end, and
    none of them is promised again.
    """
    values = [{"class": class_id, "day": day, "offered": offered[day].tolist()} for day in sorted(offered)]
    with connection.cursor() as cursor:
        cursor.executemany(_OFFER, values)


def drop_before(connection: Connection[Any], before: date) -> int:
    """Forgets days that are over; gives how many rows went."""
    return connection.execute(_DROP, {"before": before}).rowcount
