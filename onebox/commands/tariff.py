"""`parking tariff`: check a document, publish it as a version, bind lots to it, ask what a stay costs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from onebox import connection
from parking_core.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from rich.table import Table

    from parking_core.flows.price_visits import Priced

Document = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="Tariff (JSON).")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        no_args_is_help=True,
        help="""What lots charge: documents that are published as versions, which nobody changes any more.

        Typical: write FILE (begin with `show wuxi-off-street --shipped`), `check FILE`, `publish FILE --lot BH0001`,
        `quote BH0001 --entry 2026-11-23T08:00 --exit 2026-11-23T17:30`.

        A lot charges a vehicle by the version that held when it entered.
        """,
    )
    group.command("check")(check)
    group.command("list")(list_tariffs)
    group.command("publish")(publish)
    group.command("show")(show)
    group.command("quote")(quote)
    app.add_typer(group, name="tariff")


def check(file: Document) -> None:
    """Say whether a document can be published, else everything that is wrong with it. Needs no database.

    Example:
        parking tariff check hospital.json
    """
    from parking_core.flows.publish_tariff import valid_tariff  # other commands start faster

    document = valid_tariff(file.read_bytes()).document
    typer.echo(f"{file} is a valid tariff: {document.code}, {document.name_zh} ({document.name_en}).")


def list_tariffs() -> None:
    """List every version, how many lots charge by it now, and the documents that come with the platform.

    Example:
        parking tariff list
    """
    from rich.console import Console  # loading it costs every other command 0.1 s
    from rich.table import Table  # same

    from parking_core.store import tariffs  # same
    from parking_core.tariffs import documents  # same

    with connection.database() as db:
        known = tariffs.every_version(db, datetime.now(UTC))
    table = Table("code", "version", "name", "published", "lots")
    _fold(table)
    for stored, lots in known:
        name = f"{stored.document['name_zh']}  {stored.document['name_en']}"
        table.add_row(stored.code, str(stored.version), name, _local(stored.created_at), str(lots))
    console = Console()
    console.print(table)
    console.print(f"Shipped documents: {', '.join(documents.names())} (`parking tariff show CODE --shipped`).")


def publish(
    file: Document,
    *,
    lot: Annotated[list[str] | None, typer.Option(help="Code of a lot that charges by it; repeatable.")] = None,
    all_off_street: Annotated[bool, typer.Option("--all-off-street", help="Every lot off the street.")] = False,
    begins: Annotated[
        str, typer.Option("--from", metavar="TIME", help="For vehicles that enter from then on; without: now.")
    ] = "",
) -> None:
    """Publish a document as the next version and bind lots to it; their lanes are told. The same again changes nothing.

    Without --lot or --all-off-street the version is published and no lot charges by it yet. A --from in the past is
    taken only for lots that had no tariff. Times without an offset are local.

    Examples:
        parking tariff publish hospital.json --lot BH0007 --lot BH0012 --from 2026-12-01T00:00

        parking tariff publish city.json --all-off-street
    """
    from parking_core.flows.publish_tariff import Binding, publish_tariff  # other commands start faster

    if lot and all_off_street:
        raise typer.BadParameter("Give either --lot or --all-off-street.")
    now = datetime.now(UTC)
    binding = None
    if lot or all_off_street:
        binding = Binding(_moment("--from", begins) if begins else now, lot or [], all_off_street)
    elif begins:
        raise typer.BadParameter("--from says from when lots charge by it; give --lot or --all-off-street, too.")
    with connection.database() as db:
        done = publish_tariff(db, file.read_bytes(), binding, now)
    typer.echo(f"{done.code} version {done.version} {'is published' if done.is_new else 'was published before'}.")
    if binding is not None:
        since = _local(binding.valid_from)
        typer.echo(f"{done.bound} lots charge by it for entries from {since} on; {done.announced} lanes are told.")


def show(
    code: Annotated[str, typer.Argument(help="Code of the tariff.")],
    *,
    version: Annotated[int | None, typer.Option(min=1, help="Without: the newest.")] = None,
    shipped: Annotated[bool, typer.Option("--shipped", help="The document that comes with the platform.")] = False,
) -> None:
    """Print a tariff's document, to be read or to begin a new one with.

    Examples:
        parking tariff show wuxi-hospital-2023 --version 1

        parking tariff show wuxi-off-street --shipped > mine.json
    """
    if shipped:
        from parking_core.tariffs import documents  # other commands start faster

        typer.echo(documents.read(code).decode().rstrip())
        return
    from parking_core.store import tariffs  # same

    with connection.database() as db:
        stored = tariffs.version(db, code, version)
    if stored is None:
        wanted = code if version is None else f"{code} version {version}"
        raise NotFoundError(f"There is no tariff {wanted}; `parking tariff list` lists all.")
    typer.echo(json.dumps(stored.document, ensure_ascii=False, indent=2))


def quote(
    lot: Annotated[str, typer.Argument(help="Code of the lot.")],
    *,
    entry: Annotated[str, typer.Option(metavar="TIME", help="Local time, or with an offset.")],
    leaves: Annotated[str, typer.Option("--exit", metavar="TIME", help="Without: now.")] = "",
    plate_color: Annotated[str, typer.Option(help="For example blue, green, 黄, or the national code.")] = "",
    vehicle_class: Annotated[int | None, typer.Option(min=0, max=99, help="Class of the vehicle.")] = None,
    plate: Annotated[str, typer.Option(help="Its permits, coupons and earlier stays count, too.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say what a stay costs and why, line by line, by the tariff that holds when it begins. Nothing is booked.

    Examples:
        parking tariff quote BH0001 --entry 2026-11-23T08:00 --exit 2026-11-23T17:30

        parking tariff quote BH0001 --entry 2026-11-23T08:00 --plate 苏B12345 --plate-color blue
    """
    from parking_core.flows.price_visits import ToPrice, price_visits  # other commands start faster
    from parking_core.plates import normal  # same
    from parking_core.store import tariffs  # same

    begins, now = _moment("--entry", entry), datetime.now(UTC)
    ends = _moment("--exit", leaves) if leaves else now
    if ends < begins:
        raise InvalidInputError(
            f"The stay ends at {_local(ends)}, before it begins at {_local(begins)}; exchange them."
        )
    color = _color(plate_color)
    with connection.database() as db:
        ids = tariffs.lots_by_code(db, [lot])
        if lot not in ids:
            raise NotFoundError(f"There is no lot with the code {lot!r}.")
        asked = ToPrice(
            lot_id=ids[lot],
            vehicle=normal(plate) or "unplated:quote",
            entered_at=begins,
            exited_at=ends,
            plate_color=color,
            vehicle_class=vehicle_class,
        )
        (priced,) = price_visits(db, [asked], now)
    if priced.known is None:
        raise NotFoundError(
            f"Lot {lot} has no tariff for who enters at {_local(begins)}; see `parking tariff publish`."
        )
    if as_json:
        record = {"lot": lot, "tariff": priced.code, "version": priced.version, "amount_fen": priced.bill.total_fen}
        typer.echo(json.dumps({**record, "lines": priced.lines()}, ensure_ascii=False))
    else:
        _print_bill(lot, priced)


