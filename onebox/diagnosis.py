"""What `parking doctor` looks at. Each check gives findings; none changes anything."""

from __future__ import annotations

import platform
import resource
import shutil
import socket
import stat
import sys
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from onebox import applications, apt_sources, packages, ports, runtime
from onebox.acquirer import AcquirerKeys
from onebox.home import passable
from onebox.instance import Instance, Phase, State
from onebox.services import KEEPER_VARIABLE, URL_VARIABLES
from parking_core.acquirers import load_signing_key, load_verifying_keys
from parking_core.errors import InstallationError, SettingsError
from parking_core.settings import AcquirerSettings, clearing_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onebox.home import Home

_NEEDED_BYTES = 2_000_000_000  # runtime 120 MB, WAL up to 4 GB under load, a year of a district about 10 GB
_COMFORTABLE_BYTES = 15_000_000_000
_PRIVATE_FILES = (
    *("credentials.json", "ports.json", "run/instance.json", "redis/redis.conf"),
    *("mosquitto/dynamic-security.json", "mosquitto/broker.key", "tls/authority.key"),
)
_OPEN_FILES = 25_000  # a device is one at the broker; a district has 21,000
_LARGEST_CLOCK_DIFFERENCE_S = 2.0
_EARLIEST_SANE_EPOCH_S = 1_767_225_600  # 2026-01-01: no clock that runs this program may be earlier


class Verdict(StrEnum):
    """How a finding stands."""

    GOOD = "good"
    NOTE = "note"  # works, and is worth knowing
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what, how it stands, what was seen, and how to mend it when it is broken."""

    what: str
    verdict: Verdict
    seen: str
    mend: str = ""


def examine(home: Home, environ: Mapping[str, str]) -> list[Finding]:
    """All findings, in the order a person mends them."""
    instance = Instance.load(home)
    running = instance.seen_now() if instance else None
    return [
        *_interpreter(),
        *_folder(home),
        _open_files(),
        *_permissions(home),
        *_runtime(home, environ),
        *_clock(environ),
        *_ports(home, environ, running),
        *_processes(running),
        *_urls(environ, running),
        *_keeper(environ),
        *_clearing(environ),
        *_payments(home, environ),
    ]


def _interpreter() -> list[Finding]:
    found = [Finding("Python", Verdict.GOOD, f"{platform.python_version()} in {sys.prefix}")]
    if sys.version_info < (3, 11):  # noqa: UP036  # a checkout can be run by any interpreter
        found = [Finding("Python", Verdict.BROKEN, platform.python_version(), "Use Python 3.11 or newer.")]
    return found


def _folder(home: Home) -> list[Finding]:
    existing = next(folder for folder in (home.root, *home.root.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    seen = f"{free / 1e9:.1f} GB free under {existing}"
    if free < _NEEDED_BYTES:
        disk = Finding("disk", Verdict.BROKEN, seen, "Free at least 2 GB, or set PARKING_HOME to a larger disk.")
    elif free < _COMFORTABLE_BYTES:
        disk = Finding(
            "disk", Verdict.NOTE, seen, "A year of a district takes about 10 GB, and the write-ahead log up to 4."
        )
    else:
        disk = Finding("disk", Verdict.GOOD, seen)
    barred = [folder for folder in (*reversed(existing.parents), existing) if not passable(folder, home.user)]
    mend = "Set PARKING_HOME to a folder that user can enter."
    reach = (
        Finding("PARKING_HOME", Verdict.BROKEN, f"{home.user.name} cannot enter {barred[0]}", mend)
        if barred
        else Finding("PARKING_HOME", Verdict.GOOD, f"{home.root}, services run as {home.user.name}")
    )
    return [disk, reach, _application_user(home)]


def _open_files() -> Finding:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    seen = f"{most:,} allowed"
    if most == resource.RLIM_INFINITY or most >= _OPEN_FILES:
        return Finding("open files", Verdict.GOOD, seen)
    return Finding(
        "open files",
        Verdict.NOTE,
        f"{seen}: the broker holds nearly as many devices at once, and no more",
        f"Raise the hard limit (ulimit -Hn) to {_OPEN_FILES} for a whole district on one broker.",
    )


def _keeper(environ: Mapping[str, str]) -> list[Finding]:
    """A broker of one's own needs a user that says who may connect."""
    if not environ.get(URL_VARIABLES["mosquitto"]) or environ.get(KEEPER_VARIABLE):
        return []
    mend = f"Set {KEEPER_VARIABLE} to a user that may publish to $CONTROL/dynamic-security/v1 (compose.yaml shows one)."
    return [Finding("keeper", Verdict.NOTE, "nobody issues or revokes credentials of devices at your broker", mend)]


def _application_user(home: Home) -> Finding:
    if not home.user.switch or applications.can_run_code(home.user):
        return Finding("code", Verdict.GOOD, f"{home.user.name} can run {applications.CODE_ROOT}")
    return Finding(
        "code",
        Verdict.NOTE,
        f"{home.user.name} cannot read {applications.CODE_ROOT}: gateway, API and worker run as the caller",
        "Install the code and its environment where that user can read them.",
    )


