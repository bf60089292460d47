"""Visits as rows, and the passages that they are derived from, set by set. Nothing here commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parking_core.visits import Direction, Passage, StoredVisit, VisitState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from psycopg import Connection

    from parking_core.visits import DerivedVisit

# From when on a vehicle's passages must be read: the first moment before which all of its visits are decided. A visit
# that the moment falls into moves it to its own beginning.
_SINCE = """
WITH RECURSIVE since (vehicle, at) AS (
    SELECT * FROM unnest(%(vehicles)s::text[], %(earliest)s::timestamptz[])
    UNION
    SELECT visit.vehicle, coalesce(visit.entered_at, visit.exited_at)
    FROM since JOIN visits visit
      ON visit.vehicle = since.vehicle AND visit.matters_until >= since.at AND visit.state <> 'void'
     AND coalesce(visit.entered_at, visit.exited_at) < since.at
)
SELECT vehicle, min(at) FROM since GROUP BY vehicle
"""

_PASSAGE = """
       event.id, event.lot_id, event.device_id, event.record_no, event.event, lane.direction, event.occurred_at,
       CASE WHEN event.event IN ('entry', 'exit') AND event.amount_fen > 0 THEN event.amount_fen END,
       event.event = 'exit' AND EXISTS (
           SELECT FROM lane_events other
           WHERE other.device_id = event.device_id AND other.event = 'exit' AND other.vehicle <> event.vehicle
             AND other.occurred_at BETWEEN event.occurred_at - %(tailgate)s AND event.occurred_at
             AND (other.occurred_at, other.record_no) < (event.occurred_at, event.record_no))
"""

# Passages of vehicles: of the events' own vehicle, and of the one that a correction names instead. A barrier opened by
# hand for nobody is no passage. Events behind the last one taken that wait are left to their own batch: a backlog is read
# once.
_PASSAGES = f"""
SELECT wanted.vehicle, event.plate_color, event.vehicle_class, false, {_PASSAGE}
FROM unnest(%(vehicles)s::text[], %(since)s::timestamptz[]) AS wanted (vehicle, since)
CROSS JOIN LATERAL (
    SELECT * FROM lane_events
    WHERE vehicle = wanted.vehicle AND occurred_at >= wanted.since
      AND (id <= %(last)s OR processed_at IS NOT NULL) OFFSET 0) event
LEFT JOIN lanes lane ON lane.device_id = event.device_id
WHERE event.event IN ('entry', 'exit', 'manual_open')
  AND NOT EXISTS (SELECT FROM lane_amendments WHERE event_id = event.id AND in_force)
  AND NOT EXISTS (SELECT FROM lane_events_set_aside WHERE event_id = event.id)
  AND (event.event <> 'manual_open'
       OR coalesce(event.plate, event.obu_plate, event.card_plate, event.contract_no, event.obu_id) IS NOT NULL)
UNION ALL
SELECT wanted.vehicle, coalesce(amendment.plate_color, event.plate_color),
       coalesce(amendment.vehicle_class, event.vehicle_class), true, {_PASSAGE}
FROM unnest(%(vehicles)s::text[], %(since)s::timestamptz[]) AS wanted (vehicle, since)
JOIN lane_amendments amendment ON amendment.vehicle_after = wanted.vehicle AND amendment.in_force
JOIN lane_events event ON event.id = amendment.event_id AND event.occurred_at >= wanted.since
 AND (event.id <= %(last)s OR event.processed_at IS NOT NULL)
LEFT JOIN lanes lane ON lane.device_id = event.device_id
WHERE event.event IN ('entry', 'exit', 'manual_open')
  AND NOT EXISTS (SELECT FROM lane_events_set_aside WHERE event_id = event.id)