def _print_bill(lot: str, priced: Priced) -> None:
    from rich.console import Console  # loading it costs every other command 0.1 s
    from rich.table import Table  # same

    table = Table("from", "until", "rule", "units", "yuan", "说明", "why")
    _fold(table)
    for line in priced.lines():
        table.add_row(
            _clock(line["from"]),
            _clock(line["until"]),
            line["rule"],
            str(line["units"] or ""),
            _yuan(line["amount_fen"]),
            line["text"]["zh"],
            line["text"]["en"],
        )
    console = Console()
    console.print(table)
    console.print(f"{lot} by {priced.code} version {priced.version}: {_yuan(priced.bill.total_fen)} yuan.")


def _fold(table: Table) -> None:
    """On a narrow terminal words go to the next line; one that is cut short says nothing."""
    for column in table.columns:
        column.overflow = "fold"


def _yuan(fen: int) -> str:
    return f"{'-' if fen < 0 else ''}{abs(fen) // 100}.{abs(fen) % 100:02}"


def _clock(stamp: str) -> str:
    return stamp[5:16].replace("T", " ")


def _zone() -> ZoneInfo:
    return ZoneInfo(connection.settings().time_zone)


def _local(at: datetime) -> str:
    return at.astimezone(_zone()).isoformat(timespec="minutes")


def _moment(option: str, text: str) -> datetime:
    """A time; without an offset it is local.

    Raises:
        InvalidInputError: it cannot be read.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(f"{option} is {text!r}; write a time such as 2026-11-23T08:00.") from error
    return at if at.tzinfo is not None else at.replace(tzinfo=_zone())


def _color(text: str) -> str | None:
    from parking_core.plates import PlateColor, color_of  # other commands start faster

    if not text:
        return None
    color = color_of(text)
    if color is PlateColor.UNKNOWN and text not in ("unknown", "未知"):
        words = ", ".join(each.value for each in PlateColor)
        raise InvalidInputError(f"--plate-color is {text!r}; give one of {words}, or a national code.")
    return color.value
