"""JSON answers: conditional, compressed when asked, with the age of their figures in the headers."""

from __future__ import annotations

import base64
import gzip
import hashlib
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.requests import Request

_SMALLEST_GZIP = 1024  # bytes; below, the header costs more than it saves
_GZIP_LEVEL = 1  # 0.1 ms for an answer of 20 lots; level 6 saves another 5 % for three times that
_TAG_BYTES = 12  # 96 bits: no two answers of one address meet by chance


class Answer(Response):
    """A finished body with finished headers: nothing is encoded again."""

    def __init__(self, body: bytes, headers: list[tuple[bytes, bytes]], status: int = 200) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = headers


def answer(request: Request, body: bytes, *, facts: bytes, as_of: str | None, cache: bytes = b"max-age=1") -> Answer:
    """200 with `body`, or 304 where the client holds the same `facts`.

    `facts` is what the answer says apart from its age. The tag is weak, because the age moves on while
    nothing happens; so every answer, 304 too, says in `Parking-As-Of` up to when its figures hold.
    """
    tag = base64.urlsafe_b64encode(hashlib.blake2b(facts, digest_size=_TAG_BYTES).digest())
    headers = [
        (b"etag", b'W/"%b"' % tag),
        (b"cache-control", cache),
        (b"vary", b"Accept-Encoding"),
    ]
    if as_of is not None:
        headers.append((b"parking-as-of", as_of.encode()))
    held, accepted = _asked(request.scope["headers"])
    if held and (held.strip() == b"*" or b'"%b"' % tag in held):
        return Answer(b"", headers, 304)
    if len(body) > _SMALLEST_GZIP and accepted and _takes_gzip(accepted):
        body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        headers.append((b"content-encoding", b"gzip"))
    headers.append((b"content-type", b"application/json"))
    headers.append((b"content-length", b"%d" % len(body)))
    return Answer(body, headers)


def _asked(headers: Any) -> tuple[bytes, bytes]:  # noqa: ANN401  # ASGI's own list of pairs
    held = accepted = b""
    for name, value in headers:
        if name == b"if-none-match":
            held = held + b"," + value if held else value
        elif name == b"accept-encoding":
            accepted = accepted + b"," + value if accepted else value
    return held, accepted


def _takes_gzip(accepted: bytes) -> bool:
    """Whether Accept-Encoding names gzip (or anything) with a weight above 0."""
    for coding in accepted.lower().split(b","):
        name, _, weight = coding.partition(b";")
        if name.strip() in (b"gzip", b"*"):
            _, _, quality = weight.partition(b"=")
            return quality.strip(b" 0.") != b"" or not quality.strip()
    return False
