"""The supervisor: one detached process that starts everything of an instance, and starts again what crashes.

    services (postgres, mosquitto, redis) ─ all serve ─► database, migrations ─► gateways, worker, api ─► running
         ▲ a crash at any time: restart after a pause that grows; three in a row before `running`: failed, stop all

Its state is run/instance.json; it ends on SIGTERM, the last started process first.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onebox import applications
from onebox import services as private_services
from onebox.home import Home, file_lock
from onebox.instance import Instance, Phase, Plan, ProcessState, State
from onebox.processes import Identity, ProcessSpec, last_lines, raise_file_limit
from parking_core.errors import InstallationError, ParkingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from onebox.services import Services

_TICK_S = 0.1
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_STEADY_S = 30.0  # who ran so long starts again without a long pause
_CRASHES_BEFORE_GIVING_UP = 3  # only while the instance has never been up
_SERVICE_PATIENCE_S = 90.0
_DRAIN_PATIENCE_S = 20.0
_LARGEST_LOG_BYTES = 33_554_432
_LOG_CHECK_S = 60.0

_log = logging.getLogger("supervisor")


@dataclass
class _Child:
    """One supervised process."""

    spec: ProcessSpec
    popen: subprocess.Popen[bytes] | None = None
    identity: Identity | None = None
    state: State = State.WAITING
    restarts: int = 0
    crashes: int = 0  # in a row
    since: float = 0.0
    next_start: float = 0.0

    def record(self) -> ProcessState:
        """For the state file."""
        identity = self.identity
        return ProcessState(
            name=self.spec.name,
            state=self.state,
            pid=identity.pid if identity else None,
            started=identity.started if identity else None,
            restarts=self.restarts,
            stop_signal=self.spec.stop_signal,
            log=str(self.spec.log),
        )


class _StopRequestedError(Exception):
    """SIGTERM or SIGINT came while something was awaited."""


@dataclass
class Supervisor:
    """Runs one plan in one home until it is told to stop."""

    home: Home
    plan: Plan
    services: Services
    applications: list[ProcessSpec]
    migrate: Callable[[str], list[str]]
    _children: list[_Child] = field(default_factory=list)
    _phase: Phase = Phase.STARTING
    _waiting_for: str = ""
    _problem: str | None = None
    _stop: bool = False
    _written: Instance | None = None
    _logs_checked: float = 0.0

    def run(self) -> int:
        """Start, watch, stop. Gives the exit code: 0 after a requested stop, 1 when the start failed."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request_stop)
        try:
            self._start()
            self._phase = Phase.RUNNING
            self._write("")
            while not self._stop:
                self._tick_whatever_happens()
        except _StopRequestedError:
            pass
        except ParkingError as error:
            self._problem = str(error)
            _log.error("start failed: %s", error)
        except Exception as error:  # supervisor: nothing that was started may stay behind
            self._problem = f"The start failed unexpectedly: {error!r}; see {self.home.logs / 'supervisor.log'}."
            _log.exception("start failed")
        self._stop_all()
        return 1 if self._problem else 0

    def _tick_whatever_happens(self) -> None:
        """A full disk or a moment without memory must not end the one process that heals the others."""
        try:
            self._tick()
        except Exception:  # supervisor: keeps the one process alive that heals the others
            _log.exception("a look at the processes failed; looking again")
            time.sleep(_FIRST_PAUSE_S)

    def _request_stop(self, number: int, _frame: object) -> None:
        _log.info("stop requested by signal %d", number)
        self._stop = True

    def _start(self) -> None:
        self._add(self.services.processes())
        self._until_running("the services", _SERVICE_PATIENCE_S)
        self._write("the schema")
        if self.services.postgres:
            self.services.postgres.create_database()
        for name in self.migrate(self.services.urls()["database_url"]):
            _log.info("applied migration %s", name)
        self._add(self.applications)
        self._until_running("gateway, worker and API", _SERVICE_PATIENCE_S)

    def _add(self, specs: list[ProcessSpec]) -> None:
        for spec in specs:
            child = _Child(spec)
            self._children.append(child)
            self._spawn(child)

    def _until_running(self, what: str, patience_s: float) -> None:
        deadline = time.monotonic() + patience_s
        while waiting := [child.spec.name for child in self._children if child.state is not State.RUNNING]:
            self._write(f"{what}: {', '.join(waiting)}")
            self._tick()
            if self._stop:
                raise _StopRequestedError
            if time.monotonic() > deadline:
                raise InstallationError(
                    f"{waiting[0]} does not serve after {patience_s:.0f} s.{self._tail_of(waiting[0])}"
                )

    def _tick(self) -> None:
        now = time.monotonic()
        for child in self._children:
            self._look_after(child, now)
        self._write(self._waiting_for)
        if now - self._logs_checked > _LOG_CHECK_S:
            self._logs_checked = now
            limit_logs(self.home.logs)
        time.sleep(_TICK_S)

    def _look_after(self, child: _Child, now: float) -> None:
        if child.popen is not None and child.popen.poll() is not None:
            self._crashed(child, now)
        elif child.state is State.WAITING and now >= child.next_start:
            child.restarts += 1
            child.next_start = now + _LONGEST_PAUSE_S  # should the start itself fail, as without memory
            self._spawn(child)
        elif child.state is State.STARTING and now - child.since >= child.spec.settle_s and child.spec.ready():
            child.state = State.RUNNING
            _log.info("%s serves", child.spec.name)
        elif child.state is State.RUNNING and now - child.since > _STEADY_S:
            child.crashes = 0

    def _spawn(self, child: _Child) -> None:
        child.popen = child.spec.spawn()
        child.identity = Identity.of(child.popen.pid)
        child.state = State.STARTING
        child.since = time.monotonic()
        self._write(self._waiting_for)
        _log.info("started %s as %s, pid %d", child.spec.name, child.spec.user.name, child.popen.pid)

    def _crashed(self, child: _Child, now: float) -> None:
        code = child.popen.returncode if child.popen else None
        child.popen, child.identity, child.state = None, None, State.WAITING
        child.crashes += 1
        pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (child.crashes - 1))
        child.next_start = now + pause
        _log.warning("%s ended with code %s; starting it again in %.1f s", child.spec.name, code, pause)
        if self._phase is Phase.STARTING and child.crashes >= _CRASHES_BEFORE_GIVING_UP:
            raise InstallationError(
                f"{child.spec.name} ended {child.crashes} times with code {code}.{self._tail_of(child.spec.name)}"
            )

    def _tail_of(self, name: str) -> str:
        log = next(child.spec.log for child in self._children if child.spec.name == name)
        return f" Its log {log} ends with:\n" + "\n".join(last_lines(log))

    def _stop_all(self) -> None:
        self._phase = Phase.STOPPING
        self._write("")
        for child in reversed(self._children):
            self._stop_child(child)
            self._write("")
        if self._problem:
            self._phase = Phase.FAILED
            self._write("")
        else:
            self.home.instance_file.unlink(missing_ok=True)

    def _stop_child(self, child: _Child) -> None:
        if child.popen is not None and child.popen.poll() is None:
            child.popen.send_signal(child.spec.stop_signal)
            try:
                child.popen.wait(_DRAIN_PATIENCE_S)
            except subprocess.TimeoutExpired:
                _log.warning("%s does not end after %.0f s; killing it", child.spec.name, _DRAIN_PATIENCE_S)
                child.popen.kill()
                child.popen.wait()
        child.state, child.identity = State.STOPPED, None
        _log.info("stopped %s", child.spec.name)

    def _write(self, waiting_for: str) -> None:
        self._waiting_for = waiting_for
        external = tuple(ProcessState(name, State.EXTERNAL) for name in self.services.external)
        supervisor = Identity.of(os.getpid())
        if supervisor is None:
            raise InstallationError("/proc does not show this process; mount /proc and start again.")
        now = Instance(
            supervisor=supervisor,
            plan=self.plan,
            phase=self._phase,
            urls={**self.services.urls(), "api_url": f"http://127.0.0.1:{self.plan.http_port}"},
            database_urls=self.services.database_urls(),
            metrics_urls=applications.metrics_urls(self.applications),
            processes=external + tuple(child.record() for child in self._children),
            waiting_for=waiting_for,
            problem=self._problem,
        )
        if now != self._written:
            now.save(self.home)
            self._written = now


