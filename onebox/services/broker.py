"""Private Mosquitto: loopback, named users only, and a topic list that binds a device to its own name."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mqtt5

from onebox.authority import Authority
from onebox.home import write_atomically
from onebox.processes import ProcessSpec
from parking_core import broker_clients
from parking_core.device_credentials import verifier_of
from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from onebox.authority import Door
    from onebox.home import Home
    from onebox.runtime import Runtime
    from parking_core.device_credentials import Verifier

_LARGEST_PACKET = 2_097_152  # a 1 MB message must arrive to become a dead letter; more is refused at the door
_QUEUED_BYTES = 1_073_741_824  # per client: hours of a district's messages while the gateway is away
_USERS = {user: f"mqtt_{user}" for user in broker_clients.OWN_USERS}  # names of their passwords
_KEEPER = "keeper"
CLIENTS_FILE = "dynamic-security.json"
_DOOR_FILES = {"cafile": "authority.pem", "certfile": "broker.pem", "keyfile": "broker.key"}

ACCESS = """\
# The gateway hears devices and network servers, and sends commands.
user gateway
topic read parking/v1/#
topic write parking/v1/+/+/command
topic read application/+/device/+/event/+
topic write application/+/device/+/command/down
topic read v3/+/devices/+/up
topic read v3/+/devices/+/join
topic read v3/+/devices/+/down/+
topic write v3/+/devices/+/down/push
topic read loriot/v1/+/+/up
topic write loriot/v1/+/+/down
topic read city/v1/#
topic read $SYS/broker/log/#

# Simulators and replay stand for any device and any network server.
user devices
topic readwrite parking/v1/#
topic readwrite application/#
topic readwrite v3/#
topic readwrite loriot/v1/#
topic readwrite city/v1/#

# Network servers: each in its own topics.
user chirpstack
topic write application/+/device/+/event/+
topic read application/+/device/+/command/down

user things_stack
topic write v3/+/devices/+/up
topic write v3/+/devices/+/join
topic write v3/+/devices/+/down/ack
topic write v3/+/devices/+/down/nack
topic write v3/+/devices/+/down/sent
topic write v3/+/devices/+/down/failed
topic write v3/+/devices/+/down/queued
topic read v3/+/devices/+/down/push

user loriot
topic write loriot/v1/+/+/up
topic read loriot/v1/+/+/down

# Issues, rotates and revokes credentials; nothing else.
user keeper
topic write $CONTROL/dynamic-security/v1
topic read $CONTROL/dynamic-security/v1/response

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
    door: Door | None = None  # encrypted, beside the plain one

    @property
    def folder(self) -> Path:
        """Configuration, users and the persistence file."""
        return self.home.root / "mosquitto"

    def url(self, user: str) -> str:
        """URL of one of our own users (gateway, devices, keeper, chirpstack, ...), credential included."""
        return f"mqtt://{user}:{self.passwords[_USERS[user]]}@127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Write configuration, access list and, where it lacks our own users, the file of clients."""
        data = self.folder / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        if self.home.user.switch:
            os.chown(data, self.home.user.uid, self.home.user.gid)
        write_atomically(self.folder / "access", ACCESS, owner=self.home.user)
        if self.door is not None:
            Authority(self.home).ensure_broker(self.door.names, self.home.user, self.folder)
        write_atomically(
            self.folder / "mosquitto.conf",
            configuration(self.port, self.folder, self.runtime.dynamic_security, self.door),
            owner=self.home.user,
        )
        if not _USERS.keys() <= self.known_clients():
            self.write_clients({})

    def known_clients(self) -> frozenset[str]:
        """User names in the file; nothing where there is no file, or none that can be read."""
        try:
            return broker_clients.names_of(self._clients.read_bytes())
        except (OSError, InvalidInputError):
            return frozenset()

    def write_clients(self, devices: Mapping[str, Verifier], disabled: frozenset[str] = frozenset()) -> None:
        """Write who may connect: the platform's own users, and these devices by their codes.

        The broker reads the file when it starts, and writes it when the keeper tells it something: write it while the broker is
        down, or restart it.
        """
        own = {user: verifier_of(self.passwords[name]) for user, name in _USERS.items()}
        content = broker_clients.document({**devices, **own}, _KEEPER, disabled)
        write_atomically(self._clients, content.decode(), owner=self.home.user)

    @property
    def _clients(self) -> Path:
        return self.folder / CLIENTS_FILE

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


def configuration(port: int, folder: Path, dynamic_security: Path, door: Door | None = None) -> str:
    """Text of mosquitto.conf."""
    settings = {
        "per_listener_settings": "false",
        "allow_anonymous": "false",
        "plugin": str(dynamic_security),
        "plugin_opt_config_file": str(folder / CLIENTS_FILE),
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
        "connection_messages": "true",  # who is refused, and why: the gateway counts these lines
        "listener": f"{port} 127.0.0.1",
    }
    lines = ["# Written by onebox at every start; changes here do not last."]
    lines += [f"{name} {value}" for name, value in settings.items()]
    lines.append("log_dest topic")
    lines += [f"log_type {kind}" for kind in ("error", "warning", "notice")]
    if door is not None:
        lines += [f"listener {door.port} {door.host}", "require_certificate true", "tls_version tlsv1.2"]
        lines += [f"{name} {folder / file}" for name, file in _DOOR_FILES.items()]
    return "\n".join(lines) + "\n"
