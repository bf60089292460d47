"""The broker's URL: what is read, what is refused by a sentence, and TLS in which each side shows a certificate."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import mqtt5
import pytest

from gateway import subscribe
from gateway.inbox import Inbox
from parking_core.broker_url import Broker
from parking_core.errors import ServiceUnavailableError, SettingsError
from simulators.publisher import Publisher

if TYPE_CHECKING:
    from pathlib import Path


def test_a_broker_is_read_from_its_url() -> None:
    broker = Broker.from_url("mqtt://user%40x:p%2Fw@host")
    assert broker == Broker("host", 1883, "user@x", b"p/w", None)
    assert Broker.from_url("mqtt://[::1]:1") == Broker("::1", 1, None, None, None)


def test_tls_has_its_own_port_and_a_context_that_verifies() -> None:
    broker = Broker.from_url("mqtts://host")
    assert broker.port == 8883
    assert broker.tls is not None
    assert (broker.tls.check_hostname, broker.tls.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert Broker.from_url("mqtts://host:1").port == 1


@pytest.mark.parametrize("url", ["http://host", "host:1883", "mqtt://", "mqtt://:1883", "", "mqtt://[::1"])
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="PARKING_MQTT_URL"):
        Broker.from_url(url)


@pytest.mark.parametrize("port", ["many", "0", "65536", "-1", "1883x"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(SettingsError, match="port in PARKING_MQTT_URL is no number from 1 to 65535"):
        Broker.from_url(f"mqtt://host:{port}")


@pytest.mark.parametrize("url", ["mqtt://me:sec/ret@host", "mqtt://me:sec\u2100ret@host", "mqtt://me:[secret@host"])
def test_no_piece_of_a_password_is_told(url: str) -> None:
    with pytest.raises(SettingsError) as told:
        Broker.from_url(url)
    assert "sec" not in str(told.value).replace("mqtt://user:password", "")
    assert told.value.__suppress_context__ or told.value.__context__ is None


@pytest.mark.parametrize("name", ["cafile", "certfile", "keyfile"])
def test_a_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    here = tmp_path / "here.pem"
    here.touch()
    query = f"certfile={here}&keyfile=/no/such.pem" if name == "keyfile" else f"{name}=/no/such.pem"
    with pytest.raises(SettingsError, match=rf"The {name} '/no/such\.pem' of PARKING_MQTT_URL .*No such file"):
        Broker.from_url(f"mqtts://host?{query}")


@pytest.mark.parametrize("name", ["cafile", "certfile"])
def test_a_file_that_is_no_certificate_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("no certificate")
    with pytest.raises(SettingsError, match=rf"The {name} '.*x\.pem'.* PEM"):
        Broker.from_url(f"mqtts://host?{name}={tmp_path / 'x.pem'}")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mqtts://host?ca_file=/x", "'ca_file'"),
        ("mqtt://host?cafile=/dev/null", "write mqtts://"),
        ("mqtts://host?keyfile=/dev/null", "add certfile="),
    ],
)
def test_options_that_would_do_nothing_are_refused(url: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        Broker.from_url(url)


@dataclass(frozen=True)
class Keys:
    """An authority, and what it signed for broker and client alike."""

    authority: Path
    certificate: Path
    key: Path
    locked_key: Path

    def query(self) -> str:
        return f"cafile={quote(str(self.authority))}&certfile={quote(str(self.certificate))}&keyfile={quote(str(self.key))}"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("keys & certificates")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True, timeout=30)

    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    run(*new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority")
    run(
        *(*new, "-keyout", "own.key", "-out", "own.pem", "-subj", "/CN=localhost", "-CA", "ca.pem", "-CAkey", "ca.key"),
        *("-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"),
    )
    run("ec", "-in", "own.key", "-aes256", "-passout", "pass:x", "-out", "locked.key")
    return Keys(*(folder / name for name in ("ca.pem", "own.pem", "own.key", "locked.key")))


def test_a_key_with_a_passphrase_is_refused_and_not_asked_for(keys: Keys) -> None:
    query = keys.query().replace("own.key", "locked.key")
    with pytest.raises(SettingsError, match=r"locked\.key' of PARKING_MQTT_URL are no PEM certificate and its unenc"):
        Broker.from_url(f"mqtts://host?{query}")


def test_publisher_and_gateway_connect_by_the_certificates_of_the_url(keys: Keys) -> None:
    async def scene() -> None:
        server = await _tls_broker(keys)
        port = server.sockets[0].getsockname()[1]
        url = f"mqtts://127.0.0.1:{port}?{keys.query()}"
        async with server:
            async with Publisher(url, "p") as publisher:
                await publisher.publish("t", b"x")
                await publisher.drain()
                assert publisher.acknowledged == 1
            connection, _ = await subscribe.open_session(Broker.from_url(url), "gateway", Inbox())
            connection.abort()
            await connection.closed
            with pytest.raises(ServiceUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
                await Publisher(f"mqtts://127.0.0.1:{port}", "p").connect()  # the system does not know this authority

    asyncio.run(scene())


async def _tls_broker(keys: Keys) -> asyncio.Server:
    """Says yes to every packet of a client that has a certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=keys.authority)
    context.load_cert_chain(keys.certificate, keys.key)
    context.verify_mode = ssl.CERT_REQUIRED

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                packet, _ = mqtt5.read(memoryview(data))
                if isinstance(packet, mqtt5.ConnectPacket):
                    writer.write(mqtt5.ConnAckPacket().write())
                elif isinstance(packet, mqtt5.PublishPacket):
                    assert packet.packet_id is not None
                    writer.write(mqtt5.PubAckPacket(packet.packet_id).write())
        except OSError:
            pass  # the gateway's connection is cut
        finally:
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
