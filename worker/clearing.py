"""The clearing centre's connection: packages out, messages in, each acknowledged after its commit.

    etc_transactions ─► pack ─► etc_packages ─► send ─────────────────────────► centre
                                                reader ─► arrived (64) ─► receive ─► commit ─► reply, response
                                                        a full queue stops the reader: TCP holds the centre back
    status_lists ─► tell lanes ─► commands      every 5 s, connected or not

One task reads and one does everything else, so one database connection is enough, and none is held open in a transaction
while the network is waited for. What was sent and not answered goes again by etc_packages.next_try_at; what the centre
sent and we did not acknowledge the centre sends again. Without PARKING_CLEARING_URL transactions wait as ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import structlog

from parking_core.clearing.envelope import Parties
from parking_core.clearing.frames import (
    DamagedFrame,
    Frame,
    FrameError,
    FrameReader,
    TransportReply,
    encode_frame,
    encode_reply,
)
from parking_core.clearing.messages import write_list_request
from parking_core.flows.apply_status_list import tell_lanes
from parking_core.flows.clear_transactions import REQUESTS_FROM, UNREADABLE, receive
from parking_core.flows.pack_transactions import find_not_cleared, pack_ready, take_due_packages
from parking_core.store import clearing
from worker import metrics
from worker.pauses import Pauses
from worker.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from psycopg import Connection

    from parking_core.flows.clear_transactions import Received
    from parking_core.settings import Settings

log = structlog.get_logger()

_PASS_S: Final = 1.0  # something that is due is sent within this
_LANES_S: Final = 5.0
_NOT_CLEARED_S: Final = 3600.0
_CONNECT_S: Final = 10.0
_WRITE_S: Final = 60.0  # a centre that takes nothing for so long is gone
_ARRIVED: Final = 64  # frames between reader and database
_READ_BYTES: Final = 65_536

Arrived = Frame | DamagedFrame | TransportReply


class Clearing:
    """State of the loop: what was told last, and when."""

    def __init__(self, settings: Settings, connect: Callable[[], Connection], stop: asyncio.Event) -> None:
        self._url = settings.clearing_url
        self._parties = Parties(sender=settings.clearing_sender)
        self._zone = ZoneInfo(settings.time_zone)
        self._longest_wait = timedelta(seconds=settings.clearing_package_s)
        self._connect = connect
        self._pauses = Pauses()
        self._stop = stop
        self._lanes_at = self._not_cleared_at = 0.0
        self._told_waiting = self._told_too_large = False
        self._asked_for_list = 0.0

    async def step(self) -> float:
        """One connection to the centre, from its beginning to its end; gives the seconds until the next."""
        connection = await in_thread(self._connect)
        try:
            await self._keep_house(connection)
            if not self._url:
                await self._tell_waiting(connection)
                return _LANES_S
            return await self._one_connection(connection)
        finally:
            connection.close()

    async def _one_connection(self, connection: Connection) -> float:
        parts = urlsplit(self._url)
        try:
            async with asyncio.timeout(_CONNECT_S):
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        except OSError as error:  # a TimeoutError is one
            return self._lost(error)
        log.info("clearing centre connected")
        metrics.CLEARING_CONNECTED.set(1)
        try:
            await self._talk(_Session(connection, writer, FrameReader()), reader)
        except (OSError, FrameError) as error:
            return self._lost(error)
        finally:
            metrics.CLEARING_CONNECTED.set(0)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        return 0.0 if self._stop.is_set() else self._lost(ConnectionError("the centre has closed the connection"))

    def _lost(self, error: Exception) -> float:
        wait = self._pauses.following()
        metrics.FAILURES.labels("clearing").inc()
        log.warning("clearing centre away", error=str(error) or type(error).__name__, again_in_s=round(wait, 1))
        return wait

    async def _talk(self, session: _Session, reader: asyncio.StreamReader) -> None:
        arrived: asyncio.Queue[Arrived] = asyncio.Queue(_ARRIVED)
        reading = asyncio.create_task(_read(reader, session.frames, arrived), name="clearing reader")
        stopping = asyncio.create_task(self._stop.wait(), name="clearing stop")
        next_one = asyncio.create_task(arrived.get(), name="clearing next")
        try:
            while not stopping.done():
                more = await self._send_due(session)
                await self._keep_house(session.connection)
                timeout = 0.0 if more else _PASS_S
                await asyncio.wait({next_one, reading, stopping}, timeout=timeout, return_when="FIRST_COMPLETED")
                if next_one.done():
                    batch = [next_one.result(), *_all_of(arrived)]
                    next_one = asyncio.create_task(arrived.get(), name="clearing next")
                    await self._take(session, batch)
                elif reading.done():
                    reading.result()
                    return
        finally:
            for task in (reading, stopping, next_one):
                task.cancel()
            await asyncio.gather(reading, stopping, next_one, return_exceptions=True)

    async def _send_due(self, session: _Session) -> bool:
        """Packs what is ready and sends what is due; gives whether there was any."""
        connection = session.connection
        made = await in_thread(lambda: self._pack(connection))
        due = await in_thread(lambda: take_due_packages(connection, datetime.now(UTC)))
        for package in due:
            await session.send(package.number, package.message)
        if made:
            metrics.PACKAGES_MADE.inc(len(made))
        if due:
            metrics.PACKAGES_SENT.inc(len(due))
        return bool(due)

    def _pack(self, connection: Connection) -> list[int]:
        now = datetime.now(UTC)
        return pack_ready(connection, now, zone=self._zone, parties=self._parties, longest_wait=self._longest_wait)

    async def _take(self, session: _Session, batch: Sequence[Arrived]) -> None:
        frames = [one for one in batch if isinstance(one, Frame)]
        received = await in_thread(lambda: [self._receive(session.connection, frame) for frame in frames])
        for one in batch:
            if isinstance(one, DamagedFrame):
                log.warning("damaged frame", number=one.number, reason=one.reason)
                await session.reply(one.number, taken=False)
            elif isinstance(one, TransportReply) and not one.taken:
                log.warning("the centre did not take a message", number=one.number)
        for frame, result in zip(frames, received, strict=True):  # committed: now the centre may forget it
            await session.reply(frame.number, taken=True)
            if result.answer is not None:
                await session.send(*result.answer)
        if frames:
            self._pauses.reset()  # it talks: a connection alone says nothing
        if any(result.lacks_full_list for result in received):
            await self._ask_for_list(session)

    def _receive(self, connection: Connection, frame: Frame) -> Received:
        now = datetime.now(UTC)
        result = receive(connection, frame.number, frame.message, now, zone=self._zone, parties=self._parties)
        metrics.CLEARING_MESSAGES.labels(result.kind, str(int(result.result))).inc()
        if result.kind == UNREADABLE or result.problem:
            log.warning("clearing message", number=frame.number, kind=result.kind, problem=result.problem)
        if result.kind == "StatusListMessage":
            self._lanes_at = 0.0
        return result

    async def _ask_for_list(self, session: _Session) -> None:
        if time.monotonic() - self._asked_for_list < _LANES_S:
            return
        self._asked_for_list = time.monotonic()
        now = datetime.now(UTC)
        number = REQUESTS_FROM + int(now.timestamp() * 1_000_000)
        await session.send(number, write_list_request(number, self._parties, now, self._zone))
        log.info("asked for the full status list")

    async def _keep_house(self, connection: Connection) -> None:
        now, steady = datetime.now(UTC), time.monotonic()
        if steady - self._lanes_at >= _LANES_S:
            self._lanes_at = steady
            told = await in_thread(lambda: tell_lanes(connection, now))
            if told.queued:
                log.info("status list told to lanes", lanes=told.queued)
            if told.too_large and not self._told_too_large:
                log.error("the status list is too large for a command; lanes keep theirs", lanes=told.too_large)
            self._told_too_large = bool(told.too_large)
        if steady - self._not_cleared_at >= _NOT_CLEARED_S or not self._not_cleared_at:
            self._not_cleared_at = steady
            late = await in_thread(lambda: find_not_cleared(connection, now, zone=self._zone))
            if late:
                log.warning("packages not cleared", packages=late)

    async def _tell_waiting(self, connection: Connection) -> None:
        """Once a term, when there is something to say."""
        records, amount_fen = await in_thread(lambda: clearing.waiting(connection))
        if records and not self._told_waiting:
            self._told_waiting = True
            log.warning(
                "ETC transactions wait: set PARKING_CLEARING_URL to send them", records=records, amount_fen=amount_fen
            )


class _Session:
    """What belongs to one connection to the centre."""

    def __init__(self, connection: Connection, writer: asyncio.StreamWriter, frames: FrameReader) -> None:
        self.connection = connection
        self.frames = frames
        self._writer = writer

    async def send(self, number: int, message: bytes) -> None:
        """A message of ours; a reply to its number is told from a message by it."""
        self.frames.sent.add(number)
        await self._write(encode_frame(number, message))

    async def reply(self, number: int, *, taken: bool) -> None:
        """The transport's reply to a message of the centre."""
        await self._write(encode_reply(number, taken=taken))

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(_WRITE_S):
            await self._writer.drain()


async def _read(reader: asyncio.StreamReader, frames: FrameReader, arrived: asyncio.Queue[Arrived]) -> None:
    """Until the centre closes.

    Raises:
        FrameError: the stream cannot be followed any more.
        OSError: the connection broke.
    """
    while data := await reader.read(_READ_BYTES):
        for one in frames.feed(data):
            await arrived.put(one)
    frames.end()


def _all_of(arrived: asyncio.Queue[Arrived]) -> list[Arrived]:
    batch = []
    with contextlib.suppress(asyncio.QueueEmpty):
        while True:
            batch.append(arrived.get_nowait())
    return batch
