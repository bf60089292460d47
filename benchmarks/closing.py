"""Closing a month: hours of lanes compared, every fen audited, operators' statements made; and how it grows with visits.

The month is written as the worker leaves it: per visit an entry and an exit record, the visit, its charge, an ETC
transaction, and the journal entries of charge and payment, in seven lots with 14 lanes, with an hour's totals a lane.
Beside ours stands the usual way: the month's postings fetched into Python and summed up there, which is the statements'
part alone. Both must come to the same fen.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from benchmarks.table import Row
from parking_core.districts import District, LaneRecord, LotRecord, OperatorRecord, SpaceRecord
from parking_core.flows.close_month import close_month, month_before
from parking_core.flows.reconcile import audit_money, reconcile_hours
from parking_core.flows.report_month import report_month
from parking_core.flows.seed_district import seed_district
from parking_core.reports.page import page

if TYPE_CHECKING:
    import psycopg

    from benchmarks.stage import Database, Stage
    from parking_core.store.statements import Month

VISITS = 200_000
BAR_S = 30.0  # the issue of a month's report must not be a coffee break
_ZONE = ZoneInfo("Asia/Shanghai")
_LOTS = 7
_FEE_FEN = 800

# Visit n: lot n mod 7, its two lanes, at an even step of the month; record numbers count per lane.
_FILL = """
WITH made AS (
    SELECT n, n %% 7 + 1 AS lot, n / 7 + 1 AS number, %(since)s + n * %(step)s AS entered_at,
           %(since)s + n * %(step)s + interval '90 minutes' AS exited_at
    FROM generate_series(0, %(visits)s - 1) AS n
), entries AS (
    INSERT INTO lane_events (device_id, lot_id, record_no, event, source, occurred_at, received_at, vehicle, payload,
                             digest, processed_at)
    SELECT d.id, d.lot_id, m.number, 'entry', 'etc', m.entered_at, m.entered_at, 'V' || m.n, '', '', m.entered_at
    FROM made m JOIN lots l ON l.code = 'B' || m.lot JOIN devices d ON d.code = l.code || '-E1'
    RETURNING id, lot_id, record_no
), exits AS (
    INSERT INTO lane_events (device_id, lot_id, record_no, event, source, occurred_at, received_at, vehicle, payload,
                             digest, processed_at, amount_fen, terminal_no, terminal_serial)
    SELECT d.id, d.lot_id, m.number, 'exit', 'etc', m.exited_at, m.exited_at, 'V' || m.n, '', '', m.exited_at,
           %(fee)s, d.code, m.number
    FROM made m JOIN lots l ON l.code = 'B' || m.lot JOIN devices d ON d.code = l.code || '-X1'
    RETURNING id, lot_id, device_id, record_no, occurred_at, terminal_no, terminal_serial
), stays AS (
    INSERT INTO visits (lot_id, vehicle, state, channel, entry_event_id, exit_event_id, entered_at, exited_at, matters_until)
    SELECT x.lot_id, 'V' || x.id, 'closed', 'etc', e.id, x.id, x.occurred_at - interval '90 minutes', x.occurred_at,
           x.occurred_at
    FROM exits x JOIN entries e ON e.lot_id = x.lot_id AND e.record_no = x.record_no
    RETURNING id, lot_id, exit_event_id, exited_at
), bills AS (
    INSERT INTO charges (visit_id, version, amount_fen, lines, reason) SELECT id, 1, %(fee)s, '[]', 'exit' FROM stays
), cards AS (
    INSERT INTO etc_transactions (terminal_no, terminal_serial, event_id, device_id, lot_id, visit_id, amount_fen,
                                  occurred_at, tac, state)
    SELECT x.terminal_no, x.terminal_serial, x.id, x.device_id, x.lot_id, s.id, %(fee)s, x.occurred_at, 'A1B2C3D4', 'ready'
    FROM exits x JOIN stays s ON s.exit_event_id = x.id
    RETURNING visit_id, lot_id, terminal_no, terminal_serial, occurred_at
), booked AS (
    INSERT INTO journal (key, kind, occurred_at, visit_id)
    SELECT 'charge:' || id || ':1', 'charge', exited_at, id FROM stays
    UNION ALL
    SELECT 'etc:' || terminal_no || ':' || terminal_serial, 'etc_payment', occurred_at, visit_id FROM cards
    RETURNING id, kind, visit_id
)
INSERT INTO postings (journal_id, line, account_id, amount_fen)
SELECT b.id, side.line, a.id, side.sign * %(fee)s
FROM booked b JOIN stays s ON s.id = b.visit_id JOIN lots l ON l.id = s.lot_id
CROSS JOIN (VALUES (1, 1), (2, -1)) AS side (line, sign)
JOIN accounts a ON a.code = CASE
    WHEN b.kind = 'charge' AND side.line = 1 THEN 'receivable:' || l.code
    WHEN b.kind = 'charge' THEN 'revenue:' || l.code
    WHEN side.line = 1 THEN 'etc_clearing' ELSE 'receivable:' || l.code END
"""

_ACCOUNTS = """
INSERT INTO accounts (code, kind, lot_id, operator_id)
SELECT k.kind || ':' || l.code, k.kind, l.id, l.operator_id FROM lots l, (VALUES ('receivable'), ('revenue')) AS k (kind)
UNION ALL SELECT 'etc_clearing', 'etc_clearing', NULL, NULL
"""

_TOTALS = """
INSERT INTO lane_events (device_id, lot_id, record_no, event, source, occurred_at, received_at, vehicle, payload, digest,
                         processed_at, hour_at, hour_records, hour_amount_fen)
