"""A GET over HTTP/1.1, small on purpose: drivers and the demo's figures need no more."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from parking_core.errors import InvalidInputError

_PATIENCE_S = 10.0
_WITHOUT_BODY = (204, 304)


class HttpConnection:
    """One keep-alive HTTP/1.1 connection that can GET; small on purpose, the simulators need no more.

    Args:
        base_url: `http://host:port`.
    """

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        if parts.scheme != "http" or not parts.hostname:
            raise InvalidInputError(f"The API address is {base_url!r}; give http://host:port.")
        self._host, self._port = parts.hostname, parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and body.

        Raises:
            OSError: there is no connection, or it broke (the next call opens a new one).
        """
        try:
            async with asyncio.timeout(_PATIENCE_S):
                reader, writer = self._streams = self._streams or await asyncio.open_connection(self._host, self._port)
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n\r\n".encode())
                status, body, stays_open = await _read_answer(reader)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            await self.close()
            raise ConnectionError(f"GET {path} failed: {str(error) or 'no answer'}") from error
        if not stays_open:
            await self.close()
        return status, body

    async def close(self) -> None:
        """Closes the connection."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Status, body, and whether the connection serves another request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    version, code = head[0].split(" ", 2)[:2]
    status = int(code)
    fields = {
        name.strip().lower(): value.strip().lower() for name, _, value in (line.partition(":") for line in head[1:])
    }
    stays_open = version == "HTTP/1.1" and fields.get("connection") != "close"
    if status in _WITHOUT_BODY:
        return status, b"", stays_open
    if fields.get("transfer-encoding") == "chunked":
        body = bytearray()
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
        return status, bytes(body), stays_open
    if "content-length" in fields:
        return status, await reader.readexactly(int(fields["content-length"])), stays_open
    return status, await reader.read(), False  # an old server ends the body by closing
