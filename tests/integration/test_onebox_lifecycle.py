"""`parking up` and `down` on this machine: heals, collides with nobody, leaves nothing, and installs all or nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest

from onebox import lifecycle, runtime, services, strays
from onebox.home import Home
from parking_core.districts import encode_district
from tests.builders import a_district
from tests.conftest import private_folder, shared_runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.services
_SERVICES = ("postgres", "redis", "mosquitto")
_PATIENCE_S = 40.0


class _Instance:
    """One PARKING_HOME, used as a person does: through the command."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("PARKING_")}
        self.environ |= {"PARKING_HOME": str(root), "PARKING_RUNTIME": str(shared_runtime())}
        self.home = Home.from_environ(self.environ)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "onebox", *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True, env=self.environ, timeout=200)

    def up(self) -> None:
        answer = self.run("up", "--services-only")
        assert answer.returncode == 0, answer.stderr

    def status(self) -> dict[str, Any]:
        report = json.loads(self.run("status", "--json").stdout)
        assert isinstance(report, dict)
        return report

    def pids(self) -> dict[str, int]:
        return {process["name"]: process["pid"] for process in self.status()["processes"] if process["pid"]}

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE_S
        while not wanted(report := self.status()):
            assert time.monotonic() < deadline, report
            time.sleep(0.1)
        return report

    def processes(self) -> list[int]:
        """Every process whose command or folder lies in the home."""
        found = []
        for process in psutil.process_iter():
            try:
                inside = process.cwd().startswith(f"{self.root}/") or any(
                    f"{self.root}/" in word for word in process.cmdline()
                )
            except psutil.Error:
                continue
            if inside and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        return found


@pytest.fixture
def make_instance() -> Iterator[Callable[[], _Instance]]:
    made: list[_Instance] = []

    def make() -> _Instance:
        root = Path(tempfile.mkdtemp(prefix="parking-up-"))
        root.chmod(0o755)  # the service user passes through it
        made.append(_Instance(root))
        return made[-1]

    yield make
    for instance in made:
        instance.run("down")
        strays.stop_all(instance.home)
        shutil.rmtree(instance.root)


def _all_running(report: dict[str, Any]) -> bool:
    states = {process["name"]: process["state"] for process in report["processes"]}
    return report["state"] == "running" and all(states[name] == "running" for name in _SERVICES)


def test_each_killed_service_comes_back_and_down_leaves_no_process(make_instance: Callable[[], _Instance]) -> None:
    instance = make_instance()
    instance.up()
    before = instance.pids()
    assert before.keys() == set(_SERVICES)
    url = instance.status()["database_url"]
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (x int)")
        connection.execute("INSERT INTO kept VALUES (42)")
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    report = instance.until(
        lambda now: _all_running(now) and sum(process["restarts"] for process in now["processes"]) >= 3
    )
    after = {process["name"]: process["pid"] for process in report["processes"] if process["pid"]}
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT x FROM kept").fetchone() == (42,), (
            "a committed row was lost, or the address changed"
        )

    assert instance.run("up", "--services-only").stdout.startswith("Already up.")
    assert instance.run("down").returncode == 0
    assert instance.processes() == []
    assert instance.status()["state"] == "stopped"
    assert instance.run("down").returncode == 0, "down again is no error"


def test_a_killed_supervisor_leaves_nothing_after_down_and_up_starts_anew(
    make_instance: Callable[[], _Instance],
) -> None:
    instance = make_instance()
    instance.up()
    os.kill(instance.status()["supervisor_pid"], signal.SIGKILL)
    instance.until(lambda now: now["state"] == "unsupervised")
    orphans = instance.pids()
    assert orphans.keys() == set(_SERVICES)

    instance.up()
    healed = instance.pids()
    assert healed.keys() == set(_SERVICES)
    assert not set(healed.values()) & set(orphans.values())

    os.kill(instance.status()["supervisor_pid"], signal.SIGKILL)
    assert instance.run("down").returncode == 0
    assert instance.processes() == []


def test_two_homes_at_once_do_not_collide(make_instance: Callable[[], _Instance]) -> None:
    first, second = make_instance(), make_instance()
    first.up()
    second.up()
    one, other = first.status(), second.status()
    for name in ("database_url", "redis_url", "mqtt_url"):
        assert one[name] != other[name]
    assert second.run("down").returncode == 0
    assert _all_running(first.status()), "the other home's down reached this one"
    assert second.processes() == []


