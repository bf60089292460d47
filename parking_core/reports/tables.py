"""The report's rows as CSV."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from parking_core.reports.facts import Report


def csv_files(report: Report) -> dict[str, bytes]:
    """Files by name: UTF-8 with a mark, so that spreadsheets read the Chinese; amounts in fen."""
    return {
        "differences.csv": _file(
            (
                "id",
                "name",
                "owner",
                "state",
                "day",
                "hour",
                "lot",
                "lane",
                "visit",
                "channel",
                "records",
                "amount_fen",
                "explanation",
                "detail",
            ),
            (
                (
                    one.id,
                    one.name,
                    one.owner,
                    one.state,
                    one.day,
                    one.hour_at.isoformat() if one.hour_at else "",
                    one.lot,
                    one.lane,
                    one.visit_id,
                    one.channel,
                    one.records,
                    one.amount_fen,
                    one.explanation,
                    json.dumps(dict(one.detail), ensure_ascii=False, sort_keys=True),
                )
                for one in report.differences
            ),
        ),
        "channels.csv": _file(
            ("channel", "day", "records", "booked_fen", "confirmed_fen", "uncertain_fen", "lost_fen", "open_fen"),
            (
                (
                    day.channel,
                    day.day,
                    day.records,
                    day.booked_fen,
                    day.confirmed_fen,
                    day.uncertain_fen,
                    day.lost_fen,
                    day.open_fen,
                )
                for day in report.channels
            ),
        ),
        "lanes.csv": _file(
            ("lane", "lot", "day", "records", "amount_fen", "differences"),
            ((day.lane, day.lot, day.day, day.records, day.amount_fen, day.differences) for day in report.lanes),
        ),
        "statements.csv": _file(
            (
                "operator",
                "lot",
                "visits",
                "charged_fen",
                "paid_fen",
                "refunded_fen",
                "bad_debt_fen",
                "written_off_fen",
                "uncertain_fen",
                "owed_fen",
                "certain_fen",
            ),
            (
                (
                    statement.operator,
                    lot.lot,
                    lot.visits,
                    lot.charged_fen,
                    sum(lot.paid_fen.values()),
                    lot.refunded_fen,
                    lot.bad_debt_fen,
                    lot.written_off_fen,
                    lot.uncertain_fen,
                    lot.owed_fen,
                    lot.certain_fen,
                )
                for statement in report.statements
                for lot in statement.lots
            ),
        ),
    }


def _file(head: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return b"\xef\xbb\xbf" + text.getvalue().encode()


def _harmless(cell: object) -> object:
    """A spreadsheet takes text that begins like a formula for one."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in {"=", "+", "-", "@", "\t"} else cell
