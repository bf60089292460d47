"""`parking demo` as a person runs it: everything comes up, figures become complete, a signal stops all of it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.conftest import private_folder, shared_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.services, pytest.mark.acceptance]
_PATIENCE_S = 120


def _demo(home: Path, *arguments: str) -> subprocess.Popen[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PARKING_")}
    environ |= {"PARKING_HOME": str(home), "PARKING_RUNTIME": str(shared_runtime())}
    return subprocess.Popen(
        [sys.executable, "-m", "onebox", "demo", "--speed", "60", *arguments],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _of_home(home: Path) -> list[psutil.Process]:
    """Every living process whose command or environment names this home, ourselves not counted."""
    found = []
    for process in psutil.process_iter():
        try:
            named = str(home) in " ".join(process.cmdline()) or process.environ().get("PARKING_HOME") == str(home)
        except psutil.Error:
            continue
        if named and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty home, as on a fresh machine; what a failed test left running there ends with it."""
    folder = private_folder("demo")
    _end(folder)
    shutil.rmtree(folder)
    folder.mkdir()
    yield folder
    _end(folder)


def _end(home: Path) -> None:
    left = _of_home(home)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=10)


def test_the_demo_shows_a_complete_district_and_stops_by_itself(home: Path) -> None:
    demo = _demo(home, "--for", "30")
    output, _ = demo.communicate(timeout=_PATIENCE_S)
    assert demo.returncode == 0, output
    assert re.search(r"Availability\s+http://127\.0\.0\.1:\d+/v1/availability\?lat=", output)
    last = [line for line in output.splitlines() if line.startswith("free:")][-1]
    assert "of 21,000 spaces in 500 lots" in last
    assert "unknown: 0 " in last
    assert "all spaces known" in last
    assert re.search(r"lanes: \d+, \d+ in, \d+ out", last), last
    assert re.search(r"p50 \d+ ms, p99 \d+ ms", last), last
    assert re.search(r", \d+ packages booked", last), "cards were charged, packed, and booked by the clearing centre"
    assert "dead letters: 0 " in last
    assert "Stopped." in output
    assert _of_home(home) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything(home: Path, number: signal.Signals) -> None:
    demo = _demo(home)
    assert demo.stdout is not None
    try:
        for line in demo.stdout:
            if "all spaces known" in line:
                break
        assert _of_home(home) != []
        demo.send_signal(number)
        rest, _ = demo.communicate(timeout=_PATIENCE_S)
    finally:
        demo.kill()
    assert demo.returncode == 0, rest
    assert "Stopped." in rest
    assert _of_home(home) == []


def test_a_signal_while_services_start_leaves_nothing_behind(home: Path) -> None:
    demo = _demo(home)
    deadline = time.monotonic() + 30
    while len(_of_home(home)) < 3 and time.monotonic() < deadline:  # the demo, its supervisor, and a service
        time.sleep(0.05)
    demo.send_signal(signal.SIGTERM)
    output, _ = demo.communicate(timeout=_PATIENCE_S)
    assert demo.returncode == 1, output
    assert "Interrupted." in output
    assert _of_home(home) == []
