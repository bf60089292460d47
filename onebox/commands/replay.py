"""`parking replay`: recorded parking sessions as device messages, through the same path as live ones."""

from __future__ import annotations

import re
import time
from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from onebox import connection
from parking_core.errors import InvalidInputError, ParkingError, ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parking_core.settings import ClockWindow
    from simulators.replay import Disturbance, ReplayEvent, ReplayReport
    from simulators.sessions import BadRow, Dialect, Session

_SHOWN_BAD_ROWS = 20
_PLACE = (31.53, 120.27)  # a lot that only a replay knows stands in the middle of the district
_YEAR_S = 365 * 86_400
_DAY_S = 86_400
_REGISTRY_SEEN_S = 3.0  # gateways look for changes every 2.5 s at the latest; new devices they look up at once


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(replay)


def replay(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="CSV file with a heading.")],
    *,
    columns: Annotated[
        str, typer.Option(help="space=NAME,arrival=NAME,departure=NAME; without space: first free bay.")
    ],
    delimiter: Annotated[str, typer.Option(help="Between the columns; \\t for a tabulator.")] = ",",
    encoding: Annotated[str, typer.Option(help="For example utf-8, latin-1, gb18030.")] = "utf-8",
    timezone: Annotated[str, typer.Option(help="Of times without offset: Asia/Shanghai or +08:00.")] = "UTC",
    time_format: Annotated[
        str | None, typer.Option(help="strptime format, epoch or epoch_ms; found out if absent.")
    ] = None,
    lot: Annotated[str | None, typer.Option(help="Code of the lot; by default made from the file's name.")] = None,
    register_lot: Annotated[bool, typer.Option("--register", help="Create lot, spaces and devices first.")] = False,
    shift: Annotated[str | None, typer.Option(help="`now`: move all times so that the last event is now.")] = None,
    speed: Annotated[str, typer.Option(help="Recorded seconds a second, or max: as fast as it goes.")] = "max",
    duplicates: Annotated[float, typer.Option(min=0, max=1, help="Share of the messages sent twice.")] = 0.0,
    reorder: Annotated[float, typer.Option(min=0, help="Seconds by which a message may come late.")] = 0.0,
    skew: Annotated[float, typer.Option(min=0, help="Seconds by which a device's clock may be wrong.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of duplicates, reordering and skew.")] = 1,
) -> None:
    """Publish recorded sessions as device messages, and return when the broker has acknowledged each for a gateway.

    Running the same file again changes nothing: the messages carry the same times and numbers. A row that cannot
    be read is reported and left out; a departure that is empty means that the car is still there.

    Events that are older than PARKING_RETENTION_DAYS are dropped by the nightly run a week after they were recorded.

    Examples:
        parking replay sessions.csv --columns space=bay,arrival=from,departure=until --lot P1 --register

        parking replay sessions.csv --columns arrival=in,departure=out --timezone Asia/Shanghai --shift now --speed 60
    """
    from simulators.replay import Disturbance  # other commands start faster
    from simulators.sessions import Dialect  # same

    factor = _speed(speed)
    if shift not in {None, "now"}:
        raise typer.BadParameter(f"{shift!r} is not known; write --shift now.", param_hint="--shift")
    lot = lot or f"replay-{re.sub(r'[^A-Za-z0-9_.-]+', '-', file.stem)}"[:64]
    if not re.fullmatch(r"[^/+#$\s][^/+#\s]{0,63}", lot):
        raise typer.BadParameter(
            "a lot's code has 1 to 64 characters, none of them / + # or a blank", param_hint="--lot"
        )
    delimiter = "\t" if delimiter == "\\t" else delimiter
    dialect = Dialect(delimiter=delimiter, encoding=encoding, timezone=timezone, time_format=time_format)
    sessions = _read(file, columns, dialect)
    disturbance = Disturbance(duplicates=duplicates, reorder_s=reorder, skew_s=skew)
    events = _events(sessions, lot, shift_to_now=shift == "now", register_lot=register_lot, skew_s=skew)
    report = _publish(events, lot, factor, disturbance, seed)
    typer.echo(
        f"{len(sessions)} sessions, {report.published} events published and acknowledged in {report.seconds:.1f} s "
        f"({report.rate:.0f} a second) for lot {lot}."
    )


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise typer.BadParameter(f"{text!r} is neither a number above 0 nor max.", param_hint="--speed")
    return factor


def _read(file: Path, columns: str, dialect: Dialect) -> list[Session]:
    """Usable sessions, each with a bay; bad rows are reported on stderr."""
    from simulators.replay import assign_bays  # other commands start faster
    from simulators.sessions import Columns, read_sessions  # same

    try:
        found = read_sessions(file, Columns.parse(columns), dialect)
    except InvalidInputError as error:  # what cannot be read as told was told wrongly
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    _report(found.bad_rows)
    if not found.sessions:
        raise InvalidInputError(
            f"{file} has no usable session ({len(found.bad_rows)} bad rows); nothing was published."
        )
    named = found.sessions[0].space is not None
    return found.sessions if named else assign_bays(found.sessions)


