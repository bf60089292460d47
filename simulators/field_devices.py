"""Simulated parking locks and guidance signs: each obeys a command once, answers a repeated one again, and keeps to their order.

command ─► known id? answer again : deadline passed? refuse : given before the newest executed? refuse : move or show ─► command/ack
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import aiomqtt

from parking_core.broker_url import Broker
from parking_core.topics import Kind, device_topic

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE_S: Final = 5.0


@dataclass
class FieldDevice:
    """A device that knows some kinds of commands.

    Args:
        lot, code: its topics are made of them.
        url: broker, with a credential that may speak for it.
    """

    lot: str
    code: str
    url: str
    executed: list[str] = field(default_factory=list)  # ids, in order
    answered_again: int = 0
    _answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    _moved_at: datetime | None = None

    def kinds(self) -> dict[str, Callable[[dict[str, Any]], str | None]]:
        """What it can do: kind to an action that gives why not, or None."""
        return {}

    async def run(self) -> None:
        """One session, until it is cancelled or cut."""
        broker = Broker.from_url(self.url)
        async with aiomqtt.Client(
            broker.host,
            broker.port,
            username=broker.username,
            password=None if broker.password is None else broker.password.decode(),
            identifier=f"field-{self.code}",
            protocol=aiomqtt.ProtocolVersion.V5,
            tls_context=broker.tls,
            timeout=_PATIENCE_S,
        ) as client:
            await client.subscribe(device_topic(self.lot, self.code, Kind.COMMAND), qos=1)
            await client.publish(device_topic(self.lot, self.code, Kind.STATUS), b"online", qos=1, retain=True)
            async for message in client.messages:
                if isinstance(message.payload, bytes):
                    answer = self.obey(json.loads(message.payload), datetime.now(UTC))
                    await client.publish(
                        device_topic(self.lot, self.code, Kind.COMMAND_ACK), json.dumps(answer).encode(), qos=1
                    )

    def obey(self, command: dict[str, Any], now: datetime) -> dict[str, Any]:
        """Executes a command that is new, and answers."""
        command_id = str(command["id"])
        answer = self._answers.get(command_id)
        if answer is None:
            answer = self._answers[command_id] = self._execute(command, now)
        else:
            self.answered_again += 1
        return {"id": command_id, "at": now.isoformat(), **answer}

    def _execute(self, command: dict[str, Any], now: datetime) -> dict[str, Any]:
        action = self.kinds().get(command["kind"])
        if action is None:
            return {"result": "unknown"}
        if datetime.fromisoformat(command["deadline"]) <= now:
            return {"result": "refused", "reason": "too_late"}
        said_at = datetime.fromisoformat(command["at"])
        if self._moved_at is not None and said_at < self._moved_at:
            return {"result": "refused", "reason": "outdated"}
        if (problem := action(command["body"])) is not None:
            return {"result": "refused", "reason": problem}
        self._moved_at = said_at
        self.executed.append(str(command["id"]))
        return {"result": "done"}


@dataclass
class ParkingLock(FieldDevice):
    """Keeps a space free: raised, nobody drives onto it. It does not rise below a vehicle."""

    is_raised: bool = True
    vehicle_above: bool = False

    def kinds(self) -> dict[str, Callable[[dict[str, Any]], str | None]]:
        """Up and down."""
        return {"raise_lock": self._raise, "lower_lock": self._lower}

    def _raise(self, _body: dict[str, Any]) -> str | None:
        if self.vehicle_above:
            return "vehicle_above"
        self.is_raised = True
        return None

    def _lower(self, _body: dict[str, Any]) -> None:
        self.is_raised = False


@dataclass
class GuidanceSign(FieldDevice):
    """Shows lines of text and free counts."""

    lines: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def kinds(self) -> dict[str, Callable[[dict[str, Any]], str | None]]:
        """It shows."""
        return {"show_sign": self._show}

    def _show(self, body: dict[str, Any]) -> None:
        self.lines, self.counts = body["lines"], body["counts"]
