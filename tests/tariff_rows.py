"""Rows that tests of prices need: a lot, stays as visits, charges; written as an outside program sees the tables."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

_numbers = itertools.count(1)


def hourly(code: str = "hourly", price_fen: int = 500, **more: Any) -> dict[str, Any]:
    """A tariff of one price an hour, every day; `plan` adds to its plan, anything else to the document."""
    plan = more.pop("plan", {})
    return {
        "format": "parking-tariff/1",
        "code": code,
        "name_zh": "每小时",
        "name_en": "by the hour",
        "rates": {"hour": {"unit_minutes": 60, "price_fen": price_fen}},
        "plans": {
            "standard": {
                "windows": {"any_day": [{"name": "all", "from": "00:00", "until": "24:00", "rate": "hour"}]},
                "straddle": "earlier",
                **plan,
            }
        },
        **more,
    }


def add_lot(connection: Connection[Any], code: str, kind: str = "off_street") -> int:
    row = connection.execute(
        "INSERT INTO lots (code, name, kind, lat, lon) VALUES (%s, %s, %s, 31.5, 120.3) RETURNING id",
        (code, f"滨湖 {code}", kind),
    ).fetchone()
    assert row is not None
    return int(row[0])


def add_lane(connection: Connection[Any], lot: int, code: str) -> int:
    row = connection.execute(
        "INSERT INTO devices (code, lot_id, family, expected_interval_s) VALUES (%s, %s, 'native', 60) RETURNING id",
        (code, lot),
    ).fetchone()
    assert row is not None
    connection.execute("INSERT INTO lanes (device_id, direction) VALUES (%s, 'both')", (row[0],))
    return int(row[0])


def add_visit(  # a row of the table, column by column
    connection: Connection[Any],
    lane: int,
    vehicle: str,
    entered_at: datetime,
    exited_at: datetime | None,
    *,
    state: str | None = None,
) -> int:
    """A visit with the record of its entry."""
    event = connection.execute(
        """INSERT INTO lane_events (device_id, lot_id, record_no, event, source, occurred_at, received_at, vehicle, payload,
               digest)
           SELECT d.id, d.lot_id, %s, 'entry', 'anpr', %s, %s, %s, '', '' FROM devices d WHERE d.id = %s RETURNING id, lot_id""",
        (next(_numbers), entered_at, entered_at, vehicle, lane),
    ).fetchone()
    assert event is not None
    row = connection.execute(
        """INSERT INTO visits (lot_id, vehicle, state, entry_event_id, entered_at, exited_at, matters_until)
           VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id""",
        (
            *(event[1], vehicle, state or ("open" if exited_at is None else "closed"), event[0]),
            *(entered_at, exited_at, exited_at or entered_at + timedelta(days=15)),
        ),
    ).fetchone()
    assert row is not None
    return int(row[0])


def add_charge(
    connection: Connection[Any], visit: int, tariff_id: int | None, amount_fen: int, version: int = 1
) -> None:
    connection.execute(
        "INSERT INTO charges (visit_id, version, tariff_id, amount_fen, lines, reason) VALUES (%s, %s, %s, %s, %s, 'exit')",
        (visit, version, tariff_id, amount_fen, json.dumps([])),
    )
