"""Rows that money stands on: lots of an operator, lane events with ETC parts, visits."""

from __future__ import annotations

import hashlib
import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from parking_core.lanes import EtcPart, LaneEvent, LaneEventKind, LaneSource

if TYPE_CHECKING:
    from psycopg import Connection

ZONE = ZoneInfo("Asia/Shanghai")
NOON = datetime(2026, 5, 4, 4, 0, tzinfo=UTC)  # 12:00 in Shanghai
HOUR = timedelta(hours=1)
_numbers = itertools.count(1)


def seed(connection: Connection[Any], lots: tuple[str, ...] = ("P01", "P02")) -> dict[str, int]:
    """Lots of operator `op1`, each with one lane; gives the lane's device id by lot code."""
    connection.execute("INSERT INTO operators (code, name) VALUES ('op1', 'Operator 1') ON CONFLICT DO NOTHING")
    devices = {}
    for lot in lots:
        connection.execute(
            "INSERT INTO lots (code, name, kind, operator_id, lat, lon)"
            " VALUES (%s, %s, 'off_street', (SELECT id FROM operators WHERE code = 'op1'), 31.5, 120.3)",
            (lot, f"Lot {lot}"),
        )
        row = connection.execute(
            "INSERT INTO devices (code, lot_id, family) VALUES (%s, (SELECT id FROM lots WHERE code = %s), 'lane')"
            " RETURNING id",
            (f"lane-{lot}", lot),
        ).fetchone()
        assert row is not None
        devices[lot] = row[0]
        connection.execute("INSERT INTO lanes (device_id, direction) VALUES (%s, 'both')", (row[0],))
    return devices


def add_event(
    connection: Connection[Any],
    device: int,
    kind: LaneEventKind = LaneEventKind.EXIT,
    *,
    at: datetime = NOON,
    vehicle: str = "苏BY1001",
    etc: EtcPart | None = None,
    **more: Any,
) -> LaneEvent:
    """A lane event in the ledger, as the gateway would have entered it."""
    number = next(_numbers)
    facts: dict[str, Any] = {"record_no": number, "refers_to": None, "flags": (), **more}
    part = etc or EtcPart()
    row = connection.execute(
        "INSERT INTO lane_events (device_id, lot_id, record_no, event, source, occurred_at, received_at, refers_to, plate,"
        " vehicle, card_no, terminal_no, terminal_serial, tac, amount_fen, flags, payload, digest)"
        " VALUES (%s, (SELECT lot_id FROM devices WHERE id = %s), %s, %s, 'etc', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,"
        " %s, %s, %s) RETURNING id, lot_id",
        (
            *(
                device,
                device,
                facts["record_no"],
                kind.value,
                at,
                at,
                facts["refers_to"],
                vehicle,
                vehicle,
                part.card_no,
            ),
            *(part.terminal_no, part.terminal_serial, part.tac, part.amount_fen, list(facts["flags"])),
            *(b"{}", hashlib.sha256(str(number).encode()).digest()),
        ),
    ).fetchone()
    assert row is not None
    return LaneEvent(
        id=row[0],
        device_id=device,
        lot_id=row[1],
        kind=kind,
        source=LaneSource.ETC,
        occurred_at=at,
        received_at=at,
        vehicle=vehicle,
        plate=vehicle,
        etc=etc,
        **facts,
    )


def paid(
    serial: str, amount_fen: int = 500, tac: str | None = "A1B2C3D4", terminal: str | None = "320100000001"
) -> EtcPart:
    """What an antenna reports of a charged card."""
    return EtcPart(
        card_no="32010000000000000001", terminal_no=terminal, terminal_serial=serial, tac=tac, amount_fen=amount_fen
    )


def add_visit(connection: Connection[Any], left: LaneEvent, *, lot: str | None = None) -> int:
    """An ended visit whose exit is `left`; gives its id."""
    row = connection.execute(
        "INSERT INTO visits (lot_id, vehicle, state, exit_event_id, entered_at, exited_at, matters_until)"
        " VALUES (coalesce((SELECT id FROM lots WHERE code = %s), %s), %s, 'closed', %s, %s, %s, %s) RETURNING id",
        (lot, left.lot_id, left.vehicle, left.id, left.occurred_at - HOUR, left.occurred_at, left.occurred_at),
    ).fetchone()
    assert row is not None
    return int(row[0])
