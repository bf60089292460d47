"""A town that shares spaces and whose lanes report: records are entered as the gateway would, and followed by the worker's flow."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from parking_core.flows.follow_lanes import Desk, follow_lanes
from parking_core.flows.publish_tariff import Binding, publish_tariff
from parking_core.flows.watch_promises import Watched, watch_promises
from parking_core.store import promises
from parking_core.store.quick_lists import use_quick_lists
from tests.shared_town import EVENING, HOUR, ZONE, SharedTown
from tests.tariff_rows import hourly

if TYPE_CHECKING:
    from psycopg import Connection

    from parking_core.reservations import Reservation

CAR, OTHER, THIRD = "苏B12345", "苏B99999", "苏B77777"

_EVENT = """
INSERT INTO lane_events (device_id, lot_id, record_no, event, source, occurred_at, received_at, refers_to, plate,
                         plate_color, vehicle_class, vehicle, flags, payload, digest)
VALUES (%(device)s, (SELECT lot_id FROM devices WHERE id = %(device)s), %(number)s, %(event)s, 'etc', %(at)s, %(at)s,
        %(refers_to)s, %(plate)s, 'blue', 1, %(plate)s, '{}', '', %(digest)s) RETURNING id
"""


def at(minutes: float) -> datetime:
    """So many minutes after 18:00."""
    return EVENING + timedelta(minutes=minutes)


class GuestTown(SharedTown):
    """Times are minutes after the evening's 18:00. 5 yuan an hour by the tariff."""

    def __init__(self, db: Connection[Any]) -> None:
        super().__init__(db)
        use_quick_lists(db)
        self.desk = Desk(ZONE, offers=self.offers)
        self._records = 0

    def tariff(self) -> None:
        """Puts the tariff in force in all lots that there are."""
        publish_tariff(self.db, hourly(), Binding(EVENING - 1000 * HOUR, list(self.lots)), EVENING - 1000 * HOUR)

    def event(self, lot: str, kind: str, minutes: float, plate: str = CAR, **more: Any) -> int:
        self._records += 1
        number = more.get("number", self._records)
        return self._one_named(
            {
                "device": self.lanes[lot],
                "number": number,
                "event": kind,
                "at": at(minutes),
                "refers_to": more.get("refers_to"),
                "plate": plate,
                "digest": hashlib.sha256(f"{lot}:{number}:{kind}".encode()).digest(),
            }
        )

    def _one_named(self, values: dict[str, Any]) -> int:
        row = self.db.execute(_EVENT, values).fetchone()
        assert row is not None
        return int(row[0])

    def enter(self, minutes: float, plate: str = CAR, lot: str = "S01", *, follow: bool = True, **more: Any) -> int:
        number = self.event(lot, "entry", minutes, plate, **more)
        if follow:
            self.follow(minutes)
        return number

    def leave(self, minutes: float, plate: str = CAR, lot: str = "S01", *, follow: bool = True, **more: Any) -> int:
        number = self.event(lot, "exit", minutes, plate, **more)
        if follow:
            self.follow(minutes)
        return number

    def follow(self, minutes: float) -> None:
        while follow_lanes(self.db, self.desk, at(minutes), 100).more:
            pass
        assert not self.rows("SELECT FROM lane_events WHERE processed_at IS NULL")
        assert not self.rows("SELECT error FROM lane_events_set_aside")
        self.check(minutes)

    def watch(self, minutes: float) -> Watched:
        done = watch_promises(self.db, self.offers, at(minutes))
        assert not done.failed
        assert not done.released
        self.check(minutes)
        return done

    def check(self, minutes: float) -> None:
        """What holds at every moment: capacity is what promises leave of it."""
        assert promises.audit_capacity(self.db, at(minutes)) == []
        assert promises.orphan_holds(self.db) == []

    def state(self, found: Reservation) -> str:
        return self.standing(found.code).state.value

    def told(self) -> list[str]:
        return [kind for (kind,) in self.rows("SELECT kind FROM user_notices ORDER BY id")]

    def balances(self) -> dict[str, int]:
        """Fen by account, those of zero left out."""
        return dict(
            self.rows(
                """SELECT a.code, sum(p.amount_fen)::int FROM postings p JOIN accounts a ON a.id = p.account_id
                   GROUP BY a.code HAVING sum(p.amount_fen) <> 0 ORDER BY a.code"""
            )
        )

    def stays(self) -> list[tuple[Any, ...]]:
        """(space, reservation's code, whether the car has left), by beginning."""
        return self.rows(
            """SELECT p.code, r.code, s.left_at IS NOT NULL FROM space_stays s JOIN spaces p ON p.id = s.space_id
               LEFT JOIN reservations r ON r.id = s.reservation_id ORDER BY lower(s.during), s.id"""
        )
