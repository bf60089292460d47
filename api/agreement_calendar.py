"""What an agreement offers day by day, as its operator sees it."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

from api.agreement_views import CalendarView, ClassCalendar, DayView, hours_of, stretches_of
from parking_core.slots import day_of
from parking_core.store import agreements, capacity, suspensions
from parking_core.tariffs import Interval
from parking_core.windows import openings, parse_schedule
from parking_core.work_calendar import WorkCalendar

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.store.agreements import Agreement, ClassRow

_CALENDAR: Final = WorkCalendar()


def calendar_of(
    connection: Connection[Any], agreement: Agreement, dates: tuple[date, int], zone: ZoneInfo
) -> CalendarView:
    """Classes in force on local dates, the first one and how many."""
    first, count = dates
    days = [first + timedelta(days=day) for day in range(count)]
    spans = [_span(day, zone) for day in days]
    closed = [
        Interval(each.since, each.until)
        for each in suspensions.of_agreement(connection, agreement.id, spans[0][0])
        if each.since < spans[-1][1]
    ]
    classes = [
        _class(connection, each, list(zip(days, spans, strict=True)), closed, zone)
        for each in agreements.classes_of(connection, agreement.id)
    ]
    return CalendarView(agreement.code, agreement.version, classes)


def _class(
    connection: Connection[Any],
    row: ClassRow,
    days: list[tuple[date, tuple[datetime, datetime]]],
    closed: list[Interval],
    zone: ZoneInfo,
) -> ClassCalendar:
    since, until = days[0][1][0], days[-1][1][1]
    first, count = day_of(since), (day_of(until) - day_of(since)).days + 1
    offered = capacity.read_offered(connection, [row.id], first, count)[0]
    free = capacity.read(connection, [row.id], first, count).free[0]
    schedule = parse_schedule(row.windows)
    opened = openings(schedule, _CALENDAR, zone, since, until)
    exceptions = {day for day, _ in schedule.exceptions}
    views = [
        DayView(
            date=day.isoformat(),
            kind=_CALENDAR.day_kind(day).value,
            announced=_CALENDAR.is_announced(day.year),
            openings=stretches_of(span, opened, zone),
            suspended=stretches_of(span, closed, zone),
            exception=day in exceptions,
            hours=hours_of(span, first, offered, free),
        )
        for day, span in days
    ]
    return ClassCalendar(row.code, len(row.spaces), views)


def _span(day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    return datetime.combine(day, time(), zone), datetime.combine(day + timedelta(days=1), time(), zone)
