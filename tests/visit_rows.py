"""A town of two lots with lanes and a tariff, whose ledger is filled as the gateway would and followed as the worker does."""

from __future__ import annotations

import hashlib
import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from parking_core.flows.follow_lanes import Desk, Followed, follow_lanes
from parking_core.flows.publish_tariff import Binding, publish_tariff
from parking_core.store.quick_lists import use_quick_lists
from tests.tariff_rows import hourly

if TYPE_CHECKING:
    from psycopg import Connection

ZONE = ZoneInfo("Asia/Shanghai")
NOON = datetime(2026, 5, 4, 4, 0, tzinfo=UTC)  # 12:00 in Shanghai
HOUR = timedelta(hours=1)
CAR, OTHER, THIRD = "苏B12345", "苏B99999", "苏B77777"

_EVENT = """
INSERT INTO lane_events (device_id, lot_id, record_no, event, source, occurred_at, received_at, refers_to, plate,
                         plate_color, vehicle_class, vehicle, card_no, terminal_no, terminal_serial, tac, amount_fen,
                         flags, payload, digest)
VALUES (%(device)s, (SELECT lot_id FROM devices WHERE id = %(device)s), %(record_no)s, %(event)s, 'etc', %(at)s,
        %(received_at)s, %(refers_to)s, %(plate)s, %(color)s, 1, %(vehicle)s, %(card)s, %(terminal)s, %(serial)s, %(tac)s,
        %(amount)s, '{}', '', %(digest)s) RETURNING id
"""


class Town:
    """Lots P01 and P02, each with a lane in, one out and one for both; 5 yuan an hour in each."""

    def __init__(self, db: Connection[Any]) -> None:
        use_quick_lists(db)  # as the worker does
        self.db = db
        self.desk = Desk(ZONE)
        self.lots: dict[str, int] = {}
        self.lanes: dict[str, int] = {}  # P01-in, P01-out, P01-both, ...
        self._numbers = itertools.count(1)
        db.execute("INSERT INTO operators (code, name) VALUES ('op1', 'Operator 1')")
        for code in ("P01", "P02"):
            self._lot(code)
        publish_tariff(db, hourly(), Binding(NOON - 1000 * HOUR, ["P01", "P02"]), NOON - 1000 * HOUR)

    def _lot(self, code: str) -> None:
        row = self.db.execute(
            "INSERT INTO lots (code, name, kind, operator_id, lat, lon)"
            " VALUES (%s, %s, 'off_street', (SELECT id FROM operators WHERE code = 'op1'), 31.5, 120.3) RETURNING id",
            (code, f"Lot {code}"),
        ).fetchone()
        assert row is not None
        self.lots[code] = row[0]
        for name, direction in (("in", "entry"), ("out", "exit"), ("both", "both")):
            lane = self.db.execute(
                "INSERT INTO devices (code, lot_id, family) VALUES (%s, %s, 'lane') RETURNING id",
                (f"{code}-{name}", row[0]),
            ).fetchone()
            assert lane is not None
            self.lanes[f"{code}-{name}"] = lane[0]
            self.db.execute("INSERT INTO lanes (device_id, direction) VALUES (%s, %s)", (lane[0], direction))

    def event(self, lane: str, kind: str, hours: float, vehicle: str | None = CAR, **more: Any) -> int:
        """A record of a lane, `hours` after noon; its number is `record_no`, else the next. `paid`: fen taken by ETC."""
        number = more.get("record_no", next(self._numbers))
        paid = more.get("paid")
        row = self.db.execute(
            _EVENT,
            {
                "device": self.lanes[lane],
                "record_no": number,
                "event": kind,
                "at": NOON + timedelta(hours=hours),
                "received_at": more.get("received_at", NOON + timedelta(hours=hours)),
                "refers_to": more.get("refers_to"),
                "plate": vehicle,
                "color": more.get("color", "blue"),
                "vehicle": vehicle or f"unplated:{lane}:{number}",
                "card": "32010000000000000001" if paid else None,
                "terminal": f"T-{lane}" if paid else None,
                "serial": f"{number:08}" if paid else None,
                "tac": more.get("tac", "A1B2C3D4") if paid else None,
                "amount": paid,
                "digest": hashlib.sha256(f"{lane}:{number}".encode()).digest(),
            },
        ).fetchone()
        assert row is not None
        return int(row[0])

    def enter(self, hours: float, vehicle: str | None = CAR, lot: str = "P01", **more: Any) -> int:
        return self.event(f"{lot}-in", "entry", hours, vehicle, **more)

    def leave(self, hours: float, vehicle: str | None = CAR, lot: str = "P01", **more: Any) -> int:
        return self.event(f"{lot}-out", "exit", hours, vehicle, **more)

    def follow(self, now: datetime = NOON + 72 * HOUR, limit: int = 500) -> Followed:
        """Everything that waits."""
        total = Followed()
        while True:
            one = follow_lanes(self.db, self.desk, now, limit)
            total = Followed(*(getattr(total, name) + getattr(one, name) for name in Followed.__slots__))
            if not one.more and not self.rows("SELECT FROM lane_events WHERE processed_at IS NULL"):
                return total

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.db.execute(query, parameters).fetchall()

    def visits(self) -> list[tuple[Any, ...]]:
        """(vehicle, lot, state, reasons, channel, owed) of all visits but the void ones, in the order in which they begin."""
        return self.rows(
            """SELECT v.vehicle, l.code, v.state, v.reasons, v.channel,
                      coalesce((SELECT sum(p.amount_fen)::int FROM journal j JOIN postings p ON p.journal_id = j.id
                       JOIN accounts a ON a.id = p.account_id WHERE j.visit_id = v.id AND a.kind = 'receivable'), 0)
               FROM visits v JOIN lots l ON l.id = v.lot_id WHERE v.state <> 'void'
               ORDER BY coalesce(v.entered_at, v.exited_at), l.code, v.vehicle"""
        )

    def balances(self) -> dict[str, int]:
        """Fen by account, those of zero left out."""
        return dict(
            self.rows(
                """SELECT a.code, sum(p.amount_fen)::int FROM postings p JOIN accounts a ON a.id = p.account_id
                   GROUP BY a.code HAVING sum(p.amount_fen) <> 0 ORDER BY a.code"""
            )
        )

    def differences(self, state: str = "open") -> list[tuple[str, int]]:
        """(name, fen) in the order of names."""
        return self.rows("SELECT name, amount_fen FROM differences WHERE state = %s ORDER BY name, amount_fen", state)

    def outcome(self) -> dict[str, Any]:
        """All that must be the same whatever the order of arrival."""
        return {
            "visits": self.visits(),
            "balances": self.balances(),
            "differences": self.differences(),
            "charges": self.rows(
                """SELECT v.vehicle, v.entered_at, v.exited_at, c.amount_fen FROM visits v JOIN LATERAL (
                       SELECT amount_fen FROM charges WHERE visit_id = v.id ORDER BY version DESC LIMIT 1) c ON true
                   WHERE v.state <> 'void' AND c.amount_fen <> 0 ORDER BY 1, 2, 3"""
            ),
            "transactions": self.rows(
                """SELECT t.terminal_no, t.terminal_serial, t.state, v.vehicle, v.entered_at, v.exited_at
                   FROM etc_transactions t JOIN visits v ON v.id = t.visit_id ORDER BY 1, 2"""
            ),
        }
