"""Loopback ports: chosen once, remembered in the home, chosen anew when another program has taken one."""

from __future__ import annotations

import json
import secrets
import socket
from typing import TYPE_CHECKING

from onebox.home import read_json, write_atomically
from parking_core.errors import InstallationError

if TYPE_CHECKING:
    from onebox.home import Home

# Below Linux's ephemeral range (32768-60999): an outgoing connection of another program cannot sit on ours.
_LOWEST, _HIGHEST = 20_000, 32_000
_TRIES = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: TIME_WAIT is no obstacle
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def choose(taken: set[int]) -> int:
    """A free loopback port that is not in `taken`.

    Raises:
        InstallationError: no free port was found.
    """
    for _ in range(_TRIES):
        port = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
        if port not in taken and is_free(port):
            return port
    raise InstallationError(f"No loopback port between {_LOWEST} and {_HIGHEST} is free; stop what takes them.")


def remembered(home: Home, names: tuple[str, ...]) -> dict[str, int]:
    """Port of each name: the one of last time while it is free, else a new one. Call only while they are stopped."""
    path = home.root / "ports.json"
    before = read_json(path) or {}
    ports: dict[str, int] = {}
    for name in names:
        known = before.get(name)
        if isinstance(known, int) and known not in ports.values() and is_free(known):
            ports[name] = known
        else:
            ports[name] = choose(set(ports.values()))
    if any(before.get(name) != port for name, port in ports.items()):
        write_atomically(path, json.dumps({**before, **ports}, indent=1))
    return ports
