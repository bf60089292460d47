"""A town of lots that share spaces, with people who ask for them; in a real database, on a clock that tests move."""

from __future__ import annotations

import hashlib
import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from parking_core.flows.offers_in_force import OffersInForce
from parking_core.flows.reserve import reserve
from parking_core.people import ANYONE, Person, Role, new_token
from parking_core.reservations import Ask, ReservationState, standing_of
from parking_core.sharing import Terms
from parking_core.slots import SLOTS
from parking_core.store import capacity, reservations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

    from parking_core.reservations import Reservation

ZONE = ZoneInfo("Asia/Shanghai")
EVENING = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)  # Monday, 18:00 in Shanghai
HOUR = timedelta(hours=1)
HOSPITAL = (31.5000, 120.3000)
NIGHTS: dict[str, Any] = {
    "windows": [
        {"days": ["workday"], "from": "18:00", "until": "08:00"},
        {"days": ["weekend", "holiday"], "from": "00:00", "until": "24:00"},
    ]
}


class SharedTown:
    """Lots S01, S02, ... east of the hospital, 100 m apart, each with one lane for both directions.

    Capacity is offered all day for `days` days unless a test rolls the windows itself.
    """

    def __init__(self, db: Connection[Any]) -> None:
        self.db = db
        self.offers = OffersInForce(ZONE, "hold:acq")
        self.lots: dict[str, int] = {}
        self.lanes: dict[str, int] = {}
        self.agreements: dict[str, int] = {}
        self.classes: dict[str, int] = {}  # S01-A
        self.spaces: dict[str, list[int]] = {}  # by class
        self.tokens: dict[str, str] = {}
        self._keys = itertools.count(1)
        db.execute("INSERT INTO operators (code, name) VALUES ('op1', 'Operator 1'), ('op2', 'Operator 2')")

    def lot(
        self,
        spaces: Sequence[int] = (1,),
        *,
        terms: Terms | None = None,
        windows: Sequence[object] = (),
        operator: str = "op1",
        days: int = 3,
    ) -> str:
        """A lot with one class for each number of spaces; gives its code."""
        code = f"S{len(self.lots) + 1:02}"
        lot = self._one(
            "INSERT INTO lots (code, name, kind, operator_id, lat, lon, shared)"
            " VALUES (%s, %s, 'off_street', (SELECT id FROM operators WHERE code = %s), %s, %s, true) RETURNING id",
            code,
            f"Lot {code}",
            operator,
            HOSPITAL[0],
            HOSPITAL[1] + len(self.lots) * 100 / 94_900,
        )
        self.lots[code] = lot
        lane = self._one(
            "INSERT INTO devices (code, lot_id, family) VALUES (%s, %s, 'lane') RETURNING id", f"{code}-lane", lot
        )
        self.db.execute("INSERT INTO lanes (device_id, direction) VALUES (%s, 'both')", (lane,))
        self.lanes[code] = lane
        self.agreements[code] = self._one(
            "INSERT INTO sharing_agreements (code, lot_id, state, terms, created_at, changed_at)"
            " VALUES (%s, %s, 'published', %s, %s, %s) RETURNING id",
            f"A-{code}",
            lot,
            json.dumps((terms or Terms()).document()),
            EVENING,
            EVENING,
        )
        for number, size in enumerate(spaces):
            self._class(code, "ABCDEFGH"[number], size, windows[number] if windows else NIGHTS, days)
        return code

    def _class(self, lot: str, letter: str, size: int, windows: object, days: int) -> None:
        name = f"{lot}-{letter}"
        class_id = self._one(
            "INSERT INTO space_classes (agreement_id, lot_id, code, windows) VALUES (%s, %s, %s, %s) RETURNING id",
            self.agreements[lot],
            self.lots[lot],
            letter,
            json.dumps(windows),
        )
        self.classes[name] = class_id
        self.spaces[name] = [
            self._one(
                "INSERT INTO spaces (lot_id, code) VALUES (%s, %s) RETURNING id", self.lots[lot], f"{letter}{place:03}"
            )
            for place in range(size)
        ]
        for space in self.spaces[name]:
            self.db.execute("INSERT INTO class_spaces VALUES (%s, %s, false)", (class_id, space))
        first = EVENING.date()
        with self.db.transaction():
            capacity.offer(
                self.db,
                class_id,
                {first + timedelta(days=day): np.full(SLOTS, size, np.int16) for day in range(days)},
            )

    def person(
        self,
        code: str = "u1",
        plate: str = "苏B12345",
        *groups: str,
        role: Role = Role.DRIVER,
        operator: str | None = None,
    ) -> Person:
        """An account; its token is in `tokens`."""
        token = self.tokens[code] = new_token()
        number = self._one(
            "INSERT INTO user_accounts (code, role, operator_id, groups, token_digest)"
            " VALUES (%s, %s, (SELECT id FROM operators WHERE code = %s), %s, %s) RETURNING id",
            code,
            role.value,
            operator,
            list(groups),
            hashlib.sha256(token.encode()).digest(),
        )
        self.db.execute("INSERT INTO user_plates (user_id, plate) VALUES (%s, %s)", (number, plate))
        return Person(id=number, code=code, role=role, groups=frozenset(groups), plates=frozenset({plate}))

    def ask(self, person: Person, begins_h: float = 1, hours: float = 2, **more: Any) -> Ask:
        """A stay that begins so many hours after the evening did."""
        arrive = EVENING + begins_h * HOUR
        values: dict[str, Any] = {
            "plate": min(person.plates),
            "group": ANYONE,
            "lat": HOSPITAL[0],
            "lon": HOSPITAL[1],
            "walk_m": 1000,
            "arrive_at": arrive,
            "depart_at": arrive + hours * HOUR,
        }
        return Ask(**(values | more))

    def reserve(self, person: Person, ask: Ask, *, key: str | None = None, now: datetime = EVENING) -> Reservation:
        """As the API does."""
        return reserve(self.db, self.offers, person, ask, key=key or f"key-{next(self._keys)}", now=now)

    def granted(self, person: Person, begins_h: float = 1, hours: float = 2, **more: Any) -> Reservation:
        """A reservation that must be granted."""
        found = self.reserve(person, self.ask(person, begins_h, hours, **more))
        assert found.state is ReservationState.GRANTED
        return found

    def standing(self, code: str) -> Reservation:
        """As it is stored now, after a look whether its events say the same."""
        found = reservations.find(self.db, code)
        assert found is not None
        told = standing_of(reservations.events(self.db, found.id))
        assert (told.state, told.lateness, told.class_id, told.fee_fen) == (
            found.state,
            found.lateness,
            found.class_id,
            found.fee_fen,
        )
        return found

    def free(self, name: str) -> list[int]:
        """What is left of a class, slot by slot from 08:00 in Shanghai of the first day on."""
        found = capacity.read(self.db, [self.classes[name]], EVENING.date(), 3)
        left: list[int] = found.free[0].tolist()
        return left

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.db.execute(query, parameters).fetchall()

    def _one(self, query: str, *parameters: Any) -> int:
        row = self.db.execute(query, parameters).fetchone()
        assert row is not None
        return int(row[0])
