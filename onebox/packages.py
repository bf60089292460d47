"""Signed Debian packages, fetched by the host's apt into a private tree: its own state, lists and cache.

apt checks every index against the Debian archive keyring and every package against its index;
nothing here loosens that. The host's package database is neither read nor written.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onebox.apt_sources import Mirrors, find_mirrors
from parking_core.errors import InstallationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SUITE = "trixie"
WANTED = ("postgresql-17-timescaledb", "mosquitto", "redis-server")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
ETC_APT = Path("/etc/apt")
INSTEAD = "use the services of compose.yaml (or your own) and set PARKING_DATABASE_URL, PARKING_REDIS_URL and PARKING_MQTT_URL"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_HOST_SETTINGS = re.compile(r"Acquire::(?:https?|Retries|Check-Valid-Until|Check-Date)\b", re.IGNORECASE)

# Not needed to run: maintainer scripts' tools, PAM modules, and the compiler behind jit (which is off).
_LEFT_OUT = re.compile(
    r"perl.*|lib.*-perl|libperl.*|libllvm.*|libz3-.*|libedit2|libffi8|libbsd0|libmd0|libbz2-1.0|libdebconfclient0"
    r"|libsemanage.*|libsepol2|libgdbm.*|libdb5.3.*|libpam-modules.*|libproc2-0|libncursesw6|libc-bin|libc-l10n"
    r"|libacl1|libattr1|libaudit-common|libsasl2-modules-db|libmosquitto1|libcrypt1|libgcrypt20|libgpg-error0"
)
_KEPT = re.compile(r"lib.*|mosquitto|postgresql-\d+|postgresql-\d+-timescaledb|postgresql-client-\d+|redis-.*|tzdata")


@dataclass(frozen=True)
class Package:
    """One package as the signed index names it."""

    name: str
    version: str
    file: str
    size: int


def needed_at_run_time(name: str) -> bool:
    """Whether a package of the closure is unpacked."""
    return _KEPT.fullmatch(name) is not None and _LEFT_OUT.fullmatch(name) is None


def debian_architecture() -> str:
    """`amd64` or `arm64`.

    Raises:
        InstallationError: another processor, or not Linux.
    """
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in _ARCHITECTURES:
        raise InstallationError(
            f"Private services exist for Linux on x86_64 and arm64, and this is {platform.system()} on {machine}; {INSTEAD}."
        )
    return _ARCHITECTURES[machine]


class PrivateApt:
    """The host's apt-get on a tree of its own."""

    def __init__(self, folder: Path, etc_apt: Path = ETC_APT, keyring: Path = KEYRING) -> None:
        self._folder = folder
        self._downloads = folder / "downloads"
        self._architecture = debian_architecture()
        for tool in ("apt-get", "apt-config", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise InstallationError(f"{tool} is not on this host, so Debian packages cannot be fetched; {INSTEAD}.")
        mirrors = find_mirrors(etc_apt)
        if mirrors is None:
            raise InstallationError(f"{etc_apt} names no Debian mirror; add one, or {INSTEAD}.")
        if not keyring.is_file():
            raise InstallationError(f"{keyring} is missing (package debian-archive-keyring); install it, or {INSTEAD}.")
        self._write_configuration(mirrors, etc_apt, keyring)

    def _write_configuration(self, mirrors: Mirrors, etc_apt: Path, keyring: Path) -> None:
        for name in ("etc", "state/lists/partial", "cache/archives/partial", "log", "downloads"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        sources = [f"deb [signed-by={keyring}] {mirrors.main} {SUITE} main"]
        if mirrors.security:
            sources.append(f"deb [signed-by={keyring}] {mirrors.security} {SUITE}-security main")
        (self._folder / "etc/sources.list").write_text("\n".join(sources) + "\n", encoding="utf-8")
        (self._folder / "state/status").write_text("", encoding="utf-8")
        settings = [
            f'Dir "{self._folder}/";',
            f'Dir::State "{self._folder}/state";',
            f'Dir::State::status "{self._folder}/state/status";',
            f'Dir::Cache "{self._folder}/cache";',
            f'Dir::Log "{self._folder}/log";',
            f'Dir::Etc "{self._folder}/etc";',
            'Dir::Etc::parts "/dev/null";',  # the host's hooks clean the host's cache: not ours to run
            f'Dir::Etc::netrc "{etc_apt}/auth.conf";',
            f'Dir::Etc::netrcparts "{etc_apt}/auth.conf.d";',
            'Dir::Bin::methods "/usr/lib/apt/methods";',
            'Dir::Bin::solvers:: "/usr/lib/apt/solvers";',
            f'APT::Architecture "{self._architecture}";',
            f'APT::Architectures {{ "{self._architecture}"; }};',
            'APT::Install-Recommends "false";',
            'APT::Sandbox::User "root";',  # the tree belongs to the caller alone
            'Acquire::Languages "none";',
            'Acquire::Retries "3";',
            *_host_network_settings(),
        ]
        (self._folder / "apt.conf").write_text("\n".join(settings) + "\n", encoding="utf-8")

    def _run(self, *arguments: str, cwd: Path | None = None) -> str:
        result = subprocess.run(
            ["apt-get", "-q", "-y", *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd=cwd or self._folder,
            env=self._environment(),
        )
        if result.returncode != 0:
            raise _failure(arguments[0], result.stderr)
        return result.stdout

    def _environment(self) -> Mapping[str, str]:
        return {**os.environ, "APT_CONFIG": str(self._folder / "apt.conf"), "LC_ALL": "C"}

    def update(self) -> None:
        """Fetch and verify the package index.

        Raises:
            InstallationError: the mirror cannot be reached, or its signature does not verify.
        """
        self._run("update", "-o", "APT::Update::Error-Mode=any")

    def closure(self) -> list[Package]:
        """The packages to unpack, by name: the wanted ones and what they need at run time."""
        output = self._run("install", "--print-uris", *WANTED)
        packages = [package for line in output.splitlines() if (package := _package_of_line(line))]
        return sorted((p for p in packages if needed_at_run_time(p.name)), key=lambda package: package.name)

    def download(self, packages: list[Package], progress: Callable[[int, int], None]) -> list[Path]:
        """Fetch the packages; those already here and whole are kept. Gives their files.

        Raises:
            InstallationError: a download failed, or a file does not match the signed index.
        """
        total = sum(package.size for package in packages)
        with (self._folder / "log/download.log").open("w+", encoding="utf-8") as log:
            child = subprocess.Popen(
                ["apt-get", "-q", "download", *(f"{package.name}={package.version}" for package in packages)],
                cwd=self._downloads,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            try:
                while child.poll() is None:
                    progress(min(_folder_size(self._downloads), total), total)
                    time.sleep(0.1)
            finally:
                if child.poll() is None:
                    child.kill()
                    child.wait()
            log.seek(0)
            if child.returncode != 0:
                raise _failure("download", log.read())
        progress(total, total)
        return [self._file_of(package) for package in packages]

    def _file_of(self, package: Package) -> Path:
        path = self._downloads / package.file
        if not path.is_file() or path.stat().st_size != package.size:
            raise InstallationError(f"apt-get gave no whole {package.file}; run the command again, or {INSTEAD}.")
        return path


def _host_network_settings() -> list[str]:
    """The host's proxy, retry and date settings of apt, so that the private tree reaches what the host reaches."""
    dump = subprocess.run(["apt-config", "dump"], check=False, capture_output=True, text=True).stdout
    return [line for line in dump.splitlines() if _HOST_SETTINGS.match(line)]


def _package_of_line(line: str) -> Package | None:
    """`'URI' file size hash` of --print-uris; the file is name_version_architecture.deb, colons escaped."""
    parts = line.split()
    if len(parts) < 3 or not line.startswith("'") or not parts[1].endswith(".deb"):
        return None
    name, version, _architecture = parts[1].removesuffix(".deb").split("_", 2)
    return Package(name, version.replace("%3a", ":"), parts[1], int(parts[2]))


def _failure(step: str, stderr: str) -> InstallationError:
    lines = [line.strip() for line in stderr.splitlines() if line.startswith(("E:", "Err:", "W:"))]
    reason = lines[0] if lines else (stderr.strip().splitlines() or ["no message"])[-1]
    if "NO_PUBKEY" in stderr or "not signed" in stderr:
        reason = (
            f"the keyring {KEYRING} lacks the keys of Debian {SUITE} (update package debian-archive-keyring): {reason}"
        )
    return InstallationError(f"apt-get {step} failed: {reason.rstrip('.')}; check the network, or {INSTEAD}.")


def _folder_size(folder: Path) -> int:
    total = 0
    for entry in folder.rglob("*"):
        try:
            total += entry.stat().st_size
        except FileNotFoundError:
            continue  # apt renames a finished file between listing and asking
    return total
