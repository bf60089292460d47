"""Old plates, cards and OBUs: replaced row by row, so that the accounts stay explainable. Nothing here commits.

A row is old when it was received before a moment. What is still open keeps its plates: a vehicle inside, and whatever a
difference that is not ended speaks of (a debt is recovered by its plate).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

_EVENTS = """
WITH kept AS MATERIALIZED (
    SELECT visit.entry_event_id, visit.exit_event_id FROM visits AS visit
    WHERE visit.state = 'open' OR visit.id IN (SELECT visit_id FROM differences WHERE state = 'open')
), old AS (
    SELECT id FROM lane_events AS event
    WHERE masked_at IS NULL AND received_at < %(before)s AND processed_at IS NOT NULL
      AND NOT EXISTS (SELECT FROM kept WHERE kept.entry_event_id = event.id)
      AND NOT EXISTS (SELECT FROM kept WHERE kept.exit_event_id = event.id)
      AND id NOT IN (SELECT event_id FROM differences WHERE state = 'open' AND event_id IS NOT NULL)
    ORDER BY received_at LIMIT %(limit)s
)
UPDATE lane_events AS event SET
    vehicle = pseudonym(vehicle, %(salt)s), plate = masked_plate(plate), obu_plate = masked_plate(obu_plate),
    card_plate = masked_plate(card_plate), obu_id = '*' || right(obu_id, 4), contract_no = '*' || right(contract_no, 4),
    card_no = '*' || right(card_no, 4), payload = '', digest = sha256(%(salt)s || digest), masked_at = %(now)s
FROM old WHERE event.id = old.id
"""

_REPEATS = """
UPDATE lane_repeats SET payload = '', digest = sha256(%(salt)s || digest)
WHERE received_at < %(before)s AND processed_at IS NOT NULL AND payload <> ''
"""

_VISITS = """
UPDATE visits AS visit SET vehicle = pseudonym(vehicle, %(salt)s)
WHERE visit.state <> 'open' AND strpos(visit.vehicle, '#') = 0 AND visit.matters_until < %(before)s
  AND coalesce(visit.exited_at, visit.entered_at) < %(before)s
  AND visit.id NOT IN (SELECT visit_id FROM differences WHERE state = 'open' AND visit_id IS NOT NULL)
"""

_AMENDMENTS = """
UPDATE lane_amendments AS amendment SET
    vehicle_before = pseudonym(vehicle_before, %(salt)s), vehicle_after = pseudonym(vehicle_after, %(salt)s)
FROM lane_events AS event
WHERE event.id = amendment.correction_event_id AND event.masked_at IS NOT NULL
  AND strpos(amendment.vehicle_after, '#') = 0
"""

_LETTERS = """
UPDATE dead_letters SET payload = '', digest = sha256(%(salt)s || digest)
WHERE received_at < %(before)s AND topic LIKE 'parking/v1/%%/lane' AND payload <> ''
"""


# Promises that are over. Within a run a vehicle has one pseudonym: a visit that is priced again finds its permit.
_RESERVATIONS = """
UPDATE reservations SET plate = pseudonym(plate, %(salt)s)
WHERE ended_at < %(before)s AND depart_at < %(before)s AND strpos(plate, '#') = 0
"""

_SHARED_PERMITS = """
UPDATE shared_permits SET plate = pseudonym(plate, %(salt)s)
WHERE state NOT IN ('applied', 'active') AND coalesce(ended_at, decided_at, asked_at) < %(before)s AND strpos(plate, '#') = 0
"""

_PERMIT_PLATES = """
UPDATE permit_plates AS plates SET plate = pseudonym(plate, %(salt)s)
FROM permits WHERE permits.id = plates.permit_id AND permits.valid_until < %(before)s AND strpos(plates.plate, '#') = 0
"""

# A gate that was told to expect a vehicle.
_GATES = """
UPDATE commands SET payload = payload - 'plate'
WHERE kind = 'expect_vehicle' AND state NOT IN ('queued', 'sent') AND created_at < %(before)s AND deadline_at < %(before)s
  AND payload ? 'plate'
"""


def mask_promises(connection: Connection[Any], before: datetime, salt: bytes) -> int:
    """Masks reservations and permits that were over before then, and gates' commands; gives how many rows."""
    given = {"before": before, "salt": salt}
    return sum(
        connection.execute(query, given).rowcount for query in (_RESERVATIONS, _SHARED_PERMITS, _PERMIT_PLATES, _GATES)
    )


def mask_events(connection: Connection[Any], before: datetime, now: datetime, salt: bytes, limit: int) -> int:
    """Masks at most so many events received before then; gives their number."""
    given = {"before": before, "now": now, "salt": salt, "limit": limit}
    return connection.execute(_EVENTS, given).rowcount


def mask_repeats(connection: Connection[Any], before: datetime, salt: bytes) -> int:
    """Empties what old repeats held; gives their number."""
    return connection.execute(_REPEATS, {"before": before, "salt": salt}).rowcount


def mask_visits(connection: Connection[Any], before: datetime, salt: bytes) -> int:
    """Masks visits that were over before then, corrections of masked events too; gives the number of visits."""
    connection.execute(_AMENDMENTS, {"salt": salt})
    return connection.execute(_VISITS, {"before": before, "salt": salt}).rowcount


def mask_letters(connection: Connection[Any], before: datetime, salt: bytes) -> int:
    """Empties old dead letters of lanes; gives their number."""
    return connection.execute(_LETTERS, {"before": before, "salt": salt}).rowcount
