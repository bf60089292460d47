"""`GET /v1/live`: availability changes as server-sent events.

A stream holds no queue. It remembers the version of the board that its client has seen and, at most a few times
a second, sends the present figures of the lots that moved since: a slow client gets fewer events, never old ones,
and costs no memory. One that takes nothing for SEND_TIMEOUT_S is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from fastapi import Request  # noqa: TC002  # FastAPI reads annotations at run time
from msgspec import Meta
from starlette.responses import Response

from api.availability import lot_tail, page_head
from api.openapi import operation
from api.problems import problem
from api.query import InvalidQueryError, ParameterProblem, parse_query

if TYPE_CHECKING:
    from fastapi import APIRouter
    from starlette.types import Receive, Scope, Send

    from api.board import Board
    from api.state import ApiState

TICK_S = 0.25  # a lot is sent four times a second at most
HEARTBEAT_S = 15.0  # below the minute after which proxies close a silent connection
SEND_TIMEOUT_S = 20.0
_LOOK_EVERY_S = 1.0  # how soon a stream says that the figures became stale
RETRY_MS = 2000  # what a browser waits before it comes back
_MOST_LOTS = 500
ABORT = "parking.abort"  # ASGI extension of our server: closes the socket without waiting for the client


class LiveQuery(msgspec.Struct, frozen=True):
    """Which lots."""

    lots: (
        Annotated[str, Meta(description="Codes or ids, separated by commas, 500 at most; without: every lot.")] | None
    ) = None


class LiveHub:
    """Wakes the streams of this process when the board moved, and ends them when the process does."""

    def __init__(self, api: ApiState) -> None:
        self.api = api
        self.clients = 0
        self.closing = False
        self._moved = asyncio.Event()
        self._frame: tuple[object, ...] = ()
        self._frame_bytes = b""

    async def run(self) -> None:
        """Ticks for ever."""
        seen = -1
        while True:
            await asyncio.sleep(TICK_S)
            if self.api.snapshot.version != seen:
                seen = self.api.snapshot.version
                self._wake()

    def close(self) -> None:
        """Ends every stream; their clients come back to another process."""
        self.closing = True
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    @property
    def tick(self) -> asyncio.Event:
        """Set at the next tick with changes; take it before looking at the board, so that none is missed."""
        return self._moved

    def frame(self, board: Board, wanted: frozenset[str] | None, since: int) -> bytes:
        """One event with the lots that moved after version `since`; empty where none did."""
        snapshot = self.api.snapshot
        key = (board, wanted, since, snapshot.version)
        if self._frame == key:  # all streams without a filter that keep up ask for the same
            return self._frame_bytes
        rows = np.flatnonzero(board.version > since).tolist()
        if wanted is not None:
            lots = board.lots
            rows = [row for row in rows if lots[row].code in wanted]
        frame = b""
        if rows:
            tail = lot_tail(snapshot)
            pieces = [b"%bnull%b" % (board.brief["wgs84"][row], board.figures(row)) for row in rows]
            body = page_head(snapshot) + (tail + b",").join(pieces) + tail + b"]}"
            frame = b"id: %b\nevent: availability\ndata: %b\n\n" % (snapshot.last_id, body)
        self._frame, self._frame_bytes = key, frame
        return frame


class LiveStream(Response):
    """One client's stream."""

    media_type = "text/event-stream"

    def __init__(self, hub: LiveHub, wanted: frozenset[str] | None, last_event_id: bytes) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._hub = hub
        self._wanted = wanted
        self._seen = hub.api.snapshot.version_at(last_event_id) or 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends until the client leaves, is too slow, or the process ends."""
        hub = self._hub
        hub.clients += 1
        hub.api.measures.live_clients.inc()
        sending = asyncio.ensure_future(self._send_events(send))
        leaving = asyncio.ensure_future(_until_gone(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        except TimeoutError:
            hub.api.measures.live_dropped.inc()
            extension = scope.get("extensions", {}).get(ABORT)
            if extension:  # another server: the end of the response closes the connection, later
                extension["abort"]()
        finally:
            hub.clients -= 1
            hub.api.measures.live_clients.dec()
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send_events(self, send: Send) -> None:
        hub, snapshot = self._hub, self._hub.api.snapshot
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await _send(send, b"retry: %d\n\n" % RETRY_MS)
        loop = asyncio.get_running_loop()
        last_sent, was_stale = loop.time(), snapshot.stale()
        while not hub.closing:
            tick, frame = hub.tick, b""
            if snapshot.board is not None and snapshot.version != self._seen:
                frame = hub.frame(snapshot.board, self._wanted, self._seen)
                self._seen = snapshot.version
            if was_stale != snapshot.stale():
                was_stale = not was_stale
                frame += b"event: freshness\ndata: %b]}\n\n" % page_head(snapshot)
            if not frame and loop.time() - last_sent >= HEARTBEAT_S:
                frame = b": as of %b\n\n" % (snapshot.as_of() or "never").encode()
            if frame:
                await _send(send, frame)
                last_sent = loop.time()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(tick.wait(), _LOOK_EVERY_S)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send(send: Send, frame: bytes) -> None:
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await send({"type": "http.response.body", "body": frame, "more_body": True})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def live_routes(router: APIRouter, hub: LiveHub) -> None:
    """Adds the routes of this file."""

    @router.get(
        "/v1/live",
        tags=["availability"],
        **operation(None, query=LiveQuery, errors=(422, 503), media_type="text/event-stream"),
        summary="Changes of availability as server-sent events",
    )
    async def live(request: Request) -> Response:
        """Events `availability` hold the answer's shape of /v1/availability with the lots that moved.

        The first event holds every lot asked for, after `Last-Event-ID` only what moved since, where that is
        still known. `freshness` says that the figures became stale or live again.
        """
        query = parse_query(LiveQuery, request.scope["query_string"])
        board = hub.api.board()
        wanted = frozenset(query.lots.split(",")) if query.lots else None
        if wanted is not None:
            absent = sorted(lot for lot in wanted if board.find(lot) is None)
            if absent or len(wanted) > _MOST_LOTS:
                reason = (
                    f"There is no lot {absent[0][:100]!r}." if absent else f"These are more than {_MOST_LOTS} lots."
                )
                raise InvalidQueryError(ParameterProblem("lots", reason))
            wanted = frozenset(board.lots[row].code for lot in wanted if (row := board.find(lot)) is not None)
        if hub.clients >= hub.api.http.live_clients or hub.closing:
            return problem(
                503,
                "This process serves as many event streams as it may.",
                code="too_many_streams",
                headers={"Retry-After": "5"},
            )
        return LiveStream(hub, wanted, request.headers.get("last-event-id", "").encode())
