"""`parking devices`: who they are at the broker, and those that nobody registered."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003  # typer reads the annotation when it runs
from typing import TYPE_CHECKING, Annotated

import typer

from onebox import connection
from onebox.commands import device_health
from onebox.terminal import local_time, show, table_of
from parking_core.commands import CommandKind  # noqa: TC001  # typer reads the annotation when it runs
from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from parking_core.store.keeper import Keeper

Code = Annotated[str, typer.Argument(help="Code of the device.")]
Identity = Annotated[str, typer.Argument(help="DevEUI, or the code in the device's topic.")]
_PRINTABLE = frozenset(range(0x20, 0x7F))


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        no_args_is_help=True,
        help="""Devices: credentials at the broker, and those that nobody registered.

        A device connects with its code as user name and a secret of its own. The secret is shown once, when it is issued; only its
        verifier is stored. The broker lets a device publish under its own name and read its own commands, nothing else. LoRaWAN
        devices have no credential here: their network server connects, with one of its own.

        Typical: `issue CODE`, put the secret into the device. A lost or stolen one: `issue CODE` again, the old one ends at once.
        A whole district: `issue --all --to secrets.json`. Which of them lie or will soon fall silent: `health`. What sends without being registered: `unknown`, then `bind` or `refuse`.
        """,
    )
    group.command("list")(list_)
    group.command("issue")(issue)
    group.command("certificate")(certificate)
    group.command("revoke")(revoke)
    group.command("rebuild")(rebuild)
    group.command("check")(check)
    group.command("tell")(tell)
    group.command("told")(told)
    group.command("health")(device_health.health)
    group.command("unknown")(unknown)
    group.command("bind")(bind)
    group.command("refuse")(refuse)
    app.add_typer(group, name="devices")


def list_(
    *,
    lot: Annotated[str, typer.Option(help="Only of this lot.")] = "",
    most: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many.")] = 100,
) -> None:
    """List devices: what they are, when they were heard last, what they say of themselves, and whether they may connect.

    Example:
        parking devices list --lot BH0001
    """
    from parking_core.store import device_pages  # other commands start faster

    with connection.database() as db:
        rows = device_pages.page(db, lot=lot or None, after="", most=most)
    table = table_of("device", "lot", "space", "make", "last heard", "battery", "signal", "firmware", "credential")
    for row in rows:
        make = " ".join(filter(None, (row.family, row.model)))
        battery = _either(row.battery_v, "V") or _either(row.battery_percent, "%")
        table.add_row(
            row.code, row.lot, row.space or "", make, local_time(row.last_heard_at), battery,
            _either(row.rssi_dbm, "dBm"), row.firmware, row.credential,
        )  # fmt: skip
    show(table)


def issue(
    code: Annotated[str, typer.Argument(help="Code of the device.")] = "",
    *,
    all_: Annotated[bool, typer.Option("--all", help="Every device that connects by itself and has none yet.")] = False,
    to: Annotated[
        Path | None, typer.Option(help="With --all: JSON to write, secret by code. It must not exist.")
    ] = None,
) -> None:
    """Issue a credential, or another one: the old one ends at once, and its connection with it.

    With --all the broker is started again with the new file, which takes it about a second; what waits in it stays. The file of
    secrets is readable by its owner only: put them into the devices and delete it.

    Examples:
        parking devices issue BH0001-017

        parking devices issue --all --to secrets.json
    """
    if bool(code) == all_ or (to is not None) != all_:
        raise typer.BadParameter("give the code of a device, or --all with --to FILE.")
    if to is not None:
        _issue_all(to)
        return
    from parking_core.flows import keep_credentials  # other commands start faster

    keeper = _keeper()
    with connection.database() as db:
        secret = keep_credentials.issue(db, keeper, code, by=_who(), now=datetime.now(UTC))
    typer.echo(f"User name {code}. Its secret, which is not shown again:\n{secret}")


def _issue_all(to: Path) -> None:
    from parking_core.flows import keep_credentials  # other commands start faster
    from parking_core.store import device_credentials  # same

    try:
        descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInputError(f"The secrets cannot be written to {to} ({error}); give another file.") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file, connection.database() as db:
        codes = device_credentials.without(db)
        secrets = keep_credentials.issue_many(db, codes, by=_who(), now=datetime.now(UTC)) if codes else {}
        json.dump(secrets, file, ensure_ascii=False)
    if not secrets:
        typer.echo("Every device that connects by itself has a credential.")
        return
    typer.echo(f"{len(secrets)} secrets are in {to}.")
    rebuild()


def certificate(code: Code, *, to: Annotated[Path, typer.Option(help="Folder to write into.")]) -> None:
    """Issue a certificate for the broker's encrypted door: key, certificate, and the authority that the device trusts.

    The door is open where the installation was started with PARKING_MQTT_TLS (host:port) and PARKING_MQTT_TLS_NAMES (as devices
    call it). There a device shows its certificate and its secret as well; issuing another secret shuts out whoever has both.

    Example:
        parking devices certificate BH0001-017 --to ./BH0001-017
    """
    from onebox.authority import Authority, write_for_device  # other commands start faster
    from onebox.home import Home  # same
    from parking_core.errors import NotFoundError  # same
    from parking_core.store import device_pages  # same

    with connection.database() as db:
        if device_pages.identity(db, code) is None:
            raise NotFoundError(f"There is no device {code!r} in use; `parking devices list` shows them.")
    issued = Authority(Home.from_environ(os.environ)).issue(code)
    for path in write_for_device(issued, code, to):
        typer.echo(str(path))


def revoke(code: Code, *, reason: Annotated[str, typer.Option(help="Why; it is kept.")]) -> None:
    """Take a device's credential away: it is disconnected and cannot come back.

    Example:
        parking devices revoke BH0001-017 --reason "stolen from the street"
    """
    from parking_core.flows import keep_credentials  # other commands start faster

    keeper = _keeper()
    with connection.database() as db:
        keep_credentials.revoke(db, keeper, code, by=_who(), reason=reason, now=datetime.now(UTC))
    typer.echo(f"Device {code} may not connect any more.")


def rebuild() -> None:
    """Write the broker's file of clients anew from the registry, and start the broker with it.

    For a broker that lost its file, or that is out of step (`check`).

    Example:
        parking devices rebuild
    """
    from onebox.admission import admit_all  # other commands start faster
    from onebox.home import Home  # same
    from parking_core.flows import keep_credentials  # same

    with connection.database() as db:
        devices, shut_out = keep_credentials.clients(db, datetime.now(UTC))
    seconds = admit_all(Home.from_environ(os.environ), devices, shut_out)
    typer.echo(f"The broker knows {len(devices)} devices; it was away for {seconds:.1f} s.")


def check() -> None:
    """Say whether broker and registry agree on who may connect; ends with 1 where they do not.

    Example:
        parking devices check
    """
    from parking_core.broker_clients import OWN_USERS  # other commands start faster
    from parking_core.flows import keep_credentials  # same

    keeper = _keeper()
    with connection.database() as db:
        strangers, missing = keep_credentials.out_of_step(db, keeper, OWN_USERS, datetime.now(UTC))
    for names, words in (
        (strangers, "may connect though the registry does not let them in"),
        (missing, "are not known to the broker"),
    ):
        if names:
            more = f" and {len(names) - 10} more" if len(names) > 10 else ""
            typer.echo(f"{len(names)} {words}: {', '.join(names[:10])}{more}.")
    if strangers or missing:
        typer.echo("`parking devices rebuild` brings them in step.")
        raise typer.Exit(1)
    typer.echo("Broker and registry agree.")


def unknown(
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also those that were bound or refused.")] = False,
    most: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")] = 50,
) -> None:
    """List devices that send without being registered, with what they sent last.

    Example:
        parking devices unknown
    """
    from parking_core.discoveries import DiscoveryState  # other commands start faster
    from parking_core.store import discoveries  # same

    with connection.database() as db:
        found = discoveries.listed(db, None if everything else DiscoveryState.NEW, None, most)
    table = table_of("identity", "network", "lot", "state", "messages", "last seen", "sent last")
    for one in found:
        state = f"{one.state} {one.device or one.reason or ''}".strip()
        network = one.network or "itself"
        table.add_row(
            one.identity, network, one.lot, state, str(one.messages), local_time(one.last_seen_at), _sample(one.sample)
        )
    show(table)


def bind(
    identity: Identity,
    *,
    lot: Annotated[str, typer.Option(help="Code of the lot.")],
    space: Annotated[str, typer.Option(help="Code of the space that it watches.")],
    family: Annotated[str, typer.Option(help="As `parking decode --list` names it; native for JSON.")] = "native",
    model: Annotated[str, typer.Option(help="Model of the family.")] = "",
    firmware: Annotated[str, typer.Option(help="Version of its firmware.")] = "",
    code: Annotated[str, typer.Option(help="Its name from now on; without: its identity.")] = "",
) -> None:
    """Register an unknown device; its next message counts. `parking dead-letters retry` brings in what it sent before.

    Example:
        parking devices bind 00c0ffee00000001 --lot BH0001 --space 017 --family bosch --model tps110
    """
    from gateway.decoders.families import layout_of  # other commands start faster
    from parking_core.flows.decide_discovery import Binding  # same
    from parking_core.flows.decide_discovery import bind as bind_device  # same

    if family != "native" and isinstance(problem := layout_of(family, model, firmware), str):
        raise InvalidInputError(problem)
    binding = Binding(lot=lot, space=space, family=family, model=model, firmware=firmware, code=code)
    with connection.database() as db:
        known_as = bind_device(db, identity, binding, by=_who(), now=datetime.now(UTC))
    typer.echo(f"{identity} is device {known_as} of space {space} in lot {lot}.")


def refuse(identity: Identity, *, reason: Annotated[str, typer.Option(help="Why; it is kept.")]) -> None:
    """Refuse an unknown device: what it sends is counted from now on, and nothing else.

    Example:
        parking devices refuse 00c0ffee00000001 --reason "the neighbour's sensor"
    """
    from parking_core.flows.decide_discovery import refuse as refuse_device  # other commands start faster

    with connection.database() as db:
        refuse_device(db, identity, reason=reason, by=_who(), now=datetime.now(UTC))
    typer.echo(f"{identity} is refused.")


def _keeper() -> Keeper:
    from parking_core.store.keeper import Keeper  # other commands start faster

    url = connection.settings().keeper_url
    if not url:
        raise InvalidInputError("PARKING_MQTT_KEEPER_URL is not set; give the broker's user that keeps credentials.")
    return Keeper(url)


def _who() -> str:
    """Whoever runs the command, for the record of who did what."""
    return os.environ.get("SUDO_USER") or os.environ.get("USER") or f"uid {os.getuid()}"


def _sample(content: bytes) -> str:
    if all(byte in _PRINTABLE for byte in content):
        return content.decode()[:60]
    return content.hex()[:60]


def _either(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.4g} {unit}"


def tell(
    code: Code,
    kind: Annotated[CommandKind, typer.Argument(help="What it is to do.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
    until: Annotated[str, typer.Option(help="lock_gate_open: a time such as 2026-11-23T18:00+08:00.")] = "",
    line: Annotated[list[str] | None, typer.Option(help="show_sign: a line of text; repeatable.")] = None,
    count: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FREE", help="show_sign: free spaces; repeatable.")
    ] = None,
    setting: Annotated[str, typer.Option(help="configure: name of the setting, as the family calls it.")] = "",
    value: Annotated[list[str] | None, typer.Option(metavar="NAME=NUMBER", help="configure: its parameters.")] = None,
) -> None:
    """Tell a device something: a gate, a parking lock, a sign, or a sensor's setting. Who and why are kept for ever.

    The command waits at the broker for a device that is away, until it is too late for it: `parking devices told CODE` shows
    what became of it.

    Examples:
        parking devices tell BH0193-E1 lock_gate_open --until 2026-11-23T18:00+08:00 --reason "fire drill"

        parking devices tell SIGN-7 show_sign --line "滨湖医院" --count P1=12 --reason "trial"

        parking devices tell BAY-9 configure --setting uploadInterval --value uploadInterval=6 --reason "saves the battery"
    """
    from parking_core.flows.command_device import Wish, command_device  # other commands start faster

    body: dict[str, object] = {}
    if until:
        body["until"] = until
    if line or count:
        body |= {"lines": line or [], "counts": _numbers(count)}
    if setting:
        body |= {"name": setting, "values": _numbers(value)}
    with connection.database() as db:
        wish = Wish(device=code, kind=kind, reason=reason, by=_who(), body=body)
        command_id = command_device(db, wish, datetime.now(UTC))
    typer.echo(f"Command {command_id} waits for {code}.")


def told(
    code: Code, *, most: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many.")] = 20
) -> None:
    """List what a device was told, the newest first, and what became of it.

    Example:
        parking devices told BH0193-E1
    """
    from parking_core.errors import NotFoundError  # other commands start faster
    from parking_core.store import commands, device_pages  # same

    with connection.database() as db:
        device = device_pages.identity(db, code)
        if device is None:
            raise NotFoundError(f"There is no device {code!r} in use.")
        rows = commands.recent(db, device_id=device[0], most=most)
    table = table_of("command", "kind", "state", "ordered", "ended", "tries", "answer")
    for row in rows:
        answer = "" if row.answer is None else " ".join(str(row.answer.get(key) or "") for key in ("result", "reason"))
        ended = "" if row.ended_at is None else local_time(row.ended_at)
        table.add_row(
            str(row.id), row.kind, row.state, local_time(row.created_at), ended, str(row.tries), answer.strip()
        )
    show(table)


def _numbers(pairs: list[str] | None) -> dict[str, int | float]:
    found: dict[str, int | float] = {}
    for pair in pairs or ():
        name, _, number = pair.partition("=")
        try:
            found[name] = int(number) if number.lstrip("-").isdigit() else float(number)
        except ValueError:
            raise typer.BadParameter(f"{pair!r} is no NAME=NUMBER.") from None
    return found
