"""What must hold of promises whatever was killed, asked of the database and of what clients were told.

Capacity is counted anew, with arithmetic of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import psycopg

from parking_core.reservations import standing_of
from parking_core.sharing import AllocationPolicy
from parking_core.store import promises, reservations
from tests.acceptance.drivers import Wish

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from psycopg import Connection

    from tests.acceptance.drivers import Driver

_SLOT_S: Final = 300
_SLOTS: Final = 288
_MOST_SHOWN: Final = 5
_MOST_FEE_FEN: Final = AllocationPolicy().overstay.most_fen or 0
_EARLY_MIN: Final = AllocationPolicy().early_min
_CHARGED_FROM_MIN: Final = AllocationPolicy().overstay.charged_from_min

# Each must find nothing. Promises are reservations with a class: they were granted, whatever became of them.
_FAULTS: Final = {
    "a promise without its one hold": """
        SELECT r.code, r.state, count(h.id), min(h.state) FROM reservations r
        LEFT JOIN holds h ON h.key = 'reservation:' || r.code WHERE r.class_id IS NOT NULL GROUP BY r.id
        HAVING count(h.id) <> 1 OR min(h.amount_fen) <> r.price_fen + %(most_fee)s OR min(h.state) <> CASE r.state
            WHEN 'granted' THEN 'placed' WHEN 'arrived' THEN 'placed' WHEN 'completed' THEN 'captured' ELSE 'released' END""",
    "a hold of no promise": """
        SELECT h.key FROM holds h LEFT JOIN reservations r ON h.key = 'reservation:' || r.code AND r.class_id IS NOT NULL
        WHERE r.id IS NULL OR r.hold_key IS DISTINCT FROM h.key""",
    "a promise without its one covering permit": """
        SELECT r.code, r.state, count(p.id), count(n.plate) FROM reservations r
        LEFT JOIN permits p ON p.code = r.code AND p.lot_id = r.lot_id AND p.kind = 'reservation' AND p.slots = 1
            AND p.valid_from = r.arrive_at - make_interval(mins => %(early)s)
            AND CASE r.state WHEN 'granted' THEN p.valid_until = r.depart_at + make_interval(mins => %(charged_from)s)
                WHEN 'arrived' THEN p.valid_until > r.depart_at WHEN 'completed' THEN p.valid_until = r.left_at
                ELSE p.valid_until <= greatest(r.ended_at, p.valid_from + interval '1 second') END
        LEFT JOIN permit_plates n ON n.permit_id = p.id AND n.plate = r.plate
        WHERE r.class_id IS NOT NULL GROUP BY r.id HAVING (count(p.id), count(n.plate)) <> (1, 1)""",
    "a permit of no promise": """
        SELECT p.code FROM permits p LEFT JOIN reservations r ON r.code = p.code AND r.class_id IS NOT NULL
        WHERE r.id IS NULL""",
    "a promise that its barriers were not told of, once each": """
        SELECT r.code, r.state, l.device_id FROM reservations r
        JOIN devices d ON d.lot_id = r.lot_id JOIN lanes l ON l.device_id = d.id AND l.direction <> 'exit'
        LEFT JOIN commands c ON c.device_id = l.device_id AND c.cause = 'reservation:' || r.code
            AND c.payload ->> 'reservation' = r.code
        WHERE r.class_id IS NOT NULL GROUP BY r.id, l.device_id
        HAVING count(c.id) FILTER (WHERE c.kind = 'expect_vehicle' AND c.payload ->> 'plate' = r.plate) <> 1
            OR count(c.id) FILTER (WHERE c.kind = 'forget_vehicle') <> (r.state IN ('cancelled', 'completed'))::int""",
    "a command for no promise": """
        SELECT c.cause FROM commands c
        LEFT JOIN reservations r ON c.cause = 'reservation:' || r.code AND r.class_id IS NOT NULL
        WHERE c.kind IN ('expect_vehicle', 'forget_vehicle') AND r.id IS NULL""",
    "a driver who was not told, once": """
        SELECT r.code, r.state, n.kinds FROM reservations r CROSS JOIN LATERAL (
            SELECT array_agg(kind ORDER BY id) FILTER (WHERE kind IN ('reservation_granted', 'reservation_cancelled'))
            FROM user_notices WHERE user_id = r.user_id AND detail ->> 'reservation' = r.code) AS n (kinds)
        WHERE coalesce(n.kinds, '{}') <> CASE WHEN r.class_id IS NULL THEN '{}'::text[]
            WHEN r.state = 'cancelled' THEN ARRAY['reservation_granted', 'reservation_cancelled']
            ELSE ARRAY['reservation_granted'] END""",
    "a person with more promises than are allowed": """
        SELECT user_id, count(*) FROM reservations WHERE state IN ('granted', 'arrived') GROUP BY 1
        HAVING count(*) > %(most_active)s""",
    "a car that is promised two spaces at once": """
        SELECT a.code, b.code FROM reservations a JOIN reservations b USING (plate)
        WHERE a.id < b.id AND a.state IN ('granted', 'arrived') AND b.state IN ('granted', 'arrived')
          AND a.arrive_at < b.depart_at AND b.arrive_at < a.depart_at""",
    "two cars on one space": """
        SELECT a.space_id, a.reservation_id, b.reservation_id FROM space_stays a JOIN space_stays b USING (space_id)
        WHERE a.id < b.id AND a.during && b.during""",
    "a car that had come without its one space": """
        SELECT r.code, r.state, count(s.id) FROM reservations r
        LEFT JOIN space_stays s ON s.reservation_id = r.id AND (s.left_at IS NULL) = (r.state = 'arrived')
            AND s.space_id IN (SELECT id FROM spaces WHERE lot_id = r.lot_id)
        WHERE r.state IN ('arrived', 'completed') GROUP BY r.id HAVING count(s.id) <> 1""",
}
# What is done to a town where all is well, and how it is named: a look that finds nothing must be able to find something.
DAMAGES: Final = {
    "a promise without its one hold": "DELETE FROM holds WHERE id = (SELECT min(id) FROM holds)",
    "a hold of no promise": """
        INSERT INTO holds (key, channel, amount_fen, state, placed_at, expires_at)
        VALUES ('reservation:R-0', 'qr:acq', 1, 'placed', now(), now() + interval '1 day')""",
    "a promise without its one covering permit": """
        DELETE FROM permit_plates WHERE permit_id = (SELECT min(permit_id) FROM permit_plates)""",
    "a permit of no promise": """
        INSERT INTO permits (code, lot_id, kind, valid_from, valid_until, slots)
        SELECT 'R-0', lot_id, kind, valid_from, valid_until, slots FROM permits LIMIT 1""",
    "a promise that its barriers": """
        DELETE FROM commands WHERE id = (SELECT id FROM commands WHERE kind = 'expect_vehicle' LIMIT 1)""",
    "a command for no promise": """
        INSERT INTO commands (id, device_id, kind, payload, cause, state, created_at, deadline_at, next_try_at)
        SELECT gen_random_uuid(), device_id, kind, payload, 'reservation:R-0', state, created_at, deadline_at, next_try_at
        FROM commands WHERE kind = 'expect_vehicle' LIMIT 1""",
    "a driver who was not told": """
        DELETE FROM user_notices WHERE id = (SELECT min(id) FROM user_notices WHERE kind = 'reservation_granted')""",
    "two cars on one space": """
        ALTER TABLE space_stays DROP CONSTRAINT one_car_a_space;
        INSERT INTO space_stays (space_id, class_id, reservation_id, during, promised_until, left_at)
        SELECT space_id, class_id, reservation_id, during, promised_until, now() FROM space_stays LIMIT 1""",
    "class ": "UPDATE capacity_days SET free = shift_slots(free, 0, 288, 1) WHERE day > now()::date",
    "the platform's own audit: CapacityDifference": "",  # as well
    "0 reservations under the key": "UPDATE reservations SET idempotency_key = 'k' WHERE id = (SELECT min(id) FROM reservations)",
    "nobody asked under": "",
    "R-": "UPDATE reservations SET price_fen = price_fen + 1 WHERE id = (SELECT max(id) FROM reservations)",
    "u": "",  # and told otherwise
}
_LATER: Final = {
    "granted": (),
    "refused": (),
    "cancelled": ("cancelled",),
    "arrived": ("arrived",),
    "completed": ("arrived", "left"),
}
_EVENTS = "SELECT id FROM reservations ORDER BY id"
_PROMISED = """
SELECT class_id, arrive_at, until_at FROM reservations WHERE state IN ('granted', 'arrived')
"""
_OFFERED = """
SELECT d.class_id, d.day, d.offered, d.free, (SELECT count(*) FROM class_spaces s WHERE s.class_id = d.class_id)
FROM capacity_days d
"""
_ASKED = """
SELECT u.code, r.idempotency_key, r.code, r.class_id IS NOT NULL, r.state, l.code, r.plate, r.arrive_at, r.depart_at,
       r.price_fen, (SELECT detail ->> 'reason' FROM reservation_events e WHERE e.reservation_id = r.id AND kind = 'refused')
