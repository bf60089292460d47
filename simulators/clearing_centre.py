"""A simulated ETC clearing centre: takes packages by TCP, answers, books, disputes, decides, pays, gives out status lists.

    connection ─► read ─► judge ─► transport reply ─► outbox: response, bookkeeping
                    └── transport reply to ours ─► off the outbox
    outbox ─► pump ─► connection        until taken; some twice, some out of order, some late
    days   ─► end_day ─► outbox         dispute decisions, totals, status lists
    books and outbox ─► memory          a centre that is started again goes on where it was

`python -m simulators clearing-centre` runs one; its books are JSON on a second port.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sys
import time
from collections import OrderedDict
from dataclasses import KW_ONLY, dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from simulators import clearing_wire as wire
from simulators.clearing_books import CentreBooks, Habits
from simulators.clearing_memory import CentreMemory

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ZONE = ZoneInfo("Asia/Shanghai")
_ASK_AGAIN_S = 2.0  # a message that was not taken is sent again after this
_OVERTAKES = 8  # a reordered message passes at most so many
_HTTP = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n"


@dataclass(slots=True)
class _Waiting:
    """A message in the outbox: when it may be sent (again), and how often it must still be taken."""

    message: bytes
    due_at: float
    times: int


@dataclass(slots=True)
class ClearingCentre:
    """One centre, to which one platform connects. `books` is what tests compare with."""

    habits: Habits = field(default_factory=Habits)
    day_s: float | None = None  # seconds a day; None: days end when `end_day` is called
    _: KW_ONLY
    calendar: bool = False  # short days bear the date of now, as packages do; else each day has the next date
    memory: CentreMemory = field(default_factory=CentreMemory)
    books: CentreBooks = field(init=False)
    resends: int = 0  # packages that came again
    _outbox: OrderedDict[int, _Waiting] = field(default_factory=OrderedDict)
    _sent: set[int] = field(default_factory=set)
    _on_their_way: set[int] = field(default_factory=set)  # sent on this connection, not taken yet
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _handlers: set[asyncio.Task[None]] = field(default_factory=set)
    _servers: list[asyncio.Server] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _draws: random.Random = field(init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        first = 8 * 10**18 + int(time.time()) * 10**6  # a centre that is started again does not use numbers again
        self.books = CentreBooks(self.habits, datetime.now(_ZONE).date(), first)
        self._draws = random.Random(self.habits.seed)
        for entry in self.memory.read():
            self._remember(entry)

    async def start(self, port: int = 0, truth_port: int | None = None) -> int:
        """Listens on the loopback; gives the port. With `truth_port` the books are JSON there."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        self._servers.append(server)
        if truth_port is not None:
            self._servers.append(await asyncio.start_server(self._tell_truth, "127.0.0.1", truth_port))
        self._tasks.append(asyncio.create_task(self._pump(), name="outbox"))
        if self.day_s is not None:
            self._tasks.append(asyncio.create_task(self._days(self.day_s), name="days"))
        return int(server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Closes everything."""
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        self.drop_connections()  # ends the handlers
        await asyncio.gather(*self._tasks, *self._handlers, return_exceptions=True)
        self.memory.close()

    def drop_connections(self) -> None:
        """Cuts every connection, in the middle of whatever was on it."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def end_day(self) -> None:
        """The centre's day ends."""
        today = datetime.now(_ZONE).date() if self.calendar else None
        self.memory.note(day_ends=today and today.isoformat())
        self.send(self.books.end_day(today))

    def publish(self, changes: dict[tuple[str, str], int | None]) -> None:
        """Gives out a status list: an increment, the first time a full one."""
        self.memory.note(changes=[[*key, reason] for key, reason in changes.items()])
        self.send([self.books.publish(changes, datetime.now(_ZONE))])

    def send(self, messages: Iterable[tuple[int, bytes]], after_s: float = 0.0) -> None:
        """Puts messages into the outbox; habits decide which are repeated."""
        now = time.monotonic() + after_s
        for number, message in messages:
            times = 2 if self._draws.random() < self.habits.repeated else 1
            self.memory.note(send=number, message=message.decode(), times=times)
            self._outbox[number] = _Waiting(message, now, times)
            self._sent.add(number)
        self._wake.set()

    @property
    def idle(self) -> bool:
        """Whether everything was taken."""
        return not self._outbox

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._handlers.add(task)
            task.add_done_callback(self._handlers.discard)
        self._writers.add(writer)
        for number in self._on_their_way:
            self._outbox[number].due_at = time.monotonic()  # nobody knows what the last connection lost
        self._on_their_way.clear()
        self._wake.set()
        try:
            while True:
                number, content = await wire.read(reader, self._sent)
                self._take(number, content, writer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, ValueError):
            return  # the platform connects again
        finally:
            self._writers.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _take(self, number: int, content: wire.Content, writer: asyncio.StreamWriter) -> None:
        if isinstance(content, bool):
            self._taken(number, taken=content)
            return
        if content is None:
            writer.write(b"%020d0" % number)
            return
        message_class, message_type, root = wire.class_of(content)
        lost = False
        if (message_class, message_type) == ("5", "7"):
            lost = self._package(number, content)
        elif message_class == "6":
            self.books.results_of_platform[int(root.findtext("Body/Result", "0"))] += 1
        elif (message_class, message_type) == ("1", "9"):
            self.memory.note(full=True)
            self.send([self.books.full_list(datetime.now(_ZONE))])
        if not lost:
            writer.write(b"%020d1" % number)

    def _package(self, number: int, message: bytes) -> bool:
        """Whether the transport's reply gets lost."""
        first = number not in self.books.verdicts
        result = self.books.judge(number, message)
        self.resends += not first
        if first:
            self._note_package(number, result)
        drawn = self._draws.random() if first else 1.0
        lost = drawn < self.habits.lost_replies
        if drawn >= self.habits.lost_replies + self.habits.lost_responses:
            answer = self.books.number()
            self.send([(answer, wire.response(answer, number, result))], self.habits.response_s)
        if first and result == 1:
            self.send([self.books.bookkeeping(number)], self.habits.bookkeeping_s)
        return lost

    def _note_package(self, number: int, result: int) -> None:
        known = self.books.package(number)
        day, sent = known or (None, None)
        self.memory.note(
            package=number,
            result=result,
            day=day and day.isoformat(),
            sent=sent and [[*one.key, one.fen, one.card] for one in sent],
        )

    def _remember(self, entry: dict[str, Any]) -> None:
        """Lives through a line of the journal; messages that come of it stand in lines of their own."""
        match entry:
            case {"package": number, "result": result, "sent": None}:
                self.books.verdicts[number] = result
            case {"package": number, "result": result, "day": day, "sent": sent}:
                known = [wire.Sent((terminal, serial), fen, card) for terminal, serial, fen, card in sent]
                self.books.remember(number, result, date.fromisoformat(day), known)
            case {"day_ends": today}:
                self.books.end_day(today and date.fromisoformat(today))
            case {"changes": changes}:
                listed = {(kind, number): reason for kind, number, reason in changes}
                self.books.publish(listed, datetime.now(_ZONE))
            case {"full": True}:
                self.books.full_list(datetime.now(_ZONE))
            case {"send": number, "message": message, "times": times}:
                self._outbox[number] = _Waiting(message.encode(), 0.0, times)
                self._sent.add(number)
            case {"taken": number} if number in self._outbox:
                self._take_off(number)

    def _take_off(self, number: int) -> None:
        self._outbox[number].times -= 1
        if self._outbox[number].times <= 0:
            del self._outbox[number]

    def _taken(self, number: int, *, taken: bool) -> None:
        waiting = self._outbox.get(number)
        if waiting is None:
            return
        self._on_their_way.discard(number)
        if taken:
            self.memory.note(taken=number)
            self._take_off(number)
        waiting.due_at = time.monotonic()
        self._wake.set()

    async def _pump(self) -> None:
        while True:
            self._wake.clear()
            now = time.monotonic()
            due = [number for number, waiting in self._outbox.items() if waiting.due_at <= now]
            writer = next(iter(self._writers), None)
            if writer is not None and not writer.is_closing():
                for number in self._shuffled(due):
                    waiting = self._outbox[number]
                    waiting.due_at = now + _ASK_AGAIN_S
                    self._on_their_way.add(number)
                    writer.write(wire.frame(number, waiting.message))
                with contextlib.suppress(OSError):
                    await writer.drain()
            with contextlib.suppress(TimeoutError):  # not wait_for, which loses a cancellation that meets its event
                async with asyncio.timeout(0.05):
                    await self._wake.wait()

    def _shuffled(self, numbers: list[int]) -> list[int]:
        for position in range(len(numbers) - 1, 0, -1):
            if self._draws.random() < self.habits.reordered:
                other = max(0, position - self._draws.randint(1, _OVERTAKES))
                numbers.insert(other, numbers.pop(position))
        return numbers

    async def _days(self, day_s: float) -> None:
        while True:
            await asyncio.sleep(day_s)
            self.end_day()
            self.publish(self.books.random_changes())

    async def _tell_truth(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            body = json.dumps(self.books.summary()).encode()
            writer.write(_HTTP.format(len(body)).encode() + body)
            await writer.drain()
        writer.close()


def main(arguments: Sequence[str]) -> None:
    """Runs a centre until it is told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m simulators clearing-centre", description="A simulated ETC clearing centre on the loopback."
    )
    parser.add_argument("--port", type=int, default=0, help="of the platform's connection (default: any free one)")
    parser.add_argument("--truth-port", type=int, metavar="PORT", help="the centre's books as JSON over HTTP")
    parser.add_argument("--day", type=float, default=86_400.0, metavar="SECONDS", help="length of a day of the centre")
    parser.add_argument("--seed", type=int, default=1)
    shares = {"disputed": "records", "lost-replies": "packages", "lost-responses": "packages"}
    shares |= {"repeated": "messages", "reordered": "messages"}
    for name, of in shares.items():
        parser.add_argument(f"--{name}", type=float, default=0.0, metavar="SHARE", help=f"of {of}")
    options = parser.parse_args(arguments)
    habits = Habits(
        seed=options.seed,
        disputed=options.disputed,
        lost_replies=options.lost_replies,
        lost_responses=options.lost_responses,
        repeated=options.repeated,
        reordered=options.reordered,
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(ClearingCentre(habits, options.day), options.port, options.truth_port))


async def _serve(centre: ClearingCentre, port: int, truth_port: int | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    listening = await centre.start(port, truth_port)
    sys.stdout.write(f"PARKING_CLEARING_URL=tcp://127.0.0.1:{listening}\n")
    sys.stdout.flush()
    await stop.wait()
    await centre.stop()
