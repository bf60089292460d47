"""Who may connect to the private broker, written for all at once: its file from the registry, and a restart."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from onebox import credentials, runtime
from onebox.instance import Instance
from onebox.services.broker import Broker
from parking_core.errors import InstallationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onebox.home import Home
    from parking_core.device_credentials import Verifier

_PATIENCE_S = 60.0  # reading 21,000 clients takes it a second, queued messages more
_LOOK_S = 0.1


def admit_all(home: Home, devices: Mapping[str, Verifier], disabled: frozenset[str]) -> float:
    """Writes the broker's clients anew and has it started again; gives the seconds without a broker.

    Sessions and what waits in them outlive the restart; devices connect again by themselves.

    Raises:
        InstallationError: the broker does not come back (its log says why).
    """
    programs = runtime.installed(home.runtime)
    instance = Instance.load(home)
    running = {process.name: process for process in instance.processes} if instance is not None else {}
    process = running.get("mosquitto")
    if programs is None or process is None or process.pid is None:
        raise InstallationError("The private broker does not run; start it with `parking up` and try again.")
    port = urlsplit(instance.urls["mqtt_url"]).port if instance is not None else None
    assert port is not None  # noqa: S101  # a private broker has one
    broker = Broker(home, programs, port, credentials.load(home))
    broker.write_clients(devices, disabled)
    started = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    while time.monotonic() - started < _PATIENCE_S:
        time.sleep(_LOOK_S)
        now = Instance.load(home)
        pids = {one.name: one.pid for one in now.processes} if now is not None else {}
        if pids.get("mosquitto") not in {None, process.pid} and broker.ready():
            return time.monotonic() - started
    raise InstallationError(f"The broker did not come back within {_PATIENCE_S:.0f} s; see {home.logs}/mosquitto.log.")
