"""`parking reconcile`: what lanes, channels and the journal say of each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from onebox import connection
from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from parking_core.audit import Audit
    from parking_core.statements import Statement
    from parking_core.store.statements import Month

MonthOption = Annotated[str, typer.Argument(metavar="YYYY-MM", help="A calendar month, local time.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        no_args_is_help=True,
        help="""Money and records of lanes, ETC centre, acquirers and operators, compared.

        The worker reconciles by itself every hour. Typical for a person: `audit` (is every fen accounted for?),
        `report 2026-10 --to folder` (the page to look at), `close 2026-10` (statements of the operators).
        """,
    )
    group.command("run")(run)
    group.command("audit")(audit)
    group.command("report")(report)
    group.command("close")(close)
    group.command("share")(share)
    group.command("explain")(explain)
    app.add_typer(group, name="reconcile")


def run(
    *, days: Annotated[int, typer.Option(min=1, max=3660, help="How far back lanes are compared, in days.")] = 3
) -> None:
    """Compare lanes with the ledger hour by hour, and fetched bills of acquirers with what was booked.

    Example:
        parking reconcile run --days 31
    """
    from parking_core.flows.reconcile import reconcile_bills, reconcile_hours

    settings = connection.settings()
    zone, now = ZoneInfo(settings.time_zone), datetime.now(UTC)
    with connection.database(settings.database_url) as db:
        hours = reconcile_hours(db, now - timedelta(days=days), now, zone, now)
        bills = reconcile_bills(db, zone)
    typer.echo(
        f"{hours.hours} hours of lanes compared: {hours.hour_differences} differences. "
        f"{bills.bills} bills booked: {bills.bill_differences} differences."
    )


def audit() -> None:
    """Is every fen accounted for? Exit code 1 when something has no explanation.

    Example:
        parking reconcile audit
    """
    from parking_core.flows.reconcile import audit_money

    settings = connection.settings()
    with connection.database(settings.database_url) as db:
        found = audit_money(db, ZoneInfo(settings.time_zone))
    _print(_audit_table(found))
    if not found.passes:
        typer.echo(f"{_yuan(found.unexplained_fen)} yuan and {found.unexplained_items} items have no explanation.")
        raise typer.Exit(1)
    typer.echo("Every fen is accounted for.")


def report(
    month: MonthOption,
    *,
    to: Annotated[Path, typer.Option(help="Folder for index.html and the CSV files; it is made.")] = Path("report"),
) -> None:
    """Write the month's page (Chinese and English) and its rows as CSV. No plate, card or phone is in them.

    Example:
        parking reconcile report 2026-10 --to october
    """
    from parking_core.flows.report_month import report_month
    from parking_core.reports.page import page
    from parking_core.reports.tables import csv_files

    settings = connection.settings()
    zone = ZoneInfo(settings.time_zone)
    with connection.database(settings.database_url) as db:
        found = report_month(db, _month(month, zone), zone, datetime.now(UTC))
    try:
        to.mkdir(parents=True, exist_ok=True)
        for name, content in {"index.html": page(found).encode(), **csv_files(found)}.items():
            (to / name).write_bytes(content)
    except OSError as error:
        raise InvalidInputError(f"The report cannot be written to {to} ({error}); give another folder.") from error
    typer.echo(f"{to / 'index.html'} and its tables are written.")


def close(month: MonthOption) -> None:
    """Make the operators' statements of a month that is over; again after late records: a further version.

    Example:
        parking reconcile close 2026-10
    """
    from parking_core.flows.close_month import close_month

    settings = connection.settings()
    zone = ZoneInfo(settings.time_zone)
    with connection.database(settings.database_url) as db:
        closed = close_month(db, _month(month, zone), datetime.now(UTC))
    _print(_statement_table(closed.statements))
    new = ", ".join(f"{operator} version {version}" for operator, version in sorted(closed.new_versions.items()))
    typer.echo(f"New: {new}." if new else "Nothing has changed since the last closing.")


def explain(
    difference: Annotated[int, typer.Argument(min=1, help="Its id, as the report's differences.csv has it.")],
    *,
    reason: Annotated[str, typer.Option(help="Why it is no fault, or what its cause was.")],
    by: Annotated[str, typer.Option(help="Who says so.")],
) -> None:
    """End a difference whose cause is known. One about money that is still owed is ended by `parking money`.

    Example:
        parking reconcile explain 17 --by "Chen Li" --reason "lane 2 was exchanged that day"
    """
    from parking_core.flows.correct_money import Decision
    from parking_core.flows.explain_difference import explain_difference

    decision = Decision(key=str(difference), by=by, reason=reason)
    with connection.database(connection.settings(process="worker").database_url) as db:
        new = explain_difference(db, difference, decision)
    typer.echo(f"Difference {difference} is explained." if new else f"Difference {difference} was explained before.")


def share(
    operator: Annotated[str, typer.Argument(help="Code of the operator.")],
    permille: Annotated[int, typer.Argument(help="The district's part in thousandths.")],
    *,
    valid_from: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day.")],
) -> None:
    """Set which part of an operator's revenue is the district's.

    Example:
        parking reconcile share op-02 150 --from 2026-10-01
    """
    from parking_core.flows.close_month import set_revenue_share

    with connection.database(connection.settings().database_url) as db:
        set_revenue_share(db, operator, valid_from.date(), permille)
    typer.echo(f"From {valid_from.date()} on {permille / 10:g} % of {operator}'s revenue is the district's.")


def _month(text: str, zone: ZoneInfo) -> Month:
    from parking_core.flows.close_month import month_of

    return month_of(text, zone)


def _yuan(fen: int) -> str:
    return f"{fen / 100:,.2f}"


def _print(table: Table) -> None:
    from rich.console import Console

    for column in table.columns:
        column.overflow = "fold"  # on a narrow terminal a figure must not be cut short
    Console().print(table)


def _audit_table(found: Audit) -> Table:
    from rich.table import Table

    table = Table("account", "items", "balance", "explained", "by", "unexplained")
    for line in found.lines:
        unexplained = _yuan(line.unexplained_fen) + (f" ({line.unexplained_items})" if line.unexplained_items else "")
        table.add_row(
            line.subject, f"{line.items:,}", _yuan(line.balance_fen), _yuan(line.explained_fen), line.by, unexplained
        )
    return table


def _statement_table(statements: Sequence[Statement]) -> Table:
    from rich.table import Table

    table = Table(
        "operator", "lot", "visits", "charged", "paid", "uncertain", "owed", "to share", "operator's", "district's"
    )
    for statement in statements:
        for lot in statement.lots:
            figures = (lot.charged_fen, sum(lot.paid_fen.values()), lot.uncertain_fen, lot.owed_fen, lot.certain_fen)
            table.add_row(statement.operator, lot.lot, f"{lot.visits:,}", *map(_yuan, figures), "", "")
        parts = (statement.shared_fen, statement.operator_fen, statement.district_fen)
        table.add_row(statement.operator, "", "", "", "", "", "", *map(_yuan, parts), end_section=True)
    return table
