"""Collects a month's report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parking_core.audit import Audit
from parking_core.reports import Report
from parking_core.store import report_rows, statements
from parking_core.store.audit import audit_lines

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from psycopg import Connection


def report_month(connection: Connection[Any], month: statements.Month, zone: ZoneInfo, now: datetime) -> Report:
    """Statements as the journal has them now (whether the month is closed or not), differences, both sides of channels."""
    with connection.transaction():
        return Report(
            month=month.first,
            made_at=now.astimezone(zone),
            audit=Audit(audit_lines(connection, str(zone))),
            statements=list(statements.operator_months(connection, month).values()),
            channels=report_rows.channel_days(connection, month, str(zone)),
            lanes=report_rows.lane_days(connection, month, str(zone)),
            differences=report_rows.differences_of(connection, month),
        )
