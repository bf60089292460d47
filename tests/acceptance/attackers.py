"""People who mean harm, against the broker on this machine only; each stops by itself."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import mqtt5

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PATIENCE_S = 3.0
_AGAIN_S = 0.25


@dataclass
class Attack:
    """What an attacker has achieved."""

    sent: int = 0
    refused_logins: int = 0
    denied: int = 0
    kicked: int = 0
    errors: list[str] = field(default_factory=list)


class Attacker:
    """Somebody with a user name and a secret, right or wrong."""

    def __init__(self, url: str, name: str, secret: str) -> None:
        port = urlsplit(url).port
        assert port
        self.port, self.name, self.secret = port, name, secret
        self.attack = Attack()
        self._threads: list[threading.Thread] = []

    def begin(self, act: Callable[[Attacker], None]) -> Attacker:
        """Does it in the background."""
        thread = threading.Thread(target=self._guarded, args=(act,), daemon=True)
        thread.start()
        self._threads.append(thread)
        return self

    def join(self, patience_s: float = 120.0) -> Attack:
        """Waits for the end."""
        for thread in self._threads:
            thread.join(patience_s)
            assert not thread.is_alive(), f"{self.name} never ends"
        assert not self.attack.errors, self.attack.errors
        return self.attack

    def _guarded(self, act: Callable[[Attacker], None]) -> None:
        try:
            act(self)
        except Exception as error:  # a thread's error must reach the test
            self.attack.errors.append(repr(error))

    def connect(self) -> socket.socket | None:
        """A session, or None: the broker does not let him in."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE_S)
        hello = mqtt5.ConnectPacket("", username=self.name, password=self.secret.encode(), clean_start=True)
        connection.sendall(hello.write())
        answer = connection.recv(100)
        if len(answer) > 3 and answer[0] == 0x20 and answer[3] == 0:
            return connection
        connection.close()
        self.attack.refused_logins += 1
        return None

    def publish(self, connection: socket.socket, topic: str, payload: bytes, packet_id: int = 1) -> bool:
        """One message at QoS 1; False: denied, or he was disconnected."""
        packet = mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id)
        try:
            connection.sendall(packet.write())
            answer = connection.recv(100)
        except OSError:
            answer = b""
        if len(answer) >= 4 and answer[0] == 0x40 and (answer[1] == 2 or answer[4] < 0x80):
            self.attack.sent += 1
            return True
        self.attack.denied += 1
        return False


def flooding(
    topic: str, payloads: Callable[[int], bytes], a_second: float, number: int, until: float
) -> Callable[[Attacker], None]:
    """Publishes at QoS 0 without waiting for anything, and comes back whenever he is thrown out, until `until`."""

    def act(attacker: Attacker) -> None:
        connection: socket.socket | None = None
        begin, sent = time.monotonic(), 0
        while time.monotonic() < until and sent < number:
            if connection is None:
                connection = attacker.connect()
                if connection is None:
                    time.sleep(_AGAIN_S)
                    continue
            due = min(number, int((time.monotonic() - begin) * a_second) + 1)
            packets = b"".join(mqtt5.PublishPacket(topic, payloads(at)).write() for at in range(sent, due))
            try:
                connection.sendall(packets)
                connection.settimeout(0)
                with contextlib.suppress(BlockingIOError):
                    connection.recv(100)
                    raise ConnectionResetError  # whatever he hears is a goodbye
                connection.settimeout(_PATIENCE_S)
            except OSError:
                attacker.attack.kicked += 1
                connection.close()
                connection = None
            sent = due
            attacker.attack.sent = sent
            time.sleep(0.01)
        if connection is not None:
            connection.close()

    return act


def forging(topics: Sequence[str], payload: bytes, until: float) -> Callable[[Attacker], None]:
    """Publishes under other names, a connection after the other."""

    def act(attacker: Attacker) -> None:
        number = 0
        while time.monotonic() < until:
            connection = attacker.connect()
            if connection is None:
                time.sleep(_AGAIN_S)
                continue
            for packet_id in (1, 2):
                attacker.publish(connection, topics[number % len(topics)], payload, packet_id)
                number += 1
            connection.close()
            time.sleep(0.02)

    return act


def knocking(until: float) -> Callable[[Attacker], None]:
    """Tries to get in with what he has."""

    def act(attacker: Attacker) -> None:
        while time.monotonic() < until:
            connection = attacker.connect()
            if connection is not None:
                connection.close()
                attacker.attack.sent += 1
            time.sleep(0.02)

    return act


def garbling(until: float) -> Callable[[Attacker], None]:
    """Sends packets that are none."""

    def act(attacker: Attacker) -> None:
        hello = mqtt5.ConnectPacket(
            "", username=attacker.name, password=attacker.secret.encode(), clean_start=True
        ).write()
        publish = mqtt5.PublishPacket(
            "parking/v1/L1/x/occupancy", b"{}", qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1
        ).write()
        third_qos = bytes([0x36]) + publish[1:]
        scripts = (
            (hello[:9],),
            (hello, b"\x32\xff\xff\xff\x7f"),
            (hello, b"\x32\xff\xff\xff\xff\x01"),
            (hello, third_qos),
            (hello, b"\x32\x07\x00\x02\xff\xfe\x00\x01\x00"),
            (hello, hello),
            (publish,),
            (os.urandom(64),),
        )
        while time.monotonic() < until:
            for script in scripts:
                with contextlib.closing(
                    socket.create_connection(("127.0.0.1", attacker.port), timeout=0.2)
                ) as connection:
                    for part in script:
                        with contextlib.suppress(OSError):
                            connection.sendall(part)
                            connection.recv(100)
                attacker.attack.sent += 1

    return act
