"""The state file, the home, its ports and credentials, and what the command says about them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from onebox import applications, connection, credentials, lifecycle, ports, runtime, services
from onebox.__main__ import main
from onebox.applications import caller, settings_digest
from onebox.commands.instance import describe
from onebox.home import Home, default_root, file_lock, read_json, service_user, write_atomically
from onebox.instance import Instance, Phase, Plan, ProcessState, State
from onebox.processes import Identity
from parking_core.errors import InstallationError, ServiceUnavailableError, SettingsError

GONE = Identity(2**22 - 1, 1)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "run").mkdir()
    (tmp_path / "logs").mkdir()
    return Home(tmp_path, tmp_path / "runtime", caller())


def _instance(supervisor: Identity, *processes: ProcessState) -> Instance:
    urls = {
        "database_url": "postgresql://parking:a@127.0.0.1:1/parking",
        "redis_url": "redis://:b@127.0.0.1:2/0",
        "mqtt_url": "mqtt://devices:c@127.0.0.1:3",
        "mqtt_gateway_url": "mqtt://gateway:d@127.0.0.1:3",
        "api_url": "http://127.0.0.1:8000",
    }
    return Instance(
        supervisor, Plan(http_port=8000), Phase.RUNNING, urls, {"gateway": "postgresql://g@h/parking"}, {}, processes
    )


def _here() -> Identity:
    here = Identity.of(os.getpid())
    assert here is not None
    return here


def test_the_state_file_reads_back_as_it_was_written_and_is_private(home: Home) -> None:
    here = _here()
    written = _instance(here, ProcessState("postgres", State.RUNNING, here.pid, here.started, 2, signal.SIGINT, "/l"))
    written.save(home)
    assert Instance.load(home) == written
    assert home.instance_file.stat().st_mode & 0o777 == 0o600


def test_no_state_file_is_no_instance(home: Home) -> None:
    assert Instance.load(home) is None


def test_a_spoilt_state_file_is_an_error_that_says_what_to_do(home: Home) -> None:
    home.instance_file.write_text('{"supervisor": ')
    with pytest.raises(InstallationError, match=r"holds no JSON.*parking down"):
        Instance.load(home)


def test_processes_are_stopped_in_reverse_order_each_with_its_signal() -> None:
    instance = _instance(
        GONE,
        ProcessState("postgres", State.RUNNING, 11, 1, stop_signal=signal.SIGINT),
        ProcessState("redis", State.EXTERNAL),
        ProcessState("api", State.RUNNING, 12, 1),
    )
    assert list(instance.identities().items()) == [
        (Identity(12, 1), signal.SIGTERM),
        (Identity(11, 1), signal.SIGINT),
    ]


def test_status_tells_the_truth_about_what_was_killed_since() -> None:
    here = _here()
    alive = ProcessState("postgres", State.RUNNING, here.pid, here.started)
    dead = ProcessState("redis", State.RUNNING, GONE.pid, GONE.started)
    seen = _instance(here, alive, dead).seen_now()
    assert [process.state for process in seen.processes] == [State.RUNNING, State.STOPPED]
    assert seen.phase is Phase.RUNNING
    assert _instance(GONE, alive, dead).seen_now().phase is Phase.UNSUPERVISED
    assert _instance(GONE, dead).seen_now().phase is Phase.STOPPED


def test_status_report_keeps_the_contract(home: Home) -> None:
    report = describe(home, None)
    assert [process["name"] for process in report["processes"]] == [
        "postgres", "redis", "mosquitto", "gateway", "worker", "api",
    ]  # fmt: skip
    assert {process["state"] for process in report["processes"]} == {"stopped"}
    running = describe(home, replace(_instance(_here()), plan=Plan(gateways=2, http_port=8000)))
    assert {"database_url", "redis_url", "mqtt_url", "api_url", "processes"} <= running.keys()
    assert running["mqtt_url"].startswith("mqtt://devices:"), "the contract wants a credential for any device"
    assert [process["name"] for process in running["processes"]][3:5] == ["gateway", "gateway-2"]
    json.dumps(running)


def test_ports_are_remembered_and_chosen_anew_when_taken(home: Home) -> None:
    first = ports.remembered(home, ("postgres", "redis"))
    assert ports.remembered(home, ("postgres", "redis")) == first
    with socket.socket() as other:
        other.bind(("127.0.0.1", first["redis"]))
        other.listen()
        second = ports.remembered(home, ("postgres", "redis"))
    assert second["postgres"] == first["postgres"]
    assert second["redis"] not in first.values()
    assert len(set(first.values())) == 2


def test_credentials_are_long_different_private_and_stay(home: Home) -> None:
    first = credentials.load(home)
    assert credentials.load(home) == first
    assert len(set(first.values())) == len(credentials.NAMES)
    assert min(map(len, first.values())) >= 32
    assert (home.root / "credentials.json").stat().st_mode & 0o777 == 0o600


def test_an_interrupted_write_leaves_the_old_file(home: Home) -> None:
    path = home.root / "x.json"
    write_atomically(path, "{}")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, '{"a": "\udcff"}')
    assert read_json(path) == {}
    assert [entry.name for entry in home.root.iterdir() if entry.is_file()] == ["x.json"]


def test_a_second_holder_of_the_lock_waits_and_then_says_why(tmp_path: Path) -> None:
    with file_lock(tmp_path / "lock", patience_s=0), pytest.raises(InstallationError, match="Another parking command"):  # noqa: SIM117  # one line a lock
        with file_lock(tmp_path / "lock", patience_s=0.2):
            pytest.fail("two commands hold one home")
    with file_lock(tmp_path / "lock", patience_s=0):
        pass


def test_a_waiting_holder_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    held, got = threading.Event(), threading.Event()

    def hold() -> None:
        with file_lock(tmp_path / "lock", patience_s=5):
            held.set()
            got.wait(0.3)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(5)
    with file_lock(tmp_path / "lock", patience_s=5):
        got.set()
    thread.join()


def test_http_port_asked_for_and_taken_is_an_error_otherwise_another_is_chosen(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(InstallationError, match=rf"Port {taken} .* is taken"):
            lifecycle.choose_http_port(home, taken, {})
        with pytest.raises(InstallationError, match=rf"Port {taken} .* is taken"):
            lifecycle.choose_http_port(home, 0, {"PARKING_HTTP_PORT": str(taken)})
        monkeypatch.setattr(lifecycle, "DEFAULT_HTTP_PORT", taken)
        chosen = lifecycle.choose_http_port(home, 0, {})
        assert chosen != taken
        assert lifecycle.choose_http_port(home, 0, {}) == chosen
    with pytest.raises(SettingsError, match="PARKING_HTTP_PORT is 'eight'"):
        lifecycle.choose_http_port(home, 0, {"PARKING_HTTP_PORT": "eight"})


def test_an_instance_that_is_up_is_kept_only_if_it_is_what_was_asked_for() -> None:
    running = _instance(_here(), ProcessState("postgres", State.RUNNING, 1, 1), ProcessState("redis", State.EXTERNAL))
    redis = {"PARKING_REDIS_URL": running.urls["redis_url"]}
    assert lifecycle.fulfils(running, Plan(), redis)
    assert lifecycle.fulfils(running, Plan(http_port=8000), redis)
    assert not lifecycle.fulfils(running, Plan(http_port=8010), redis)
    assert not lifecycle.fulfils(running, Plan(), {**redis, "PARKING_HTTP_PORT": "8010"})
    assert not lifecycle.fulfils(running, Plan(gateways=2), redis)
    assert not lifecycle.fulfils(running, Plan(services_only=True), redis)
    assert not lifecycle.fulfils(running, Plan(), {})
    assert not lifecycle.fulfils(running, Plan(), {**redis, "PARKING_DATABASE_URL": "postgresql://elsewhere/x"})


def test_an_instance_with_other_settings_is_not_what_was_asked_for() -> None:
    window = {"PARKING_CLOCK_WINDOW": "-3650d..+1d"}
    running = _instance(_here())
    assert not lifecycle.fulfils(running, Plan(), window)
    of_window = replace(running, plan=replace(running.plan, settings=settings_digest(window)))
    assert lifecycle.fulfils(of_window, Plan(), window)
    assert not lifecycle.fulfils(of_window, Plan(), {"PARKING_CLOCK_WINDOW": "-7d..+1d"})
    assert not lifecycle.fulfils(of_window, Plan(), {})
    irrelevant = {
        "PARKING_HOME": "/h",
        "PARKING_HTTP_PORT": "8000",
        "PARKING_TEST_FOLDER": "/t",
        "PARKING_TIME_ZONE": "",
    }
    assert lifecycle.fulfils(of_window, Plan(), window | irrelevant)
    services = replace(of_window, plan=Plan(services_only=True))
    assert lifecycle.fulfils(services, Plan(services_only=True), window), "no process that reads it runs"


def test_a_setting_that_cannot_be_read_stops_nothing(home: Home) -> None:
    _instance(_here()).save(home)  # stopping it would end this very process
    with pytest.raises(SettingsError, match="PARKING_CLOCK_WINDOW"):
        lifecycle.start(home, Plan(), {"PARKING_CLOCK_WINDOW": "soon"})
    assert Instance.load(home) is not None


def test_gateways_and_worker_serve_metrics_each_on_a_port_of_its_own(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applications, "application_user", lambda _home: caller())
    external = {"postgres": "postgresql://h/x", "redis": "redis://h", "mosquitto": "mqtt://h"}
    found = applications.specs(services.Services(home, None, None, None, external), Plan(gateways=2, http_port=1), {})
    served = applications.metrics_urls(found)
    assert list(served) == ["gateway", "gateway-2", "worker"]
    assert len(set(served.values())) == 3


def test_default_home_is_the_users_own_or_one_the_service_user_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_root({"XDG_DATA_HOME": "/data"}) == Path("/var/lib/parking")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_root({"XDG_DATA_HOME": "/data"}) == Path("/data/parking")
    assert default_root({}) == Path("~/.local/share/parking").expanduser()
    assert not service_user({"PARKING_SERVICE_USER": "root"}).switch, "who is not root runs as itself"


def test_root_must_name_an_ordinary_service_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert service_user({}).name == "nobody"
    with pytest.raises(InstallationError, match="PARKING_SERVICE_USER is root"):
        service_user({"PARKING_SERVICE_USER": "root"})
    with pytest.raises(InstallationError, match="no such user"):
        service_user({"PARKING_SERVICE_USER": "no-such-user-here"})


def test_a_command_without_services_says_what_to_start(home: Home) -> None:
    with pytest.raises(ServiceUnavailableError, match=r"PARKING_REDIS_URL is not set.*parking up"):
        connection.process_environ(
            {"PARKING_HOME": str(home.root), "PARKING_DATABASE_URL": "x", "PARKING_MQTT_URL": "y"}
        )


def test_a_command_uses_the_running_instance_where_the_environment_is_silent(home: Home) -> None:
    _instance(_here()).save(home)
    environ = {"PARKING_HOME": str(home.root), "PARKING_REDIS_URL": "redis://mine"}
    gateway = connection.settings(environ, process="gateway")
    assert gateway.database_url == "postgresql://g@h/parking"
    assert gateway.redis_url == "redis://mine"
    assert gateway.mqtt_url.startswith("mqtt://gateway:")
    assert connection.settings(environ).database_url.startswith("postgresql://parking:")


def test_a_runtime_counts_only_whole_in_its_place_and_of_this_format(tmp_path: Path) -> None:
    folder = tmp_path / "runtime"
    folder.mkdir()
    assert runtime.installed(folder) is None
    packages = ["redis-server=1", "tzdata=2"]
    marker = {
        "format": runtime.FORMAT,
        "folder": str(folder),
        "packages": packages,
        "digest": runtime._digest(packages),
    }
    path = folder / "runtime.json"
    path.write_text(json.dumps(marker))
    found = runtime.installed(folder)
    assert found is not None
    assert found.versions() == {"redis-server": "1", "tzdata": "2"}
    for spoilt in ({"format": 0}, {"folder": "/elsewhere"}, {"packages": ["redis-server=1"]}, {"digest": ""}):
        path.write_text(json.dumps({**marker, **spoilt}))
        assert runtime.installed(folder) is None, spoilt


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--help"], 0), (["no-such-command"], 2), (["up", "--gateways", "0"], 2)]
)
def test_exit_codes_of_usage(arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["parking", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code


def test_a_failure_is_one_sentence_and_exit_code_1(home: Home) -> None:
    environ = {**os.environ, "PARKING_HOME": str(home.root), "PARKING_DATABASE_URL": ""}
    answer = subprocess.run(
        [sys.executable, "-m", "onebox", "migrate"], check=False, capture_output=True, text=True, env=environ
    )
    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert "nothing runs" in answer.stderr
    assert "Traceback" not in answer.stderr
