"""PARKING_HOME: where the private services, their data, logs and credentials live, and who owns them."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parking_core.errors import InstallationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WORK_FOLDER = "run/work"  # current folder of the platform's processes
_LOCK_PATIENCE_S = 900.0  # a first `up` may download for minutes; a second one waits for it instead of failing
_FOLDERS_OF_THE_SERVICE_USER = ("postgres", "mosquitto", "redis", "logs", "run/sockets")


@dataclass(frozen=True)
class ServiceUser:
    """Whom the services run as. `switch` is False when that is the caller already."""

    name: str
    uid: int
    gid: int
    switch: bool

    def popen_options(self) -> dict[str, Any]:
        """Arguments for `subprocess` that drop to this user, supplementary groups included."""
        if not self.switch:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


@dataclass(frozen=True)
class Home:
    """One PARKING_HOME. The runtime may lie elsewhere, shared by several homes (PARKING_RUNTIME)."""

    root: Path
    runtime: Path
    user: ServiceUser

    @property
    def logs(self) -> Path:
        """Folder of log files."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Folder of the state of a running instance."""
        return self.root / "run"

    @property
    def owner_lock(self) -> Path:
        """Held for life by whoever runs services here: a supervisor, or a test run."""
        return self.run / "owner.lock"

    @property
    def instance_file(self) -> Path:
        """State of the running instance, credentials included: readable by the caller only."""
        return self.run / "instance.json"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], root: Path | None = None) -> Home:
        """Home named by `root` or PARKING_HOME, else the default of the caller.

        Raises:
            InstallationError: PARKING_SERVICE_USER names no user.
        """
        place = root or Path(environ.get("PARKING_HOME") or default_root(environ))
        place = place.expanduser().absolute()
        shared = environ.get("PARKING_RUNTIME")
        runtime = Path(shared).expanduser().absolute() if shared else place / "runtime"
        return cls(place, runtime, service_user(environ))

    def prepare(self) -> None:
        """Create the folders, hand those of the services to their user, and prove that it reaches them.

        Raises:
            InstallationError: a folder cannot be created, or the service user cannot pass a parent folder.
        """
        try:
            self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
            self.run.mkdir(mode=0o755, exist_ok=True)
            for name in _FOLDERS_OF_THE_SERVICE_USER:
                folder = self.root / name
                folder.mkdir(mode=0o700, exist_ok=True)
                if self.user.switch and folder.stat().st_uid != self.user.uid:
                    os.chown(folder, self.user.uid, self.user.gid)
        except OSError as error:
            raise InstallationError(
                f"{error.filename} cannot be prepared ({error.strerror}); set PARKING_HOME to a folder you may write."
            ) from error
        self._require_passage()

    def _require_passage(self) -> None:
        for folder in (*reversed(self.root.parents), self.root):
            if not passable(folder, self.user):
                raise InstallationError(
                    f"The service user {self.user.name} cannot enter {folder}, a part of PARKING_HOME {self.root}; "
                    f"set PARKING_HOME to a folder it can reach, for example /var/lib/parking."
                )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this home against another `up` or `down`; waits for the one that holds it.

        Raises:
            InstallationError: it is still held after 15 minutes.
        """
        self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
        with file_lock(self.root / "lock", patience_s=_LOCK_PATIENCE_S):
            yield


@contextmanager
def file_lock(path: Path, patience_s: float) -> Iterator[None]:
    """Hold an exclusive lock that the kernel drops when this process ends, however it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience_s
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise InstallationError(
                        f"Another parking command holds {path}; wait for it to end, or end it, and try again."
                    ) from None
                time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)


def default_root(environ: Mapping[str, str]) -> Path:
    """Where a home lies when nobody said: a folder the service user reaches, for others their data folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/parking")
    data = environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path("~/.local/share").expanduser()) / "parking"


def service_user(environ: Mapping[str, str]) -> ServiceUser:
    """Whom the services run as: the caller, or for root the user of PARKING_SERVICE_USER (default nobody).

    Raises:
        InstallationError: that user does not exist, or is root.
    """
    if os.geteuid() != 0:
        uid = os.geteuid()
        return ServiceUser(user_name(uid), uid, os.getegid(), switch=False)
    name = environ.get("PARKING_SERVICE_USER") or "nobody"
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise InstallationError(
            f"PARKING_SERVICE_USER is {name!r}, but this host has no such user; create it."
        ) from error
    if entry.pw_uid == 0:
        raise InstallationError("PARKING_SERVICE_USER is root; PostgreSQL refuses to run as root, name another user.")
    return ServiceUser(name, entry.pw_uid, entry.pw_gid, switch=True)


def user_name(uid: int) -> str:
    """Name of a user, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)  # a container may run under a number without a name


def passable(folder: Path, user: ServiceUser) -> bool:
    """Whether the user may pass through the folder, asked of the kernel as that user."""
    answer = subprocess.run(["test", "-x", str(folder)], check=False, cwd="/", **user.popen_options())
    return answer.returncode == 0


def write_atomically(path: Path, content: str, *, mode: int = 0o600, owner: ServiceUser | None = None) -> None:
    """Replace a file so that a reader, or a crash, sees the old or the new content, never a part."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if owner is not None and owner.switch:
                os.fchown(file.fileno(), owner.uid, owner.gid)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, or None when there is no such file.

    Raises:
        InstallationError: the file cannot be read or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise InstallationError(f"{path} cannot be read by this user; run as the user who owns it.") from error
    except ValueError as error:
        raise InstallationError(f"{path} holds no JSON ({error}); run `parking down` and remove the file.") from error
    if not isinstance(content, dict):
        raise InstallationError(f"{path} holds no JSON object; run `parking down` and remove the file.")
    return content
