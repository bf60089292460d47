"""`parking arrears`: what vehicles left without paying, and links by which their drivers can pay."""

from __future__ import annotations

import csv
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path  # noqa: TC003  # typer reads the annotation when it runs
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from onebox import connection
from parking_core.errors import InvalidInputError

_Lot = Annotated[str, typer.Option(help="Only this lot, by its code.")]
_Days = Annotated[int, typer.Option("--older-than", min=0, max=3650, metavar="DAYS", help="Left so long ago.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        no_args_is_help=True,
        help="""Visits that left without paying (pay-after-leave), and how their drivers can pay.

        Typical: `list`, then `offer --to links.csv`; the file goes to whoever sends messages to drivers. What is paid
        by a link ends the arrears by itself. Arrears that nobody will pay: `parking money write-off`.
        """,
    )
    group.command("list")(list_)
    group.command("offer")(offer)
    app.add_typer(group, name="arrears")


def list_(*, lot: _Lot = "", older_than: _Days = 0) -> None:
    """List visits that owe, the oldest first. Plates are masked.

    Example:
        parking arrears list --older-than 7
    """
    from rich.console import Console
    from rich.table import Table

    from parking_core.flows.recover_arrears import list_arrears
    from parking_core.plates import masked

    settings = connection.settings()
    zone = ZoneInfo(settings.time_zone)
    with connection.database(settings.database_url) as db:
        owing = list_arrears(db, datetime.now(UTC), lot=lot or None, age=timedelta(days=older_than))
    table = Table("visit", "lot", "plate", "left", "owes, yuan", "asked")
    for visit in owing:
        asked = f"{visit.asked_at.astimezone(zone):%Y-%m-%d}" if visit.asked_at else ""
        left = f"{visit.exited_at.astimezone(zone):%Y-%m-%d %H:%M}"
        table.add_row(
            str(visit.visit_id), visit.lot, masked(visit.vehicle), left, f"{visit.owed_fen / 100:,.2f}", asked
        )
    Console().print(table)
    typer.echo(f"{len(owing)} visits owe {sum(visit.owed_fen for visit in owing) / 100:,.2f} yuan.")


def offer(
    *,
    to: Annotated[Path, typer.Option(help="CSV to write: plate, lot, left, amount_fen, pay_path. It must not exist.")],
    lot: _Lot = "",
    older_than: _Days = 0,
    again: Annotated[bool, typer.Option("--again", help="Also those that have a link already.")] = False,
) -> None:
    """Make a link for each, and write them for whoever tells the drivers.

    The file holds whole plates and secret links: it is readable by its owner only; delete it when it has been sent.

    Example:
        parking arrears offer --older-than 1 --to links.csv
    """
    from parking_core.flows.recover_arrears import offer_arrears

    settings = connection.settings()
    zone = ZoneInfo(settings.time_zone)
    try:
        descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInputError(f"The links cannot be written to {to} ({error}); give another file.") from error
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        with connection.database(settings.database_url) as db:
            offered = offer_arrears(db, datetime.now(UTC), lot=lot or None, age=timedelta(days=older_than), again=again)
        rows = csv.writer(file)
        rows.writerow(("plate", "lot", "left", "amount_fen", "pay_path"))
        for one in offered:
            visit = one.owing
            left = visit.exited_at.astimezone(zone).isoformat(timespec="seconds")
            rows.writerow((visit.vehicle, visit.lot, left, visit.owed_fen, one.pay_path))
    typer.echo(f"{len(offered)} links are in {to}.")
