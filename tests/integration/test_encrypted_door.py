"""The broker's encrypted door: a certificate of the home's authority to come in, and the device's own secret to be somebody."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import mqtt5
import pytest
from typer.testing import CliRunner

from onebox import credentials, ports
from onebox.__main__ import application
from onebox.authority import Authority, Door, write_for_device
from onebox.home import Home
from onebox.runtime import Runtime
from onebox.services.broker import Broker
from parking_core.broker_url import Broker as Address
from parking_core.errors import InvalidInputError, NotFoundError
from parking_core.store.keeper import Keeper
from tests.conftest import shared_runtime
from tests.integration.test_command_device import street  # noqa: F401  # the fixture

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    import psycopg

pytestmark = pytest.mark.services

NAME, SECRET = "D7", "a-word-of-its-own"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker of its own with both doors."""
    root = tmp_path_factory.mktemp("door")
    for folder in (root, *root.parents[:3]):
        folder.chmod(0o755)  # the service user passes
    home = Home.from_environ({"PARKING_RUNTIME": str(shared_runtime())}, root)
    home.prepare()
    plain, encrypted = ports.remembered(home, ("mosquitto", "door")).values()
    made = Broker(home, Runtime(home.runtime), plain, credentials.load(home), Door.of(f"127.0.0.1:{encrypted}"))
    made.prepare()
    child: subprocess.Popen[bytes] = made.process().spawn()
    try:
        deadline = time.monotonic() + 20
        while not made.ready():
            assert time.monotonic() < deadline
            assert child.poll() is None, (home.logs / "mosquitto.log").read_text()
            time.sleep(0.05)
        Keeper(made.url("keeper")).admit(NAME, SECRET)
        yield made
    finally:
        child.terminate()
        child.wait(10)


@pytest.fixture
def papers(broker: Broker, tmp_path: Path) -> list[Path]:
    """Key, certificate and authority of the device."""
    return write_for_device(Authority(broker.home).issue(NAME), NAME, tmp_path)


def url(broker: Broker, papers: list[Path], secret: str = SECRET, host: str = "127.0.0.1") -> str:
    assert broker.door
    key, certificate, authority = papers
    files = f"cafile={authority}&certfile={certificate}&keyfile={key}"
    return f"mqtts://{NAME}:{secret}@{host}:{broker.door.port}?{files}"


def publish(address: str, topic: str = f"parking/v1/L1/{NAME}/occupancy") -> str:
    """Sends one message at QoS 1; gives what came of it: `taken`, or who said no."""
    broker = Address.from_url(address)
    with contextlib.ExitStack() as held:
        try:
            plain = held.enter_context(socket.create_connection((broker.host, broker.port), timeout=5))
            line = plain
            if broker.tls is not None:
                line = held.enter_context(broker.tls.wrap_socket(plain, server_hostname=broker.host))
            hello = mqtt5.ConnectPacket(client_id="", username=broker.username, password=broker.password)
            answer = _ask(line, hello)
            if not isinstance(answer, mqtt5.ConnAckPacket) or answer.reason_code.value:
                return "no door" if answer is None else "not admitted"
            sent = _ask(line, mqtt5.PublishPacket(topic, b"{}", qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1))
        except OSError as error:  # of TLS as well
            return "no door" if isinstance(error, ssl.SSLError | ConnectionError) else str(error)
    return "taken" if isinstance(sent, mqtt5.PubAckPacket) and sent.reason_code.value < 0x80 else "not allowed"


def _ask(line: socket.socket, packet: mqtt5.ConnectPacket | mqtt5.PublishPacket) -> object:
    line.sendall(packet.write())
    received = b""
    while True:
        try:
            return mqtt5.read(memoryview(received))[0]
        except IndexError:
            more = line.recv(4096)
            if not more:
                return None
            received += more


def test_with_certificate_and_secret_it_publishes_under_its_own_name(broker: Broker, papers: list[Path]) -> None:
    assert publish(url(broker, papers)) == "taken"
    assert publish(url(broker, papers, host="localhost")) == "taken"
    assert publish(url(broker, papers), topic="parking/v1/L1/D8/occupancy") == "not allowed"


def test_a_certificate_alone_is_nobody(broker: Broker, papers: list[Path]) -> None:
    assert publish(url(broker, papers, secret="guessed")) == "not admitted"


def test_a_secret_alone_does_not_come_through_the_door(broker: Broker, papers: list[Path]) -> None:
    assert broker.door
    address = f"{NAME}:{SECRET}@127.0.0.1"
    assert publish(f"mqtts://{address}:{broker.door.port}?cafile={papers[2]}") == "no door"
    assert publish(f"mqtt://{address}:{broker.door.port}") == "no door"
    assert publish(f"mqtt://{address}:{broker.port}") == "taken", "the plain one of this machine stays"


def test_certificates_of_others_do_not_count(broker: Broker, papers: list[Path], tmp_path: Path) -> None:
    stranger = Home.from_environ({}, tmp_path / "other")
    stranger.root.mkdir()
    Authority(stranger).ensure_broker(("localhost",), stranger.user, stranger.root)
    forged = write_for_device(Authority(stranger).issue(NAME), NAME, tmp_path / "forged")
    assert publish(url(broker, [*forged[:2], papers[2]])) == "no door"
    assert publish(url(broker, [*papers[:2], forged[2]])) == "no door", "a device does not trust another's broker"


def test_a_new_secret_shuts_out_who_has_both(broker: Broker, papers: list[Path]) -> None:
    keeper = Keeper(broker.url("keeper"))
    keeper.admit(NAME, "another-word")
    try:
        assert publish(url(broker, papers)) == "not admitted"
        assert publish(url(broker, papers, secret="another-word")) == "taken"
    finally:
        keeper.admit(NAME, SECRET)


def test_a_person_issues_one(
    broker: Broker,
    street: psycopg.Connection[Any],  # noqa: F811  # the fixture
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("DATABASE", database_url), ("REDIS", "redis://127.0.0.1:9"), ("MQTT", "mqtt://127.0.0.1:9")):
        monkeypatch.setenv(f"PARKING_{name}_URL", value)
    monkeypatch.setenv("PARKING_HOME", str(broker.home.root))
    (code,) = street.execute("SELECT code FROM devices ORDER BY id LIMIT 1").fetchone() or ("",)
    words = ["devices", "certificate", code, "--to", str(tmp_path / "out")]
    result = CliRunner().invoke(application(), words)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [f"{code}.key", f"{code}.pem", "authority.pem"]
    )
    assert isinstance(CliRunner().invoke(application(), words).exception, InvalidInputError), "it overwrites nothing"
    words[2] = "nobody"
    assert isinstance(CliRunner().invoke(application(), words).exception, NotFoundError)
