"""Permits and coupons as rows, and the stays that compete for a permit's slots."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec
from psycopg.types.json import Jsonb

from parking_core.errors import InvalidInputError
from parking_core.permits import Permit, Presence
from parking_core.tariffs import Coupon, CouponKind, Interval
from parking_core.windows import Schedule, describe_schedule, parse_schedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from psycopg import Connection

SHARED: Final = "shared"  # the kind of permits of shared lots; parking_core.store.share_permits adds them

# Permits of these vehicles in these lots, and further those that share a plate with one of them, and so on: who else
# may hold a slot depends on them all. Only such as are valid at some moment of the span.
_PERMITS = """
WITH RECURSIVE valid AS (
    SELECT id, lot_id FROM permits WHERE valid_from < %(ends)s AND valid_until > %(begins)s
), linked AS (
    SELECT v.id, v.lot_id FROM unnest(%(lots)s::integer[], %(vehicles)s::text[]) AS w (lot_id, plate)
    JOIN permit_plates p USING (plate) JOIN valid v ON v.id = p.permit_id AND v.lot_id = w.lot_id
    UNION
    SELECT v.id, v.lot_id FROM linked l JOIN permit_plates mine ON mine.permit_id = l.id
    JOIN permit_plates theirs ON theirs.plate = mine.plate
    JOIN valid v ON v.id = theirs.permit_id AND v.lot_id = l.lot_id
)
SELECT p.code, p.lot_id, p.kind, p.valid_from, p.valid_until, array_agg(s.plate), p.slots,
    p.windows::text
FROM linked JOIN permits p USING (id) JOIN permit_plates s ON s.permit_id = p.id GROUP BY p.id ORDER BY p.code
"""

# Openings of shared permits that are not theirs any more: given back, moved, refunded. What was drawn ends with the buffer
# before the owner's return, which the car might have used, too: it is closed until the permit's next opening, or until the
# UTC day ends, as no opening reaches beyond that.
_CLOSED = """
SELECT code, since, least(next, date_trunc('day', since, 'UTC') + interval '24 hours')
FROM (
    SELECT s.code, d.since, d.state, lead(d.since) OVER (PARTITION BY s.id ORDER BY d.since) AS next
    FROM shared_permits s JOIN permit_draws d ON d.shared_permit_id = s.id
    WHERE s.code = ANY(%(codes)s) AND d.until > %(begins)s - interval '24 hours' AND d.since < %(ends)s + interval '24 hours'
) AS openings
WHERE state <> 'drawn' AND since < %(ends)s ORDER BY code, since
"""

# Stays of permit vehicles that touch the span. A stay that ended unseen holds no slot: nobody knows how long it did.
_PRESENCES = """
SELECT v.lot_id, v.vehicle, v.entered_at, v.exited_at
FROM (SELECT DISTINCT * FROM unnest(%(lots)s::integer[], %(vehicles)s::text[]) AS w (lot_id, vehicle)) AS w
JOIN visits v USING (lot_id, vehicle)
WHERE v.state IN ('open', 'closed') AND v.entered_at < %(ends)s AND (v.exited_at IS NULL OR v.exited_at > %(begins)s)
"""

_ADD_PERMIT = """
INSERT INTO permits (code, lot_id, kind, valid_from, valid_until, slots, windows)
SELECT %(code)s, id, %(kind)s, %(valid_from)s, %(valid_until)s, %(slots)s, %(windows)s FROM lots WHERE code = %(lot)s
ON CONFLICT (code) DO NOTHING RETURNING id
"""

_ADD_PLATES = "INSERT INTO permit_plates (permit_id, plate) SELECT %s, unnest(%s::text[])"

# A permit that has not begun yet ends with its first moment: what it covered is nothing.
_END_PERMIT = """
UPDATE permits SET valid_until = greatest(%(at)s, valid_from + interval '1 second')
WHERE code = %(code)s AND valid_until > %(at)s RETURNING valid_until
"""

_PERMIT_UNTIL = "SELECT valid_until FROM permits WHERE code = %s"

_LIST_PERMITS = """
SELECT p.code, l.code, p.kind, p.valid_from, p.valid_until, p.slots, array_agg(s.plate ORDER BY s.plate),
    p.windows::text
