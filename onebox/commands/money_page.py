"""One visit as a page: messages, visit, charge lines, postings, balance; and one promise. Plates are masked."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from onebox import connection
from parking_core.errors import NotFoundError
from parking_core.flows.give_back_promise import amount_of, key_of, nothing_taken
from parking_core.lanes import UNPLATED
from parking_core.plates import masked
from parking_core.store import charges, journal, visit_trail

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import psycopg

    from parking_core.store.charges import Charge
    from parking_core.store.journal import AccountBalance, BookedEntry
    from parking_core.store.visit_trail import Trail


@dataclass(frozen=True, slots=True)
class VisitPage:
    """What `parking money show` shows."""

    trail: Trail
    charges: Sequence[Charge]
    entries: Sequence[BookedEntry]
    owed_fen: int
    zone: ZoneInfo

    def as_json(self) -> str:
        """The page as JSON; times with the offset of the zone."""
        record = {
            "visit": {**asdict(self.trail.head), "vehicle": _vehicle(self.trail.head.vehicle)},
            "messages": [{**asdict(one), "vehicle": _vehicle(one.vehicle)} for one in self.trail.messages],
            "transactions": [asdict(one) for one in self.trail.transactions],
            "charges": [asdict(one) for one in self.charges],
            "entries": [asdict(one) for one in self.entries],
            "differences": [asdict(one) for one in self.trail.differences],
            "owed_fen": self.owed_fen,
        }
        return json.dumps(record, ensure_ascii=False, indent=2, default=self._written)

    def _written(self, value: object) -> str:
        if isinstance(value, datetime):
            return value.astimezone(self.zone).isoformat()
        return str(value)  # a day

    def as_text(self) -> str:
        """The page for a terminal."""
        parts = [
            self._head(),
            *self._messages(),
            *self._charges(),
            *self._transactions(),
            *_postings(self.entries, self.zone),
        ]
        parts += self._differences()
        meaning = "owes" if self.owed_fen > 0 else "was paid too much by" if self.owed_fen < 0 else "is settled:"
        parts.append(f"Balance: visit {self.trail.head.id} {meaning} {_yuan(abs(self.owed_fen))}.")
        return "\n\n".join(parts)

    def _head(self) -> str:
        head = self.trail.head
        oddities = "".join(f", {reason}" for reason in head.reasons if reason != head.state)
        return (
            f"Visit {head.id}: {_vehicle(head.vehicle)} in {head.lot} (operator {head.operator or 'unknown'}), "
            f"{head.state}{oddities}\n"
            f"entered {_moment(head.entered_at, self.zone)}, left {_moment(head.exited_at, self.zone)}, "
            f"channel {head.channel or 'none'}"
        )

    def _messages(self) -> list[str]:
        rows = [
            (
                _moment(one.occurred_at, self.zone),
                one.device,
                str(one.record_no),
                one.event if one.refers_to is None else f"{one.event} of {one.refers_to}",
                one.source,
                _vehicle(one.vehicle),
                "" if one.amount_fen is None else _yuan(one.amount_fen),
                one.tac or "",
                " ".join(one.flags),
            )
            for one in self.trail.messages
        ]
        return _table("Lane messages", ("at", "lane", "record", "event", "by", "vehicle", "CNY", "TAC", "checks"), rows)

    def _charges(self) -> list[str]:
        parts = []
        for charge in self.charges:
            rows = [
                (
                    _minute(line.get("from")),
                    _minute(line.get("until")),
                    str(line.get("rule", "")),
                    _text(line),
                    str(line.get("units") or ""),
                    _yuan(int(line.get("amount_fen", 0))),
                )
                for line in charge.lines
            ]
            title = f"Charge, version {charge.version} ({charge.reason}): {_yuan(charge.amount_fen)}"
            parts += _table(title, ("from", "until", "rule", "why", "units", "CNY"), rows) or [title]
        return parts

    def _transactions(self) -> list[str]:
        rows = [
            (
                f"{one.terminal_no}:{one.terminal_serial}",
                _yuan(one.amount_fen),
                one.tac or "missing",
                " ".join([one.state, *one.reasons]),
                "" if one.package is None else f"{one.package} ({one.package_state or 'unknown'})",
                "" if one.clearing_day is None else one.clearing_day.isoformat(),
            )
            for one in self.trail.transactions
        ]
        return _table("ETC transactions", ("terminal:serial", "CNY", "TAC", "state", "package", "clearing day"), rows)

    def _differences(self) -> list[str]:
        rows = [
            (one.name, one.owner, one.state, _yuan(one.amount_fen), one.explanation or "")
            for one in self.trail.differences
        ]
        return _table("Differences", ("name", "owner", "state", "CNY", "explanation"), rows)


@dataclass(frozen=True, slots=True)
class PromisePage:
    """What `parking money promise` shows: every entry, and fen that were taken and given back."""

    promise: str
    entries: Sequence[BookedEntry]
    taken_fen: int
    given_back_fen: int
    zone: ZoneInfo

    def as_json(self) -> str:
        """The page as JSON; times with the offset of the zone."""
        record = {name: value for name, value in asdict(self).items() if name != "zone"}
        return json.dumps(record, ensure_ascii=False, indent=2, default=lambda at: at.astimezone(self.zone).isoformat())

    def as_text(self) -> str:
        """The page for a terminal."""
        left = self.taken_fen - self.given_back_fen
        said = f"Taken {_yuan(self.taken_fen)}, given back {_yuan(self.given_back_fen)}, left {_yuan(left)}."
        return "\n\n".join([f"Promise {self.promise}", *_postings(self.entries, self.zone), said])


def read_promise(db: psycopg.Connection[Any], promise: str) -> PromisePage:
    """The page of a reservation, or of a month of a permit.

    Raises:
        NotFoundError: nothing was taken for it.
    """
    entries = journal.entries_of_promise(db, key_of(promise))
    if not entries:
        raise NotFoundError(nothing_taken(promise))
    sums = [amount_of(entry) for entry in entries]
    return PromisePage(
        promise=promise,
        entries=entries,
        taken_fen=sum(fen for fen in sums if fen > 0),
        given_back_fen=-sum(fen for fen in sums if fen < 0),
        zone=_zone(),
    )


def _zone() -> ZoneInfo:
    return ZoneInfo(str(connection.settings(process="worker").time_zone))


def _postings(entries: Sequence[BookedEntry], zone: ZoneInfo) -> list[str]:
    rows = []
    for entry in entries:
        why = " ".join(str(entry.detail[name]) for name in ("by", "reason") if name in entry.detail)
        for number, (account, fen) in enumerate(entry.postings):
            first = (_moment(entry.occurred_at, zone), entry.key) if number == 0 else ("", "")
            debit, credit = (_yuan(fen), "") if fen > 0 else ("", _yuan(-fen))
            rows.append((*first, account, debit, credit, why if number == 0 else ""))
    return _table("Postings", ("at", "entry", "account", "debit", "credit", "decided"), rows)


def read(db: psycopg.Connection[Any], visit: int) -> VisitPage:
    """The page of a visit.

    Raises:
        NotFoundError: there is no such visit.
    """
    return VisitPage(
        trail=visit_trail.trail(db, visit),
        charges=charges.versions(db, visit),
        entries=journal.entries_of_visit(db, visit),
        owed_fen=journal.owed_by_visit(db, [visit])[visit],
        zone=_zone(),
    )


def balance_record(row: AccountBalance) -> dict[str, Any]:
    """One account as JSON."""
    return {**asdict(row), "balance_fen": row.balance_fen}


def balance_text(rows: Sequence[AccountBalance]) -> str:
    """All accounts as a table with its sums."""
    debit, credit = sum(row.debit_fen for row in rows), sum(row.credit_fen for row in rows)
    lines = [
        (row.code, str(row.postings), _yuan(row.debit_fen), _yuan(row.credit_fen), _yuan(row.balance_fen))
        for row in rows
    ]
    lines.append(("total", str(sum(row.postings for row in rows)), _yuan(debit), _yuan(credit), _yuan(debit - credit)))
    return "\n".join(_table("Trial balance", ("account", "postings", "debit", "credit", "balance"), lines))


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as text, columns aligned; nothing when it has no rows."""
    if not rows:
        return []
    widths = [max(_width(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    lines = ("  ".join(_padded(row, widths)).rstrip() for row in (header, *rows))
    return [f"{title}\n" + "\n".join(f"  {line}" for line in lines)]


def _padded(row: Iterable[str], widths: Iterable[int]) -> list[str]:
    return [cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]


def _width(text: str) -> int:
    """Columns on a terminal: a Chinese character takes two."""
    return sum(2 if ord(character) >= 0x2E80 else 1 for character in text)  # where East Asian scripts begin


def _text(line: Mapping[str, Any]) -> str:
    text = line.get("text") or {}
    return str(text.get("en") or text.get("zh") or "") if isinstance(text, dict) else str(text)


def _vehicle(name: str) -> str:
    """A masked plate; what names a vehicle without one is a contract or a ticket, and nobody's to read."""
    return "unplated" if name.startswith(UNPLATED) else masked(name)


def _minute(stamp: object) -> str:
    """Of a line's RFC 3339 time, which is local already."""
    return str(stamp or "")[:16].replace("T", " ")


def _yuan(fen: int) -> str:
    sign = "-" if fen < 0 else ""
    return f"{sign}{abs(fen) // 100}.{abs(fen) % 100:02}"


def _moment(at: datetime | None, zone: ZoneInfo) -> str:
    return "unknown" if at is None else at.astimezone(zone).isoformat(sep=" ", timespec="seconds")
