"""Configuration of the private services: durable where it must be, closed to everybody else."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from onebox.applications import gateway_names, without_credential
from onebox.services import broker, cache, postgres

ROOT = Path(__file__).resolve().parents[2]
GIB = 1_073_741_824


def _settings(text: str, separator: str) -> dict[str, str]:
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, value in (line.split(separator, 1) for line in lines)}


def test_postgres_keeps_what_it_committed_and_listens_on_loopback_only() -> None:
    text = postgres.configuration(5433, Path("/run/x"), Path("/logs"), 8 * GIB)
    settings = _settings(text, "=")
    durable = {name: settings[name] for name in ("fsync", "synchronous_commit", "full_page_writes", "autovacuum")}
    assert durable == dict.fromkeys(durable, "'on'")
    assert settings["listen_addresses"] == "'127.0.0.1'"
    assert settings["password_encryption"] == "'scram-sha-256'"
    assert settings["unix_socket_directories"] == "'/run/x'"
    assert settings["jit"] == "'off'"


@pytest.mark.parametrize(("memory_gib", "shared"), [(0.25, "128MB"), (2, "512MB"), (4, "1024MB"), (64, "1024MB")])
def test_shared_buffers_follow_memory_within_bounds(memory_gib: float, shared: str) -> None:
    settings = _settings(postgres.configuration(1, None, Path("/logs"), int(memory_gib * GIB)), "=")
    assert settings["shared_buffers"] == f"'{shared}'"
    assert settings["unix_socket_directories"] == "''"


def test_a_path_with_a_quote_stays_one_value() -> None:
    text = postgres.configuration(1, None, Path("/it's"), GIB)
    assert "log_directory = '/it''s'" in text


def test_broker_knows_no_anonymous_and_saves_every_five_seconds() -> None:
    settings = _settings(broker.configuration(1884, Path("/b"), Path("/p.so")), " ")
    assert settings["listener"] == "1884 127.0.0.1"
    assert settings["allow_anonymous"] == "false"
    assert settings["autosave_interval"] == "5"
    assert settings["max_queued_messages"] == "0"
    assert settings["max_inflight_messages"] == "0"
    assert int(settings["max_packet_size"]) > 1_048_576 + 256, "a 1 MB message must reach the dead letters"


def test_redis_needs_a_password_and_never_evicts() -> None:
    settings = _settings(cache.configuration(6380, Path("/r"), "secret"), " ")
    assert settings["requirepass"] == "secret"
    assert settings["bind"] == "127.0.0.1"
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["appendonly"] == "no"


def test_gateway_names_follow_the_contract() -> None:
    assert gateway_names(1) == ["gateway"]
    assert gateway_names(3) == ["gateway", "gateway-2", "gateway-3"]


@pytest.mark.parametrize("url", ["mqtt://user:word@host:1883", "mqtt://host:1883"])
def test_an_address_without_its_credential(url: str) -> None:
    assert without_credential(url) == "mqtt://host:1883"


def test_compose_has_the_three_services_on_loopback_without_default_passwords() -> None:
    text = (ROOT / "compose.yaml").read_text("utf-8")
    compose = yaml.safe_load(text)
    assert set(compose["services"]) == {"timescaledb", "mosquitto", "redis"}
    for service in compose["services"].values():
        assert service["healthcheck"]["test"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        secrets = [value for name, value in service["environment"].items() if "PASSWORD" in name or "AUTH" in name]
        assert secrets
        assert all(value.startswith("${") and ":?" in value for value in secrets)
    assert compose["services"]["timescaledb"]["image"].endswith("-pg17")
    assert "NOT run here" in text


PLUGIN = {"plugin", "plugin_opt_config_file"}  # where it lies


def test_compose_gives_the_broker_the_same_access_list() -> None:
    configs = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["configs"]
    assert configs["mosquitto_access"]["content"].replace("$$", "$") == broker.ACCESS
    ours = _settings(broker.configuration(1883, Path("/x"), Path("/p.so")), " ")
    theirs = _settings(configs["mosquitto"]["content"], " ")
    shared = ours.keys() & theirs.keys() - {"listener", "log_dest", "acl_file", "persistence_location", *PLUGIN}
    assert {name: theirs[name] for name in shared} == {name: ours[name] for name in shared}
    assert len(shared) >= 10