"""  # noqa: S608  # the fragment is the constant above

# Vehicles that left through the same lane right after one of these exits.
_FOLLOWERS = """
SELECT coalesce(amendment.vehicle_after, other.vehicle), other.occurred_at
FROM unnest(%(devices)s::integer[], %(times)s::timestamptz[]) AS leaving (device_id, at)
CROSS JOIN LATERAL (
    SELECT id, vehicle, occurred_at FROM lane_events
    WHERE device_id = leaving.device_id AND occurred_at BETWEEN leaving.at AND leaving.at + %(tailgate)s
      AND event = 'exit' AND processed_at IS NOT NULL OFFSET 0) other
LEFT JOIN lane_amendments amendment ON amendment.event_id = other.id AND amendment.in_force
"""

_COLUMNS = """id, lot_id, vehicle, plate_color, vehicle_class, state, reasons, entry_event_id, exit_event_id, entered_at,
       exited_at, matters_until, linked_event_id"""

_STORED = """
SELECT visit.id, visit.lot_id, visit.vehicle, visit.plate_color, visit.vehicle_class, visit.state, visit.reasons,
       visit.entry_event_id, visit.exit_event_id, visit.entered_at, visit.exited_at, visit.matters_until,
       visit.linked_event_id
FROM unnest(%(vehicles)s::text[], %(since)s::timestamptz[]) AS wanted (vehicle, since)
JOIN visits visit ON visit.vehicle = wanted.vehicle AND visit.state <> 'void'
 AND visit.matters_until >= wanted.since AND coalesce(visit.entered_at, visit.exited_at) >= wanted.since
"""

_VALUES = """
unnest(%(ids)s::bigint[], %(lots)s::integer[], %(vehicles)s::text[], %(colors)s::text[], %(classes)s::smallint[],
       %(states)s::text[], %(reasons)s::text[], %(entries)s::bigint[], %(exits)s::bigint[],
       %(entered)s::timestamptz[], %(exited)s::timestamptz[], %(until)s::timestamptz[],
       %(linked)s::bigint[])
    AS new (id, lot_id, vehicle, plate_color, vehicle_class, state, reasons, entry_event_id, exit_event_id, entered_at,
            exited_at, matters_until, linked_event_id)
"""

_INSERT = f"""
INSERT INTO visits (lot_id, vehicle, plate_color, vehicle_class, state, reasons, entry_event_id, exit_event_id,
                    entered_at, exited_at, matters_until, linked_event_id)
SELECT lot_id, vehicle, plate_color, vehicle_class, state, string_to_array(reasons, ','), entry_event_id, exit_event_id,
       entered_at, exited_at, matters_until, linked_event_id
FROM {_VALUES}
RETURNING id, entry_event_id, exit_event_id
"""  # noqa: S608  # the fragment is the constant above

_UPDATE = f"""
UPDATE visits SET lot_id = new.lot_id, vehicle = new.vehicle, plate_color = new.plate_color,
       vehicle_class = new.vehicle_class, state = new.state, reasons = string_to_array(new.reasons, ','),
       entry_event_id = new.entry_event_id, exit_event_id = new.exit_event_id, entered_at = new.entered_at,
       exited_at = new.exited_at, matters_until = new.matters_until,
       linked_event_id = new.linked_event_id, changed_at = clock_timestamp()
FROM {_VALUES} WHERE visits.id = new.id
"""  # noqa: S608  # the fragment is the constant above

_VOID = """
UPDATE visits SET state = 'void', channel = NULL, entry_event_id = NULL, exit_event_id = NULL,
       linked_event_id = NULL, changed_at = clock_timestamp()
