"""The outermost layer, pure ASGI: request ids, size limits, security headers, measurements, and the last net for errors."""

from __future__ import annotations

import itertools
import os
import re
import time
from typing import TYPE_CHECKING

import structlog

from api.problems import problem, request_id

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from api.measures import Measures

log = structlog.get_logger()

LONGEST_URL = 4096  # bytes of path and query: 500 lot codes fit
LONGEST_BODY = 65_536  # bytes; no route takes more
_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_PROCESS = os.urandom(4).hex().encode()  # request ids of ours: which process, which of its requests
_requests = itertools.count(1)
_PAYMENTS = "/v1/payments/"
_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]


class Edge:
    """Wraps the whole application; see the module."""

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self._app = app
        self._measures = measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; a lifespan passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0
        identity, refusal = _look_at(scope)
        more_headers = [(b"x-request-id", identity), *_SECURITY_HEADERS]

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *more_headers]
            await send(message)

        if scope["method"] == "HEAD":
            scope = dict(scope, method="GET")  # the server still knows that it was HEAD and sends no body
        token = request_id.set(identity.decode())
        try:
            await (refusal or self._app)(scope, _Counted(receive), send_with_headers)
        except _BodyTooLargeError:
            if status:
                raise
            await _too_large()(scope, receive, send_with_headers)
        except Exception:  # supervisor: the last net, nothing of the inside may leave
            log.exception("request failed", path=_loggable(scope), request_id=identity.decode())
            if status:
                raise  # half an answer left already: only closing the connection tells the client
            await _internal()(scope, receive, send_with_headers)
        finally:
            request_id.reset(token)
            self._measures.request(scope, status, time.perf_counter() - began)


def _loggable(scope: Scope) -> str:
    """The path, of a payment link the route only: its token is all that a driver has."""
    path: str = scope["path"]
    return getattr(scope.get("route"), "path", _PAYMENTS) if path.startswith(_PAYMENTS) else path


class _BodyTooLargeError(Exception):
    """A body without a length went on for too long."""


class _Counted:
    """`receive` that gives up on a body longer than LONGEST_BODY."""

    __slots__ = ("_receive", "_size")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._size = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > LONGEST_BODY:
            raise _BodyTooLargeError
        return message


def _look_at(scope: Scope) -> tuple[bytes, ASGIApp | None]:
    """The request's id, and the answer to one that is too large to be looked at further."""
    identity = b""
    length = b"0"
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            identity = value
        elif name == b"content-length":
            length = value
    if not (identity and _SANE_REQUEST_ID.fullmatch(identity)):
        identity = b"%b%08x" % (_PROCESS, next(_requests) & 0xFFFFFFFF)
    if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_URL:
        return identity, _Refusal(414)
    if not length.isdigit() or len(length) > 12 or int(length) > LONGEST_BODY:
        return identity, _Refusal(413)
    return identity, None


class _Refusal:
    """Answers without a look at the request; made late so that it carries the request's id."""

    def __init__(self, status: int) -> None:
        self._status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _too_large() if self._status == 413 else _too_long()
        await answer(scope, receive, send)


def _too_large() -> ASGIApp:
    detail = f"The body is longer than {LONGEST_BODY} bytes."
    return problem(413, detail, code="body_too_large", headers={"Connection": "close"})


def _too_long() -> ASGIApp:
    return problem(414, f"Path and query are longer than {LONGEST_URL} bytes.", code="url_too_long")


def _internal() -> ASGIApp:
    return problem(500, "This is a mistake of ours; the request id finds it in our logs.", code="internal_error")
