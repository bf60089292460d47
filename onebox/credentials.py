"""Passwords of the private services: generated once a home, readable by the caller only."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

from onebox.home import read_json, write_atomically

if TYPE_CHECKING:
    from onebox.home import Home

NAMES = (
    "postgres_superuser",
    "postgres_owner",
    "postgres_gateway",
    "postgres_api",
    "postgres_worker",
    "redis",
    "mqtt_gateway",
    "mqtt_devices",
    "mqtt_keeper",
    "mqtt_chirpstack",
    "mqtt_things_stack",
    "mqtt_loriot",
)
_BYTES = 24  # 192 bits, 32 characters that need no quoting in a URL


def load(home: Home) -> dict[str, str]:
    """Password of each name; missing ones are generated and kept."""
    path = home.root / "credentials.json"
    known = read_json(path) or {}
    passwords = {name: known.get(name) or secrets.token_urlsafe(_BYTES) for name in NAMES}
    if passwords != known:
        write_atomically(path, json.dumps(passwords, indent=1))
    return passwords