WHERE id = ANY(%(ids)s)
"""

_SET_CHANNELS = """
UPDATE visits SET channel = new.channel
FROM unnest(%(ids)s::bigint[], %(channels)s::text[]) AS new (id, channel)
WHERE visits.id = new.id AND visits.channel IS DISTINCT FROM new.channel
"""

_OVERDUE = """
SELECT vehicle, entered_at FROM visits WHERE state = 'open' AND entered_at < %(before)s ORDER BY entered_at LIMIT %(limit)s
"""

# Closed stays of other vehicles that may have held, or not held, a permit's slot for one of these visits' sake.
_SHARING_PERMITS = """
WITH RECURSIVE moved AS (
    SELECT lot_id, vehicle, coalesce(entered_at, exited_at) AS begins, coalesce(exited_at, 'infinity') AS ends
    FROM visits WHERE id = ANY(%(ids)s)
), linked (lot_id, begins, ends, permit_id) AS (
    SELECT moved.lot_id, moved.begins, moved.ends, permit.id
    FROM moved JOIN permit_plates plate ON plate.plate = moved.vehicle
    JOIN permits permit ON permit.id = plate.permit_id AND permit.lot_id = moved.lot_id
    UNION
    SELECT linked.lot_id, linked.begins, linked.ends, permit.id
    FROM linked JOIN permit_plates mine ON mine.permit_id = linked.permit_id
    JOIN permit_plates theirs ON theirs.plate = mine.plate
    JOIN permits permit ON permit.id = theirs.permit_id AND permit.lot_id = linked.lot_id
)
SELECT DISTINCT visit.id, visit.lot_id, visit.vehicle, visit.plate_color, visit.vehicle_class, visit.state,
       visit.reasons, visit.entry_event_id, visit.exit_event_id, visit.entered_at, visit.exited_at,
       visit.matters_until, visit.linked_event_id
FROM linked JOIN permit_plates plate ON plate.permit_id = linked.permit_id
JOIN visits visit ON visit.vehicle = plate.plate AND visit.lot_id = linked.lot_id AND visit.state = 'closed'
 AND visit.exited_at > linked.begins AND visit.entered_at < linked.ends
