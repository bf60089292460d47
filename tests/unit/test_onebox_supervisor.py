"""The supervisor on stand-in processes: heals crashes, gives up a hopeless start, leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from onebox import strays
from onebox.applications import caller
from onebox.home import WORK_FOLDER, Home
from onebox.instance import Instance, Phase, Plan, State
from onebox.processes import Identity, ProcessSpec
from onebox.services import Services
from onebox.supervisor import Supervisor, limit_logs
from parking_core.errors import InstallationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STEADY = "import time; time.sleep(120)"
FAILING = "import sys; print('cannot read the map'); sys.exit(3)"
EXTERNAL = {"postgres": "postgresql://x/y", "redis": "redis://x", "mosquitto": "mqtt://x"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "run/work").mkdir(parents=True)
    (tmp_path / "logs").mkdir()
    return Home(tmp_path, tmp_path / "runtime", caller())


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _spec(home: Home, name: str, code: str = STEADY) -> ProcessSpec:
    log = home.logs / f"{name}.log"
    return ProcessSpec(
        name=name, argv=(sys.executable, "-c", code), cwd=home.root / WORK_FOLDER, log=log, user=caller(), settle_s=0.1
    )


def _run(home: Home, specs: list[ProcessSpec], observe: Callable[[], None]) -> int:
    """Run a supervisor here while `observe` watches from a thread; SIGTERM follows when it returns."""

    def watch() -> None:
        try:
            observe()
        except BaseException as error:
            failures.append(error)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    failures: list[BaseException] = []
    supervisor = Supervisor(home, Plan(), Services(home, None, None, None, EXTERNAL), specs, lambda _url: [])
    thread = threading.Thread(target=watch)
    thread.start()
    code = supervisor.run()
    thread.join()
    for failure in failures:
        raise failure
    return code


def _until(home: Home, wanted: Callable[[Instance], bool]) -> Instance:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        instance = Instance.load(home)
        if instance is not None and wanted(instance):
            return instance
        time.sleep(0.02)
    pytest.fail(f"not reached; last seen {Instance.load(home)}")


def _running(instance: Instance) -> bool:
    return instance.phase is Phase.RUNNING and all(
        process.state in {State.RUNNING, State.EXTERNAL} for process in instance.processes
    )


def test_a_killed_process_is_started_again_and_the_others_are_left_alone(home: Home) -> None:
    def observe() -> None:
        before = {process.name: process for process in _until(home, _running).processes}
        pid = before["api"].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        after = _until(home, lambda now: _running(now) and now.processes[-1].restarts == 1)
        healed = {process.name: process for process in after.processes}
        assert healed["api"].pid != pid
        assert healed["worker"] == before["worker"]
        recorded.extend(identity for process in after.processes if (identity := process.identity()))

    recorded: list[Identity] = []
    assert _run(home, [_spec(home, "worker"), _spec(home, "api")], observe) == 0
    assert len(recorded) == 2
    assert not any(identity.alive() for identity in recorded)
    assert not home.instance_file.exists()


def test_a_hopeless_start_is_given_up_with_the_last_log_lines_and_nothing_stays(home: Home) -> None:
    recorded: list[Identity] = []

    def observe() -> None:
        failed = _until(home, lambda now: now.phase is Phase.FAILED)
        assert "gateway ended 3 times with code 3" in str(failed.problem)
        assert "cannot read the map" in str(failed.problem)

    def remember() -> None:
        first = _until(home, lambda now: any(process.pid for process in now.processes))
        recorded.extend(identity for process in first.processes if (identity := process.identity()))
        observe()

    assert _run(home, [_spec(home, "worker"), _spec(home, "gateway", FAILING)], remember) == 1
    assert recorded
    assert not any(identity.alive() for identity in recorded)


def test_a_failing_migration_stops_what_was_started(home: Home) -> None:
    def refuse(_url: str) -> list[str]:
        raise InstallationError("Migration 0007 was changed.")

    services = Services(home, None, None, None, EXTERNAL)
    assert Supervisor(home, Plan(), services, [], refuse).run() == 1
    instance = Instance.load(home)
    assert instance is not None
    assert instance.problem == "Migration 0007 was changed."


def test_after_the_start_a_crashing_process_is_never_given_up(home: Home) -> None:
    once = home.root / "once"
    flaky = f"import pathlib, sys, time\nif pathlib.Path({str(once)!r}).exists(): sys.exit(1)\ntime.sleep(120)"

    def observe() -> None:
        pid = _until(home, _running).processes[-1].pid
        once.touch()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        _until(home, lambda now: now.processes[-1].restarts >= 4)
        once.unlink()
        _until(home, _running)

    assert _run(home, [_spec(home, "gateway", flaky)], observe) == 0


def test_external_services_are_named_and_not_started(home: Home) -> None:
    def observe() -> None:
        instance = _until(home, _running)
        assert [(process.name, process.pid) for process in instance.processes] == [
            ("postgres", None), ("redis", None), ("mosquitto", None),
        ]  # fmt: skip
        assert instance.urls["database_url"] == EXTERNAL["postgres"]

    assert _run(home, [], observe) == 0


def test_strays_are_found_by_program_and_folder_and_only_those(home: Home, tmp_path: Path) -> None:
    ours = _spec(home, "api").spawn()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = replace(_spec(home, "api"), cwd=elsewhere).spawn()
    shell = subprocess.Popen(["sleep", "60"], cwd=home.root / WORK_FOLDER)
    try:
        assert [identity.pid for identity in strays.find(home)] == [ours.pid]
        assert strays.stop_all(home)
        assert ours.wait(5) == -signal.SIGTERM
        assert other.poll() is None
        assert shell.poll() is None, "a person's program in the folder is not ours"
        assert not strays.stop_all(home)
    finally:
        for child in (ours, other, shell):
            child.kill()
            child.wait()


def test_a_large_log_is_cut_and_one_older_copy_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onebox.supervisor._LARGEST_LOG_BYTES", 100)
    small, large = tmp_path / "small.log", tmp_path / "large.log"
    small.write_text("x" * 100)
    with large.open("a") as writer:
        writer.write("y" * 101)
        writer.flush()
        limit_logs(tmp_path)
        writer.write("next")
    assert small.read_text() == "x" * 100
    assert large.read_text() == "next"
    assert large.with_suffix(".log.1").read_text() == "y" * 101


def test_an_unexpected_error_in_the_start_leaves_nothing_behind(home: Home) -> None:
    def explode(_url: str) -> list[str]:
        raise RuntimeError("boom")

    supervisor = Supervisor(home, Plan(), Services(home, None, None, None, EXTERNAL), [], explode)
    supervisor._add([_spec(home, "worker")])
    child = supervisor._children[0].identity
    assert child is not None
    assert supervisor.run() == 1
    assert not child.alive()
    failed = Instance.load(home)
    assert failed is not None
    assert "boom" in str(failed.problem)


def test_a_full_disk_does_not_end_the_supervisor(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def observe() -> None:
        pid = _until(home, _running).processes[-1].pid
        assert pid is not None
        monkeypatch.setattr(Instance, "save", refuse)
        os.kill(pid, signal.SIGKILL)
        time.sleep(1)
        monkeypatch.setattr(Instance, "save", save)
        _until(home, lambda now: _running(now) and now.processes[-1].pid != pid)

    save = Instance.save

    def refuse(_instance: Instance, _home: Home) -> None:
        raise OSError(28, "No space left on device")

    assert _run(home, [_spec(home, "api")], observe) == 0
