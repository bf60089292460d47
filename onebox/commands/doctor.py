"""`parking doctor`: checks the installation and says how to mend what is wrong."""

from __future__ import annotations

import os

import typer
from rich.console import Console
from rich.table import Table

from onebox.diagnosis import Verdict, examine
from onebox.home import Home

_MARKS = {Verdict.GOOD: "[green]✓[/]", Verdict.NOTE: "[yellow]•[/]", Verdict.BROKEN: "[red]✗[/]"}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(doctor)


def doctor() -> None:
    """Check disk, ports, versions, licence edition, clocks, addresses and permissions; exit code 1 if one is broken.

    ✓ good, • works and is worth knowing, ✗ broken. Nothing is changed.
    """
    home = Home.from_environ(os.environ)
    findings = examine(home, os.environ)
    table = Table("", "what", "seen", "what to do", box=None, padding=(0, 1))
    for finding in findings:
        table.add_row(_MARKS[finding.verdict], finding.what, finding.seen, finding.mend)
    Console(highlight=False).print(table)
    broken = sum(finding.verdict is Verdict.BROKEN for finding in findings)
    if broken:
        typer.echo(f"{broken} of {len(findings)} checks found something broken.", err=True)
        raise typer.Exit(1)
