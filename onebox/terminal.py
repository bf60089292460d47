"""Tables and times as commands show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onebox import connection

if TYPE_CHECKING:
    from datetime import datetime

    from rich.table import Table


def local_time(moment: datetime | None) -> str:
    """In the district's time zone, to the second."""
    from zoneinfo import ZoneInfo  # noqa: PLC0415  # only where times are shown

    if moment is None:
        return "never"
    return f"{moment.astimezone(ZoneInfo(connection.settings().time_zone)):%Y-%m-%d %H:%M:%S}"


def table_of(*columns: str) -> Table:
    """An empty table that folds what is too wide."""
    from rich.table import Table  # noqa: PLC0415  # loading it costs every other command 0.1 s

    table = Table(*columns)
    for column in table.columns:
        column.overflow = "fold"
    return table


def show(table: Table) -> None:
    """Prints it."""
    from rich.console import Console  # noqa: PLC0415  # loading it costs every other command 0.1 s

    Console().print(table)
