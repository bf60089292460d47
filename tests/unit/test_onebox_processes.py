"""A process is its pid and its start time: a signal never reaches one that got the pid later."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from onebox.applications import caller
from onebox.processes import Identity, ProcessSpec, identity_of_stat, last_lines, raise_file_limit, stop, wait_gone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLEEPER = "import time; time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", SLEEPER]) as child:
        yield child
        child.kill()


def _spec(folder: Path, code: str) -> ProcessSpec:
    return ProcessSpec(
        name="standin", argv=(sys.executable, "-c", code), cwd=folder, log=folder / "standin.log", user=caller()
    )


def test_the_name_of_a_process_may_hold_spaces_and_parentheses() -> None:
    stat = "4242 (a (b) c) S 1 " + " ".join(str(number) for number in range(5, 53))
    assert identity_of_stat(stat) == Identity(4242, 22)


def test_a_zombie_is_no_process_any_more() -> None:
    assert identity_of_stat("7 (gone) Z 1 " + " ".join("0" for _ in range(48))) is None
    assert identity_of_stat("") is None


def test_this_process_is_alive_and_keeps_its_identity() -> None:
    here = Identity.of(os.getpid())
    assert here is not None
    assert here.alive()
    assert Identity.of(os.getpid()) == here


def test_the_same_pid_with_another_start_time_is_another_process(sleeper: subprocess.Popen[bytes]) -> None:
    now = Identity.of(sleeper.pid)
    assert now is not None
    earlier = replace(now, started=now.started - 1)
    assert not earlier.alive()
    earlier.signal(signal.SIGKILL)
    time.sleep(0.1)
    assert sleeper.poll() is None, "a signal to the earlier process reached the later one"


def test_no_process_has_an_identity_after_its_end(sleeper: subprocess.Popen[bytes]) -> None:
    identity = Identity.of(sleeper.pid)
    assert identity is not None
    sleeper.kill()
    assert wait_gone([identity], patience_s=5) == []
    sleeper.wait()
    assert Identity.of(sleeper.pid) != identity


def test_stop_is_gentle_first(tmp_path: Path) -> None:
    child = _spec(tmp_path, SLEEPER).spawn()
    identity = Identity.of(child.pid)
    assert identity is not None
    assert stop({identity: signal.SIGTERM}, patience_s=5) == []
    assert child.wait() == -signal.SIGTERM


def test_stop_kills_who_does_not_listen(tmp_path: Path) -> None:
    spec = _spec(tmp_path, DEAF)
    child = spec.spawn()
    deadline = time.monotonic() + 10
    while last_lines(spec.log) != ["deaf"] and time.monotonic() < deadline:
        time.sleep(0.02)
    identity = Identity.of(child.pid)
    assert identity is not None
    assert stop({identity: signal.SIGTERM}, patience_s=0.3) == [identity]
    assert child.wait() == -signal.SIGKILL


def test_a_started_process_has_a_session_of_its_own_and_appends_to_a_private_log(tmp_path: Path) -> None:
    spec = _spec(tmp_path, "import os; print(os.getsid(0) == os.getpid(), sorted(os.environ))")
    spec = replace(spec, env={"LC_ALL": "C.UTF-8"})
    for _ in range(2):
        assert spec.spawn().wait() == 0
    lines = last_lines(spec.log)
    assert len(lines) == 2
    assert all(line.startswith("True") for line in lines)
    assert "HOME" not in lines[0], "the caller's environment leaked into the process"
    assert spec.log.stat().st_mode & 0o077 == 0


def test_last_lines_of_a_long_log_and_of_none(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert last_lines(log) == []
    log.write_text("\n".join(f"line {number}" for number in range(10_000)))
    assert last_lines(log, 3) == ["line 9997", "line 9998", "line 9999"]


def test_as_many_files_are_open_as_the_system_allows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        assert raise_file_limit() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