FROM permits p JOIN lots l ON l.id = p.lot_id JOIN permit_plates s ON s.permit_id = p.id
WHERE (%(lot)s::text IS NULL OR l.code = %(lot)s) AND (%(ended_too)s OR p.valid_until > %(at)s)
GROUP BY p.id, l.code ORDER BY p.code COLLATE "C"
"""

_ADD_COUPON = """
INSERT INTO coupons (code, kind, value, lot_id, plate, valid_until)
VALUES (%(code)s, %(kind)s, %(value)s, (SELECT id FROM lots WHERE code = %(lot)s), %(plate)s, %(valid_until)s)
ON CONFLICT (code) DO NOTHING RETURNING id
"""

# Coupons that were given to a vehicle and not used yet, or used for the very visit: pricing it again finds them again.
_COUPONS = """
SELECT w.n, c.code, c.kind, c.value
FROM unnest(%(lots)s::integer[], %(vehicles)s::text[], %(visits)s::bigint[], %(at)s::timestamptz[])
    WITH ORDINALITY AS w (lot_id, vehicle, visit_id, at, n)
JOIN coupons c ON c.plate = w.vehicle AND (c.lot_id IS NULL OR c.lot_id = w.lot_id)
    AND (c.visit_id = w.visit_id OR (c.visit_id IS NULL AND c.valid_until > w.at))
