"""Who may connect to the broker: issued, rotated, suspended, revoked, in step with the registry, and held by the broker."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import mqtt5
import psycopg
import pytest

from parking_core.broker_clients import OWN_USERS
from parking_core.errors import ConflictError, NotFoundError, ServiceUnavailableError
from parking_core.flows import keep_credentials
from parking_core.flows.seed_district import seed_district
from parking_core.store import device_credentials
from parking_core.store.keeper import Keeper
from tests.builders import a_district

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onebox.services import RunningServices

pytestmark = pytest.mark.services

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LOT = "LC"  # devices of other tests have other names at the same broker


class Device:
    """A device's connection, one packet at a time."""

    def __init__(self, services: RunningServices, name: str, secret: str) -> None:
        parts = urlsplit(services.mqtt_url)
        assert parts.port
        self._socket = socket.create_connection(("127.0.0.1", parts.port), timeout=5)
        hello = mqtt5.ConnectPacket("", username=name, password=secret.encode(), clean_start=True)
        answer = self.ask(hello.write())
        assert isinstance(answer, mqtt5.ConnAckPacket)
        self.is_in = answer.reason_code is mqtt5.ConnAckReasonCode.SUCCESS

    def ask(self, packet: bytes) -> object:
        self._socket.sendall(packet)
        return self.hear()

    def hear(self, patience_s: float = 5.0) -> object:
        self._socket.settimeout(patience_s)
        try:
            content = self._socket.recv(65_536)
        except TimeoutError:
            return None
        return mqtt5.read(memoryview(content))[0] if content else "closed"

    def publish(self, topic: str) -> int:
        answer = self.ask(mqtt5.PublishPacket(topic, b"{}", qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1).write())
        assert isinstance(answer, mqtt5.PubAckPacket)
        return int(answer.reason_code)

    def subscribe(self, topic: str) -> None:
        wanted = [mqtt5.TopicFilter(topic, max_qos=mqtt5.QoS.AT_LEAST_ONCE)]
        self.ask(mqtt5.SubscribePacket(1, wanted).write())

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def registry(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    district = a_district(lots=1, spaces=4)
    seed_district(database_url, _renamed(district))
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def _renamed(district: Any) -> Any:
    import msgspec  # only here

    lot = district.lots[0]
    devices = [msgspec.structs.replace(device, code=device.code.replace("L1", LOT)) for device in lot.devices]
    return msgspec.structs.replace(district, lots=[msgspec.structs.replace(lot, code=LOT, devices=devices)])


@pytest.fixture
def keeper(services: RunningServices) -> Iterator[Keeper]:
    keeper = Keeper(services.mqtt_keeper_url)
    yield keeper
    keeper.expel([name for name in keeper.names() if name.startswith(f"{LOT}-")])


def enters(services: RunningServices, name: str, secret: str) -> bool:
    with closing(Device(services, name, secret)) as device:
        return device.is_in


def actions(registry: psycopg.Connection[Any]) -> list[tuple[str, str, str]]:
    return [
        (row[0], row[1], row[2])
        for row in registry.execute("SELECT device, action, actor FROM device_actions ORDER BY id").fetchall()
    ]


def test_a_device_connects_with_its_own_secret_and_with_no_other(
    services: RunningServices, registry: psycopg.Connection[Any], keeper: Keeper
) -> None:
    secret = keep_credentials.issue(registry, keeper, f"{LOT}-001", by="ann", now=NOW)
    other = keep_credentials.issue(registry, keeper, f"{LOT}-002", by="ann", now=NOW)
    assert enters(services, f"{LOT}-001", secret)
    assert not enters(services, f"{LOT}-001", other)
    assert not enters(services, f"{LOT}-003", secret), "without a credential"
    stored = device_credentials.get(registry, f"{LOT}-001")
    assert stored is not None
    assert stored.verifier.accepts(secret)
    assert secret.encode() not in stored.verifier.hash + stored.verifier.salt
    assert actions(registry) == [(f"{LOT}-001", "issue", "ann"), (f"{LOT}-002", "issue", "ann")]


def test_a_device_publishes_under_its_own_name_and_hears_its_own_commands_only(
    services: RunningServices, registry: psycopg.Connection[Any], keeper: Keeper
) -> None:
    name = f"{LOT}-001"
    secret = keep_credentials.issue(registry, keeper, name, by="ann", now=NOW)
    for topic, accepted in (
        (f"parking/v1/{LOT}/{name}/occupancy", True),
        (f"parking/v1/{LOT}/{name}/raw", True),
        (f"parking/v1/{LOT}/{LOT}-002/occupancy", False),
        (f"parking/v1/{LOT}/{name}/command", False),
        ("application/a/device/00c0ffee00000001/event/up", False),
        ("$CONTROL/dynamic-security/v1", False),
    ):
        with closing(Device(services, name, secret)) as device:
            assert (device.publish(topic) < 0x80) is accepted, topic
    with closing(Device(services, name, secret)) as device:
        for topic in ("#", f"parking/v1/{LOT}/+/command", "$CONTROL/#"):
            device.subscribe(topic)
        parts = urlsplit(services.mqtt_gateway_url)
        with closing(Device(services, "gateway", parts.password or "")) as gateway:
            assert gateway.publish(f"parking/v1/{LOT}/{LOT}-002/command") < 0x80
        assert device.hear(0.5) is None, "another device's command"
        with closing(Device(services, "gateway", parts.password or "")) as gateway:
            assert gateway.publish(f"parking/v1/{LOT}/{name}/command") < 0x80
        assert isinstance(device.hear(), mqtt5.PublishPacket), "its own"


def test_a_rotated_secret_ends_the_old_one_and_its_connection_at_once(
    services: RunningServices, registry: psycopg.Connection[Any], keeper: Keeper
) -> None:
    name = f"{LOT}-001"
    stolen = keep_credentials.issue(registry, keeper, name, by="ann", now=NOW)
    with closing(Device(services, name, stolen)) as thief:
        assert thief.is_in
        fresh = keep_credentials.issue(registry, keeper, name, by="bob", now=NOW)
        assert isinstance(thief.hear(), mqtt5.DisconnectPacket)
    assert not enters(services, name, stolen)
    assert enters(services, name, fresh)
    assert actions(registry)[-1] == (name, "rotate", "bob")


def test_a_suspended_device_comes_back_after_its_time_and_a_revoked_one_never(
    services: RunningServices, registry: psycopg.Connection[Any], keeper: Keeper
) -> None:
    name = f"{LOT}-001"
    secret = keep_credentials.issue(registry, keeper, name, by="ann", now=NOW)
    until = NOW + timedelta(minutes=15)
    assert keep_credentials.suspend(registry, keeper, name, until=until, reason="floods", by="gateway", now=NOW)
    assert not enters(services, name, secret)
    assert keep_credentials.lift_suspensions(registry, keeper, NOW + timedelta(minutes=14)) == []
    assert keep_credentials.lift_suspensions(registry, keeper, until) == [name]
    assert enters(services, name, secret)
    keep_credentials.revoke(registry, keeper, name, by="ann", reason="stolen", now=NOW)
    assert not enters(services, name, secret)
    assert not keep_credentials.suspend(registry, keeper, name, until=until, reason="floods", by="gateway", now=NOW)
    with pytest.raises(ConflictError):
        keep_credentials.revoke(registry, keeper, name, by="ann", reason="again", now=NOW)
    assert [action for _, action, _ in actions(registry)] == ["issue", "suspend", "lift", "revoke"]


def test_where_the_broker_cannot_be_told_nothing_is_changed(registry: psycopg.Connection[Any]) -> None:
    away = Keeper("mqtt://keeper:word@127.0.0.1:9")
    with pytest.raises(ServiceUnavailableError, match="nothing was changed"):
        keep_credentials.issue(registry, away, f"{LOT}-001", by="ann", now=NOW)
    assert device_credentials.get(registry, f"{LOT}-001") is None
    assert actions(registry) == []


def test_who_is_no_keeper_admits_nobody(services: RunningServices, registry: psycopg.Connection[Any]) -> None:
    with pytest.raises(ServiceUnavailableError, match="takes no orders"):
        keep_credentials.issue(registry, Keeper(services.mqtt_gateway_url), f"{LOT}-001", by="ann", now=NOW)
    with pytest.raises(ServiceUnavailableError, match="refuses its keeper"):
        Keeper(services.mqtt_keeper_url.replace("keeper:", "keeper:x")).names()


def test_there_is_no_credential_for_nobody(registry: psycopg.Connection[Any], keeper: Keeper) -> None:
    with pytest.raises(NotFoundError):
        keep_credentials.issue(registry, keeper, "nobody", by="ann", now=NOW)
    with pytest.raises(NotFoundError):
        keep_credentials.revoke(registry, keeper, f"{LOT}-001", by="ann", reason="", now=NOW)


def test_broker_and_registry_out_of_step_is_seen(registry: psycopg.Connection[Any], keeper: Keeper) -> None:
    keep_credentials.issue(registry, keeper, f"{LOT}-001", by="ann", now=NOW)
    keeper.admit(f"{LOT}-stranger", "word")
    keep_credentials.issue_many(registry, [f"{LOT}-002"], by="ann", now=NOW)  # the broker's file is not written
    strangers, missing = keep_credentials.out_of_step(registry, keeper, OWN_USERS, NOW)
    assert [name for name in strangers if name.startswith(LOT)] == [f"{LOT}-stranger"]
    assert missing == [f"{LOT}-002"]


def test_many_credentials_at_once_cost_little(registry: psycopg.Connection[Any]) -> None:
    started = time.perf_counter()
    codes = device_credentials.without(registry)
    secrets = keep_credentials.issue_many(registry, codes, by="ann", now=NOW)
    assert set(secrets) == {f"{LOT}-{number:03}" for number in range(1, 5)}
    assert len(set(secrets.values())) == 4
    devices, shut_out = keep_credentials.clients(registry, NOW)
    assert all(devices[code].accepts(secret) for code, secret in secrets.items())
    assert not shut_out
    assert time.perf_counter() - started < 5
