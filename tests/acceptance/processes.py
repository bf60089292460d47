"""Processes of the platform as tests start, watch and end them: by pid, their logs kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

START_S = 30.0
STOP_S = 30.0
_POLL_S = 0.02


@dataclass
class Process:
    """One `python -m <root>`, started again under the same name as often as a test likes."""

    root: str
    environ: Mapping[str, str]
    log: Path
    ready_word: str
    child: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> float:
        """Starts it; gives the seconds until its log says that it serves."""
        begins, seen = time.monotonic(), self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-m", self.root],
                cwd=REPOSITORY,
                env={"PATH": os.environ["PATH"], **self.environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if wait:
            until(lambda: self.says(self.ready_word, seen), START_S, f"{self.root} does not serve; see {self.log}")
        return time.monotonic() - begins

    def says(self, word: str, after: int = 0) -> bool:
        """Whether its log holds a word beyond an offset."""
        with self.log.open("rb") as log:
            log.seek(after)
            return word.encode() in log.read()

    def kill(self) -> None:
        """SIGKILL, and waits until it is gone."""
        self._running().kill()
        self._running().wait(STOP_S)

    def terminate(self) -> int:
        """SIGTERM; gives the exit code."""
        self._running().send_signal(signal.SIGTERM)
        return self._running().wait(STOP_S)

    def cpu_seconds(self) -> float:
        """CPU time used so far."""
        times = psutil.Process(self._running().pid).cpu_times()
        return times.user + times.system

    def resident_mib(self) -> float:
        """Memory in use."""
        return psutil.Process(self._running().pid).memory_info().rss / 2**20

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.child is not None and self.child.poll() is None

    def end(self) -> None:
        """Ends it if it runs: the last step of a test, whatever happened before."""
        if self.is_running:
            self.kill()

    def _running(self) -> subprocess.Popen[bytes]:
        assert self.child is not None, f"{self.root} was not started"
        return self.child


def until(condition: Callable[[], bool], patience_s: float, complaint: str) -> float:
    """Waits for a condition; gives the seconds it took."""
    begins = time.monotonic()
    while not condition():
        assert time.monotonic() - begins < patience_s, f"{complaint} (waited {patience_s:.0f} s)"
        time.sleep(_POLL_S)
    return time.monotonic() - begins
