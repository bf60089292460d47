"""Settings of every process: one typed object, built once from the environment and passed down."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from parking_core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNIT_SECONDS = {
    "": 1.0,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
    "w": 604800.0,
    "week": 604800.0,
}
_SCHEMES = {
    "database_url": ("postgresql", "postgres"),
    "redis_url": ("redis", "rediss", "unix"),
    "mqtt_url": ("mqtt", "mqtts"),
}
_DURATION = re.compile(r"(?P<sign>[+-]?)\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[a-z]*)", re.ASCII)
_ISO_DURATION = re.compile(
    r"(?P<sign>[+-]?)p(?:(?P<d>\d+)d)?(?:t(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?)?",
    re.ASCII,
)
_ACQUIRER_CODE = re.compile(r"[a-z0-9_-]{1,32}", re.ASCII)
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_BETWEEN_BOUNDS = re.compile(r"\s*(?:\.\.|,|/|:|;|\bto\b)\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class ClockWindow:
    """Accepted device time relative to the first receipt, both bounds in microseconds."""

    earliest_us: int
    latest_us: int

    @classmethod
    def parse(cls, text: str) -> ClockWindow:
        """Window from text such as `-7d..+5m`, `-604800,300` (seconds) or `-P7D/PT5M`.

        Raises:
            SettingsError: the text is not two durations, the first not after the second.
        """
        bounds = _BETWEEN_BOUNDS.split(text.strip().strip("[]()").lower())
        if len(bounds) != 2:
            raise SettingsError(
                f"PARKING_CLOCK_WINDOW is {text!r}; give the earliest and the latest bound, for example -7d..+5m."
            )
        earliest, latest = (_duration_us(bound, text) for bound in bounds)
        if earliest > latest:
            raise SettingsError(
                f"PARKING_CLOCK_WINDOW is {text!r}, but its first bound lies after its second; swap them."
            )
        return cls(earliest, latest)


def _duration_us(bound: str, whole: str) -> int:
    if match := _ISO_DURATION.fullmatch(bound):
        seconds = sum(float(match[unit] or 0) * _UNIT_SECONDS[unit] for unit in "dhms")
    elif match := _DURATION.fullmatch(bound):
        unit = match["unit"]
        seconds_a_unit = _UNIT_SECONDS.get(unit, _UNIT_SECONDS.get(unit.removesuffix("s")))
        if seconds_a_unit is None:
            raise SettingsError(f"PARKING_CLOCK_WINDOW is {whole!r}; {unit!r} is no unit, use s, m, h, d or w.")
        seconds = float(match["number"]) * seconds_a_unit
    else:
        raise SettingsError(
            f"PARKING_CLOCK_WINDOW is {whole!r}; {bound!r} is no duration, write for example -7d or +5m."
        )
    return round(seconds * 1_000_000) * (-1 if match["sign"] == "-" else 1)


@dataclass(frozen=True, kw_only=True)
class AcquirerSettings:
    """The acquirer of QR payments. Without all of them nobody pays by QR code; the code has a default."""

    code: str = "acq"  # names him in the journal and in the address of his notices
    url: str = ""
    key_file: str = ""  # our private key, PEM
    public_key_file: str = ""  # his public key, or keys, PEM

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> AcquirerSettings:
        """`PARKING_ACQUIRER`, `PARKING_ACQUIRER_URL`, `..._KEY_FILE`, `..._PUBLIC_KEY_FILE`.

        Raises:
            SettingsError: the code or the address cannot be read.
        """
        code = environ.get("PARKING_ACQUIRER") or cls.code
        if not _ACQUIRER_CODE.fullmatch(code):
            raise SettingsError(f"PARKING_ACQUIRER is {code!r}; give up to 32 small letters, digits, - or _.")
        url = environ.get("PARKING_ACQUIRER_URL", "")
        if url:
            _check_url("PARKING_ACQUIRER_URL", url, ("https", "http"))
            if url.startswith("http:") and urlsplit(url).hostname not in _LOOPBACK:
                raise SettingsError(
                    "PARKING_ACQUIRER_URL begins with http:// and is not on this machine; use https://."
                )
        return cls(
            code=code,
            url=url.rstrip("/"),
            key_file=environ.get("PARKING_ACQUIRER_KEY_FILE", ""),
            public_key_file=environ.get("PARKING_ACQUIRER_PUBLIC_KEY_FILE", ""),
        )

    def missing(self) -> tuple[str, ...]:
        """The settings that QR payments still lack; empty: they are offered."""
        given = {
            "PARKING_ACQUIRER_URL": self.url,
            "PARKING_ACQUIRER_KEY_FILE": self.key_file,
            "PARKING_ACQUIRER_PUBLIC_KEY_FILE": self.public_key_file,
        }
        return tuple(name for name, value in given.items() if not value)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a process needs to know to run. URLs are complete, credentials included."""

    database_url: str
    redis_url: str
    mqtt_url: str
    http_port: int = 8000
    clock_window: ClockWindow = ClockWindow(-7 * 86_400_000_000, 300_000_000)
    instance: str = "1"  # names this gateway: the MQTT client id is prefix + instance
    adopt_after_s: int = 30  # a gateway silent for so long is gone: another one takes over what its session holds
    metrics_port: int = 0  # 0: no metrics listener (the API serves its own at /metrics)
    time_zone: str = "Asia/Shanghai"  # opening hours and on-street windows are local time
    clearing_url: str = ""  # tcp://host:port of the ETC clearing centre; empty: transactions wait as ready
    clearing_sender: str = "00000000000000B1"  # our number at the centre, 16 hexadecimal digits
    clearing_package_s: int = 300  # a package that is not full leaves when its oldest transaction has waited so long
    retention_days: int = 730  # chunks of occupancy_events older than this are dropped
    plate_retention_days: int = 180  # plates, cards and OBUs of what is older and settled are masked
    acquirer: AcquirerSettings = AcquirerSettings()
    keeper_url: str = ""  # the broker's user that says who may connect; empty: credentials of devices cannot be changed

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], **provided: str) -> Settings:
        """Settings from `PARKING_*`; `provided` fills URLs that the environment does not set.

        Raises:
            SettingsError: a URL is missing or a value cannot be read.
        """
        urls = {}
        for name in ("database_url", "redis_url", "mqtt_url"):
            variable = f"PARKING_{name.upper()}"
            urls[name] = environ.get(variable) or provided.get(name) or ""
            if not urls[name]:
                raise SettingsError(f"{variable} is not set and no private services run; set it or run `parking up`.")
            _check_url(variable, urls[name], _SCHEMES[name])
        return cls(
            **urls,
            http_port=_whole_number(environ, "PARKING_HTTP_PORT", cls.http_port),
            clock_window=ClockWindow.parse(environ["PARKING_CLOCK_WINDOW"])
            if environ.get("PARKING_CLOCK_WINDOW")
            else cls.clock_window,
            instance=environ.get("PARKING_INSTANCE") or cls.instance,
            adopt_after_s=_whole_number(environ, "PARKING_ADOPT_AFTER_S", cls.adopt_after_s),
            metrics_port=_whole_number(environ, "PARKING_METRICS_PORT", cls.metrics_port),
            time_zone=_time_zone(environ.get("PARKING_TIME_ZONE") or cls.time_zone),
            clearing_url=clearing_url(environ.get("PARKING_CLEARING_URL") or ""),
            clearing_sender=_clearing_sender(environ.get("PARKING_CLEARING_SENDER") or cls.clearing_sender),
            clearing_package_s=_whole_number(environ, "PARKING_CLEARING_PACKAGE_S", cls.clearing_package_s),
            retention_days=_whole_number(environ, "PARKING_RETENTION_DAYS", cls.retention_days),
            plate_retention_days=_whole_number(environ, "PARKING_PLATE_RETENTION_DAYS", cls.plate_retention_days),
            acquirer=AcquirerSettings.from_environ(environ),
            keeper_url=_keeper_url(environ.get("PARKING_MQTT_KEEPER_URL") or ""),
        )


