"""`parking devices health`: which devices lie, since when, and how one knows."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onebox import connection
from onebox.terminal import local_time, show, table_of
from parking_core.errors import NotFoundError

if TYPE_CHECKING:
    from psycopg import Connection

    from parking_core.store.device_pages import DeviceDay

_BARS = " ▁▂▃▄▅▆▇█"


def health(
    code: Annotated[str, typer.Argument(help="Only this device, with its days.")] = "",
    *,
    lot: Annotated[str, typer.Option(help="Only devices of this lot.")] = "",
    healed: Annotated[bool, typer.Option("--healed", help="What was wrong and has healed instead.")] = False,
    most: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many devices.")] = 50,
) -> None:
    """Show which devices lie or fail, since when, and how one knows; one line a device, the newest first.

    The worker looks every quarter of an hour, and learns from a device's own last 28 days what is usual for it. What has healed
    closes by itself.

    stuck: its bay does not change though the lot's do. frozen: the same measurements to the last digit. flapping: stays of seconds.
    silent: not heard for twice its longest quiet. clock: seconds off. battery: low, or empty within a month. signal: hardly received.
    missing: numbered messages that nobody got. measurement: a value that cannot be. implausible: occupied while lanes counted all out.
    contradicted: another device of the bay says otherwise. flooding: more than anybody reads.

    Examples:
        parking devices health --lot BH0001

        parking devices health BH0001-017
    """
    from parking_core.store import conditions, device_pages  # other commands start faster

    with connection.database() as db:
        if code and device_pages.identity(db, code) is None:
            raise NotFoundError(f"There is no device {code!r} in use.")
        if not code and not healed:
            _tally(db, lot or None)
        items = conditions.page(db, most=most, closed=healed, lot=lot or None, device=code or None)
        table = table_of("device", "lot", "space", "what", "since", "evidence", *(["healed"] if healed else []))
        for item in items:
            for number, one in enumerate(item.conditions):
                first = (item.device, item.lot, item.space or "") if number == 0 else ("", "", "")
                ended = [local_time(_time(one["cleared_at"]))] if healed else []
                table.add_row(
                    *first, one["condition"], local_time(_time(one["since"])), _words(one["evidence"]), *ended
                )
        if items:
            show(table)
        else:
            typer.echo("Nothing is known to be wrong." if not healed else "Nothing has healed yet.")
        if code:
            _days(db, code)


def _tally(db: Connection[Any], lot: str | None) -> None:
    from parking_core.store import conditions  # other commands start faster

    table = table_of("what", "devices", "the oldest since")
    for condition, number, since in conditions.tally(db, lot=lot):
        table.add_row(condition, str(number), local_time(since))
    if table.row_count:
        show(table)


def _days(db: Connection[Any], code: str) -> None:
    from parking_core.store import device_pages  # other commands start faster

    device = device_pages.identity(db, code)
    days = device_pages.days(db, device[0], 28) if device else []
    if not days:
        typer.echo("No day of it is over yet.")
        return
    table = table_of("", f"{days[0].day} to {days[-1].day}", "least", "most", "last")
    for name, values in _curves(days):
        known = [value for value in values if value is not None]
        if known:
            table.add_row(name, spark(values), *(f"{value:.4g}" for value in (min(known), max(known), known[-1])))
    show(table)


def _curves(days: list[DeviceDay]) -> list[tuple[str, list[float | None]]]:
    return [
        ("messages", [day.messages for day in days]),
        ("changes", [day.changes for day in days]),
        ("longest quiet, h", [day.quiet_s / 3600 for day in days]),
        ("missing", [day.missing for day in days]),
        ("battery, V", [day.battery_v for day in days]),
        ("signal, dBm", [day.rssi_dbm for day in days]),
        ("clock, s", [day.clock_offset_s for day in days]),
    ]


def spark(values: list[float | None]) -> str:
    """A curve in one line; what nobody knows is a gap."""
    known = [value for value in values if value is not None]
    low, span = min(known), (max(known) - min(known)) or 1.0
    steps = len(_BARS) - 2
    return "".join(" " if value is None else _BARS[1 + round((value - low) / span * steps)] for value in values)


def _time(told: str | None) -> datetime | None:
    return None if told is None else datetime.fromisoformat(told)


def _words(evidence: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in evidence.items())
