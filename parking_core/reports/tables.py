"""The report's rows as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from parking_core.reports.facts import Report

# Columns of each file, by the names that the rows' classes give them.
_DIFFERENCES: Final = (
    "id", "name", "owner", "state", "day", "hour_at", "lot", "lane", "visit_id", "channel",
    "records", "amount_fen", "explanation", "detail",
)  # fmt: skip
_CHANNELS: Final = (
    "channel", "day", "records", "booked_fen", "confirmed_fen", "uncertain_fen", "lost_fen", "open_fen"
)  # fmt: skip
_LANES: Final = ("lane", "lot", "day", "records", "amount_fen", "differences")
_LOTS: Final = (
    "lot", "visits", "charged_fen", "paid_fen", "refunded_fen", "bad_debt_fen", "written_off_fen",
    "uncertain_fen", "owed_fen", "overpaid_fen", "certain_fen",
)  # fmt: skip


def csv_files(report: Report) -> dict[str, bytes]:
    """Files by name: UTF-8 with a mark, so that spreadsheets read the Chinese; amounts in fen, mappings as JSON."""
    lots = [(statement.operator, lot) for statement in report.statements for lot in statement.lots]
    return {
        "differences.csv": _file(_DIFFERENCES, map(attrgetter(*_DIFFERENCES), report.differences)),
        "channels.csv": _file(_CHANNELS, map(attrgetter(*_CHANNELS), report.channels)),
        "lanes.csv": _file(_LANES, map(attrgetter(*_LANES), report.lanes)),
        "statements.csv": _file(("operator", *_LOTS), ((operator, *attrgetter(*_LOTS)(lot)) for operator, lot in lots)),
    }


def _file(head: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return b"\xef\xbb\xbf" + text.getvalue().encode()


def _cell(value: object) -> object:
    match value:
        case Mapping():
            return json.dumps(dict(value), ensure_ascii=False, sort_keys=True)
        case datetime():
            return value.isoformat()
        case str() if value[:1] in {"=", "+", "-", "@", "\t"}:  # a spreadsheet would take it for a formula
            return f"'{value}"
        case _:
            return value
