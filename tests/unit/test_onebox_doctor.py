"""`parking doctor` finds what is broken, and each such finding says how to mend it."""

from __future__ import annotations

import resource
import shutil
import socket
from collections import namedtuple
from typing import TYPE_CHECKING

import pytest

from onebox import diagnosis, packages
from onebox.acquirer import AcquirerKeys
from onebox.applications import caller
from onebox.diagnosis import Finding, Verdict, examine
from onebox.home import Home

if TYPE_CHECKING:
    from pathlib import Path

_Usage = namedtuple("_Usage", "total used free")  # noqa: PYI024  # the shape of shutil's own answer
EXTERNAL = {
    "PARKING_DATABASE_URL": "postgresql://x:y@127.0.0.1:9/z",
    "PARKING_REDIS_URL": "redis://127.0.0.1:9",
    "PARKING_MQTT_URL": "mqtt://127.0.0.1:9",
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "run").mkdir()
    return Home(tmp_path, tmp_path / "runtime", caller())


def _by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def test_every_broken_finding_says_how_to_mend_it(home: Home) -> None:
    findings = examine(home, EXTERNAL)
    broken = [finding for finding in findings if finding.verdict is Verdict.BROKEN]
    assert {finding.what for finding in broken} == {"postgres", "redis", "mosquitto", "database"}
    assert all(finding.mend for finding in broken)
    assert "PARKING_REDIS_URL" in _by_name(findings)["redis"].mend


def test_a_password_is_never_shown(home: Home) -> None:
    assert not [finding for finding in examine(home, EXTERNAL) if ":y@" in finding.seen + finding.mend]


@pytest.mark.parametrize(("free_gb", "verdict"), [(1, Verdict.BROKEN), (8, Verdict.NOTE), (80, Verdict.GOOD)])
def test_disk(home: Home, monkeypatch: pytest.MonkeyPatch, free_gb: int, verdict: Verdict) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: _Usage(0, 0, free_gb * 10**9))
    assert _by_name(examine(home, EXTERNAL))["disk"].verdict is verdict


def test_a_readable_credential_is_broken(home: Home) -> None:
    path = home.root / "credentials.json"
    path.write_text("{}")
    path.chmod(0o644)
    finding = _by_name(examine(home, EXTERNAL))["permissions"]
    assert finding.verdict is Verdict.BROKEN
    assert finding.mend == f"chmod 600 {path}"


def test_a_taken_port_is_broken_only_if_it_was_asked_for(home: Home) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = {**EXTERNAL, "PARKING_HTTP_PORT": str(other.getsockname()[1])}
        assert _by_name(examine(home, taken))["HTTP port"].verdict is Verdict.BROKEN


def test_an_unknown_time_zone_and_a_wrong_clock_are_broken(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        _by_name(examine(home, {**EXTERNAL, "PARKING_TIME_ZONE": "Asia/Binhu"}))["time zone"].verdict is Verdict.BROKEN
    )
    monkeypatch.setattr("onebox.diagnosis.time.time", lambda: 86_400.0)
    assert _by_name(examine(home, EXTERNAL))["clock"].verdict is Verdict.BROKEN


def test_a_host_that_cannot_install_is_told_the_way_out(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "ETC_APT", tmp_path / "no-apt-here")
    finding = _by_name(examine(home, {}))["services"]
    assert finding.verdict is Verdict.BROKEN
    assert "compose.yaml" in finding.mend


@pytest.mark.parametrize(("edition", "verdict"), [("timescale", Verdict.GOOD), ("apache", Verdict.NOTE)])
def test_licence_edition(edition: str, verdict: Verdict) -> None:
    assert diagnosis._edition(edition).verdict is verdict


@pytest.mark.parametrize(("seconds", "verdict"), [(0.5, Verdict.GOOD), (51.0, Verdict.BROKEN)])
def test_database_clock(seconds: float, verdict: Verdict) -> None:
    assert diagnosis._clock_difference(seconds).verdict is verdict


@pytest.mark.parametrize(
    ("url", "verdict"),
    [
        ("", Verdict.NOTE),
        ("tcp://127.0.0.1:9010", Verdict.GOOD),
        ("http://x", Verdict.BROKEN),
        ("tcp://x", Verdict.BROKEN),
    ],
)
def test_doctor_says_whether_transactions_can_be_cleared(url: str, verdict: Verdict) -> None:
    (finding,) = diagnosis._clearing({"PARKING_CLEARING_URL": url})
    assert finding.verdict is verdict
    assert "wait as ready" in finding.seen or url


def test_doctor_says_whether_drivers_can_pay_by_qr(home: Home, tmp_path: Path) -> None:
    def finding(**environ: str) -> Finding:
        (found,) = diagnosis._payments(home, {f"PARKING_ACQUIRER_{name}": value for name, value in environ.items()})
        return found

    AcquirerKeys.of(home).ensure("simulated")
    public, private = (str(path) for path in (AcquirerKeys.of(home).public("simulated"), tmp_path / "none.pem"))
    absent = finding()
    assert absent.verdict is Verdict.NOTE, "nobody needs an acquirer"
    assert "not configured" in absent.seen
    complete = finding(URL="https://pay.example", PUBLIC_KEY_FILE=public)
    assert (complete.verdict, complete.seen) == (Verdict.GOOD, "acq at https://pay.example")
    half = finding(URL="https://pay.example")
    assert (half.verdict, half.mend) == (Verdict.BROKEN, "Set PARKING_ACQUIRER_PUBLIC_KEY_FILE, or none of them.")
    assert finding(PUBLIC_KEY_FILE=public).verdict is Verdict.BROKEN
    assert finding(URL="http://pay.example", PUBLIC_KEY_FILE=public).verdict is Verdict.BROKEN
    assert finding(URL="https://pay.example", PUBLIC_KEY_FILE=private).verdict is Verdict.BROKEN
    assert finding(URL="https://pay.example", PUBLIC_KEY_FILE=public, KEY_FILE=private).verdict is Verdict.BROKEN


@pytest.mark.parametrize(
    ("most", "verdict"), [(4096, Verdict.NOTE), (20_000, Verdict.NOTE), (25_000, Verdict.GOOD), (-1, Verdict.GOOD)]
)
def test_open_files_are_what_a_broker_of_a_district_needs(
    home: Home, monkeypatch: pytest.MonkeyPatch, most: int, verdict: Verdict
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (1024, most))
    (found,) = [finding for finding in examine(home, {}) if finding.what == "open files"]
    assert found.verdict is verdict
    assert bool(found.mend) is (verdict is Verdict.NOTE)


def test_a_broker_of_ones_own_needs_a_keeper(home: Home) -> None:
    own = {"PARKING_MQTT_URL": "mqtt://gateway:x@127.0.0.1:1"}
    (found,) = [finding for finding in examine(home, own) if finding.what == "keeper"]
    assert "PARKING_MQTT_KEEPER_URL" in found.mend
    own["PARKING_MQTT_KEEPER_URL"] = "mqtt://keeper:x@127.0.0.1:1"
    assert not [finding for finding in examine(home, own) if finding.what == "keeper"]
    assert not [finding for finding in examine(home, {}) if finding.what == "keeper"], "onebox has one"


def test_a_readable_key_of_the_authority_is_broken(home: Home) -> None:
    (home.root / "tls").mkdir(parents=True)
    key = home.root / "tls" / "authority.key"
    key.write_text("-----BEGIN")
    key.chmod(0o644)
    broken = [finding for finding in examine(home, {}) if finding.what == "permissions"]
    assert [finding.verdict for finding in broken] == [Verdict.BROKEN]
    assert "authority.key" in broken[0].mend
