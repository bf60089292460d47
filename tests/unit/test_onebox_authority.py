"""The home's certificate authority: what it issues, to whom, and when it issues again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from onebox.authority import Authority, Door, write_for_device
from onebox.home import Home
from parking_core.errors import InstallationError, InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("broker.example", "10.1.2.3", "localhost")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.from_environ({"PARKING_SERVICE_USER": ""}, tmp_path)


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_the_broker_is_known_by_its_names_and_by_nothing_else(home: Home, tmp_path: Path) -> None:
    Authority(home).ensure_broker(NAMES, home.user, tmp_path)
    broker = read(tmp_path / "broker.pem")
    broker.verify_directly_issued_by(read(tmp_path / "tls" / "authority.pem"))
    names = broker.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker.example", "localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.1.2.3"]
    use = broker.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(use) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not broker.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_certificate_stays_until_its_names_change(home: Home, tmp_path: Path) -> None:
    authority = Authority(home)
    authority.ensure_broker(NAMES, home.user, tmp_path)
    first, vouches = (tmp_path / "broker.pem").read_bytes(), authority.certificate.read_bytes()
    authority.ensure_broker(NAMES, home.user, tmp_path)
    assert (tmp_path / "broker.pem").read_bytes() == first
    authority.ensure_broker(("other",), home.user, tmp_path)
    assert (tmp_path / "broker.pem").read_bytes() != first
    assert authority.certificate.read_bytes() == vouches, "devices keep what they trust"


def test_keys_are_for_their_owners_only(home: Home, tmp_path: Path) -> None:
    authority = Authority(home)
    authority.ensure_broker(NAMES, home.user, tmp_path)
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "tls" / "authority.key").stat().st_mode & 0o777 == 0o600
    issued = authority.issue("BH0001-017")
    key, certificate, _ = write_for_device(issued, "BH0001-017", tmp_path / "out")
    assert key.stat().st_mode & 0o777 == 0o600
    device = read(certificate)
    device.verify_directly_issued_by(x509.load_pem_x509_certificate(issued.authority))
    assert device.subject.rfc4514_string() == "CN=BH0001-017"
    assert list(device.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    with pytest.raises(InvalidInputError, match="give another folder"):
        write_for_device(issued, "BH0001-017", tmp_path / "out")


def test_without_a_door_nothing_is_issued(home: Home) -> None:
    with pytest.raises(InvalidInputError, match="PARKING_MQTT_TLS"):
        Authority(home).issue("d1")


def test_a_name_that_no_certificate_holds(home: Home, tmp_path: Path) -> None:
    Authority(home).ensure_broker(NAMES, home.user, tmp_path)
    with pytest.raises(InvalidInputError, match="64 bytes"):
        Authority(home).issue("位" * 22)


def test_doors() -> None:
    assert Door.of("") is None
    assert Door.of("0.0.0.0:8883", " mqtt.example ,10.0.0.1,localhost") == Door(
        "0.0.0.0", 8883, ("mqtt.example", "10.0.0.1", "localhost", "127.0.0.1")
    )
    assert Door.of("[::1]:8883") == Door("::1", 8883, ("localhost", "127.0.0.1"))


@pytest.mark.parametrize("address", ["8883", ":8883", "host:", "host:port", "host:0", "host:65536", "host:\uff18"])
def test_no_doors(address: str) -> None:
    with pytest.raises(InstallationError, match="host:port"):
        Door.of(address)
