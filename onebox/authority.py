"""The home's own certificate authority: vouches for the broker to devices, and for devices to the broker.

A device on the encrypted door shows a certificate of this authority and its own secret as well: the certificate keeps strangers
from the door, the secret says who it is, and is the one that is rotated, revoked and suspended. What is lost with a device is
therefore worth nothing once its secret is another one.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from onebox.home import write_atomically
from parking_core.errors import InstallationError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from onebox.home import Home, ServiceUser

TLS_VARIABLE: Final = "PARKING_MQTT_TLS"  # host:port
NAMES_VARIABLE: Final = "PARKING_MQTT_TLS_NAMES"  # as devices call the broker, with commas
_LAST_PORT: Final = 65_535
_AUTHORITY_DAYS: Final = 3650  # devices keep it for their lives
_BROKER_DAYS: Final = 397
_DEVICE_DAYS: Final = 3650  # a bay's sensor cannot be visited every year
_RENEW_DAYS: Final = 30
_PAST: Final = timedelta(minutes=5)  # a device's clock may be behind
_FOLDER: Final = "tls"


@dataclass(frozen=True, slots=True)
class Door:
    """Where the broker listens with TLS, and under which names devices know it."""

    host: str
    port: int
    names: tuple[str, ...]

    @classmethod
    def of(cls, address: str, names: str = "") -> Door | None:
        """Of `host:port` and names with commas; None of an empty address.

        Raises:
            InstallationError: the address is no host:port.
        """
        if not address:
            return None
        host, _, port = address.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= _LAST_PORT:
            raise InstallationError(f"{TLS_VARIABLE} is {address!r}; give host:port, such as 0.0.0.0:8883.")
        given = [name.strip() for name in names.split(",") if name.strip()]
        return cls(host.strip("[]"), int(port), tuple(dict.fromkeys([*given, "localhost", "127.0.0.1"])))


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate, its key and who vouches for it; PEM."""

    certificate: bytes
    key: bytes
    authority: bytes


@dataclass(frozen=True)
class Authority:
    """Keys and certificates of a home. The authority's own key never leaves it, and the services cannot read it."""

    home: Home

    @property
    def folder(self) -> Path:
        """Of the authority."""
        return self.home.root / _FOLDER

    @property
    def certificate(self) -> Path:
        """What devices trust."""
        return self.folder / "authority.pem"

    @property
    def exists(self) -> bool:
        """Whether it was made."""
        return self.certificate.exists()

    def ensure_broker(self, names: Sequence[str], owner: ServiceUser, folder: Path) -> None:
        """Broker's key and certificate in its folder: made anew when the names have changed, and a month before it expires."""
        self._ensure()
        path = folder / "broker.pem"
        if path.exists() and _serves(x509.load_pem_x509_certificate(path.read_bytes()), names, self._certificate()):
            return
        issued = self._issue("broker", _BROKER_DAYS, x509.SubjectAlternativeName([_name(name) for name in names]))
        write_atomically(folder / "broker.key", issued.key.decode(), owner=owner)
        write_atomically(path, issued.certificate.decode(), owner=owner)
        write_atomically(folder / "authority.pem", issued.authority.decode(), owner=owner)

    def issue(self, code: str) -> Issued:
        """Key and certificate of a device; the key is kept by nobody else.

        Raises:
            InvalidInputError: the home has no authority, or no certificate can hold the code.
        """
        if not self.exists:
            raise InvalidInputError(
                f"This installation has no encrypted door; set {TLS_VARIABLE}, such as 0.0.0.0:8883, and start it again."
            )
        if len(code.encode()) > 64:
            raise InvalidInputError(f"{code!r} is longer than the 64 bytes that a certificate can hold.")
        return self._issue(code, _DEVICE_DAYS, None)

    def _ensure(self) -> None:
        if self.exists:
            return
        self.folder.mkdir(mode=0o700, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = _subject("parking authority")
        made = (
            _certificate(name, name, key.public_key(), _AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        write_atomically(self.folder / "authority.key", _pem(key).decode())
        write_atomically(self.certificate, made.public_bytes(Encoding.PEM).decode())

    def _certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate.read_bytes())

    def _issue(self, name: str, days: int, names: x509.SubjectAlternativeName | None) -> Issued:
        authority = self._certificate()
        signer = load_pem_private_key((self.folder / "authority.key").read_bytes(), None)
        if not isinstance(signer, ec.EllipticCurvePrivateKey):
            raise InstallationError(f"{self.folder / 'authority.key'} is no key of ours; restore it from a backup.")
        key = ec.generate_private_key(ec.SECP256R1())
        use = ExtendedKeyUsageOID.CLIENT_AUTH if names is None else ExtendedKeyUsageOID.SERVER_AUTH
        made = (
            _certificate(_subject(name), authority.subject, key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        )
        if names is not None:
            made = made.add_extension(names, critical=False)
        signed = made.sign(signer, hashes.SHA256())
        return Issued(signed.public_bytes(Encoding.PEM), _pem(key), authority.public_bytes(Encoding.PEM))


def write_for_device(issued: Issued, code: str, to: Path) -> list[Path]:
    """Writes what goes into a device: `CODE.key` (only its owner reads it), `CODE.pem` and `authority.pem`.

    Raises:
        InvalidInputError: a file is there already, or the folder cannot be written.
    """
    parts = [(f"{code}.key", issued.key, 0o600), (f"{code}.pem", issued.certificate, 0o644)]
    written = []
    try:
        to.mkdir(parents=True, exist_ok=True)
        for name, content, mode in parts:
            with os.fdopen(os.open(to / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
            written.append(to / name)
        (to / "authority.pem").write_bytes(issued.authority)
    except OSError as error:
        raise InvalidInputError(f"The certificate cannot be written to {to} ({error}); give another folder.") from error
    return [*written, to / "authority.pem"]


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _PAST)
        .not_valid_after(now + timedelta(days=days))
    )


def _serves(certificate: x509.Certificate, names: Sequence[str], authority: x509.Certificate) -> bool:
    known = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    lasts = certificate.not_valid_after_utc - datetime.now(UTC) > timedelta(days=_RENEW_DAYS)
    return lasts and list(known) == [_name(name) for name in names] and certificate.issuer == authority.subject


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
