"""Processes by identity: a pid together with its start time, which no later process of that pid shares."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from onebox.home import ServiceUser

_TAIL_BYTES = 8_192
_POLL_S = 0.02


def raise_file_limit() -> int:
    """As many open files as the system allows, for this process and those that it starts: a device is one at the broker."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


@dataclass(frozen=True)
class Identity:
    """One process, for ever: `started` is its start time in clock ticks since boot (/proc/PID/stat, field 22)."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """Identity of the process that has this pid now; None when there is none or only its zombie."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        return identity_of_stat(stat)

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Identity.of(self.pid) == self

    def signal(self, number: signal.Signals) -> None:
        """Signal this process, and no other that has got its pid since."""
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


def identity_of_stat(stat: str) -> Identity | None:
    """Identity from the text of /proc/PID/stat; the name in parentheses may hold spaces and parentheses."""
    head, _, tail = stat.rpartition(")")
    fields = tail.split()
    if len(fields) < 20 or fields[0] in {"Z", "X"}:
        return None
    return Identity(int(head.split("(", 1)[0]), int(fields[19]))


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """How to start one process, and how to tell that it serves."""

    name: str
    argv: tuple[str, ...]
    cwd: Path
    log: Path
    user: ServiceUser
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] = lambda: True
    settle_s: float = 0.0  # how long it must have run before `ready` is asked
    stop_signal: signal.Signals = signal.SIGTERM
    umask: int = 0o077

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it in a session of its own, its output appended to its log."""
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if self.user.switch:
                os.fchown(descriptor, self.user.uid, self.user.gid)
            return subprocess.Popen(
                self.argv,
                cwd=self.cwd,
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
                umask=self.umask,
                **self.user.popen_options(),
            )
        finally:
            os.close(descriptor)


def stop(targets: Mapping[Identity, signal.Signals], patience_s: float) -> list[Identity]:
    """Stop processes: to each its signal, patience, then SIGKILL. Gives those that needed the SIGKILL."""
    for identity, number in targets.items():
        identity.signal(number)
    stubborn = wait_gone(list(targets), patience_s)
    for identity in stubborn:
        identity.signal(signal.SIGKILL)
    wait_gone(stubborn, patience_s=10.0)
    return stubborn


def wait_gone(identities: list[Identity], patience_s: float) -> list[Identity]:
    """Wait until the processes are gone; gives those that are still there when the patience ends."""
    deadline = time.monotonic() + patience_s
    left = [identity for identity in identities if identity.alive()]
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        left = [identity for identity in left if identity.alive()]
    return left


def last_lines(log: Path, count: int = 15) -> list[str]:
    """The last lines of a log, oldest first; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-count:]