def _permissions(home: Home) -> list[Finding]:
    found = []
    for name in _PRIVATE_FILES:
        path = home.root / name
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue  # not made yet, or in a folder only its owner reads
        if mode & 0o077:
            found.append(Finding("permissions", Verdict.BROKEN, f"{path} has mode {mode:03o}", f"chmod 600 {path}"))
    return found or [Finding("permissions", Verdict.GOOD, "files with credentials are their owner's only")]


def _runtime(home: Home, environ: Mapping[str, str]) -> list[Finding]:
    external = [variable for variable in URL_VARIABLES.values() if environ.get(variable)]
    if len(external) == len(URL_VARIABLES):
        return [Finding("services", Verdict.GOOD, "all three are external; nothing is installed here")]
    programs = runtime.installed(home.runtime)
    if programs is None:
        return [_installable(home)]
    versions = programs.versions()
    names = {
        "PostgreSQL": "postgresql-17",
        "TimescaleDB": "postgresql-17-timescaledb",
        "Mosquitto": "mosquitto",
        "Redis": "redis-server",
    }
    return [Finding(shown, Verdict.GOOD, versions.get(package, "?")) for shown, package in names.items()]


def _installable(home: Home) -> Finding:
    mend = f"Mend it, or {packages.INSTEAD}."
    try:
        packages.debian_architecture()
    except InstallationError as error:
        return Finding("services", Verdict.BROKEN, str(error), mend)
    missing = [tool for tool in ("apt-get", "apt-config", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        return Finding("services", Verdict.BROKEN, f"{', '.join(missing)} not found: no Debian packages here", mend)
    if apt_sources.find_mirrors(packages.ETC_APT) is None:
        return Finding("services", Verdict.BROKEN, f"{packages.ETC_APT} names no Debian mirror", mend)
    if not packages.KEYRING.is_file():
        return Finding("services", Verdict.BROKEN, f"{packages.KEYRING} is missing", "Install debian-archive-keyring.")
    return Finding(
        "services", Verdict.NOTE, f"not installed in {home.runtime} yet", "`parking up` downloads about 45 MB."
    )


def _clock(environ: Mapping[str, str]) -> list[Finding]:
    wall, steady = time.time(), time.monotonic()
    time.sleep(0.2)
    drift = abs((time.time() - wall) - (time.monotonic() - steady))
    found = [Finding("clock", Verdict.GOOD, time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))]
    if wall < _EARLIEST_SANE_EPOCH_S or drift > 0.1:
        seen = f"{found[0].seen}, and wall and steady time differ by {drift:.2f} s in 0.2 s"
        found = [
            Finding("clock", Verdict.BROKEN, seen, "Set the clock and keep it with NTP: device times are judged by it.")
        ]
    zone = environ.get("PARKING_TIME_ZONE") or "Asia/Shanghai"
    try:
        ZoneInfo(zone)
        found.append(Finding("time zone", Verdict.GOOD, zone))
    except (ZoneInfoNotFoundError, ValueError):
        found.append(
            Finding("time zone", Verdict.BROKEN, f"{zone} is unknown", "Set PARKING_TIME_ZONE to an IANA name.")
        )
    return found


def _ports(home: Home, environ: Mapping[str, str], running: Instance | None) -> list[Finding]:
    if running is not None and running.phase is not Phase.STOPPED:
        return [Finding("HTTP port", Verdict.GOOD, f"{running.plan.http_port} is this instance's")]
    text = environ.get("PARKING_HTTP_PORT") or ""
    port = int(text) if text.isdecimal() else 8000
    if ports.is_free(port):
        return [Finding("HTTP port", Verdict.GOOD, f"{port} is free")]
    if text:
        return [Finding("HTTP port", Verdict.BROKEN, f"{port} is taken", "Set PARKING_HTTP_PORT to another.")]
    return [Finding("HTTP port", Verdict.NOTE, f"{port} is taken", f"`parking up` takes another one for {home.root}.")]


def _processes(running: Instance | None) -> list[Finding]:
    if running is None or running.phase is Phase.STOPPED:
        return [Finding("instance", Verdict.NOTE, "nothing runs", "`parking up` starts it.")]
    if running.phase is Phase.UNSUPERVISED:
        seen = "the supervisor was killed, its processes run on"
        return [Finding("instance", Verdict.BROKEN, seen, "`parking up` ends them and starts anew.")]
    found = [Finding("instance", Verdict.GOOD, f"{running.phase}, supervisor pid {running.supervisor.pid}")]
    for process in running.processes:
        if process.state not in {State.RUNNING, State.EXTERNAL}:
            mend = f"Its log says why: {process.log}"
            found.append(Finding(process.name, Verdict.BROKEN, f"is {process.state}", mend))
    return found


def _urls(environ: Mapping[str, str], running: Instance | None) -> list[Finding]:
    live = running is not None and running.phase is not Phase.STOPPED
    found = []
    for name, variable in URL_VARIABLES.items():
        key = variable.removeprefix("PARKING_").lower()
        url = environ.get(variable) or (running.urls[key] if running and live else "")
        if url:
            found.append(_reachable(name, variable, url))
    if running and live and (database := environ.get("PARKING_DATABASE_URL") or running.urls["database_url"]):
        found += _database(database)
    elif environ.get("PARKING_DATABASE_URL"):
        found += _database(environ["PARKING_DATABASE_URL"])
    return found


def _clearing(environ: Mapping[str, str]) -> list[Finding]:
    try:
        url = clearing_url(environ.get("PARKING_CLEARING_URL") or "")
    except SettingsError as error:
        return [Finding("clearing centre", Verdict.BROKEN, str(error), "Set PARKING_CLEARING_URL to tcp://host:port.")]
    if url:
        return [Finding("clearing centre", Verdict.GOOD, url)]
    seen = "not configured: ETC transactions are kept, and wait as ready"
    return [
        Finding(
            "clearing centre", Verdict.NOTE, seen, "To have them sent, set PARKING_CLEARING_URL to tcp://host:port."
        )
    ]


def _payments(home: Home, environ: Mapping[str, str]) -> list[Finding]:
    """Whether drivers can pay by QR code, as a platform that this environment starts would see it."""
    what = "payments by QR"
    try:
        settings = AcquirerSettings.from_environ(environ)
        own = settings.key_file or str(AcquirerKeys.of(home).private("platform"))  # made when the platform starts
        settings = replace(settings, key_file=own)
        if settings.url and not settings.missing():
            load_verifying_keys(Path(settings.public_key_file), "PARKING_ACQUIRER_PUBLIC_KEY_FILE")
            if environ.get("PARKING_ACQUIRER_KEY_FILE"):
                load_signing_key(Path(settings.key_file), "PARKING_ACQUIRER_KEY_FILE")
    except SettingsError as error:
        return [Finding(what, Verdict.BROKEN, str(error), "Correct the setting or the file it names.")]
    if not settings.missing():
        return [Finding(what, Verdict.GOOD, f"{settings.code} at {settings.url}")]
    if not settings.url and not settings.public_key_file:
        seen = "not configured: nobody pays by QR code, what is due is arrears"
        mend = "To offer it, set PARKING_ACQUIRER_URL and PARKING_ACQUIRER_PUBLIC_KEY_FILE."
        return [Finding(what, Verdict.NOTE, seen, mend)]
    lacking = " and ".join(settings.missing())
    return [Finding(what, Verdict.BROKEN, f"half configured: {lacking} is not set", f"Set {lacking}, or none of them.")]


def _reachable(name: str, variable: str, url: str) -> Finding:
    parts = urlsplit(url)
    defaults = {"postgres": 5432, "redis": 6379, "mosquitto": 8883 if parts.scheme == "mqtts" else 1883}
    address = (parts.hostname or "127.0.0.1", parts.port or defaults[name])
    try:
        socket.create_connection(address, timeout=3).close()
    except OSError as error:
        mend = f"Start it, or correct {variable}."
        return Finding(name, Verdict.BROKEN, f"{address[0]}:{address[1]} does not answer ({error})", mend)
    return Finding(name, Verdict.GOOD, f"{address[0]}:{address[1]} answers")


def _database(url: str) -> list[Finding]:
    import psycopg  # noqa: PLC0415  # most commands need no database driver, and it takes 0.2 s

    try:
        with psycopg.connect(url, connect_timeout=3) as connection:
            row = connection.execute(
                "SELECT current_setting('server_version'), current_setting('timescaledb.license', true),"
                " (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),"
                " extract(epoch FROM clock_timestamp())::float8"
            ).fetchone()
            here = time.time()
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[0]
        return [Finding("database", Verdict.BROKEN, f"no login: {reason}", "Correct PARKING_DATABASE_URL.")]
    if row is None or row[2] is None:
        mend = "CREATE EXTENSION timescaledb in it, as its superuser."
        return [Finding("database", Verdict.BROKEN, "it lacks the extension timescaledb", mend)]
    version, edition, extension, there = row
    return [
        Finding("database", Verdict.GOOD, f"PostgreSQL {version}, TimescaleDB {extension}"),
        _edition(edition),
        _clock_difference(abs(there - here)),
    ]


def _edition(edition: str | None) -> Finding:
    if edition == "timescale":
        return Finding("TimescaleDB licence", Verdict.GOOD, "timescale: older chunks are compressed")
    instead = "Instead: own rollups of changed buckets, own retention by drop_chunks; nothing to do."
    seen = f"{edition}: no compression, no continuous aggregates, no policies"
    return Finding("TimescaleDB licence", Verdict.NOTE, seen, instead)


def _clock_difference(seconds: float) -> Finding:
    if seconds > _LARGEST_CLOCK_DIFFERENCE_S:
        mend = "Keep both clocks with NTP: recorded and received times are compared."
        return Finding("database clock", Verdict.BROKEN, f"{seconds:.1f} s from this host's", mend)
    return Finding("database clock", Verdict.GOOD, f"{seconds * 1000:.0f} ms from this host's")
