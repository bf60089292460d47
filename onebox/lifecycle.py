"""Up and down: what `parking up`, `parking down` and the demo do with an instance, without printing."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from onebox import applications, ports, services, strays, supervisor
from onebox.instance import Instance, Phase, Plan, State
from onebox.processes import Identity, last_lines, stop, wait_gone
from parking_core.errors import InstallationError, SettingsError
from parking_core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from onebox.home import Home

DEFAULT_HTTP_PORT = 8000
_HIGHEST_PORT = 65_535
_READY_PATIENCE_S = 240.0  # the supervisor gives up earlier, and knows why
_SUPERVISOR_PATIENCE_S = 150.0  # it gives each of its processes 20 s to drain
_ORPHAN_PATIENCE_S = 20.0
_LOOK_S = 0.1
# Stand for addresses that are not known yet when the caller's settings are checked.
_OF_PRIVATE_SERVICES = {"database_url": "postgresql://", "redis_url": "redis://", "mqtt_url": "mqtt://"}


def start(
    home: Home,
    wanted: Plan,
    environ: Mapping[str, str],
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    say: Callable[[str], None] = lambda _line: None,
) -> tuple[Instance, bool]:
    """Bring the instance up. Gives it, and whether this call started it (False: it was up already).

    Raises:
        InstallationError: something did not start; everything this call started is stopped again.
        SettingsError: a value cannot be read; what ran runs on.
    """
    Settings.from_environ(environ, **_OF_PRIVATE_SERVICES)
    with home.locked():
        current = Instance.load(home)
        if current is not None and current.supervisor.alive():
            if current.phase in {Phase.RUNNING, Phase.STARTING} and fulfils(current, wanted, environ):
                return wait_ready(home, say), False
            say("stopping what runs with other options")
        halt(home)
        plan = replace(wanted, http_port=choose_http_port(home, wanted.http_port, environ))
        services.prepare(home, environ, progress=progress, say=say)
        supervisor_pid = supervisor.spawn_detached(home, plan, environ)
        try:
            return wait_ready(home, say, supervisor_pid), True
        except BaseException:
            halt(home)
            raise


def fulfils(current: Instance, wanted: Plan, environ: Mapping[str, str]) -> bool:
    """Whether the running instance is what is wanted: processes, settings, port if one is named, external services."""
    external = {process.name for process in current.processes if process.state is State.EXTERNAL}
    for name, variable in services.URL_VARIABLES.items():
        url = current.urls[variable.removeprefix("PARKING_").lower()] if name in external else ""
        if (environ.get(variable) or "") != url:
            return False
    port = wanted.http_port or port_of_environ(environ)
    same = port in {0, current.plan.http_port} and current.plan.settings == applications.settings_digest(environ)
    return current.plan.fulfils(wanted) and (wanted.services_only or same)


def port_of_environ(environ: Mapping[str, str]) -> int:
    """PARKING_HTTP_PORT, 0 when it is not set.

    Raises:
        SettingsError: it is no port.
    """
    text = environ.get("PARKING_HTTP_PORT") or "0"
    if not text.isdecimal() or int(text) > _HIGHEST_PORT:
        raise SettingsError(f"PARKING_HTTP_PORT is {text!r}; give a port number such as {DEFAULT_HTTP_PORT}.")
    return int(text)


def choose_http_port(home: Home, wanted: int, environ: Mapping[str, str]) -> int:
    """Port of the API: the one asked for (`wanted`, else PARKING_HTTP_PORT), else 8000, else a free one.

    Raises:
        InstallationError: the port asked for is taken.
        SettingsError: PARKING_HTTP_PORT is no port.
    """
    asked = wanted or port_of_environ(environ)
    if asked and not ports.is_free(asked):
        raise InstallationError(
            f"Port {asked} of 127.0.0.1 is taken; stop its program or set PARKING_HTTP_PORT to another."
        )
    if asked:
        return asked
    return DEFAULT_HTTP_PORT if ports.is_free(DEFAULT_HTTP_PORT) else ports.remembered(home, ("http",))["http"]


def wait_ready(home: Home, say: Callable[[str], None], supervisor_pid: int | None = None) -> Instance:
    """Wait until every process serves: for the API that means that `/readyz` is 200."""
    spawned = Identity.of(supervisor_pid) if supervisor_pid else None
    deadline = time.monotonic() + _READY_PATIENCE_S
    while time.monotonic() < deadline:
        instance = Instance.load(home)
        if instance is not None and instance.problem:
            raise InstallationError(instance.problem)
        watched = instance.supervisor if instance else spawned
        if watched is None or not watched.alive():
            again = Instance.load(home)  # it may have written its reason between the two looks
            tail = "\n".join(last_lines(home.logs / "supervisor.log"))
            raise InstallationError((again and again.problem) or f"The supervisor ended; its log ends with:\n{tail}")
        if instance is not None and instance.phase is Phase.RUNNING:
            return instance
        if instance is not None and instance.waiting_for:
            say(f"waiting for {instance.waiting_for}")
        time.sleep(_LOOK_S)
    raise InstallationError(f"Not everything serves in time; {home.logs / 'supervisor.log'} tells what came last.")


def halt(home: Home) -> bool:
    """Stop the instance of this home, also what a killed supervisor left. Gives whether anything ran."""
    instance = Instance.load(home)
    ran = False
    if instance is None:  # a start that was interrupted before its supervisor could tell of itself
        young = strays.supervisors(home)
        stop(young, _SUPERVISOR_PATIENCE_S)
        ran = bool(young)
        instance = Instance.load(home)
    if instance is not None:
        if instance.supervisor.alive():
            ran = True
            instance.supervisor.signal(signal.SIGTERM)
            if wait_gone([instance.supervisor], _SUPERVISOR_PATIENCE_S):
                instance.supervisor.signal(signal.SIGKILL)
                wait_gone([instance.supervisor], _ORPHAN_PATIENCE_S)
            instance = Instance.load(home) or instance
        ran = _stop_one_by_one(instance.identities()) or ran
    if services.taken(home.root):
        raise InstallationError(f"Another program, such as a test run, uses the services of {home.root}; end it first.")
    ran = strays.stop_all(home) or ran
    home.instance_file.unlink(missing_ok=True)
    return ran


def _stop_one_by_one(targets: dict[Identity, signal.Signals]) -> bool:
    ran = False
    for identity, number in targets.items():
        if identity.alive():
            ran = True
            stop({identity: number}, _ORPHAN_PATIENCE_S)
    return ran