FROM reservations r JOIN user_accounts u ON u.id = r.user_id LEFT JOIN lots l ON l.id = r.lot_id
"""


def faults_of(database_url: str, drivers: Iterable[Driver]) -> list[str]:
    """Everything that must not be, one sentence each; empty when all is well."""
    wishes, states = list[Wish](), dict[str, str]()
    for driver in drivers:
        wishes += driver.wishes
        states |= dict.fromkeys(driver.cancelled, "cancelled") | dict.fromkeys(driver.left, "completed")
        states |= {driver.inside[0]: "arrived"} if driver.inside else {}
    with psycopg.connect(database_url, autocommit=True) as db:
        values = {
            "most_fee": _MOST_FEE_FEN,
            "early": _EARLY_MIN,
            "charged_from": _CHARGED_FROM_MIN,
            "most_active": AllocationPolicy().most_active,
        }
        found = []
        for name, query in _FAULTS.items():
            rows = db.execute(query.encode(), values).fetchall()
            found += [f"{name}: {rows[:_MOST_SHOWN]} ({len(rows)})"] if rows else []
        found += [*_oversold(db, datetime.now(UTC)), *_unfolded(db), *_unlike_answers(db, wishes, states)]
        found += [f"the platform's own audit: {each}" for each in promises.audit_capacity(db, datetime.now(UTC))]
        found += [f"the platform's own audit: orphan {key}" for key in promises.orphan_holds(db)]
        return found


def _oversold(db: Connection[Any], now: datetime) -> list[str]:
    """Slot by slot: what is left is what the spaces are less the promises that touch it, and never below nothing.

    In slots that have begun also cars took spaces that have left by now.
    """
    taken = Counter[tuple[int, int]]()
    for class_id, since, until in db.execute(_PROMISED).fetchall():
        first, last = since.timestamp() // _SLOT_S, -(-until.timestamp() // _SLOT_S)
        taken.update((class_id, slot) for slot in range(int(first), int(last)))
    found, seen = list[str](), set[tuple[int, int]]()
    for class_id, day, offered, free, spaces in db.execute(_OFFERED).fetchall():
        begin = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) // _SLOT_S
        for slot in range(_SLOTS):
            promised = taken[class_id, begin + slot]
            seen.add((class_id, begin + slot))
            left = offered[slot] - promised
            begun = (begin + slot) * _SLOT_S < now.timestamp()
            if not (0 <= free[slot] <= left and offered[slot] <= spaces and (begun or free[slot] == left)):
                found.append(
                    f"class {class_id}, {day} slot {slot}: {promised} promises of {spaces} spaces, "
                    f"offered {offered[slot]}, free {free[slot]}"
                )
    found += [f"promised where nothing is offered: {place}" for place in +taken if place not in seen]
    return found[:_MOST_SHOWN]


def _unfolded(db: Connection[Any]) -> list[str]:
    """Reservations whose events do not lead to what their row says, or say something twice."""
    found = []
    for (number,) in db.execute(_EVENTS).fetchall():
        events, row = reservations.events(db, number), reservations.lock(db, number)
        told = standing_of(events)
        same = (told.state, told.lateness, told.class_id, told.price_fen, told.fee_fen)
        kinds = Counter(event.kind.value for event in events)
        decided = "granted" if row.class_id else "refused"
        expected = {"asked": 1, decided: 1} | dict.fromkeys(_LATER[row.state.value], 1)
        if same != (row.state, row.lateness, row.class_id, row.price_fen, row.fee_fen):
            found.append(f"{row.code} is {row.state}, its events say {told}")
        if {kind: number for kind, number in kinds.items() if kind != "rebound"} != expected:
            found.append(f"{row.code} has the events {dict(kinds)}")
    return found[:_MOST_SHOWN]


def _unlike_answers(db: Connection[Any], wishes: list[Wish], states: Mapping[str, str]) -> list[str]:
    """Keys without exactly one reservation, and answers that are not what is stored."""
    rows = defaultdict(list)
    for user, key, *row in db.execute(_ASKED).fetchall():
        rows[user, key].append(row)
    found = [f"nobody asked under {place}" for place in rows.keys() - {(wish.user, wish.key) for wish in wishes}]
    for wish in wishes:
        stored = rows[wish.user, wish.key]
        if len(stored) != 1:
            found.append(f"{len(stored)} reservations under the key {wish.key} of {wish.user}")
            continue
        found += [
            f"{wish.user} was told {status} {answer}, stored is {stored[0]}"
            for status, answer in wish.answers
            if _said(status, answer) != _stored(stored[0])
        ]
        code, granted, state = stored[0][:3]
        if state != (expected := states.get(code, "granted" if granted else "refused")):
            found.append(f"{code} is {state}, for its driver it is {expected}")
        if not wish.answers:
            found.append(f"{wish.user} has no answer to {wish.key}")
    asked = db.execute("SELECT count(*) FROM asked_demand").fetchone()
    first_hand = sum("instead_of" not in wish.body for wish in wishes)
    if asked != (first_hand,):
        found.append(f"{asked} asked for by the figures of demand, {first_hand} did")
    return found[: 2 * _MOST_SHOWN]


def _said(status: int, answer: dict[str, Any]) -> tuple[Any, ...]:
    lot, refusal = answer.get("lot") or {}, answer.get("refusal") or {}
    moments = (datetime.fromisoformat(answer[name]) for name in ("arrive_at", "depart_at"))
    return (
        status == 201,  # created
        answer["code"],
        lot.get("code"),
        answer["plate"],
        *moments,
        answer["price_fen"],
        refusal.get("reason"),
    )


def _stored(row: list[Any]) -> tuple[Any, ...]:
    code, granted, _, lot, plate, arrive, depart, price, reason = row
    return granted, code, lot, plate, arrive, depart, price, reason
