"""The `parking` command. Each module of onebox/commands adds its commands with one line below."""

from __future__ import annotations

import sys

import typer

from onebox.commands import (
    allocate,
    arrears,
    dead_letters,
    decode,
    demo,
    devices,
    doctor,
    instance,
    lane,
    money,
    permit,
    process,
    rebuild,
    reconcile,
    replay,
    seed,
    tariff,
    users,
)
from parking_core.errors import ParkingError

_MODULES = (
    instance,  # up, down, status
    process,  # gateway, api, worker, migrate
    doctor,  # doctor
    demo,
    seed,
    tariff,  # tariff check, list, publish, show, quote
    permit,  # permit add, list, end; coupon add
    replay,
    dead_letters,  # dead-letters list, show, retry
    decode,
    rebuild,
    lane,  # lane list, commands, gaps, open
    reconcile,
    money,  # money show, refund, write-off, release, reject, bad-debt, promise, give-back, trial-balance
    arrears,
    allocate,
    devices,  # devices list, issue, revoke, rebuild, check, tell, told, unknown, bind, refuse
    users,  # users add, add-drivers, list, disable, token, plates
)


def application() -> typer.Typer:
    """The command with all its subcommands."""
    app = typer.Typer(
        name="parking",
        help="""Parking platform of a city district: device gateway, live availability, one command to run it.

        First steps:

            parking demo          everything, with simulated sensors and a live view

            parking up            everything without simulators, detached

            parking doctor        what is wrong with this installation, and how to mend it
        """,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for module in _MODULES:
        module.register(app)
    return app


def main() -> None:
    """Run the command: exit code 0 done, 1 failed, 2 wrong usage."""
    try:
        application()()
    except ParkingError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