def _report(bad_rows: Sequence[BadRow]) -> None:
    for bad in bad_rows[:_SHOWN_BAD_ROWS]:
        typer.echo(str(bad), err=True)
    if len(bad_rows) > _SHOWN_BAD_ROWS:
        typer.echo(f"and {len(bad_rows) - _SHOWN_BAD_ROWS} more", err=True)
    if bad_rows:
        typer.echo(f"{len(bad_rows)} rows were left out.", err=True)


def _events(
    sessions: Sequence[Session], lot: str, *, shift_to_now: bool, register_lot: bool, skew_s: float
) -> list[ReplayEvent]:
    """Events of the sessions under the codes of the devices that watch their bays in the registry."""
    from simulators.replay import events_of, shift_to  # other commands start faster

    settings = connection.settings()
    spaces = sorted({session.space or "" for session in sessions})
    times = [time_us for s in sessions for time_us in (s.arrival_us, s.departure_us) if time_us is not None]
    first_us, last_us, now_us = min(times), max(times), time.time_ns() // 1000
    if shift_to_now:
        first_us, last_us = first_us + now_us - last_us, now_us
    if register_lot:
        bounds_s = clock_bounds_s(first_us - now_us, last_us - now_us, skew_s)
        watchers = _register(settings.database_url, lot, spaces, bounds_s)
    else:
        watchers = _known(settings.database_url, lot, spaces)
        _warn_of_far_times(first_us - now_us, last_us - now_us, settings.clock_window)
    events = events_of(sessions, watchers)
    return shift_to(events, now_us) if shift_to_now else events


def clock_bounds_s(first_us: int, last_us: int, skew_s: float) -> tuple[int, int]:
    """Clock window, seconds, for times that lie between `first_us` and `last_us` from now, today and for a year to come.

    Rounded to years and days, so that replaying the same file tomorrow finds the same window.
    """
    years_back = int((-first_us / 1e6 + skew_s) // _YEAR_S)
    days_ahead = int((last_us / 1e6 + skew_s) // _DAY_S)
    return -(max(0, years_back) + 2) * _YEAR_S, (max(0, days_ahead) + 1) * _DAY_S


def _register(database_url: str, lot: str, spaces: Sequence[str], bounds_s: tuple[int, int]) -> dict[str, str]:
    from parking_core.districts import DeviceRecord, LotRecord, SpaceRecord  # other commands start faster
    from parking_core.flows.seed_district import register_recorded_lot  # same
    from simulators.replay import device_codes  # same

    codes = device_codes(lot, spaces)
    record = LotRecord(
        code=lot,
        name=lot,
        kind="off_street",
        lat=_PLACE[0],
        lon=_PLACE[1],
        spaces=[SpaceRecord(space) for space in spaces],
        devices=[DeviceRecord(codes[space], space=space) for space in spaces],
    )
    registered = register_recorded_lot(database_url, record, bounds_s)
    if registered.known_clocks_moved:
        typer.echo("Waiting until the gateways have seen the new clock windows ...", err=True)
        time.sleep(_REGISTRY_SEEN_S)
    return registered.watchers


def _known(database_url: str, lot: str, spaces: Sequence[str]) -> dict[str, str]:
    from parking_core.flows.seed_district import known_watchers  # other commands start faster

    known = known_watchers(database_url, lot)
    if not known:
        raise InvalidInputError(
            f"There is no lot {lot} with spaces; name another by --lot, or create it by --register."
        )
    watchers = {space: device for space in spaces if (device := known.get(space)) is not None}
    missing = [space for space in spaces if space not in watchers]
    if missing:
        raise InvalidInputError(
            f"Lot {lot} has no device for {len(missing)} spaces of the file ({', '.join(missing[:5])}, ...); "
            "create them by --register."
        )
    return watchers


def _warn_of_far_times(first_us: int, last_us: int, accepted: ClockWindow) -> None:
    if first_us < accepted.earliest_us or last_us > accepted.latest_us:
        typer.echo(
            "Warning: some times lie outside the accepted clock window; unless these devices have a wider one of their "
            "own, the gateway flags such events and dates them at their receipt. Use --register or --shift now.",
            err=True,
        )


def _publish(
    events: Sequence[ReplayEvent], lot: str, factor: float | None, disturbance: Disturbance, seed: int
) -> ReplayReport:
    import uvloop  # other commands start faster

    from simulators.publisher import Publisher  # same
    from simulators.replay import disturb, publish  # same

    deliveries = disturb(events, disturbance, seed)
    url = connection.settings().mqtt_url

    async def run() -> ReplayReport:
        async with Publisher(url, f"replay-{lot}-{time.time_ns()}") as publisher:
            report = await publish(deliveries, lot, publisher, factor, lambda count: bar.advance(task, count))
            if publisher.refused:
                reasons = ", ".join(f"{reason} {count} times" for reason, count in publisher.refused.items())
                raise ParkingError(
                    f"The broker refused messages ({reasons}); check the credential in PARKING_MQTT_URL."
                )
            if publisher.unheard:
                raise ServiceUnavailableError(
                    f"{publisher.unheard} of {publisher.published} events reached no gateway and are lost until they "
                    "are replayed again; is a gateway running? `parking status` tells."
                )
            return report

    parts = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*parts, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("publishing", total=len(deliveries))
        return uvloop.run(run())
