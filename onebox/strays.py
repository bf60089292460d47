"""Processes of a home that no living supervisor owns, recognised by where they run, never by their names."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from onebox.home import WORK_FOLDER
from onebox.processes import Identity, stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onebox.home import Home

_PATIENCE_S = 20.0
_MODULE = "onebox.supervisor"  # as `supervisor.spawn_detached` starts it
_SERVICE_FOLDERS = ("postgres", "mosquitto", "redis")


def supervisors(home: Home) -> dict[Identity, signal.Signals]:
    """Supervisors of this home, also one that was started a moment ago and has not written its state yet."""
    return {identity: signal.SIGTERM for entry, identity in _others() if _is_supervisor(entry, home)}


def find(home: Home) -> dict[Identity, signal.Signals]:
    """Processes whose program and current folder are this home's, each with the signal that stops it."""
    found = {identity.pid: identity for entry, identity in _others() if belongs(entry, home)}
    parents = {pid: _parent(Path(f"/proc/{pid}")) for pid in found}
    # A database backend goes with its postmaster: only the top of each tree is signalled.
    return {
        identity: signal.SIGINT if _is_postgres(pid) else signal.SIGTERM
        for pid, identity in found.items()
        if parents[pid] not in found
    }


def _others() -> Iterator[tuple[Path, Identity]]:
    """Every process but this one: its folder in /proc and its identity."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid() and (identity := Identity.of(int(entry.name))):
            yield entry, identity


def belongs(entry: Path, home: Home) -> bool:
    """Whether the process of this /proc folder was started in the home, by the home's programs."""
    try:
        program = _link(entry / "exe")
        folder = _link(entry / "cwd")
    except OSError:
        return False  # gone, or another user's
    root, runtime = home.root.resolve(), home.runtime.resolve()
    in_service = any(folder.is_relative_to(root / name) for name in _SERVICE_FOLDERS)
    if in_service:
        return program.is_relative_to(runtime)
    return folder == root / WORK_FOLDER and program == Path(sys.executable).resolve()


def stop_all(home: Home) -> bool:
    """Stop what `find` finds. Gives whether there was anything."""
    found = find(home)
    stop(found, _PATIENCE_S)
    return bool(found)


def _is_supervisor(entry: Path, home: Home) -> bool:
    try:
        command = (entry / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
        return _MODULE in command and _link(entry / "cwd") == home.run.resolve()
    except OSError:
        return False  # gone, or another user's


def _is_postgres(pid: int) -> bool:
    try:
        return _link(Path(f"/proc/{pid}/exe")).name == "postgres"
    except OSError:
        return False


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _link(entry: Path) -> Path:
    """Target of a link of /proc, also when it was replaced on disk since."""
    return Path(str(entry.readlink()).removesuffix(" (deleted)"))
