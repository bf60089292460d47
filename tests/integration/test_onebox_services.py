"""The private services as they are: what a device may publish, what each login may do, what a second start takes."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import mqtt5
import psycopg
import pytest
from redis import AuthenticationError, Redis

from onebox import credentials
from onebox import services as onebox_services
from onebox.home import Home
from onebox.runtime import Runtime
from onebox.services.broker import Broker
from parking_core.errors import InstallationError
from parking_core.store.keeper import Keeper
from parking_core.topics import Kind
from tests.conftest import shared_runtime

if TYPE_CHECKING:
    from onebox.services import RunningServices

pytestmark = pytest.mark.services


class _Client:
    """A few packets to the broker and back, one at a time."""

    def __init__(self, url: str, client_id: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=5)
        self._buffer = b""
        word = parts.password.encode() if parts.password else None
        self.hello = self._ask(
            mqtt5.ConnectPacket(client_id=client_id, clean_start=True, username=parts.username, password=word)
        )

    def _ask(self, packet: mqtt5.ConnectPacket | mqtt5.PublishPacket | mqtt5.SubscribePacket) -> object:
        self._socket.sendall(packet.write())
        return self.read()

    def read(self) -> object:
        while True:
            try:
                packet, size = mqtt5.read(memoryview(self._buffer))
            except IndexError:
                received = self._socket.recv(4096)
                if not received:
                    return None
                self._buffer += received
            else:
                self._buffer = self._buffer[size:]
                return packet

    def publish(self, topic: str) -> mqtt5.PubAckReasonCode:
        answer = self._ask(mqtt5.PublishPacket(topic, b"{}", qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1))
        assert isinstance(answer, mqtt5.PubAckPacket)
        return answer.reason_code

    def close(self) -> None:
        self._socket.close()


def _accepted(url: str, topic: str) -> bool:
    with closing(_Client(url, "")) as client:
        return client.publish(topic) != mqtt5.PubAckReasonCode.NOT_AUTHORIZED


def test_the_broker_refuses_who_has_no_name(services: RunningServices) -> None:
    parts = urlsplit(services.mqtt_url)
    with closing(_Client(f"mqtt://{parts.hostname}:{parts.port}", "x")) as client:
        assert isinstance(client.hello, mqtt5.ConnAckPacket)
        assert client.hello.reason_code == mqtt5.ConnAckReasonCode.NOT_AUTHORIZED


def test_a_gateway_may_have_the_largest_window(services: RunningServices) -> None:
    with closing(_Client(services.mqtt_gateway_url, "")) as client:
        assert isinstance(client.hello, mqtt5.ConnAckPacket)
        assert client.hello.receive_max == 65_535


@pytest.mark.parametrize(
    ("user", "topic", "accepted"),
    [
        ("devices", "parking/v1/L1/D1/occupancy", True),
        ("devices", "elsewhere/v1/L1", False),
        ("gateway", "parking/v1/L1/D1/command", True),
        ("gateway", "parking/v1/L1/D1/occupancy", False),
        ("gateway", "parking/v1/L1/D1/command/ack", False),
    ],
)
def test_access_list_of_the_named_users(services: RunningServices, user: str, topic: str, accepted: bool) -> None:  # noqa: FBT001  # a column of the table
    url = services.mqtt_url if user == "devices" else services.mqtt_gateway_url
    assert _accepted(url, topic) is accepted


def test_a_device_with_its_own_credential_publishes_under_its_own_name_only(services: RunningServices) -> None:
    home = Home.from_environ({"PARKING_RUNTIME": str(shared_runtime())}, services.home)
    parts = urlsplit(services.mqtt_url)
    assert parts.port
    broker = Broker(home, Runtime(home.runtime), parts.port, credentials.load(home))
    keeper = Keeper(broker.url("keeper"))
    keeper.admit("D7", "a-word-of-its-own")
    url = f"mqtt://D7:a-word-of-its-own@127.0.0.1:{parts.port}"
    assert _accepted(url, "parking/v1/L1/D7/occupancy")
    assert not _accepted(url, "parking/v1/L1/D8/occupancy")
    assert not _accepted(url, "parking/v1/D7/D8/occupancy")
    for kind in set(Kind) - {Kind.COMMAND}:
        assert _accepted(url, f"parking/v1/L1/D7/{kind}"), kind
    assert not _accepted(url, "parking/v1/L1/D7/command"), "a device must not be able to command itself"
    assert not _accepted(url, "parking/v1/L1/D8/command/ack")
    assert _accepted(services.mqtt_url, "parking/v1/L1/D7/occupancy"), "the other users must stay"


def test_redis_refuses_a_wrong_password(services: RunningServices) -> None:
    parts = urlsplit(services.redis_url)
    with Redis(port=parts.port or 0, password="wrong") as client, pytest.raises(AuthenticationError):
        client.ping()


def test_the_database_is_durable_and_knows_its_time_zones(services: RunningServices) -> None:
    with psycopg.connect(services.database_url) as connection:
        durable = [
            connection.execute(f"SHOW {name}").fetchone()
            for name in ("fsync", "synchronous_commit", "full_page_writes")
        ]
        moved = connection.execute("SELECT timestamptz '2026-07-01 00:00Z' AT TIME ZONE 'Asia/Shanghai'").fetchone()
        license_ = connection.execute("SHOW timescaledb.license").fetchone()
    assert durable == [("on",)] * 3
    assert moved
    assert moved[0].hour == 8
    assert license_ == ("apache",)


def test_the_owner_is_no_superuser_and_processes_own_nothing(services: RunningServices) -> None:
    with psycopg.connect(services.database_url) as connection:
        assert connection.execute(
            "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        ).fetchone() == (
            False,
            False,
        )
    assert set(services.database_urls) == {"gateway", "api", "worker"}
    for url in services.database_urls.values():
        with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE mine (x int)")


def test_a_database_password_is_needed(services: RunningServices) -> None:
    parts = urlsplit(services.database_url)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host="127.0.0.1", port=parts.port, user="parking", password="wrong", dbname="parking")


def test_a_home_in_use_is_refused_and_its_services_live_on(services: RunningServices) -> None:
    assert onebox_services.taken(services.home)
    with pytest.raises(InstallationError, match="Another parking command holds"):
        onebox_services.start(services.home, environ={"PARKING_RUNTIME": str(shared_runtime())})
    assert all(child.poll() is None for child in services.children.values())
