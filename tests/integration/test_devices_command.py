"""`parking devices` as a person runs it: credentials, what nobody registered, and what devices are told."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from onebox.__main__ import application
from parking_core.errors import InvalidInputError, NotFoundError, ParkingError
from parking_core.store.keeper import Keeper
from tests.integration.test_command_device import receive, street  # noqa: F401  # the fixture
from tests.integration.test_device_credentials import enters
from tests.network_builders import chirpstack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import psycopg
    from typer.testing import Result

    from onebox.services import RunningServices

pytestmark = pytest.mark.services


@pytest.fixture
def town(
    street: psycopg.Connection[Any],  # noqa: F811  # the fixture
    services: RunningServices,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[psycopg.Connection[Any]]:
    monkeypatch.setenv("PARKING_DATABASE_URL", database_url)
    monkeypatch.setenv("PARKING_REDIS_URL", "redis://127.0.0.1:9")
    monkeypatch.setenv("PARKING_MQTT_URL", services.mqtt_url)
    monkeypatch.setenv("PARKING_MQTT_KEEPER_URL", services.mqtt_keeper_url)
    monkeypatch.setenv("USER", "ann")
    monkeypatch.delenv("SUDO_USER", raising=False)
    yield street
    keeper = Keeper(services.mqtt_keeper_url)
    keeper.expel([name for name in keeper.names() if name.startswith("L1-")])


def run(*words: str) -> Result:
    return CliRunner().invoke(application(), ["devices", *words], env={"COLUMNS": "300"})


def done(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return str(result.output)


def refused(kind: type[ParkingError], *words: str) -> str:
    result = run(*words)
    assert isinstance(result.exception, kind), (result.output, result.exception)
    return str(result.exception)


def test_a_secret_is_shown_once_and_lets_the_device_in_until_it_is_revoked(
    town: psycopg.Connection[Any], services: RunningServices
) -> None:
    secret = done("issue", "L1-005").splitlines()[-1]
    assert enters(services, "L1-005", secret)
    assert secret not in done("list")
    assert "issued" in done("list", "--lot", "L1")
    done("revoke", "L1-005", "--reason", "stolen")
    assert not enters(services, "L1-005", secret)
    assert "revoked" in done("list")
    rows = town.execute("SELECT action, actor, reason FROM device_actions ORDER BY id").fetchall()
    assert rows == [("issue", "ann", ""), ("revoke", "ann", "stolen")]


@pytest.mark.usefixtures("town")
def test_what_is_out_of_step_is_said(services: RunningServices) -> None:
    Keeper(services.mqtt_keeper_url).admit("L1-stranger", "word")
    result = run("check")
    assert result.exit_code == 1
    assert "L1-stranger" in result.output
    assert "parking devices rebuild" in result.output


@pytest.mark.parametrize("words", [("issue",), ("issue", "L1-005", "--all"), ("issue", "--all"), ("revoke", "L1-005")])
@pytest.mark.usefixtures("town")
def test_wrong_usage_ends_with_2(words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


@pytest.mark.usefixtures("town")
def test_secrets_of_all_devices_are_written_once(tmp_path: Path) -> None:
    """The broker's file is the private instance's: without one, the secrets are written and what is missing is said."""
    file = tmp_path / "secrets.json"
    result = run("issue", "--all", "--to", str(file))
    assert result.exit_code != 0, "nothing runs in PARKING_HOME"
    secrets = json.loads(file.read_text("utf-8"))
    assert set(secrets) == {"L1-001", "L1-002", "L1-003", "L1-005"}, (
        "the sensor behind ChirpStack connects not by itself"
    )
    assert file.stat().st_mode & 0o777 == 0o600
    assert "cannot be written" in refused(InvalidInputError, "issue", "--all", "--to", str(file))


def test_an_unknown_device_is_shown_bound_and_refused(town: psycopg.Connection[Any]) -> None:
    eui, other = "00c0ffee000000aa", "00c0ffee000000bb"
    town.execute("UPDATE devices SET space_id = NULL WHERE code = 'L1-005'")
    with pytest.raises(AssertionError):
        receive(town, chirpstack(eui=eui), chirpstack(eui=other))
    for identity in (eui, other):
        town.execute(
            "INSERT INTO discoveries (network, identity, first_seen_at, last_seen_at, topic, sample)"
            " VALUES ('chirpstack', %s, now(), now(), 't', '\\x01ff')",
            (identity,),
        )
    assert eui in done("unknown")
    assert "01ff" in done("unknown")
    wrong = refused(
        InvalidInputError, "bind", eui, "--lot", "L1", "--space", "005", "--family", "bosch", "--model", "x"
    )
    assert "no model 'x'" in wrong
    done("bind", eui, "--lot", "L1", "--space", "005", "--family", "bosch", "--model", "tps110", "--code", "L1-B5")
    done("refuse", other, "--reason", "the neighbour's")
    assert eui not in done("unknown")
    assert "L1-B5" in done("unknown", "--all")
    receive(town, chirpstack(eui=eui), chirpstack(eui=other))
    refused(NotFoundError, "refuse", "ffffffffffffffff", "--reason", "x")


def test_a_device_is_told_and_what_became_of_it_is_shown(town: psycopg.Connection[Any]) -> None:
    until = (datetime.now(UTC) + timedelta(hours=2)).isoformat(timespec="seconds")
    done("tell", "L1-001", "lock_gate_open", "--until", until, "--reason", "fire drill")
    done("tell", "L1-001", "lower_gate", "--reason", "over")
    done("tell", "L1-003", "show_sign", "--line", "滨湖医院", "--count", "P1=12", "--reason", "trial")
    done(
        "tell",
        "L1-004",
        "configure",
        "--setting",
        "uploadInterval",
        "--value",
        "uploadInterval=6",
        "--reason",
        "battery",
    )
    shown = done("told", "L1-001")
    assert "superseded" in shown
    assert "queued" in shown
    payloads = dict(town.execute("SELECT kind, payload FROM commands").fetchall())
    assert payloads["show_sign"]["counts"] == {"P1": 12}
    assert payloads["configure"]["values"] == {"uploadInterval": 6}
    assert payloads["lock_gate_open"]["by"] == "ann"
    assert "is for a lock" in refused(InvalidInputError, "tell", "L1-001", "raise_lock", "--reason", "x")
    assert run("tell", "L1-003", "show_sign", "--count", "P1=many", "--reason", "x").exit_code == 2
    refused(NotFoundError, "told", "nobody")