SELECT l.device_id, l.lot_id, 10000000 + row_number() OVER (), 'hour_total', 'manual', h.at + interval '1 hour', now(), '',
       '', '', now(), h.at, count(e.id), coalesce(sum(e.amount_fen), 0)
FROM (SELECT device_id, lot_id, min(occurred_at) AS first_at, max(occurred_at) AS last_at FROM lane_events GROUP BY 1, 2) AS l
CROSS JOIN LATERAL generate_series(date_trunc('hour', l.first_at), l.last_at, interval '1 hour') AS h (at)
LEFT JOIN lane_events e ON e.device_id = l.device_id AND e.occurred_at >= h.at AND e.occurred_at < h.at + interval '1 hour'
GROUP BY l.device_id, l.lot_id, h.at
"""

_FETCH = """
SELECT a.kind, a.lot_id, j.kind, p.amount_fen FROM journal j JOIN postings p ON p.journal_id = j.id
JOIN accounts a ON a.id = p.account_id WHERE j.occurred_at >= %s AND j.occurred_at < %s
"""


@dataclass(frozen=True, slots=True)
class Closing:
    """Seconds of each step for a month of so many visits."""

    visits: int
    hours_s: float
    audit_s: float
    statements_s: float
    page_s: float
    peer_s: float  # the statements' sums in Python

    @property
    def all_s(self) -> float:
        """From the first comparison to the page."""
        return self.hours_s + self.audit_s + self.statements_s + self.page_s


def fill(database: Database, visits: int, month: Month) -> None:
    """A month of `visits` visits."""
    lots = [
        LotRecord(
            code=f"B{number}",
            name=f"B{number}",
            kind="off_street",
            lat=31.5,
            lon=120.3,
            operator=f"op{number % 2}",
            spaces=[SpaceRecord("1")],
            lanes=[LaneRecord(f"B{number}-E1", direction="entry"), LaneRecord(f"B{number}-X1", direction="exit")],
        )
        for number in range(1, _LOTS + 1)
    ]
    operators = [OperatorRecord("op0", "op0"), OperatorRecord("op1", "op1")]
    seed_district(database.owner_url, District(name="closing", operators=operators, lots=lots))
    step = (month.until - month.since - timedelta(hours=3)) / visits
    with database.connect() as connection:
        connection.execute(_ACCOUNTS)
        connection.execute(_FILL, {"visits": visits, "since": month.since, "step": step, "fee": _FEE_FEN})
        connection.execute(_TOTALS)
        connection.execute("ANALYZE")


def measure(stage: Stage, visits: int) -> Closing:
    """Fills a database of its own and closes its month once."""
    now = datetime.now(UTC)
    month = month_before(now, _ZONE)
    with stage.database() as database:
        fill(database, visits, month)
        with database.connect() as connection:
            clock = [time.perf_counter()]

            def lap() -> float:
                clock.append(time.perf_counter())
                return clock[-1] - clock[-2]

            hours = reconcile_hours(connection, month.since, month.until, _ZONE, now)
            hours_s = lap()
            audit = audit_money(connection, _ZONE)
            audit_s = lap()
            closed = close_month(connection, month, now)
            statements_s = lap()
            html = page(report_month(connection, month, _ZONE, now))
            page_s = lap()
            charged = _sums_in_python(connection, month)
            peer_s = lap()
        assert hours.hours, hours
        assert not hours.hour_differences, hours
        assert audit.passes, audit.lines
        mine = sum(lot.charged_fen for statement in closed.statements for lot in statement.lots)
        assert mine == charged == visits * _FEE_FEN, (mine, charged)
        assert "每一分钱都有出处" in html
    return Closing(visits, hours_s, audit_s, statements_s, page_s, peer_s)


def _sums_in_python(connection: psycopg.Connection, month: Month) -> int:
    sums: dict[tuple[str, int | None, str], int] = defaultdict(int)
    for account, lot_id, entry, fen in connection.execute(_FETCH, (month.since, month.until)):
        sums[account, lot_id, entry] += fen
    return -sum(fen for (account, _, _), fen in sums.items() if account == "revenue")


def run(stage: Stage, visits: int = VISITS) -> tuple[list[Row], dict[str, object]]:
    """The rows of the table, and the figures behind them."""
    taken = [measure(stage, size) for size in (visits // 8, visits // 4, visits // 2, visits)]
    whole = taken[-1]
    steps = f"hours {whole.hours_s:.1f}, audit {whole.audit_s:.1f}, statements {whole.statements_s:.1f}, page {whole.page_s:.1f}"
    growth = ", ".join(f"{one.visits:,}: {one.all_s:.1f} s" for one in taken)
    rows = [
        Row(
            f"closing a month of {visits:,} visits",
            f"{whole.all_s:.1f} s ({steps})",
            "",
            f"{whole.all_s / visits * 1e6:.0f} us a visit",
            f"< {BAR_S:.0f} s",
        ),
        Row(
            "its statements",
            f"{whole.statements_s:.1f} s",
            f"sums in Python {whole.peer_s:.1f} s",
            f"{whole.peer_s / whole.statements_s:.2f} x",
            "",
        ),
        Row("how closing grows", growth, "", f"x8 visits: x{whole.all_s / taken[0].all_s:.1f} time", "linear"),
    ]
    figures: dict[str, object] = {
        str(one.visits): {
            "hours_s": one.hours_s,
            "audit_s": one.audit_s,
            "statements_s": one.statements_s,
            "page_s": one.page_s,
            "peer_s": one.peer_s,
        }
        for one in taken
    }
    return rows, figures
