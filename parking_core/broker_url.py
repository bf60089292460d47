"""The broker's URL, read once for everybody who connects: host, credential and TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from parking_core.errors import SettingsError

_PLAIN_PORT, _TLS_PORT = 1883, 8883
_LAST_PORT = 65_535
_FILES = ("cafile", "certfile", "keyfile")


@dataclass(frozen=True, slots=True)
class Broker:
    """Where and how to connect."""

    host: str
    port: int
    username: str | None
    password: bytes | None
    tls: ssl.SSLContext | None

    @classmethod
    def from_url(cls, url: str) -> Broker:
        """Broker of `mqtt://user:password@host:port` or `mqtts://...?cafile=&certfile=&keyfile=`.

        `cafile` is who vouches for the broker (default: the system's authorities); `certfile` and `keyfile` are shown
        to a broker that wants a certificate. Paths are URL-encoded.

        Raises:
            SettingsError: the URL is not one of these, or a file of it cannot be read. Never quotes the credential.
        """
        try:
            parts = urlsplit(url)
        except ValueError:  # its text may quote the credential
            raise SettingsError("PARKING_MQTT_URL is no URL; give mqtt://user:password@host:1883.") from None
        if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
            raise SettingsError(
                f"PARKING_MQTT_URL is {parts.scheme}://...; give mqtt://user:password@host:1883 or mqtts://..."
            )
        try:
            port = parts.port
        except ValueError:
            port = 0
        if port is None:
            port = _TLS_PORT if parts.scheme == "mqtts" else _PLAIN_PORT
        if not 1 <= port <= _LAST_PORT:  # the text may be a piece of a password with a slash in it: not quoted
            raise SettingsError(
                f"The port in PARKING_MQTT_URL is no number from 1 to {_LAST_PORT}; correct it, and write / : @ # ? in "
                "a password as %2F %3A %40 %23 %3F."
            )
        files = _files(parts.query)
        if files and parts.scheme == "mqtt":
            raise SettingsError(
                f"PARKING_MQTT_URL names a {next(iter(files))}, but mqtt:// is not encrypted; write mqtts://."
            )
        return cls(
            host=parts.hostname,
            port=port,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password).encode() if parts.password else None,
            tls=_tls_context(files) if parts.scheme == "mqtts" else None,
        )


def _files(query: str) -> dict[str, str]:
    files = dict(parse_qsl(query, keep_blank_values=True))
    unknown = [name for name in files if name not in _FILES]
    if unknown:
        raise SettingsError(f"PARKING_MQTT_URL has the option {unknown[0]!r}; it knows {', '.join(_FILES)} only.")
    if "keyfile" in files and "certfile" not in files:
        raise SettingsError("PARKING_MQTT_URL names a keyfile without its certificate; add certfile=.")
    for name, path in files.items():
        _raise_unless_readable(name, path)
    return files


def _raise_unless_readable(name: str, path: str) -> None:
    """Ssl does not say which file it could not open."""
    try:
        with Path(path).open("rb"):
            return
    except OSError as error:
        raise SettingsError(
            f"The {name} {path!r} of PARKING_MQTT_URL cannot be read ({error.strerror}); correct the path or its rights."
        ) from error


def _tls_context(files: dict[str, str]) -> ssl.SSLContext:
    cafile, certfile, keyfile = (files.get(name) for name in _FILES)
    try:
        context = ssl.create_default_context(cafile=cafile)
    except ssl.SSLError as error:
        raise SettingsError(
            f"The cafile {cafile!r} of PARKING_MQTT_URL holds no PEM certificate; correct it."
        ) from error
    if certfile is not None:
        try:
            context.load_cert_chain(certfile, keyfile, password="")  # or OpenSSL asks on the terminal
        except ssl.SSLError as error:
            raise SettingsError(
                f"The certfile {certfile!r} and keyfile {keyfile or certfile!r} of PARKING_MQTT_URL are no PEM "
                "certificate and its unencrypted key; correct them."
            ) from error
    return context
