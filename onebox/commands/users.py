"""`parking users`: accounts of drivers, operators' staff, planners and the district, each with one token."""

from __future__ import annotations

import json
import os
import random
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003  # typer reads the annotation when it runs
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from onebox import connection
from parking_core.errors import InvalidInputError
from parking_core.people import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parking_core.flows.keep_accounts import Wanted

Code = Annotated[str, typer.Argument(help="Code of the account.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, for scripts.")]
_SERIAL = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"  # what follows the office's letter on a plate


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        no_args_is_help=True,
        help="""Accounts of those who use shared parking: who may ask the API for what.

        An account has a role (driver, operator, planner, district), one token, and, for drivers, the groups they belong to
        and their plates. The token is shown once, when it is made; only its digest is stored. Whoever lost his gets
        another one by `token`. A token is sent as `Authorization: Bearer <token>`.

        Typical: `add`, hand the token over, `list`. Many drivers for a trial: `add-drivers`.
        """,
    )
    group.command("add")(add)
    group.command("add-drivers")(add_drivers)
    group.command("list")(list_)
    group.command("disable")(disable)
    group.command("token")(token)
    group.command("plates")(plates)
    app.add_typer(group, name="users")


def add(
    code: Annotated[str, typer.Argument(help="A new name for the account; without: a random one, U-...")] = "",
    *,
    role: Annotated[Role, typer.Option(help="What the account may do.")] = Role.DRIVER,
    operator: Annotated[
        str, typer.Option(help="Of operators' staff: code of the operator whose lots it may touch.")
    ] = "",
    group: Annotated[list[str] | None, typer.Option(help="patient, resident, night_worker, ...; repeatable.")] = None,
    plate: Annotated[list[str] | None, typer.Option(help="A plate of the driver; repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """Add an account and show its token, this once.

    Examples:
        parking users add --plate 苏B12345 --group patient

        parking users add op-anhui-1 --role operator --operator OP01

        parking users add planner-1 --role planner --json
    """
    from parking_core.flows.keep_accounts import Wanted, add_account  # other commands start faster

    wanted = Wanted(
        role=role, code=code, operator=operator or None, groups=tuple(group or ()), plates=tuple(plate or ())
    )
    with connection.database() as db:
        issued = add_account(db, wanted)
    if as_json:
        _echo_json(code=issued.code, role=role.value, token=issued.token)
        return
    typer.echo(f"Account {issued.code} ({role.value}). Its token, which is not shown again:\n{issued.token}")


def add_drivers(
    count: Annotated[int, typer.Argument(min=1, max=100_000, help="How many.")],
    *,
    to: Annotated[Path, typer.Option(help="JSON to write: a list of code, token, groups, plates. It must not exist.")],
    group: Annotated[
        list[str] | None, typer.Option(metavar="NAME=SHARE", help="Share of them in a group, 0 to 1; repeatable.")
    ] = None,
    prefix: Annotated[str, typer.Option(help="Their codes begin so.")] = "D-",
    seed: Annotated[int, typer.Option(help="Another seed gives other plates and groups.")] = 1,
) -> None:
    """Add many drivers with a made-up plate each, for a trial or a simulation: all or none.

    The file holds their tokens: it is readable by its owner only; delete it when it is not needed any more.

    Example:
        parking users add-drivers 500 --to drivers.json --group patient=0.5 --group night_worker=0.2
    """
    from parking_core.flows.keep_accounts import add_accounts  # other commands start faster

    wanted = _made_up(count, [_share(text) for text in group or ()], prefix, random.Random(seed))  # noqa: S311  # made-up plates keep no secret
    try:
        descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInputError(f"The drivers cannot be written to {to} ({error}); give another file.") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        try:
            with connection.database() as db:
                issued = add_accounts(db, wanted)
        except BaseException:
            to.unlink()  # it holds nothing, and would be in the way of the next try
            raise
        listed = [
            {"code": one.code, "token": one.token, "groups": list(each.groups), "plates": list(each.plates)}
            for one, each in zip(issued, wanted, strict=True)
        ]
        json.dump(listed, file, ensure_ascii=False)
    typer.echo(f"{len(issued)} drivers with their tokens are in {to}.")


def list_(
    *,
    role: Annotated[Role | None, typer.Option(help="Only this role.")] = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Also those that are disabled.")] = False,
    plates: Annotated[bool, typer.Option("--plates", help="Show plates whole; else they are masked.")] = False,
    as_json: Json = False,
) -> None:
    """List accounts; plates are masked unless --plates is given.

    Example:
        parking users list --role driver
    """
    from parking_core.plates import masked  # other commands start faster
    from parking_core.store import people  # same

    settings = connection.settings()
    zone = ZoneInfo(settings.time_zone)
    with connection.database(settings.database_url) as db:
        found = people.listed(db, role=role, disabled_too=disabled)
    rows = []
    for one in found:
        shown = one.plates if plates else tuple(map(masked, one.plates))
        since = one.disabled_at.astimezone(zone).isoformat(timespec="seconds") if one.disabled_at else None
        if as_json:
            _echo_json(
                code=one.code,
                role=one.role.value,
                operator=one.operator,
                groups=one.groups,
                plates=shown,
                created_at=one.created_at.astimezone(zone).isoformat(timespec="seconds"),
                disabled_at=since,
            )
        state = f"disabled {since[:16]}" if since else ""
        rows.append((one.code, one.role.value, one.operator or "", " ".join(one.groups), " ".join(shown), state))
    if not as_json:
        _table(("code", "role", "operator", "groups", "plates", ""), rows)


def disable(code: Code) -> None:
    """End an account: its token works for 3 seconds at most from now on. What it was promised stays promised.

    Example:
        parking users disable U-7K2M4Q9X
    """
    from parking_core.flows.keep_accounts import disable_account  # other commands start faster

    settings = connection.settings()
    with connection.database(settings.database_url) as db:
        since = disable_account(db, code, datetime.now(UTC))
    typer.echo(f"Account {code} is disabled since {since.astimezone(ZoneInfo(settings.time_zone)):%Y-%m-%d %H:%M:%S}.")


def token(code: Code, *, as_json: Json = False) -> None:
    """Make another token for an account and show it, this once. The old one works for 3 seconds at most.

    Example:
        parking users token U-7K2M4Q9X
    """
    from parking_core.flows.keep_accounts import replace_token  # other commands start faster

    with connection.database() as db:
        made = replace_token(db, code)
    if as_json:
        _echo_json(code=code, token=made)
        return
    typer.echo(f"Account {code}. Its new token, which is not shown again:\n{made}")


def plates(
    code: Code,
    *,
    add: Annotated[list[str] | None, typer.Option("--add", metavar="PLATE", help="Add one; repeatable.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", metavar="PLATE", help="Remove; repeatable.")] = None,
) -> None:
    """Change the plates of an account, and show those that it has then. A promise for a removed plate stays.

    Example:
        parking users plates U-7K2M4Q9X --add 苏BD12345 --remove 苏B12345
    """
    from parking_core.flows.keep_accounts import change_plates  # other commands start faster

    with connection.database() as db:
        after = change_plates(db, code, add=add or (), remove=remove or ())
    typer.echo(f"Account {code}: {' '.join(sorted(after)) or 'no plates'}")


def _share(text: str) -> tuple[str, float]:
    name, _, share = text.partition("=")
    try:
        value = float(share)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InvalidInputError(f"--group is {text!r}; give a name and a share from 0 to 1, such as patient=0.5.")
    return name, value


def _made_up(count: int, shares: Sequence[tuple[str, float]], prefix: str, chance: random.Random) -> list[Wanted]:
    from parking_core.flows.keep_accounts import Wanted  # other commands start faster

    made: dict[str, Wanted] = {}  # by plate
    while len(made) < count:
        plate = f"苏B{''.join(chance.choice(_SERIAL) for _ in range(5))}"
        groups = tuple(name for name, share in shares if chance.random() < share)
        made.setdefault(plate, Wanted(code=f"{prefix}{len(made) + 1:05}", groups=groups, plates=(plate,)))
    return list(made.values())


def _echo_json(**facts: Any) -> None:  # noqa: ANN401  # values of a JSON object
    typer.echo(json.dumps(facts, ensure_ascii=False))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # loading it costs every other command 0.1 s
    from rich.table import Table  # same

    table = Table(*columns)
    for column in table.columns:
        column.overflow = "fold"  # a plate that is cut short says nothing
    for row in rows:
        table.add_row(*row)
    Console().print(table)
