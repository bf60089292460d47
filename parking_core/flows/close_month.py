"""Closes a month: statements of all operators from the journal, and the journal entries that share the money out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from parking_core.errors import InvalidInputError, NotFoundError
from parking_core.settlement.postings import month_stated
from parking_core.store import journal, statements

if TYPE_CHECKING:
    from collections.abc import Sequence
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.statements import Statement


_STAY_OPEN: Final = 13  # months: a year, and the one before the month that runs


@dataclass(frozen=True, slots=True)
class ClosedMonth:
    """The statements of a month, and which of them are new."""

    statements: Sequence[Statement]
    new_versions: dict[str, int]  # operator code -> version; absent: nothing had changed


def month_of(text: str, zone: ZoneInfo) -> statements.Month:
    """A month from `2026-10`.

    Raises:
        InvalidInputError: it has another form.
    """
    try:
        first = datetime.strptime(text, "%Y-%m").replace(tzinfo=zone)
    except ValueError as error:
        raise InvalidInputError(f"The month is {text!r}; write it as YYYY-MM, for example 2026-10.") from error
    following = (first + timedelta(days=32)).replace(day=1)
    return statements.Month(first.date(), following.date(), first, following)


def month_before(now: datetime, zone: ZoneInfo) -> statements.Month:
    """The newest month that is over, local time."""
    last_day = now.astimezone(zone).replace(day=1) - timedelta(days=1)
    return month_of(f"{last_day:%Y-%m}", zone)


def close_month(connection: Connection[Any], month: statements.Month, now: datetime) -> ClosedMonth:
    """Makes statements where figures are new; run again it changes nothing, after late records it adds a version.

    The first version may be made when the month is over.

    Raises:
        InvalidInputError: the month is not over.
    """
    if now < month.until:
        raise InvalidInputError(
            f"The month {month.first:%Y-%m} is not over; its statements are made from {month.next} on."
        )
    new: dict[str, int] = {}
    with connection.transaction():
        made = statements.operator_months(connection, month)
        before = statements.newest(connection, month.first)
        for operator_id, statement in made.items():
            old = before.get(operator_id)
            if old is not None and old.document == statement.document():
                continue
            version = old.version + 1 if old is not None else 1
            statements.add(connection, operator_id, month.first, version, statement.document())
            operator_fen = statement.operator_fen - (old.document["operator_fen"] if old is not None else 0)
            district_fen = statement.district_fen - (old.document["district_fen"] if old is not None else 0)
            if operator_fen or district_fen:
                entry = month_stated(
                    operator=statement.operator,
                    month=month.first,
                    version=version,
                    operator_fen=operator_fen,
                    district_fen=district_fen,
                    at=month.until - timedelta(microseconds=1),
                )
                journal.book(connection, [entry])
            new[statement.operator] = version
    return ClosedMonth(list(made.values()), new)


def close_again(connection: Connection[Any], zone: ZoneInfo, now: datetime) -> dict[str, dict[str, int]]:
    """Closes the newest stated months once more, a transaction each; gives new versions by month and operator.

    A dispute that is decided, or a transaction that a person releases, changes what is certain of a month long ago: its
    money would never be shared out, or stay shared out, without a further version.
    """
    closed = {
        f"{first:%Y-%m}": close_month(connection, month_of(f"{first:%Y-%m}", zone), now).new_versions
        for first in statements.stated(connection, _STAY_OPEN)
    }
    return {month: versions for month, versions in closed.items() if versions}


def set_revenue_share(connection: Connection[Any], operator: str, valid_from: date, district_permille: int) -> None:
    """Sets which part of an operator's revenue is the district's, in thousandths, from a day on.

    Raises:
        InvalidInputError: it is no part of a thousand.
        NotFoundError: there is no such operator.
    """
    if not 0 <= district_permille <= 1000:
        raise InvalidInputError(f"The district's part is {district_permille}; give thousandths, 0 to 1000.")
    with connection.transaction():
        if not statements.set_share(connection, operator, valid_from, district_permille):
            raise NotFoundError(f"There is no operator with the code {operator!r}.")