def _keeper_url(url: str) -> str:
    if url:
        _check_url("PARKING_MQTT_KEEPER_URL", url, _SCHEMES["mqtt_url"])
    return url


def _check_url(variable: str, url: str, schemes: tuple[str, ...]) -> None:
    """Says what is wrong without repeating the URL, which holds a password."""
    parts = urlsplit(url)
    if parts.scheme not in schemes:
        raise SettingsError(
            f"{variable} begins with {parts.scheme or 'no scheme'!r}; it must be {' or '.join(schemes)}://..."
        )
    try:
        port = parts.port
    except ValueError as error:
        raise SettingsError(
            f"The port in {variable} cannot be read ({error}); give a number from 1 to 65535."
        ) from error
    if port == 0:
        raise SettingsError(f"The port in {variable} is 0; give a number from 1 to 65535.")


def clearing_url(url: str) -> str:
    """The clearing centre's address, checked; "" stays so.

    Raises:
        SettingsError: it is no tcp://host:port.
    """
    if url:
        _check_url("PARKING_CLEARING_URL", url, ("tcp",))
        if not urlsplit(url).hostname or not urlsplit(url).port:
            raise SettingsError("PARKING_CLEARING_URL names no host or no port; give tcp://host:port.")
    return url


def _clearing_sender(text: str) -> str:
    if re.fullmatch(r"[0-9A-Fa-f]{16}", text) is None:
        raise SettingsError(f"PARKING_CLEARING_SENDER is {text!r}; give the 16 hexadecimal digits the centre gave you.")
    return text


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingsError(
            f"PARKING_TIME_ZONE is {name!r}, which no time zone is called; give one such as Asia/Shanghai."
        ) from error
    return name


def _whole_number(environ: Mapping[str, str], variable: str, default: int) -> int:
    text = environ.get(variable, "")
    if not text:
        return default
    if not text.isdecimal():
        raise SettingsError(f"{variable} is {text!r}; give a whole number such as {default}.")
    return int(text)
