"""Who may connect to the broker, told to the broker: the client of Mosquitto's dynamic security.

One connection a change; the broker writes its whole file at every change (0.12 s for 21,000 clients), so that many devices at once
get their credentials by the file instead (`parking devices issue --all`).
"""

from __future__ import annotations

import contextlib
import json
import socket
from typing import TYPE_CHECKING, Any, Final

import mqtt5

from parking_core.broker_clients import ANSWER_TOPIC, CONTROL_TOPIC
from parking_core.broker_url import Broker
from parking_core.errors import ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PATIENCE_S: Final = 15.0  # the file of a district takes the broker some 0.2 s
_CHUNK: Final = 65_536
_EXISTS: Final = "Client already exists"
_ABSENT: Final = "Client not found"


class Keeper:
    """Tells the broker who may connect. Every change also ends the connection of the client that it is about."""

    def __init__(self, url: str) -> None:
        self._broker = Broker.from_url(url)

    def admit(self, name: str, secret: str) -> None:
        """The client connects with this secret from now on, and with no other.

        Raises:
            ServiceUnavailableError: the broker cannot be told.
        """
        (problem,) = self._tell([{"command": "createClient", "username": name, "password": secret}])
        if problem == _EXISTS:
            changes = [
                {"command": "setClientPassword", "username": name, "password": secret},
                {"command": "enableClient", "username": name},
            ]
            problem = next((each for each in self._tell(changes) if each), "")
        _raise_if(problem, name)

    def expel(self, names: Sequence[str]) -> None:
        """The clients do not connect any more. Errors as in `admit`."""
        self._each("deleteClient", names)

    def shut_out(self, names: Sequence[str]) -> None:
        """The clients do not connect until they are let in. Errors as in `admit`."""
        self._each("disableClient", names)

    def let_in(self, names: Sequence[str]) -> None:
        """The end of `shut_out`. Errors as in `admit`."""
        self._each("enableClient", names)

    def names(self) -> frozenset[str]:
        """Everybody whom the broker knows. Errors as in `admit`."""
        (answer,) = self._ask([{"command": "listClients", "count": -1, "offset": 0}])
        return frozenset(answer["data"]["clients"])

    def _each(self, command: str, names: Sequence[str]) -> None:
        for name, problem in zip(
            names, self._tell([{"command": command, "username": name} for name in names]), strict=True
        ):
            if problem != _ABSENT:  # whom the broker does not know it does not let in
                _raise_if(problem, name)

    def _tell(self, commands: Sequence[dict[str, Any]]) -> list[str]:
        """What was wrong with each; "": nothing."""
        return [answer.get("error", "") for answer in self._ask(commands)] if commands else []

    def _ask(self, commands: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        try:
            with self._connected() as conversation:
                return conversation.ask(commands)
        except (OSError, ValueError, KeyError) as error:  # a URL never stands in these
            raise ServiceUnavailableError(
                f"The broker cannot be told who may connect ({error}); nothing was changed, try again."
            ) from error

    @contextlib.contextmanager
    def _connected(self) -> Iterator[_Conversation]:
        broker = self._broker
        with socket.create_connection((broker.host, broker.port), timeout=_PATIENCE_S) as plain:
            wrapped = plain if broker.tls is None else broker.tls.wrap_socket(plain, server_hostname=broker.host)
            with wrapped:
                wrapped.settimeout(_PATIENCE_S)
                yield _Conversation(wrapped, broker)


class _Conversation:
    """One connection: hello, subscription, question, answer."""

    def __init__(self, connection: socket.socket, broker: Broker) -> None:
        self._connection = connection
        self._unread = b""
        hello = mqtt5.ConnectPacket(
            "", username=broker.username, password=broker.password, clean_start=True, keep_alive=0
        )
        answer = self._exchange(hello.write())
        if not isinstance(answer, mqtt5.ConnAckPacket) or answer.reason_code is not mqtt5.ConnAckReasonCode.SUCCESS:
            raise ServiceUnavailableError("The broker refuses its keeper; check PARKING_MQTT_KEEPER_URL.")
        wanted = mqtt5.TopicFilter(ANSWER_TOPIC, max_qos=mqtt5.QoS.AT_LEAST_ONCE)
        granted = self._exchange(mqtt5.SubscribePacket(1, [wanted]).write())
        if not isinstance(granted, mqtt5.SubAckPacket) or any(code.value >= 0x80 for code in granted.reason_codes):
            raise ServiceUnavailableError(
                "The broker does not answer its keeper; check the keeper's role at the broker."
            )

    def ask(self, commands: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The broker's answers, one a command."""
        content = json.dumps({"commands": list(commands)}).encode()
        question = mqtt5.PublishPacket(CONTROL_TOPIC, content, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=2)
        self._connection.sendall(question.write())
        while True:
            packet = self._next()
            if isinstance(packet, mqtt5.PublishPacket) and packet.topic == ANSWER_TOPIC:
                answers: list[dict[str, Any]] = json.loads(packet.payload)["responses"]
                self._connection.sendall(mqtt5.DisconnectPacket().write())
                return answers
            if isinstance(packet, mqtt5.PubAckPacket) and packet.reason_code.value >= 0x80:
                raise ServiceUnavailableError("The broker takes no orders from its keeper; check the keeper's role.")

    def _exchange(self, packet: bytes) -> mqtt5.Packet:
        self._connection.sendall(packet)
        return self._next()

    def _next(self) -> mqtt5.Packet:
        while True:
            try:
                packet, size = mqtt5.read(memoryview(self._unread))
            except IndexError:
                content = self._connection.recv(_CHUNK)
                if not content:
                    raise ServiceUnavailableError("The broker closed its keeper's connection; try again.") from None
                self._unread += content
                continue
            self._unread = self._unread[size:]
            return packet


def _raise_if(problem: str, name: str) -> None:
    if problem:
        raise ServiceUnavailableError(f"The broker did not take {name!r}: {problem}; nothing was changed.")
