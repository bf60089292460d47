"""The centre's own books: what it took, disputed, decided and paid. Tests compare them with the platform's ledger."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from simulators import clearing_wire as wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from simulators.clearing_wire import Sent

_DECIDED_AFTER = 2  # days of the centre
_REASONS = (1, 3, 5, 6, 8, 9, 10, 12, 14, 17, 100)  # of disputes that are injected; 2 (repeated) is found
_FIRST_NUMBER = 8 * 10**18


@dataclass(frozen=True, slots=True)
class Habits:
    """How the centre behaves: shares of packages, records or messages to which something happens."""

    seed: int = 1
    disputed: float = 0.0  # of records
    bad_debt: float = 0.3  # of disputes
    refused: Mapping[int, float] = field(default_factory=dict)  # result → share of packages
    lost_replies: float = 0.0  # package taken, and neither transport reply nor response sent
    lost_responses: float = 0.0  # package taken, transport reply sent, response never
    repeated: float = 0.0  # messages sent again although they were taken
    reordered: float = 0.0  # messages that overtake the ones before
    response_s: float = 0.0  # before each response
    bookkeeping_s: float = 0.0  # before each bookkeeping


@dataclass(slots=True)
class _Package:
    day: date
    sent: list[Sent]
    disputed: dict[int, int]


@dataclass(slots=True)
class CentreBooks:
    """All that the centre knows. Messages are made here and sent elsewhere."""

    habits: Habits
    today: date
    first_number: int = _FIRST_NUMBER
    verdicts: dict[int, int] = field(default_factory=dict)  # package → result of its first judgement
    refusals: list[str] = field(default_factory=list)  # why, of those that were not injected
    results_of_platform: dict[int, int] = field(default_factory=lambda: defaultdict(int))  # result → responses of it
    paid: dict[tuple[str, str], int] = field(default_factory=dict)  # transaction → fen
    lost: dict[tuple[str, str], int] = field(default_factory=dict)  # bad debts
    open_disputes: dict[tuple[int, int], int] = field(
        default_factory=dict
    )  # (package, TransId) → `days` at the dispute
    listed: dict[tuple[str, str], int] = field(default_factory=dict)  # status list as it is now
    version: str | None = None
    cards: list[str] = field(default_factory=list)  # seen
    days: int = 0  # that have ended
    _packages: dict[int, _Package] = field(default_factory=dict)
    _taken: set[tuple[str, str]] = field(default_factory=set)
    _of_day: dict[date, list[int]] = field(default_factory=lambda: defaultdict(list))
    _files_of_day: dict[date, list[tuple[str, int, int]]] = field(default_factory=lambda: defaultdict(list))
    _unpublished: set[date] = field(default_factory=set)  # days whose total has changed
    _numbers: Iterator[int] = field(init=False)

    def __post_init__(self) -> None:
        self._numbers = itertools.count(self.first_number)

    def number(self) -> int:
        """The next number of a message of the centre."""
        return next(self._numbers)

    def judge(self, number: int, message: bytes) -> int:
        """The result of a package: the first judgement stands, a taken one that comes again is a duplicate (5)."""
        if number in self.verdicts:
            return 5 if self.verdicts[number] == 1 else self.verdicts[number]
        try:
            day, sent = wire.check_package(number, wire.class_of(message)[2])
        except wire.RefusedError as error:
            self.refusals.append(f"{number}: {error}")
            self.verdicts[number] = error.result
            return error.result
        self.remember(number, self._injected(number), day, sent)
        return self.verdicts[number]

    def remember(self, number: int, result: int, day: date, sent: list[Sent]) -> None:
        """A package that was judged so."""
        self.verdicts[number] = result
        if result == 1:
            self._take(number, day, sent)

    def package(self, number: int) -> tuple[date, list[Sent]] | None:
        """ClearTargetDate and transactions of a package that was taken; None: it was not."""
        known = self._packages.get(number)
        return None if known is None else (known.day, known.sent)

    def _injected(self, number: int) -> int:
        drawn = self._random("refused", number).random()
        for result, share in self.habits.refused.items():
            if (drawn := drawn - share) < 0:
                return result
        return 1

    def _take(self, number: int, day: date, sent: list[Sent]) -> None:
        draws = self._random("disputed", number)
        disputed = {}
        for trans_id, one in enumerate(sent, 1):
            if one.key in self._taken:
                disputed[trans_id] = 2
            elif draws.random() < self.habits.disputed:
                disputed[trans_id] = draws.choice(_REASONS)
            else:
                self.paid[one.key] = one.fen
            self._taken.add(one.key)
        self._packages[number] = _Package(day, sent, disputed)
        self.open_disputes |= {(number, trans_id): self.days for trans_id in disputed}
        self._of_day[day].append(number)
        self._unpublished.add(day)
        self.cards += [one.card for one in sent[:2]]

    def bookkeeping(self, package: int) -> tuple[int, bytes]:
        """The bookkeeping of a package that was taken."""
        known, number = self._packages[package], self.number()
        return number, wire.bookkeeping(number, package, known.sent, known.disputed)

    def end_day(self, date_now: date | None = None) -> list[tuple[int, bytes]]:
        """The day ends: old disputes are decided, and totals given of every day that has changed.

        `date_now`: the centre keeps to the calendar, however short its days are, and gives totals of dates that are over.
        """
        self.today = date_now or self.today + timedelta(days=1)
        self.days += 1
        messages = []
        due = [key for key, then in self.open_disputes.items() if self.days - then >= _DECIDED_AFTER]
        if due:
            messages.append(self._decide(due))
        over = [day for day in sorted(self._unpublished) if date_now is None or day < date_now]
        for day in over:
            number = self.number()
            files = [file for file, _, _ in self._files_of_day[day]]
            messages.append((number, wire.totals(number, day, self.total(day), self._of_day[day], files)))
        self._unpublished.difference_update(over)
        return messages

    def _decide(self, due: list[tuple[int, int]]) -> tuple[int, bytes]:
        decided: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        count = fen = 0
        for package, trans_id in due:
            one = self._packages[package].sent[trans_id - 1]
            repeated = self._packages[package].disputed[trans_id] == 2
            bad = repeated or self._random("decided", package, trans_id).random() < self.habits.bad_debt
            decided[package].append((trans_id, int(bad), one.fen))
            if bad:
                self.lost[one.key] = one.fen
            else:
                self.paid[one.key] = one.fen
                count, fen = count + 1, fen + one.fen
            del self.open_disputes[package, trans_id]
        number, file = self.number(), f"{self.today:%Y%m%d}{len(self._files_of_day[self.today]) + 1}"
        self._files_of_day[self.today].append((file, count, fen))
        self._unpublished.add(self.today)
        return number, wire.decisions(number, file, decided)

    def total(self, day: date) -> tuple[int, int]:
        """Records and fen that are paid for a ClearTargetDate."""
        records = fen = 0
        for number in self._of_day[day]:
            package = self._packages[number]
            kept = [one.fen for trans_id, one in enumerate(package.sent, 1) if trans_id not in package.disputed]
            records, fen = records + len(kept), fen + sum(kept)
        for _, count, amount in self._files_of_day[day]:
            records, fen = records + count, fen + amount
        return records, fen

    def publish(self, changes: Mapping[tuple[str, str], int | None], at: datetime) -> tuple[int, bytes]:
        """An increment: (card or obu, number) → reason, None takes it off. The first list is a full one."""
        base = self.version
        for key, reason in changes.items():
            if reason is None:
                self.listed.pop(key, None)
            else:
                self.listed[key] = reason
        self.version = self._next_version()
        if base is None:
            return self.full_list(at)
        number = self.number()
        entries = [(kind, one, reason) for (kind, one), reason in changes.items()]
        return number, wire.status_list(number, self.version, base, at, entries)

    def full_list(self, at: datetime) -> tuple[int, bytes]:
        """All that is listed now, under the version of now."""
        if self.version is None:
            self.version = self._next_version()
        number = self.number()
        entries = [(kind, one, reason) for (kind, one), reason in self.listed.items()]
        return number, wire.status_list(number, self.version, None, at, entries)

    def _next_version(self) -> str:
        """The date and a number of it, so that versions sort by time."""
        today = f"{self.today:%Y%m%d}"
        before = int(self.version[8:]) if self.version is not None and self.version.startswith(today) else 0
        return f"{today}{before + 1:05}"

    def random_changes(self) -> dict[tuple[str, str], int | None]:
        """An increment of the day: a few cards that were seen are listed, a few taken off."""
        draws = self._random("status", self.days)
        changes: dict[tuple[str, str], int | None] = {
            ("card", card): draws.randint(1, 7)
            for card in draws.sample(sorted(set(self.cards)), min(3, len(set(self.cards))))
            if card
        }
        off = [key for key in sorted(self.listed) if key not in changes]
        return changes | dict.fromkeys(off[:1])

    def summary(self) -> dict[str, Any]:
        """The truth, as the second port shows it."""
        return {
            "today": self.today.isoformat(),
            "packages": len(self._packages),
            "refused": {str(number): result for number, result in self.verdicts.items() if result != 1},
            "refusals": self.refusals,
            "paid": {"records": len(self.paid), "amount_fen": sum(self.paid.values())},
            "lost": {"records": len(self.lost), "amount_fen": sum(self.lost.values())},
            "open_disputes": len(self.open_disputes),
            "days": {day.isoformat(): self.total(day) for day in sorted({*self._of_day, *self._files_of_day})},
            "status_list": {"version": self.version, "entries": len(self.listed)},
            "responses_of_platform": {str(result): count for result, count in self.results_of_platform.items()},
        }

    def _random(self, *about: object) -> random.Random:
        """Draws that depend on the seed and the thing alone, not on the order in which things happen."""
        return random.Random(":".join(map(str, (self.habits.seed, *about))))
