"""Private Redis: the live-state cache. It keeps nothing on disk, since `parking rebuild` derives it from history."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onebox.home import write_atomically
from onebox.processes import ProcessSpec

if TYPE_CHECKING:
    from pathlib import Path

    from onebox.home import Home
    from onebox.runtime import Runtime


@dataclass(frozen=True)
class Cache:
    """The Redis of one home."""

    home: Home
    runtime: Runtime
    port: int
    passwords: dict[str, str]

    @property
    def folder(self) -> Path:
        """Its configuration."""
        return self.home.root / "redis"

    def url(self) -> str:
        """URL, credential included."""
        return f"redis://:{self.passwords['redis']}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """Write the configuration."""
        write_atomically(
            self.folder / "redis.conf",
            configuration(self.port, self.folder, self.passwords["redis"]),
            owner=self.home.user,
        )

    def process(self) -> ProcessSpec:
        """How to run it."""
        return ProcessSpec(
            name="redis",
            argv=(str(self.runtime.redis_server), str(self.folder / "redis.conf")),
            cwd=self.folder,
            log=self.home.logs / "redis.log",
            user=self.home.user,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            ready=self.ready,
        )

    def ready(self) -> bool:
        """Whether it answers a ping. Asked in plain protocol: the client library costs every command 0.3 s."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(f"AUTH {self.passwords['redis']}\r\nPING\r\n".encode())
                answer = connection.makefile("rb")
                return answer.readline() == b"+OK\r\n" and answer.readline() == b"+PONG\r\n"
        except OSError:
            return False


def configuration(port: int, folder: Path, password: str) -> str:
    """Text of redis.conf."""
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "protected-mode": "yes",
        "requirepass": password,
        "daemonize": "no",
        "supervised": "no",
        "dir": f'"{folder}"',
        "save": '""',
        "appendonly": "no",
        "maxmemory": "1gb",
        "maxmemory-policy": "noeviction",  # half a live state would be a wrong one: an error is better
        "disable-thp": "yes",
        "loglevel": "notice",
        "logfile": '""',
        "enable-debug-command": "no",
        "enable-module-command": "no",
    }
    lines = ["# Written by onebox at every start; changes here do not last."]
    lines += [f"{name} {value}" for name, value in settings.items()]
    return "\n".join(lines) + "\n"
