"""The three private services together: prepare, start, stop. The supervisor and the tests stand on this."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onebox import credentials, ports, runtime, strays
from onebox.authority import NAMES_VARIABLE, TLS_VARIABLE, Door
from onebox.home import Home, file_lock
from onebox.processes import ProcessSpec, last_lines, raise_file_limit
from onebox.services.broker import Broker
from onebox.services.cache import Cache
from onebox.services.postgres import Postgres
from parking_core.errors import InstallationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

URL_VARIABLES = {
    "postgres": "PARKING_DATABASE_URL",
    "redis": "PARKING_REDIS_URL",
    "mosquitto": "PARKING_MQTT_URL",
}
KEEPER_VARIABLE = "PARKING_MQTT_KEEPER_URL"
START_PATIENCE_S = 90.0  # crash recovery of a busy database on a slow disk
STOP_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Services:
    """What one home runs itself; a service whose URL the environment sets is None here."""

    home: Home
    postgres: Postgres | None
    broker: Broker | None
    cache: Cache | None
    external: Mapping[str, str]

    def processes(self) -> list[ProcessSpec]:
        """How to run each private service."""
        return [service.process() for service in (self.postgres, self.broker, self.cache) if service is not None]

    def urls(self) -> dict[str, str]:
        """`database_url` (owner), `redis_url`, `mqtt_url` (any device), `mqtt_gateway_url`, `mqtt_keeper_url` (may be empty)."""
        external = self.external
        return {
            "database_url": self.postgres.owner_url() if self.postgres else external["postgres"],
            "redis_url": self.cache.url() if self.cache else external["redis"],
            "mqtt_url": self.broker.url("devices") if self.broker else external["mosquitto"],
            "mqtt_gateway_url": self.broker.url("gateway") if self.broker else external["mosquitto"],
            "mqtt_keeper_url": self.broker.url("keeper") if self.broker else external.get("keeper", ""),
        }

    def database_urls(self) -> dict[str, str]:
        """Database URL of each process, with its own least-privileged login where the database is ours."""
        if self.postgres:
            return self.postgres.process_urls()
        return dict.fromkeys(("gateway", "api", "worker"), self.external["postgres"])


@dataclass(frozen=True)
class RunningServices:
    """Private services that this process started. URLs are complete, credentials included."""

    home: Path
    database_url: str
    redis_url: str
    mqtt_url: str  # may publish for any device
    mqtt_gateway_url: str
    mqtt_keeper_url: str
    database_urls: Mapping[str, str]  # by process: gateway, api, worker
    admin_url: str | None  # superuser, for tests that create databases; None when the database is external
    specs: Mapping[str, ProcessSpec]
    held: ExitStack  # keeps every other caller, and a supervisor, out of this home
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)


def prepare(
    home: Home,
    environ: Mapping[str, str],
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    say: Callable[[str], None] = lambda _line: None,
) -> Services:
    """Make everything ready to start: folders, runtime, credentials, ports, cluster, configuration.

    Call only while the services of this home are stopped, and while holding its lock.

    Raises:
        InstallationError: this host cannot run them; the message says what to do instead.
    """
    home.prepare()
    external = {name: environ[variable] for name, variable in URL_VARIABLES.items() if environ.get(variable)}
    if environ.get(KEEPER_VARIABLE):
        external["keeper"] = environ[KEEPER_VARIABLE]
    if external.keys() >= URL_VARIABLES.keys():
        return Services(home, None, None, None, external)
    door = Door.of(environ.get(TLS_VARIABLE, ""), environ.get(NAMES_VARIABLE, ""))
    programs = runtime.ensure(home.runtime, home.root / "apt", progress=progress, say=say)
    passwords = credentials.load(home)
    chosen = ports.remembered(home, tuple(name for name in URL_VARIABLES if name not in external))
    services = Services(
        home=home,
        postgres=Postgres(home, programs, chosen["postgres"], passwords) if "postgres" not in external else None,
        broker=Broker(home, programs, chosen["mosquitto"], passwords, door) if "mosquitto" not in external else None,
        cache=Cache(home, programs, chosen["redis"], passwords) if "redis" not in external else None,
        external=external,
    )
    say("preparing the services")
    for service in (services.postgres, services.broker, services.cache):
        if service is not None:
            service.prepare()
    return services


def start(
    home: Path,
    *,
    environ: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    say: Callable[[str], None] = lambda _line: None,
) -> RunningServices:
    """Start the private services as children of this process, and wait until all serve. For tests and tools.

    What an earlier caller left running in this home is stopped first; a home that another living caller or
    a supervisor uses is refused (`taken` tells).

    Raises:
        InstallationError: the home is in use, the host cannot run them, or one did not come up (with its log).
    """
    environ = os.environ if environ is None else environ
    raise_file_limit()
    place = Home.from_environ(environ, home)
    with place.locked(), ExitStack() as held:
        place.run.mkdir(mode=0o755, exist_ok=True)
        held.enter_context(file_lock(place.owner_lock, patience_s=0))
        strays.stop_all(place)
        services = prepare(place, environ, progress=progress, say=say)
        running = _as_running(services, held.pop_all())
        try:
            _start_all(running)
            if services.postgres:
                services.postgres.create_database()
        except BaseException:
            stop(running)
            raise
    return running


def _as_running(services: Services, held: ExitStack) -> RunningServices:
    urls = services.urls()
    return RunningServices(
        home=services.home.root,
        database_url=urls["database_url"],
        redis_url=urls["redis_url"],
        mqtt_url=urls["mqtt_url"],
        mqtt_gateway_url=urls["mqtt_gateway_url"],
        mqtt_keeper_url=urls["mqtt_keeper_url"],
        database_urls=services.database_urls(),
        admin_url=services.postgres.url("postgres", "postgres_superuser") if services.postgres else None,
        specs={spec.name: spec for spec in services.processes()},
        held=held,
    )


def _start_all(running: RunningServices) -> None:
    for name in running.specs:
        restart(running, name, wait=False)
    for name, spec in running.specs.items():
        _wait_ready(spec, running.children[name])


def taken(home: Path) -> bool:
    """Whether a living process runs services in this home."""
    place = Home.from_environ({}, home)
    if not place.owner_lock.exists():
        return False
    try:
        with file_lock(place.owner_lock, patience_s=0):
            return False
    except InstallationError:
        return True


def restart(running: RunningServices, name: str, *, wait: bool = True) -> None:
    """Start a service that was stopped or killed, and wait until it serves."""
    child = running.children.get(name)
    if child is not None and child.poll() is None:
        stop_one(running, name)
    running.children[name] = running.specs[name].spawn()
    if wait:
        _wait_ready(running.specs[name], running.children[name])


def stop_one(running: RunningServices, name: str) -> None:
    """Stop one service and leave the others running."""
    child = running.children[name]
    if child.poll() is not None:
        return
    child.send_signal(running.specs[name].stop_signal)
    try:
        child.wait(STOP_PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def stop(running: RunningServices) -> None:
    """Stop the services, the last started first, and let others use the home. Repeatable."""
    for name in reversed(list(running.children)):
        stop_one(running, name)
    running.held.close()


def _wait_ready(spec: ProcessSpec, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_PATIENCE_S
    while not spec.ready():
        code = child.poll()
        if code is not None or time.monotonic() > deadline:
            happened = (
                f"ended with code {code}" if code is not None else f"does not answer after {START_PATIENCE_S:.0f} s"
            )
            tail = "\n".join(last_lines(spec.log))
            raise InstallationError(f"{spec.name} {happened}; its log {spec.log} ends with:\n{tail}")
        time.sleep(0.03)
