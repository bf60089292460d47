"""A simulated lane controller: reports records in order, asks for fees, and obeys commands, each once.

    passage ─► new_record (numbered, durable) ─► outbox ─► PUBLISH QoS 1 ─► PUBACK ─► sent
    every hour ─► hour_total of what was counted             every 45 s ─► heartbeat
    command ─► known id? answer again : deadline passed? refuse : execute ─► command/ack
                                                         └─► fee_answer wakes the passage that waits for it
    plate in front of the barrier ─► expected now? ─► raised

While the broker is away records wait in the memory, and the lane computes by itself.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from parking_core.broker_url import Broker
from parking_core.cancelling import cancel_until_done
from parking_core.topics import Kind, device_topic

if TYPE_CHECKING:
    from simulators.lane_memory import LaneMemory

FEE_PATIENCE_S: Final = 1.0  # then the lane computes by its cached tariff
_HEARTBEAT_S: Final = 45.0  # a lane is registered with an interval of a minute
_HOUR_IS_OVER_S: Final = 10.0  # records of the hour that are being written now belong to its total
_SESSION_EXPIRY_S: Final = 86_400
_BACKOFF_FIRST_S, _BACKOFF_LAST_S = 0.1, 2.0
_PUBLISH_PATIENCE_S: Final = 5.0
GOODBYE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class LaneName:
    """Which lane."""

    lot: str
    code: str


@dataclass(slots=True)
class AckFaults:
    """What happens to answers on their way: some are lost, some come twice."""

    lost: float = 0.0  # part of them
    twice: float = 0.0
    seed: int = 1
    _chance: random.Random | None = None

    def copies(self) -> int:
        """How often the next answer is sent."""
        if not self.lost and not self.twice:
            return 1
        self._chance = self._chance or random.Random(self.seed)
        drawn = self._chance.random()
        return 0 if drawn < self.lost else 2 if drawn < self.lost + self.twice else 1


class LaneController:
    """One lane, with one broker connection.

    Args:
        name: lot and lane; the topics are made of them.
        url: broker, with a credential that may speak for this lane.
        memory: what survives a restart.
    """

    def __init__(self, name: LaneName, url: str, memory: LaneMemory) -> None:
        self.name = name
        self.memory = memory
        self.gate_openings = 0
        self.executed: list[str] = []  # ids of commands in the order of execution, this start only
        self.answered_again = 0
        self.vehicle_below = False  # its loop says so
        self.faults = AckFaults()
        self.connected = asyncio.Event()
        self.gate_opened = asyncio.Condition()
        self._broker = Broker.from_url(url)
        self._fee_answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._more = asyncio.Event()

    async def run(self) -> None:
        """Stays connected until it is cancelled."""
        wait_s = _BACKOFF_FIRST_S
        while True:
            try:
                await self._session()
            except* aiomqtt.MqttError:
                wait_s = min(wait_s * 2, _BACKOFF_LAST_S)
            finally:
                self.connected.clear()
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))

    def report(self, event: str, at: datetime, **fields: object) -> int:
        """Numbers a record and hands it to the outbox; gives its number. `fields` are the wire's, None left out."""
        said = {name: value for name, value in fields.items() if value is not None}
        record = self.memory.new_record({"event": event, "at": at.isoformat(), **said})
        self._more.set()
        return int(record["record_no"])

    async def ask_fee(self, at: datetime, **fields: object) -> dict[str, Any] | None:
        """What the platform says is to be paid, or None when it does not answer within a second."""
        record_no = self.report("fee_request", at, **fields)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._fee_answers[record_no] = answer
        try:
            async with asyncio.timeout(FEE_PATIENCE_S):
                await answer
        except TimeoutError:
            return None
        finally:
            del self._fee_answers[record_no]
        return answer.result()

    def raise_for(self, plate: str, at: datetime) -> str | None:
        """Raises the barrier for a vehicle that is expected now; gives its reservation, None where it stays down."""
        reservation = self.memory.reservation_of(plate, at)
        if reservation is not None:
            self.memory.came(reservation)
            self.gate_openings += 1
        return reservation

    async def opened(self, patience_s: float) -> bool:
        """Waits until a command raises the barrier; False when none does."""
        before = self.gate_openings
        async with self.gate_opened:
            try:
                async with asyncio.timeout(patience_s):
                    await self.gate_opened.wait_for(lambda: self.gate_openings > before)
            except TimeoutError:
                return False
        return True

    async def _session(self) -> None:
        async with self._new_client() as client:
            try:
                await self._serve(client)
            except asyncio.CancelledError:  # switched off, not cut off: the last will is not published
                await client.publish(self._topic(Kind.STATUS), b"offline", qos=1, retain=True, timeout=GOODBYE_S)
                raise

    async def _serve(self, client: aiomqtt.Client) -> None:
        async with asyncio.TaskGroup() as tasks:
            await client.subscribe(self._topic(Kind.COMMAND), qos=1)
            await client.publish(self._topic(Kind.STATUS), b"online", qos=1, retain=True)
            self.connected.set()
            beside = [tasks.create_task(self._send(client)), tasks.create_task(self._tell_hours_and_life(client))]
            try:
                async for message in client.messages:
                    if isinstance(message.payload, bytes):
                        await self._obey(client, message.payload)
            finally:
                await cancel_until_done(beside)

    def _new_client(self) -> aiomqtt.Client:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho types no constructor
        properties.SessionExpiryInterval = _SESSION_EXPIRY_S
        broker = self._broker
        return aiomqtt.Client(
            broker.host,
            broker.port,
            username=broker.username,
            password=None if broker.password is None else broker.password.decode(),
            identifier=f"lane-{self.name.code}",
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=False,  # commands wait at the broker until they expire
            properties=properties,
            will=aiomqtt.Will(self._topic(Kind.STATUS), b"offline", qos=1, retain=True),
            tls_context=broker.tls,
            timeout=_PUBLISH_PATIENCE_S,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )

    async def _send(self, client: aiomqtt.Client) -> None:
        """The outbox: one record after the other, in the order of their numbers."""
        while True:
            self._more.clear()
            for record_no, record in list(self.memory.unsent.items()):
                await client.publish(self._topic(Kind.LANE), _json(record), qos=1)
                self.memory.sent(record_no)
            if not self.memory.unsent:
                await self._more.wait()

    async def _tell_hours_and_life(self, client: aiomqtt.Client) -> None:
        while True:
            now = datetime.now(UTC)
            for hour, count, amount_fen in self.memory.hours_to_tell(now - timedelta(seconds=_HOUR_IS_OVER_S)):
                self.report("hour_total", now, hour=hour.isoformat(), count=count, amount_fen=amount_fen)
            await client.publish(self._topic(Kind.HEARTBEAT), _json({"at": now.isoformat()}), qos=1)
            await asyncio.sleep(_HEARTBEAT_S)

    async def _obey(self, client: aiomqtt.Client, payload: bytes) -> None:
        command = json.loads(payload)
        command_id = str(command["id"])
        answer = self.memory.answer_of(command_id)
        if answer is None:
            self.memory.begin(command_id)
            answer = self._execute(command)
            self.memory.end(command_id, answer)
            if answer["result"] == "done":
                self.executed.append(command_id)
            async with self.gate_opened:
                self.gate_opened.notify_all()
        else:
            self.answered_again += 1
        ack = {"id": command_id, "at": datetime.now(UTC).isoformat(), **answer}
        for _ in range(self.faults.copies()):
            await client.publish(self._topic(Kind.COMMAND_ACK), _json(ack), qos=1)

    def _execute(self, command: dict[str, Any]) -> dict[str, Any]:
        if datetime.fromisoformat(command["deadline"]) <= datetime.now(UTC):
            return {"result": "refused", "reason": "too_late"}
        body = command["body"]
        match command["kind"]:
            case "fee_answer":
                waiting = self._fee_answers.get(body["record_no"])
                if waiting is None or waiting.done():
                    return {"result": "refused", "reason": "nobody_waits"}  # the lane has computed by itself
                waiting.set_result(body)
            case "open_gate":
                self.gate_openings += 1
                if body.get("reason") == "manual":
                    self.report("manual_open", datetime.now(UTC), source="manual")
            case "status_list":
                if not self.memory.keep_status_list(body):
                    return {"result": "refused", "reason": "gap"}
            case "lower_gate" | "lock_gate_open" | "unlock_gate":
                return self._move(command)
            case _:
                return {"result": "done" if self._keep(command) else "unknown"}
        return {"result": "done"}

    def _move(self, command: dict[str, Any]) -> dict[str, Any]:
        """The gate, where nothing stands below it."""
        if command["kind"] == "lower_gate" and self.vehicle_below:
            return {"result": "refused", "reason": "vehicle_below"}
        until = command["body"]["until"] if command["kind"] == "lock_gate_open" else None
        if not self.memory.moved(command["at"], until):
            return {"result": "refused", "reason": "outdated"}
        if until is not None:
            self.report("manual_open", datetime.now(UTC), source="manual")
        return {"result": "done"}

    def _keep(self, command: dict[str, Any]) -> bool:
        """What the lane only has to remember; False: it does not know this kind of command."""
        body = command["body"]
        match command["kind"]:
            case "tariff":
                self.memory.keep_tariffs(body)
            case "expect_vehicle":
                self.memory.expect(body, command["at"])
            case "forget_vehicle":
                self.memory.forget(body["reservation"], command["at"])
            case _:
                return False
        return True

    def _topic(self, kind: Kind) -> str:
        return device_topic(self.name.lot, self.name.code, kind)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
