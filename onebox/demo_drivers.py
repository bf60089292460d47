"""Accounts of the simulated drivers who reserve shared spaces in a demo; their tokens are a file of the home."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import psycopg

from onebox.home import write_atomically
from parking_core.flows.keep_accounts import Wanted, add_accounts, replace_token
from parking_core.store import people
from simulators.reserving import ReservingDriver

if TYPE_CHECKING:
    from onebox.home import Home

DRIVERS: Final = 40  # each asks about once in 40 s: one request a second
_FILE: Final = "simulated-drivers.json"
_GROUPS: Final = ("patient", "resident", "night_worker")  # a third each


def simulated_drivers(home: Home, database_url: str) -> list[ReservingDriver]:
    """Drivers with accounts in this database; made at the first demo of a home, with new tokens where the file is gone.

    Raises:
        psycopg.OperationalError: the database is away.
    """
    wanted = [
        Wanted(code=f"SIM-{number:03}", groups=(_GROUPS[number % 3],), plates=(f"苏B{60_000 + number}",))
        for number in range(DRIVERS)
    ]
    with psycopg.connect(database_url, autocommit=True) as connection:
        known = {one.code for one in people.listed(connection)}
        tokens = _kept(home) if {one.code for one in wanted} <= known else {}
        if {one.code for one in wanted} - tokens.keys():
            tokens = {one.code: replace_token(connection, one.code) for one in wanted if one.code in known}
            new = [one for one in wanted if one.code not in known]
            tokens |= {one.code: one.token for one in add_accounts(connection, new)}
            write_atomically(home.root / _FILE, json.dumps(tokens))
    return [ReservingDriver(tokens[one.code], one.plates[0], one.groups) for one in wanted]


def _kept(home: Home) -> dict[str, str]:
    try:
        found: dict[str, Any] = json.loads((home.root / _FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(code): str(token) for code, token in found.items()}
