"""`parking up`, `down`, `status`: the whole platform on this machine, detached."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn
from rich.table import Table

from onebox import lifecycle
from onebox.applications import gateway_names
from onebox.home import Home
from onebox.instance import Instance, Phase, Plan, State
from onebox.services import URL_VARIABLES

_MARKS = {State.RUNNING: "[green]✓[/]", State.EXTERNAL: "[cyan]→[/]", State.STOPPED: "[red]✗[/]"}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(up)
    app.command()(down)
    app.command()(status)


def up(
    *,
    services_only: Annotated[
        bool, typer.Option("--services-only", help="Only TimescaleDB, Mosquitto and Redis, and the schema.")
    ] = False,
    gateways: Annotated[int, typer.Option(min=1, max=16, help="How many gateways share the load.")] = 1,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="HTTP port; 0: PARKING_HTTP_PORT, else 8000.")] = 0,
) -> None:
    """Start everything, detached; returns when the API is ready.

    The first start downloads TimescaleDB, Mosquitto and Redis (about 45 MB) as signed packages into
    PARKING_HOME; later starts need no network. A service whose URL the environment sets is not started.

    Examples:
        parking up

        parking up --gateways 2

        PARKING_HOME=/tmp/second PARKING_HTTP_PORT=8010 parking up
    """
    home = Home.from_environ(os.environ)
    wanted = Plan(services_only=services_only, gateways=gateways, http_port=port)
    with starting_bar() as bar:
        task = bar.add_task("starting", total=None)
        instance, started = lifecycle.start(
            home,
            wanted,
            os.environ,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            say=lambda line: bar.update(task, description=line, total=None),
        )
    console = Console(highlight=False, soft_wrap=True)
    console.print("Up." if started else "Already up.", f"State and logs are in {home.root}.")
    if not services_only:
        taken = started and instance.plan.http_port != lifecycle.DEFAULT_HTTP_PORT and not (port or _port_is_set())
        note = f" (port {lifecycle.DEFAULT_HTTP_PORT} is taken by another program)" if taken else ""
        console.print(f"API {instance.urls['api_url']}/v1/availability{note}")
    console.print("`parking status --json` lists the addresses, `parking down` stops all.")


def _port_is_set() -> bool:
    return bool(os.environ.get("PARKING_HTTP_PORT"))


def starting_bar() -> Progress:
    """Progress of a start, on stderr: words, and bytes while downloading."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def down() -> None:
    """Stop everything of PARKING_HOME, the last started first; data stays.

    Also ends what a killed supervisor left behind. Exit code 0 when nothing runs afterwards.
    """
    home = Home.from_environ(os.environ)
    if not home.root.exists():
        typer.echo(f"Nothing runs in {home.root}.")
        return
    with home.locked():
        ran = lifecycle.halt(home)
    typer.echo("Stopped." if ran else f"Nothing runs in {home.root}.")


def status(
    *, as_json: Annotated[bool, typer.Option("--json", help="For programs, credentials included.")] = False
) -> None:
    """Show what runs, with its addresses.

    Example:
        parking status --json
    """
    home = Home.from_environ(os.environ)
    instance = Instance.load(home)
    report = describe(home, instance.seen_now() if instance else None)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    console = Console(highlight=False)
    table = Table("", "process", "state", "pid", "restarts", box=None)
    for process in report["processes"]:
        mark = _MARKS.get(State(process["state"]), "[yellow]…[/]")
        table.add_row(mark, process["name"], process["state"], str(process["pid"] or ""), str(process["restarts"]))
    console.print(f"{report['state']} in {home.root}", style="bold")
    console.print(table)
    if report["api_url"]:
        console.print(f"API {report['api_url']}")


def describe(home: Home, instance: Instance | None) -> dict[str, Any]:
    """The report of `parking status --json`; with nothing running every process is `stopped` and URLs are null."""
    plan = instance.plan if instance else Plan()
    names = [*URL_VARIABLES, *gateway_names(plan.gateways), "worker", "api"]
    known = {process.name: process for process in instance.processes} if instance else {}
    running = instance is not None and instance.phase is not Phase.STOPPED
    urls = instance.urls if instance and running else {}
    return {
        "state": str(instance.phase if instance else Phase.STOPPED),
        "home": str(home.root),
        "database_url": urls.get("database_url"),
        "redis_url": urls.get("redis_url"),
        "mqtt_url": urls.get("mqtt_url"),
        "mqtt_gateway_url": urls.get("mqtt_gateway_url"),
        "api_url": urls.get("api_url") if not plan.services_only else None,
        "database_urls": instance.database_urls if instance and running else {},
        "metrics_urls": instance.metrics_urls if instance and running else {},
        "supervisor_pid": instance.supervisor.pid if instance and running else None,
        "processes": [
            {
                "name": name,
                "pid": known[name].pid if name in known else None,
                "state": str(known[name].state if name in known else State.STOPPED),
                "restarts": known[name].restarts if name in known else 0,
            }
            for name in names
        ],
    }