ORDER BY w.n, c.visit_id IS NULL, c.valid_until, c.code COLLATE "C"
"""

# A coupon is used once; a visit that is priced again keeps the one it has.
_USE_COUPONS = """
UPDATE coupons c SET visit_id = u.visit_id FROM unnest(%s::text[], %s::bigint[]) AS u (code, visit_id)
WHERE c.code = u.code AND c.visit_id IS NULL RETURNING c.code
"""

# Coupons of visits that no longer use them are their drivers' again.
_RELEASE_COUPONS = "UPDATE coupons SET visit_id = NULL WHERE visit_id = ANY(%s) AND code <> ALL(%s::text[])"


@dataclass(frozen=True, slots=True)
class ListedPermit:
    """A permit as people see it."""

    code: str
    lot: str  # code
    kind: str
    valid_from: datetime
    valid_until: datetime
    slots: int
    plates: tuple[str, ...]
    windows: Schedule | None = None  # None: at any time of the day


def permits_of(
    connection: Connection[Any], lots: Sequence[int], vehicles: Sequence[str], span: tuple[datetime, datetime]
) -> list[Permit]:
    """Permits of each pair of lot and vehicle, and all that share plates with them, valid within the span.

    Raises:
        InvalidInputError: windows of one cannot be read, though they could when it was granted.
    """
    values = {"lots": list(lots), "vehicles": list(vehicles), "begins": span[0], "ends": span[1]}
    rows = connection.execute(_PERMITS, values).fetchall()
    closed = _closed(connection, [code for code, _, kind, *_ in rows if kind == SHARED], span)
    return [
        Permit(
            code=code,
            lot_id=lot,
            kind=kind,
            valid_from=begins,
            valid_until=ends,
            plates=frozenset(plates),
            slots=slots,
            windows=_windows(code, windows),
            closed=tuple(closed.get(code, ())),
        )
        for code, lot, kind, begins, ends, plates, slots, windows in rows
    ]


def _closed(
    connection: Connection[Any], codes: Sequence[str], span: tuple[datetime, datetime]
) -> dict[str, list[Interval]]:
    """Stretches within which shared permits do not cover, by code."""
    found: dict[str, list[Interval]] = {}
    if codes:
        values = {"codes": list(codes), "begins": span[0], "ends": span[1]}
        for code, since, until in connection.execute(_CLOSED, values):
            found.setdefault(code, []).append(Interval(since, until))
    return found


def presences(
    connection: Connection[Any], permits: Iterable[Permit], span: tuple[datetime, datetime]
) -> dict[int, list[Presence]]:
    """Stays of the permits' vehicles in the permits' lots that touch the span, by lot."""
    pairs = sorted({(permit.lot_id, plate) for permit in permits for plate in permit.plates})
    values = {"lots": [lot for lot, _ in pairs], "vehicles": [plate for _, plate in pairs]}
    found: dict[int, list[Presence]] = {}
    for lot, *stay in connection.execute(_PRESENCES, {**values, "begins": span[0], "ends": span[1]}):
        found.setdefault(lot, []).append(Presence(*stay))
    return found


def add_permit(connection: Connection[Any], permit: ListedPermit) -> bool:
    """Adds a permit with its plates; False: its lot is unknown, or its code is taken."""
    values = {
        "code": permit.code,
        "lot": permit.lot,
        "kind": permit.kind,
        "valid_from": permit.valid_from,
        "valid_until": permit.valid_until,
        "slots": permit.slots,
        "windows": None if permit.windows is None else Jsonb(describe_schedule(permit.windows)),
    }
    row = connection.execute(_ADD_PERMIT, values).fetchone()
    if row is not None:
        connection.execute(_ADD_PLATES, (row[0], sorted(set(permit.plates))))
    return row is not None


def end_permit(connection: Connection[Any], code: str, at: datetime) -> datetime | None:
    """Ends a permit early and gives when it ends, also where it had ended before; None: there is none of this code."""
    row = (
        connection.execute(_END_PERMIT, {"code": code, "at": at}).fetchone()
        or connection.execute(_PERMIT_UNTIL, (code,)).fetchone()
    )
    return None if row is None else row[0]


def listed_permits(
    connection: Connection[Any], at: datetime, *, lot: str | None = None, ended_too: bool = False
) -> list[ListedPermit]:
    """Permits by code, of one lot or of all; those that ended by `at` only on request.

    Raises:
        InvalidInputError: windows of one cannot be read, though they could when it was granted.
    """
    rows = connection.execute(_LIST_PERMITS, {"lot": lot, "ended_too": ended_too, "at": at})
    return [
        ListedPermit(code, lot, kind, begins, ends, slots, tuple(plates), _windows(code, windows))
        for code, lot, kind, begins, ends, slots, plates, windows in rows
    ]


def _windows(code: str, document: str | None) -> Schedule | None:
    if document is None:
        return None
    try:
        return _schedule(document)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"Permit {code!r} cannot be read any more ({error}); end it and grant it anew."
        ) from error


@lru_cache(maxsize=1024)
def _schedule(document: str) -> Schedule:
    """Most permits of a district have one of a few schedules, and each is asked for whenever its car moves."""
    return parse_schedule(msgspec.json.decode(document))


def add_coupon(
    connection: Connection[Any], coupon: Coupon, *, lot: str | None, plate: str, valid_until: datetime
) -> bool:
    """Gives a coupon to a vehicle, for one lot or for any; False: its code is taken."""
    values = {"code": coupon.code, "kind": coupon.kind.value, "value": coupon.value, "lot": lot, "plate": plate}
    return connection.execute(_ADD_COUPON, {**values, "valid_until": valid_until}).fetchone() is not None


def coupons_of(
    connection: Connection[Any],
    lots: Sequence[int],
    vehicles: Sequence[str],
    visits: Sequence[int | None],
    at: Sequence[datetime],
) -> dict[int, list[Coupon]]:
    """By position: coupons that a vehicle may use for a visit, the one it used for it first, else the one that ends first.

    Positions without any are left out.
    """
    values = {"lots": list(lots), "vehicles": list(vehicles), "visits": list(visits), "at": list(at)}
    found: dict[int, list[Coupon]] = {}
    for number, code, kind, value in connection.execute(_COUPONS, values):
        found.setdefault(number - 1, []).append(Coupon(CouponKind(kind), value, code))
    return found


def use_coupons(connection: Connection[Any], used: Sequence[tuple[str, int]]) -> list[str]:
    """Marks pairs of coupon code and visit; gives the codes that were free. The others are used for something else."""
    values = ([code for code, _ in used], [visit for _, visit in used])
    return [code for (code,) in connection.execute(_USE_COUPONS, values)]


def release_coupons(connection: Connection[Any], visits: Sequence[int], keep: Sequence[str]) -> int:
    """Gives the coupons of these visits back, but for those named; gives how many."""
    return connection.execute(_RELEASE_COUPONS, (list(visits), list(keep))).rowcount
