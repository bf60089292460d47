"""Devices that come back: each connects with its own credential, says its state at QoS 1, stays a while, and sleeps."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import mqtt5
import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

STAY_S: Final = 15.0  # connected after it was served; a process here may have 20,000 files open
_PATIENCE_S: Final = 60.0
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Client:
    """A device: user name, secret, topic, and the space that it watches."""

    name: str
    secret: str
    topic: str
    space: str


@dataclass(frozen=True, slots=True)
class Served:
    """What became of a device; seconds since the storm began."""

    due: float  # when it wanted to connect
    connected: float  # CONNACK
    acknowledged: float  # PUBACK of its state
    tries: int


class _Conversation(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[mqtt5.Packet] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is one, and says so to nobody

    def data_received(self, data: bytes) -> None:
        if not self._answer.done():
            self._answer.set_result(mqtt5.read(memoryview(data))[0])

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the broker closed the connection"))
            self._answer.exception()  # retrieved: nobody may be waiting any more

    async def ask(self, packet: bytes) -> mqtt5.Packet:
        """Sends, and gives the answer."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(packet)
        return await self._answer

    def leave(self) -> None:
        """Says goodbye."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(mqtt5.DisconnectPacket().write())
            self._transport.close()


async def storm(port: int, clients: Sequence[Client], spread_s: float, seed: int) -> list[Served]:
    """All of them come back within `spread_s`; returns when each was served."""
    chance = random.Random(seed)
    began = time.perf_counter()
    moments = [chance.uniform(0, spread_s) for _ in clients]
    stays: set[asyncio.Task[None]] = set()

    async def one(client: Client, due: float) -> Served:
        await asyncio.sleep(due - (time.perf_counter() - began))
        for number in range(1, _TRIES + 1):
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    conversation, connected = await _connect(port, client, began)
                    said = {"space": client.space, "occupied": True, "at": time.time_ns() // 1_000_000, "seq": 1}
                    payload = msgspec.json.encode(said)
                    packet = mqtt5.PublishPacket(client.topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1)
                    answer = await conversation.ask(packet.write())
            except (OSError, TimeoutError):
                await asyncio.sleep(chance.uniform(0.5, 1.5) * number)
                continue
            if not isinstance(answer, mqtt5.PubAckPacket) or answer.reason_code.value >= 0x80:
                raise RuntimeError(f"{client.name} may not say its state: {answer}.")
            task = asyncio.create_task(_stay(conversation))
            stays.add(task)
            task.add_done_callback(stays.discard)
            return Served(due, connected, time.perf_counter() - began, number)
        raise RuntimeError(f"{client.name} was not served in {_TRIES} tries.")

    served = await asyncio.gather(*(one(client, due) for client, due in zip(clients, moments, strict=True)))
    for task in list(stays):
        task.cancel()
    await asyncio.gather(*stays, return_exceptions=True)
    return served


async def _connect(port: int, client: Client, began: float) -> tuple[_Conversation, float]:
    loop = asyncio.get_running_loop()
    _, conversation = await loop.create_connection(_Conversation, "127.0.0.1", port)
    hello = mqtt5.ConnectPacket(
        "", username=client.name, password=client.secret.encode(), clean_start=True, keep_alive=120
    )
    answer = await conversation.ask(hello.write())
    if not isinstance(answer, mqtt5.ConnAckPacket) or answer.reason_code is not mqtt5.ConnAckReasonCode.SUCCESS:
        raise RuntimeError(f"{client.name} is not let in: {answer}.")
    return conversation, time.perf_counter() - began


async def _stay(conversation: _Conversation) -> None:
    try:
        await asyncio.sleep(STAY_S)
    finally:
        conversation.leave()