def test_two_ups_in_one_home_start_one_instance(make_instance: Callable[[], _Instance]) -> None:
    instance = make_instance()
    command = [sys.executable, "-m", "onebox", "up", "--services-only"]
    both = [subprocess.Popen(command, env=instance.environ, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = sorted(process.communicate(timeout=100)[0].split(".", 1)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert answers == ["Already up", "Up"]
    assert len(instance.pids()) == len(_SERVICES)


def test_credentials_stay_out_of_arguments_and_files_of_others(make_instance: Callable[[], _Instance]) -> None:
    instance = make_instance()
    instance.up()
    secrets = json.loads((instance.root / "credentials.json").read_text())
    for pid in instance.processes():
        words = " ".join(psutil.Process(pid).cmdline())
        assert not [name for name, secret in secrets.items() if secret in words]
    readable = [
        path
        for path in instance.root.rglob("*")
        if path.is_file() and path.stat().st_mode & 0o044 and not path.is_relative_to(instance.root / "postgres")
    ]
    assert not [path for path in readable for secret in secrets.values() if secret.encode() in path.read_bytes()]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the services as another user")
def test_root_runs_the_services_as_an_ordinary_user(make_instance: Callable[[], _Instance]) -> None:
    instance = make_instance()
    instance.up()
    for pid in instance.pids().values():
        process = psutil.Process(pid)
        assert process.username() == "nobody"
        status = Path(f"/proc/{pid}/status").read_text()
        groups = next(line for line in status.splitlines() if line.startswith("Groups:"))
        assert groups.split()[1:] in ([], [str(process.gids().real)]), "a supplementary group of root stayed"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the services as another user")
def test_a_folder_the_service_user_cannot_enter_is_named(make_instance: Callable[[], _Instance]) -> None:
    instance = make_instance()
    barred = instance.root / "barred"
    barred.mkdir(mode=0o700)
    instance.environ["PARKING_HOME"] = str(barred / "home")
    answer = instance.run("up", "--services-only")
    assert answer.returncode == 1
    assert f"nobody cannot enter {barred}," in answer.stderr
    assert "Traceback" not in answer.stderr


def test_down_without_an_instance_is_no_error(make_instance: Callable[[], _Instance]) -> None:
    answer = make_instance().run("down")
    assert answer.returncode == 0
    assert "Nothing runs" in answer.stdout


def test_an_installation_killed_at_any_moment_is_redone_whole() -> None:
    folder = private_folder("killed") / "runtime"
    shutil.rmtree(folder.parent)
    folder.parent.mkdir()
    work = folder.parent / "apt"
    code = f"""
from pathlib import Path
from onebox import runtime
runtime.ensure(Path({str(folder)!r}), Path({str(work)!r}), say=lambda line: print(line, flush=True))
"""
    for moment, delay_s in (("downloading", 0.3), ("unpacking", 0.5)):
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert child.stdout
        with closing(child.stdout):
            assert any(line.startswith(moment) for line in child.stdout)
            time.sleep(delay_s)
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        assert runtime.installed(folder) is None, f"killed while {moment}, it must not count as installed"
    whole = runtime.ensure(folder, work)
    assert runtime.installed(folder) == whole
    for program in (whole.postgres_programs / "postgres", whole.redis_server):
        answer = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
        assert " " in answer.stdout
    left = sorted(path.name for path in folder.parent.iterdir())
    assert left == ["runtime", "runtime.lock"], "downloads or a partial folder stayed behind"
    assert runtime.ensure(folder, Path("/nonexistent")) == whole, "a second start must need nothing"
    shutil.rmtree(folder.parent)


def test_a_supervisor_that_has_not_told_of_itself_yet_ends_with_an_interrupted_start(
    make_instance: Callable[[], _Instance],
) -> None:
    instance = make_instance()
    home = instance.home
    code = """
import os
from onebox import services, supervisor
from onebox.home import Home
from onebox.instance import Plan
home = Home.from_environ(os.environ)
services.prepare(home, os.environ)
print(supervisor.spawn_detached(home, Plan(services_only=True), os.environ), flush=True)
os._exit(0)  # killed before it has waited
"""
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=instance.environ, timeout=200)
    pid = int(answer.stdout.splitlines()[-1])
    deadline = time.monotonic() + _PATIENCE_S
    while not services.taken(home.root):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert not home.instance_file.exists(), "it told of itself before this test could interrupt it"
    assert [identity.pid for identity in strays.supervisors(home)] == [pid]
    assert lifecycle.halt(home)
    assert instance.processes() == []
    assert not services.taken(home.root)


def test_credentials_of_all_devices_reach_the_running_broker(make_instance: Callable[[], _Instance]) -> None:
    instance = make_instance()
    instance.up()
    assert instance.run("migrate").returncode == 0
    district = instance.root / "district.json"
    district.write_bytes(encode_district(a_district(lots=1, spaces=3)))
    assert instance.run("seed", str(district)).returncode == 0
    before = instance.pids()
    secrets = instance.root / "secrets.json"
    answer = instance.run("devices", "issue", "--all", "--to", str(secrets))
    assert answer.returncode == 0, answer.stderr
    assert "knows 3 devices" in answer.stdout
    after = instance.pids()
    assert {name for name in before if before[name] != after[name]} == {"mosquitto"}
    assert len(json.loads(secrets.read_text("utf-8"))) == 3
    assert instance.run("devices", "check").returncode == 0
    assert instance.run("devices", "issue", "L1-002").returncode == 0, "one more, without a restart"
    assert instance.run("devices", "check").returncode == 0
    assert instance.pids() == after
