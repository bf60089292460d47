"""Private Mosquitto: loopback, named users only, and a topic list that binds a device to its own name."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mqtt5

from onebox.home import write_atomically
from onebox.processes import ProcessSpec
from parking_core.errors import InstallationError

if TYPE_CHECKING:
    from onebox.home import Home
    from onebox.runtime import Runtime

_LARGEST_PACKET = 2_097_152  # a 1 MB message must arrive to become a dead letter; more is refused at the door
_QUEUED_BYTES = 1_073_741_824  # per client: hours of a district's messages while the gateway is away
_USERS = {"gateway": "mqtt_gateway", "devices": "mqtt_devices"}

ACCESS = """\
# The gateway hears devices and network servers, and sends commands.
user gateway
topic read parking/v1/#
topic write parking/v1/+/+/command
topic read application/+/device/+/event/+
topic read v3/+/devices/+/up
topic read city/v1/#

# Simulators and replay stand for any device.
user devices
topic readwrite parking/v1/#
topic readwrite application/+/device/+/event/+
topic readwrite v3/+/devices/+/up
topic readwrite city/v1/#

# Any other user is a device: its user name is its code, and only there may it publish, and never a command to itself.
pattern write parking/v1/+/%u/occupancy
pattern write parking/v1/+/%u/heartbeat
pattern write parking/v1/+/%u/status
pattern write parking/v1/+/%u/lane
pattern write parking/v1/+/%u/raw
pattern write parking/v1/+/%u/command/ack
pattern read parking/v1/+/%u/command
"""


@dataclass(frozen=True)
class Broker:
    """The broker of one home."""

    home: Home
    runtime: Runtime
    port: int
    passwords: dict[str, str]

    @property
    def folder(self) -> Path:
        """Configuration, users and the persistence file."""
        return self.home.root / "mosquitto"

    def url(self, user: str) -> str:
        """URL of `gateway` or `devices`, credential included."""
        return f"mqtt://{user}:{self.passwords[_USERS[user]]}@127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Write configuration, access list and, keeping the users that were added, the password file."""
        data = self.folder / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        if self.home.user.switch:
            os.chown(data, self.home.user.uid, self.home.user.gid)
        write_atomically(self.folder / "access", ACCESS, owner=self.home.user)
        write_atomically(self.folder / "mosquitto.conf", configuration(self.port, self.folder), owner=self.home.user)
        passwords = self.folder / "passwords"
        known = _hashes(passwords)
        if not _USERS.keys() <= known.keys():
            known |= self._hashed({user: self.passwords[name] for user, name in _USERS.items()})
            self._write_users(known)

    def set_password(self, user: str, password: str) -> None:
        """Give a device (its code is the user name) a credential of its own; the broker takes it on SIGHUP."""
        self._write_users(_hashes(self.folder / "passwords") | self._hashed({user: password}))

    def _write_users(self, hashes: dict[str, str]) -> None:
        text = "".join(f"{user}:{value}\n" for user, value in hashes.items())
        write_atomically(self.folder / "passwords", text, owner=self.home.user)

    def _hashed(self, users: dict[str, str]) -> dict[str, str]:
        """Hash with the broker's own tool, in a private file: a password in an argument list is seen by all."""
        with tempfile.TemporaryDirectory(dir=self.home.root) as scratch:
            path = Path(scratch) / "users"
            write_atomically(path, "".join(f"{user}:{password}\n" for user, password in users.items()))
            result = subprocess.run(
                [str(self.runtime.mosquitto_passwd), "-U", str(path)], check=False, capture_output=True, text=True
            )
            if result.returncode != 0:
                raise InstallationError(f"mosquitto_passwd failed: {result.stderr.strip()}; run `parking doctor`.")
            return _hashes(path)

    def process(self) -> ProcessSpec:
        """How to run it."""
        return ProcessSpec(
            name="mosquitto",
            argv=(str(self.runtime.mosquitto), "-c", str(self.folder / "mosquitto.conf")),
            cwd=self.folder,
            log=self.home.logs / "mosquitto.log",
            user=self.home.user,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            ready=self.ready,
        )

    def ready(self) -> bool:
        """Whether it accepts our credential."""
        hello = mqtt5.ConnectPacket(
            client_id="",
            clean_start=True,
            keep_alive=10,
            username="devices",
            password=self.passwords["mqtt_devices"].encode(),
        )
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(hello.write())
                answer = connection.recv(4)
                connection.sendall(mqtt5.DisconnectPacket().write())
        except OSError:
            return False
        return len(answer) == 4 and answer[0] == 0x20 and answer[3] == 0


def _hashes(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def configuration(port: int, folder: Path) -> str:
    """Text of mosquitto.conf."""
    settings = {
        "per_listener_settings": "false",
        "allow_anonymous": "false",
        "password_file": str(folder / "passwords"),
        "acl_file": str(folder / "access"),
        "persistence": "true",
        "persistence_location": f"{folder / 'data'}/",
        "autosave_on_changes": "false",
        "autosave_interval": "5",  # seconds: the most that a kill -9 of the broker can cost
        "persistent_client_expiration": "7d",
        "max_queued_messages": "0",  # no limit by number ...
        "max_queued_bytes": str(_QUEUED_BYTES),  # ... but by bytes, per client
        "max_inflight_messages": "0",  # the subscriber's Receive Maximum is the window
        "message_size_limit": "0",
        "max_packet_size": str(_LARGEST_PACKET),
        "set_tcp_nodelay": "false",  # a packet a message costs the broker a fifth more CPU, and saves 1 ms at the median
        "sys_interval": "10",
        "log_dest": "stderr",
        "log_timestamp_format": "%Y-%m-%dT%H:%M:%S",
        "connection_messages": "false",
        "listener": f"{port} 127.0.0.1",
    }
    lines = ["# Written by onebox at every start; changes here do not last."]
    lines += [f"{name} {value}" for name, value in settings.items()]
    lines += [f"log_type {kind}" for kind in ("error", "warning", "notice")]
    return "\n".join(lines) + "\n"
