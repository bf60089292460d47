"""`parking lane`: lanes, what they were told, which records are missing, and a barrier that is opened by hand."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Final
from zoneinfo import ZoneInfo

import typer

from onebox import connection
from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import psycopg

    from parking_core.store.commands import CommandRow

LaneName = Annotated[str, typer.Argument(metavar="LOT/LANE", help="For example BH0017/BH0017-X1.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Most = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many, the newest first.")]

_LOOK_S: Final = 0.1
_PATIENCE_S: Final = 20.0  # longer than a gate command lives


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        no_args_is_help=True,
        help="""Lanes at the ways in and out of lots.

        Typical: `list` (are all heard?), `gaps` (is a record missing?), `commands BH0017/BH0017-X1` (what was it told?).
        """,
    )
    group.command("list")(list_lanes)
    group.command("commands")(list_commands)
    group.command("gaps")(list_gaps)
    group.command("open")(open_barrier)
    app.add_typer(group, name="lane")


def list_lanes(*, as_json: Json = False) -> None:
    """List all lanes: when each was heard, its newest record, missing records and unfinished commands.

    Example:
        parking lane list
    """
    from parking_core.store import lane_overview

    with connection.database() as db:
        lanes = lane_overview.overview(db)
    if as_json:
        for one in lanes:
            _echo_json(
                lot=one.lot,
                lane=one.lane,
                direction=one.direction,
                active=one.active,
                online=one.online,
                heard_at=_iso(one.heard_at),
                newest_record_no=one.newest_record_no,
                missing=one.missing,
                commands=one.commands,
            )
        return
    rows = [
        (
            f"{one.lot}/{one.lane}",
            one.direction if one.active else f"{one.direction} (inactive)",
            _clock(one.heard_at) or "never",
            {True: "online", False: "offline", None: ""}[one.online],
            "" if one.newest_record_no is None else str(one.newest_record_no),
            str(one.missing),
            str(one.commands),
        )
        for one in lanes
    ]
    _table(("lane", "direction", "heard", "status", "newest record", "missing", "commands"), rows)


def list_commands(
    name: Annotated[str, typer.Argument(metavar="[LOT/LANE]", help="One lane; without it all.")] = "",
    *,
    limit: Most = 20,
    as_json: Json = False,
) -> None:
    """List commands to lanes with their states, the newest first.

    Example:
        parking lane commands BH0017/BH0017-X1
    """
    from parking_core.store import commands

    with connection.database() as db:
        rows = commands.recent(db, device_id=_device(db, name) if name else None, most=limit)
    if as_json:
        for row in rows:
            _echo_json(
                id=str(row.id),
                lane=f"{row.lot}/{row.device}",
                kind=row.kind,
                state=row.state,
                cause=row.cause,
                created_at=_iso(row.created_at),
                deadline_at=_iso(row.deadline_at),
                tries=row.tries,
                sent_at=_iso(row.sent_at),
                ended_at=_iso(row.ended_at),
                answer=row.answer,
            )
        return
    table = [
        (
            _clock(row.created_at),
            f"{row.lot}/{row.device}",
            row.kind,
            row.state,
            str(row.tries),
            row.cause,
            _said(row),
        )
        for row in rows
    ]
    _table(("created", "lane", "kind", "state", "tries", "cause", "answer"), table)


def list_gaps(
    name: Annotated[str, typer.Argument(metavar="[LOT/LANE]", help="One lane; without it all.")] = "",
    *,
    filled: Annotated[bool, typer.Option("--filled", help="Also those that came late.")] = False,
    limit: Most = 50,
    as_json: Json = False,
) -> None:
    """List record numbers that a lane has used and nobody has received.

    Example:
        parking lane gaps
    """
    from parking_core.store import lane_overview

    with connection.database() as db:
        found = lane_overview.gaps(db, device_id=_device(db, name) if name else None, filled_too=filled, most=limit)
    if as_json:
        for one in found:
            _echo_json(
                lane=f"{one.lot}/{one.lane}",
                first=one.first,
                last=one.last,
                missing=one.missing,
                seen_at=_iso(one.seen_at),
                filled_at=_iso(one.filled_at),
            )
        return
    if not found:
        typer.echo("No record is missing.")
        return
    rows = [
        (
            f"{one.lot}/{one.lane}",
            str(one.first) if one.first == one.last else f"{one.first}-{one.last}",
            str(one.missing),
            _clock(one.seen_at),
            _clock(one.filled_at),
        )
        for one in found
    ]
    _table(("lane", "records", "missing", "seen", "came late"), rows)


def open_barrier(
    name: LaneName,
    *,
    reason: Annotated[str, typer.Option(help="Why it must be opened by hand; kept with the command.")],
    by: Annotated[str, typer.Option(help="Who orders it; kept with the command.")],
) -> None:
    """Open a barrier by hand, and wait for the lane's answer. Who and why are kept for ever.

    Exit code 1 when the lane refuses or does not answer in time.

    Example:
        parking lane open BH0017/BH0017-X1 --reason "barrier jammed, driver has paid" --by chen
    """
    from parking_core.commands import CommandState
    from parking_core.flows.open_gate import ManualOpening, open_gate

    lot, lane = _split(name)
    with connection.database() as db:
        command_id = open_gate(db, ManualOpening(lot, lane, reason, by), datetime.now(UTC))
        row = _await_end(db, command_id)
    if row.state is CommandState.ACKNOWLEDGED:
        typer.echo(f"{name} is open (command {command_id}).")
        return
    said = {
        CommandState.REFUSED: f"The lane {name} refuses ({_said(row)}); somebody has to go there.",
        CommandState.TIMED_OUT: f"The lane {name} did not answer in time; see `parking lane list` whether it is heard.",
    }.get(row.state, f"No gateway has sent the command {command_id} yet; see `parking status` whether one runs.")
    typer.echo(said, err=True)
    raise typer.Exit(1)


def _await_end(db: psycopg.Connection, command_id: UUID) -> CommandRow:
    """The command when it has ended, or as it is when that takes too long."""
    from parking_core.commands import UNFINISHED
    from parking_core.store import commands

    gives_up = time.monotonic() + _PATIENCE_S
    while True:
        row = commands.get(db, command_id)
        if row is None:
            raise InvalidInputError(f"The command {command_id} is gone; was the database restored meanwhile?")
        if row.state not in UNFINISHED or time.monotonic() > gives_up:
            return row
        time.sleep(_LOOK_S)


def _device(db: psycopg.Connection, name: str) -> int:
    from parking_core.store import lane_overview

    return lane_overview.lane_id(db, *_split(name))


def _split(name: str) -> tuple[str, str]:
    lot, _, lane = name.partition("/")
    if not lot or not lane:
        raise InvalidInputError(f"{name!r} names no lane; write LOT/LANE, for example BH0017/BH0017-X1.")
    return lot, lane


def _said(row: CommandRow) -> str:
    if row.answer is None:
        return ""
    reason = row.answer.get("reason")
    return f"{row.answer['result']}: {reason}" if reason else str(row.answer["result"])


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")


def _clock(at: datetime | None) -> str:
    """A moment of these days in local time, as a table has room for it."""
    return "" if at is None else f"{at.astimezone(_zone()):%m-%d %H:%M:%S}"


@lru_cache(maxsize=1)
def _zone() -> ZoneInfo:
    return ZoneInfo(connection.settings().time_zone)


def _echo_json(**fields: object) -> None:
    typer.echo(json.dumps(fields, ensure_ascii=False))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console  # loading it costs every other command 0.1 s
    from rich.table import Table  # same

    table = Table(*head)
    for column in table.columns:
        column.overflow = "fold"  # a name that is cut short names nothing
    for row in rows:
        table.add_row(*row)
    Console().print(table)
