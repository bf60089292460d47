"""A town of shared lots whose classes offer what their windows say, with people who hold permits."""

from __future__ import annotations

import itertools
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from parking_core.flows.share_permits import apply
from parking_core.people import ANYONE, Person, Role
from parking_core.reservations import PermitState
from parking_core.share_permits import PermitAsk
from parking_core.slots import SLOTS, begins_of, slots_of
from parking_core.store import capacity, share_permits
from parking_core.windows import openings, parse_schedule
from parking_core.work_calendar import WorkCalendar
from tests.shared_town import EVENING, NIGHTS, ZONE, SharedTown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import Connection

    from parking_core.share_permits import SharedPermit
    from parking_core.sharing import Terms
    from parking_core.store.share_permits import PermitEvent

TUESDAY = date(2026, 11, 24)  # EVENING is on the Monday before
DAY = timedelta(days=1)


class PermitTown(SharedTown):
    """Lots whose classes are open by night on workdays and on days off, for `days` days."""

    def __init__(self, db: Connection[Any]) -> None:
        super().__init__(db)
        self._counted = itertools.count(1)

    def nights(self, *spaces: int, terms: Terms | None = None, days: int = 35, operator: str = "op1") -> str:
        """A lot with one class for each number of spaces."""
        windows = [NIGHTS] * len(spaces)
        code = self.lot(spaces, terms=terms, windows=windows, days=0, operator=operator)
        for number, size in enumerate(spaces):
            self.roll(f"{code}-{'ABCDEFGH'[number]}", size, 0, days)
        return code

    def roll(self, name: str, spaces: int, first: int, days: int, windows: Any = NIGHTS) -> None:
        """Offers days of a class, counted from EVENING's."""
        offered: dict[date, np.ndarray[Any, np.dtype[np.int16]]] = {}
        begins = EVENING.date() + first * DAY
        for number in range(days):
            offered[begins + number * DAY] = np.zeros(SLOTS, np.int16)
        if not offered:
            return
        schedule = parse_schedule(windows)
        span = begins_of(begins), begins_of(begins + days * DAY)
        for stretch in openings(schedule, WorkCalendar(), ZONE, *span):
            for part in slots_of(stretch.begins_at, stretch.ends_at):
                offered[part.day][part.first : part.until] = spaces
        with self.db.transaction():
            capacity.offer(self.db, self.classes[name], offered)

    def permit_ask(self, person: Person, **more: Any) -> PermitAsk:
        """A month at S01 from tomorrow on."""
        values: dict[str, Any] = {
            "plate": min(person.plates),
            "group": ANYONE,
            "first_day": TUESDAY,
            "months": 1,
            "lot": "S01",
        }
        return PermitAsk(**(values | more))

    def apply(self, person: Person, *, key: str | None = None, now: datetime = EVENING, **more: Any) -> SharedPermit:
        """As the API does."""
        ask = self.permit_ask(person, **more)
        return apply(self.db, self.offers, person, ask, key=key or f"permit-{next(self._counted)}", now=now)

    def holder(self, number: int = 1, *, now: datetime = EVENING, **more: Any) -> tuple[Person, SharedPermit]:
        """A person whose application must be granted."""
        person = self.driver(number)
        permit = self.apply(person, now=now, **more)
        assert permit.state is PermitState.ACTIVE
        return person, permit

    def driver(self, number: int) -> Person:
        return self.person(f"p{number}", f"苏B3{number:04}")

    def operator(self, code: str = "op1") -> Person:
        """Staff of an operator."""
        staff = self.person(f"staff-{code}", f"苏B4{len(self.tokens):04}", role=Role.OPERATOR, operator=code)
        [(operator_id,)] = self.rows("SELECT id FROM operators WHERE code = %s", code)
        return Person(id=staff.id, code=staff.code, role=staff.role, operator_id=operator_id)

    def now(self, permit: SharedPermit) -> SharedPermit:
        """The permit as it is stored."""
        found = share_permits.find(self.db, permit.code)
        assert found is not None
        return found

    def history(self, permit: SharedPermit) -> list[PermitEvent]:
        return share_permits.events(self.db, permit.id)

    def draws(self, permit: SharedPermit) -> list[tuple[Any, ...]]:
        """(since, until, state) in order."""
        return self.rows(
            "SELECT since, until, state FROM permit_draws WHERE shared_permit_id = %s ORDER BY since", permit.id
        )

    def notices(self, person: Person) -> list[str]:
        return [
            kind for (kind,) in self.rows("SELECT kind FROM user_notices WHERE user_id = %s ORDER BY id", person.id)
        ]

    def money(self) -> dict[str, int]:
        """Balances of accounts that moved, fen, debit positive."""
        return dict(
            self.rows(
                "SELECT a.code, sum(p.amount_fen)::int FROM postings p JOIN accounts a ON a.id = p.account_id"
                " GROUP BY a.code HAVING sum(p.amount_fen) <> 0"
            )
        )

    def check_law(self) -> None:
        """Free is what is offered, less standing reservations, less standing draws, in every slot of every class."""
        for class_id in self.classes.values():
            for day, offered, free, overdrawn in self.rows(
                "SELECT day, offered, free, overdrawn FROM capacity_days WHERE class_id = %s ORDER BY day", class_id
            ):
                taken = np.zeros(SLOTS, np.int64)
                for since, until in self._promised(class_id):
                    for part in slots_of(since, until):
                        if part.day == day:
                            taken[part.first : part.until] += 1
                assert (np.array(offered) - taken).tolist() == free, (class_id, day)
                assert min(free) >= 0
                assert overdrawn is None or not any(overdrawn)

    def _promised(self, class_id: int) -> Sequence[tuple[Any, ...]]:
        return self.rows(
            "SELECT since, until FROM permit_draws WHERE class_id = %s AND state = 'drawn'"
            " UNION ALL SELECT arrive_at, until_at FROM reservations WHERE class_id = %s AND state IN ('granted', 'arrived')",
            class_id,
            class_id,
        )