WHERE visit.id <> ALL(%(ids)s)
"""

_BY_ID = f"SELECT {_COLUMNS} FROM visits WHERE id = ANY(%(ids)s)"  # noqa: S608  # the columns are the constant above


def since(connection: Connection[Any], earliest: Mapping[str, datetime]) -> dict[str, datetime]:
    """From when on the passages of each vehicle must be read, given its earliest passage that is new."""
    parameters = {"vehicles": list(earliest), "earliest": list(earliest.values())}
    return dict(connection.execute(_SINCE, parameters).fetchall())


def passages(
    connection: Connection[Any], begins: Mapping[str, datetime], tailgate: timedelta, last: int | None = None
) -> dict[str, list[Passage]]:
    """Passages of vehicles from a moment each, in no order; vehicles without any have an empty list.

    `last` is the id up to which events count that still wait; None: all of them.
    """
    found: dict[str, list[Passage]] = {vehicle: [] for vehicle in begins}
    parameters = {
        "vehicles": list(begins),
        "since": list(begins.values()),
        "tailgate": tailgate,
        "last": _LAST_ID if last is None else last,
    }
    with connection.cursor(binary=True) as cursor:
        for vehicle, color, vehicle_class, corrected, *facts in cursor.execute(_PASSAGES, parameters):
            event_id, lot_id, device_id, record_no, kind, direction, at, amount, close_behind = facts
            found[vehicle].append(
                Passage(
                    event_id=event_id,
                    lot_id=lot_id,
                    device_id=device_id,
                    record_no=record_no,
                    direction=_DIRECTIONS.get(kind) or _BY_HAND.get(direction, Direction.EITHER),
                    at=at,
                    manual=kind == "manual_open",
                    amount_fen=amount,
                    close_behind=close_behind,
                    corrected=corrected,
                    plate_color=color,
                    vehicle_class=vehicle_class,
                )
            )
    return found


_LAST_ID = 2**63 - 1
_DIRECTIONS = {"entry": Direction.ENTRY, "exit": Direction.EXIT}
_BY_HAND = {"entry": Direction.ENTRY, "exit": Direction.EXIT, "both": Direction.EITHER}


def followers(
    connection: Connection[Any], exits: Sequence[tuple[int, datetime]], tailgate: timedelta
) -> list[tuple[str, datetime]]:
    """Vehicles, and when, that left right after these exits (device, time): they may have been let out by them."""
    if not exits:
        return []
    parameters = {
        "devices": [device for device, _ in exits],
        "times": [at for _, at in exits],
        "tailgate": tailgate,
    }
    return connection.execute(_FOLLOWERS, parameters).fetchall()


def stored_visits(connection: Connection[Any], begins: Mapping[str, datetime]) -> list[StoredVisit]:
    """Visits of vehicles that begin at or after a moment each, void ones left out."""
    parameters = {"vehicles": list(begins), "since": list(begins.values())}
    with connection.cursor(binary=True) as cursor:
        return [_visit(row) for row in cursor.execute(_STORED, parameters)]


def visits_by_id(connection: Connection[Any], ids: Sequence[int]) -> list[StoredVisit]:
    """Visits by their ids, void ones too, in no order."""
    return [_visit(row) for row in connection.execute(_BY_ID, {"ids": list(ids)}).fetchall()]


def sharing_permits(connection: Connection[Any], ids: Sequence[int]) -> list[StoredVisit]:
    """Closed visits of other vehicles at the same time whose permits are linked to those of these visits by plates."""
    if not ids:
        return []
    return [_visit(row) for row in connection.execute(_SHARING_PERMITS, {"ids": list(ids)}).fetchall()]


def insert_visits(connection: Connection[Any], new: Sequence[DerivedVisit]) -> dict[tuple[int | None, int | None], int]:
    """Adds visits; gives their ids by their (entry event, exit event)."""
    if not new:
        return {}
    rows = connection.execute(_INSERT, _columns(new)).fetchall()
    return {(entry, leaving): visit for visit, entry, leaving in rows}


def update_visits(connection: Connection[Any], changed: Sequence[DerivedVisit]) -> None:
    """Brings visits to what their drafts say."""
    if changed:
        connection.execute(_UPDATE, _columns(changed))


def void_visits(connection: Connection[Any], ids: Sequence[int]) -> None:
    """Ends visits whose events belong to others; they keep their rows, because the journal names them."""
    if ids:
        connection.execute(_VOID, {"ids": list(ids)})


def set_channels(connection: Connection[Any], channels: Mapping[int, str | None]) -> None:
    """How visits were paid."""
    if channels:
        connection.execute(_SET_CHANNELS, {"ids": list(channels), "channels": list(channels.values())})


def overdue(connection: Connection[Any], before: datetime, limit: int) -> list[tuple[str, datetime]]:
    """Vehicles, and since when, whose open visit began before a moment; the oldest first."""
    return connection.execute(_OVERDUE, {"before": before, "limit": limit}).fetchall()


def _visit(row: tuple[Any, ...]) -> StoredVisit:
    visit, lot_id, vehicle, color, vehicle_class, state, reasons, entry, leaving, *times = row
    return StoredVisit(
        id=visit,
        lot_id=lot_id,
        vehicle=vehicle,
        plate_color=color,
        vehicle_class=vehicle_class,
        state=VisitState(state),
        reasons=tuple(reasons),
        entry_event_id=entry,
        exit_event_id=leaving,
        entered_at=times[0],
        exited_at=times[1],
        matters_until=times[2],
        linked_event_id=times[3],
    )


def _columns(visits: Sequence[DerivedVisit]) -> dict[str, list[Any]]:
    drafts = [visit.draft for visit in visits]
    return {
        "ids": [visit.id for visit in visits],
        "vehicles": [visit.vehicle for visit in visits],
        "lots": [draft.lot_id for draft in drafts],
        "colors": [draft.plate_color for draft in drafts],
        "classes": [draft.vehicle_class for draft in drafts],
        "states": [draft.state.value for draft in drafts],
        "reasons": [",".join(draft.reasons) for draft in drafts],  # an array of arrays would need equal lengths
        "entries": [draft.entry_event_id for draft in drafts],
        "exits": [draft.exit_event_id for draft in drafts],
        "entered": [draft.entered_at for draft in drafts],
        "exited": [draft.exited_at for draft in drafts],
        "until": [draft.matters_until for draft in drafts],
        "linked": [draft.linked_event_id for draft in drafts],
    }
