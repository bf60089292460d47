"""The state of a running instance as a file: what the supervisor writes and every command reads."""

from __future__ import annotations

import json
import signal
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from onebox.home import read_json, write_atomically
from onebox.processes import Identity

if TYPE_CHECKING:
    from onebox.home import Home


class Phase(StrEnum):
    """Life of an instance: starting → running → stopping, or starting → failed."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"
    STOPPED = "stopped"
    UNSUPERVISED = "unsupervised"  # the supervisor was killed, and left processes behind


class State(StrEnum):
    """Life of one process: starting → running; a crash → waiting (for its restart) → starting."""

    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    STOPPED = "stopped"
    EXTERNAL = "external"  # the environment names its URL; not ours to start


@dataclass(frozen=True)
class Plan:
    """What `parking up` was asked for."""

    services_only: bool = False
    gateways: int = 1
    http_port: int = 0  # 0: not chosen yet
    settings: str = ""  # digest of the caller's PARKING_* that the processes were started with

    def fulfils(self, wanted: Plan) -> bool:
        """Whether an instance of this plan runs the processes that are wanted."""
        return self.services_only == wanted.services_only and (self.services_only or self.gateways == wanted.gateways)


@dataclass(frozen=True)
class ProcessState:
    """One process as last seen by the supervisor."""

    name: str
    state: State
    pid: int | None = None
    started: int | None = None
    restarts: int = 0
    stop_signal: int = signal.SIGTERM
    log: str | None = None

    def identity(self) -> Identity | None:
        """The process itself, if one was started."""
        return Identity(self.pid, self.started) if self.pid is not None and self.started is not None else None


@dataclass(frozen=True)
class Instance:
    """Everything about one running instance. Holds credentials: its file is the caller's only."""

    supervisor: Identity
    plan: Plan
    phase: Phase
    urls: dict[str, str]  # database_url, redis_url, mqtt_url, mqtt_gateway_url, api_url
    database_urls: dict[str, str] = field(default_factory=dict)  # by process
    metrics_urls: dict[str, str] = field(default_factory=dict)  # by gateway, and the worker's
    processes: tuple[ProcessState, ...] = ()
    waiting_for: str = ""
    problem: str | None = None  # why the phase is failed

    def identities(self) -> dict[Identity, signal.Signals]:
        """Recorded processes in the order to stop them, each with the signal it stops on."""
        found = {}
        for process in reversed(self.processes):
            if identity := process.identity():
                found[identity] = signal.Signals(process.stop_signal)
        return found

    def save(self, home: Home) -> None:
        """Write the file; a reader sees the state before or after, never a mixture."""
        write_atomically(home.instance_file, json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, home: Home) -> Instance | None:
        """The recorded instance, alive or not; None when there is none."""
        content = read_json(home.instance_file)
        return None if content is None else cls._of(content)

    @classmethod
    def _of(cls, content: dict[str, Any]) -> Instance:
        processes = tuple(
            ProcessState(**{**process, "state": State(process["state"])}) for process in content["processes"]
        )
        return cls(
            **{
                **content,
                "supervisor": Identity(**content["supervisor"]),
                "plan": Plan(**content["plan"]),
                "phase": Phase(content["phase"]),
                "processes": processes,
            }
        )

    def seen_now(self) -> Instance:
        """The same with every process that is gone marked so, whatever the supervisor last wrote."""
        processes = tuple(
            replace(process, state=State.STOPPED, pid=None)
            if (identity := process.identity()) and not identity.alive()
            else process
            for process in self.processes
        )
        phase = self.phase
        if not self.supervisor.alive():
            phase = Phase.UNSUPERVISED if any(process.pid for process in processes) else Phase.STOPPED
        return replace(self, processes=processes, phase=phase)