def limit_logs(folder: Path) -> None:
    """Keep one older copy of a log that has grown large; its writer appends on to the emptied file."""
    for log in folder.glob("*.log"):
        if log.stat().st_size > _LARGEST_LOG_BYTES:
            shutil.copy2(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)


def spawn_detached(home: Home, plan: Plan, environ: Mapping[str, str]) -> int:
    """Start a supervisor in a session of its own, its output in logs/supervisor.log. Gives its pid."""
    spec = ProcessSpec(
        name="supervisor",
        argv=(
            sys.executable,
            "-P",
            "-m",
            "onebox.supervisor",
            str(int(plan.services_only)),
            str(plan.gateways),
            str(plan.http_port),
        ),
        cwd=home.run,
        log=home.logs / "supervisor.log",
        user=applications.caller(),
        env={
            **environ,
            "PYTHONPATH": applications.python_path(environ),
            "PARKING_HOME": str(home.root),
            "PARKING_RUNTIME": str(home.runtime),
        },
    )
    return spec.spawn().pid


def main(arguments: list[str]) -> int:
    """Supervise the plan given in the arguments, in the home of the environment."""
    raise_file_limit()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    services_only, gateways, http_port = (int(argument) for argument in arguments)
    settings = applications.settings_digest(os.environ)
    plan = Plan(services_only=bool(services_only), gateways=gateways, http_port=http_port, settings=settings)
    home = Home.from_environ(os.environ)
    from parking_core.store.migrate import migrate  # noqa: PLC0415  # loading it costs every other command 0.15 s

    with file_lock(home.owner_lock, patience_s=10.0):
        found = private_services.prepare(home, os.environ)
        processes = applications.specs(found, plan, os.environ)
        for spec in processes[:1]:
            if home.user.switch and not spec.user.switch:
                _log.warning(
                    "%s cannot read %s: the platform runs as the caller", home.user.name, applications.CODE_ROOT
                )
        return Supervisor(home, plan, found, processes, migrate).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
