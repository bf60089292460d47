"""`parking permit` and `parking coupon`: what frees vehicles from charges."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from onebox import connection
from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from parking_core.windows import Schedule

Lot = Annotated[str, typer.Option(help="Code of the lot.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    permits = typer.Typer(
        no_args_is_help=True,
        help="""Permits: vehicles that may stay in a lot without being charged, for a time.

        A permit may name several plates and have fewer slots: who enters first is covered, the others pay until a slot
        frees. A stay that outlasts its permit is charged from the permit's end on, and one that outlasts an opening of
        a permit with windows until it opens again.
        """,
    )
    permits.command("add")(add)
    permits.command("list")(list_permits)
    permits.command("end")(end)
    app.add_typer(permits, name="permit")
    coupons = typer.Typer(no_args_is_help=True, help="Coupons: what is taken off one stay of a vehicle.")
    coupons.command("add")(add_coupon)
    app.add_typer(coupons, name="coupon")


def add(
    code: Annotated[str, typer.Argument(help="A new name for the permit.")],
    *,
    lot: Lot,
    plate: Annotated[list[str], typer.Option(help="A plate that it is for; repeatable.")],
    first: Annotated[str, typer.Option("--from", metavar="DATE", help="First day.")],
    last: Annotated[str, typer.Option("--until", metavar="DATE", help="Last day, the whole of it.")],
    kind: Annotated[str, typer.Option(help="resident, staff, monthly, ...")] = "monthly",
    slots: Annotated[int, typer.Option(min=1, help="Vehicles of it that may stay at once.")] = 1,
    windows: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            readable=True,
            metavar="FILE",
            help="Hours at which it covers (JSON, parking_core/windows has the form); without: always.",
        ),
    ] = None,
) -> None:
    """Add a permit for whole days, or for certain hours of them.

    Examples:
        parking permit add M-0042 --lot BH0001 --plate 苏B12345 --from 2026-12-01 --until 2026-12-31

        parking permit add F-7 --lot BH0001 --plate 苏B12345 --plate 苏BD23456 --from 2026-12-01 --until 2027-11-30

        parking permit add N-3 --lot BH0001 --plate 苏B12345 --from 2026-12-01 --until 2026-12-31 --windows nights.json

    where nights.json holds

        {"windows": [{"days": ["workday"], "from": "18:00", "until": "08:00"},
                     {"days": ["weekend", "holiday"], "from": "00:00", "until": "24:00"}]}
    """
    from parking_core.flows.grant_permits import grant_permit  # other commands start faster
    from parking_core.store.permits import ListedPermit  # same

    begins, ends = _midnight("--from", first), _midnight("--until", last, days=1)
    if ends <= begins:
        raise InvalidInputError(f"The permit ends on {last}, before it begins on {first}; exchange the dates.")
    hours = None if windows is None else _schedule(windows)
    plates = tuple(sorted({_plate(each) for each in plate}))
    permit = ListedPermit(code, lot, kind, begins, ends, slots, plates, hours)
    with connection.database() as db:
        grant_permit(db, permit)
    typer.echo(f"Permit {code} covers {len(plates)} plates in {lot} from {first} to {last}, {slots} at a time.")
    if hours is not None:
        typer.echo(f"Covered: {_sentence(hours)}")


def list_permits(
    *,
    lot: Annotated[str, typer.Option(help="Only this lot.")] = "",
    ended: Annotated[bool, typer.Option("--ended", help="Also those that have ended.")] = False,
    plates: Annotated[bool, typer.Option("--plates", help="Show plates whole; else they are masked.")] = False,
) -> None:
    """List permits; plates are masked unless --plates is given.

    Example:
        parking permit list --lot BH0001
    """
    from rich.console import Console  # loading it costs every other command 0.1 s
    from rich.table import Table  # same

    from parking_core.plates import masked  # same
    from parking_core.store import permits  # same

    with connection.database() as db:
        found = permits.listed_permits(db, datetime.now(UTC), lot=lot or None, ended_too=ended)
    table = Table("code", "lot", "kind", "from", "until", "slots", "plates", "hours")
    for column in table.columns:
        column.overflow = "fold"  # a date that is cut short says nothing
    zone = _zone()
    for one in found:
        span = (at.astimezone(zone).isoformat(timespec="minutes")[:16] for at in (one.valid_from, one.valid_until))
        shown = one.plates if plates else map(masked, one.plates)
        table.add_row(one.code, one.lot, one.kind, *span, str(one.slots), " ".join(shown), _sentence(one.windows))
    Console().print(table)


def end(code: Annotated[str, typer.Argument(help="Name of the permit.")]) -> None:
    """End a permit now: stays of its vehicles are charged from this moment on. What it covered stays covered.

    Example:
        parking permit end M-0042
    """
    from parking_core.flows.grant_permits import end_permit  # other commands start faster

    with connection.database() as db:
        until = end_permit(db, code, datetime.now(UTC))
    typer.echo(f"Permit {code} ends at {until.astimezone(_zone()).isoformat(timespec='seconds')}.")


def add_coupon(
    code: Annotated[str, typer.Argument(help="A new name for the coupon.")],
    *,
    plate: Annotated[str, typer.Option(help="Whom it is given to.")],
    until: Annotated[str, typer.Option(metavar="DATE", help="Last day on which it can be used.")],
    minutes: Annotated[int, typer.Option(min=0, help="Takes off so many charged minutes.")] = 0,
    amount_fen: Annotated[int, typer.Option(min=0, help="Takes off so many fen.")] = 0,
    percent: Annotated[int, typer.Option(min=0, max=100, help="Takes off a part of what is left.")] = 0,
    lot: Annotated[str, typer.Option(help="Only for this lot; without: for any.")] = "",
) -> None:
    """Give a coupon to a vehicle. A visit uses one: the one that ends first.

    Examples:
        parking coupon add C-1 --plate 苏B12345 --minutes 120 --until 2026-12-31 --lot BH0001

        parking coupon add C-2 --plate 苏B12345 --percent 50 --until 2026-12-31
    """
    from parking_core.flows.grant_permits import give_coupon  # other commands start faster
    from parking_core.tariffs import Coupon, CouponKind  # same

    given = {CouponKind.MINUTES: minutes, CouponKind.AMOUNT: amount_fen, CouponKind.PERCENT: percent}
    chosen = [(kind, value) for kind, value in given.items() if value]
    if len(chosen) != 1:
        raise typer.BadParameter("Give one of --minutes, --amount-fen and --percent.")
    ((kind, value),) = chosen
    ends = _midnight("--until", until, days=1)
    with connection.database() as db:
        give_coupon(db, Coupon(kind, value, code), lot=lot or None, plate=_plate(plate), valid_until=ends)
    typer.echo(f"Coupon {code} takes off {value} ({kind}) until the end of {until}.")


def _zone() -> ZoneInfo:
    return ZoneInfo(connection.settings().time_zone)


def _midnight(option: str, text: str, *, days: int = 0) -> datetime:
    """The beginning of a local day, or of a later one.

    Raises:
        InvalidInputError: the date cannot be read.
    """
    try:
        day = date.fromisoformat(text) + timedelta(days=days)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(f"{option} is {text!r}; write a date such as 2026-12-31.") from error
    return datetime.combine(day, time(), _zone())


def _schedule(file: Path) -> Schedule:
    """Windows of a file.

    Raises:
        InvalidInputError: it is no JSON, or describes no schedule.
    """
    import msgspec  # other commands start faster

    from parking_core.windows import parse_schedule  # same

    try:
        return parse_schedule(msgspec.json.decode(file.read_bytes()))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"{file} is no JSON ({error}); `parking permit add --help` shows an example."
        ) from error
    except InvalidInputError as error:
        raise InvalidInputError(f"{file} holds no windows: {error}") from error


def _sentence(windows: Schedule | None) -> str:
    from parking_core.windows import sentence_en  # other commands start faster

    return "Always." if windows is None else sentence_en(windows)


def _plate(text: str) -> str:
    """A plate in the one form.

    Raises:
        InvalidInputError: no plate looks so.
    """
    from parking_core.plates import form_of, masked, normal  # other commands start faster

    plate = normal(text)
    if plate is None or form_of(plate) is None:
        raise InvalidInputError(f"No plate looks like {masked(plate or text)!r}; write it as on the vehicle, 苏B12345.")
    return plate
