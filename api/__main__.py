"""One API process: `python -m api` reads PARKING_* and serves until SIGTERM."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import httptools
import uvicorn
from psycopg_pool import AsyncConnectionPool
from redis.asyncio import Redis
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.application import create_app
from api.following import Follower
from api.live import ABORT
from api.payment_desk import PaymentDesk
from api.sharing_desk import SharingDesk
from api.state import ApiState, HttpSettings
from parking_core.errors import ParkingError, SettingsError
from parking_core.flows.offers_in_force import OffersInForce
from parking_core.observability import configure_logging
from parking_core.settings import Settings
from parking_core.store.acquirer import AcquirerClient
from parking_core.store.live_state import LiveState

if TYPE_CHECKING:
    from api.live import LiveHub

_LARGEST_HEADERS = 16_384  # bytes of one request's headers
_DRAIN_S = 10  # how long SIGTERM waits for answers under way
_HIGHEST_PORT = 65_535
_BACKLOG = 2048  # connections that wait while a burst of them is taken
_DATABASE_PATIENCE_S = 3.0


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with two things it lacks: a limit of headers, and a way to drop a stuck client."""

    def on_message_begin(self) -> None:
        """A new request on this connection."""
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}
        self._header_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; too many make the request invalid, which uvicorn answers with 400 and a close."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > _LARGEST_HEADERS:
            raise httptools.HttpParserError("headers too large")
        super().on_header(name, value)


class ApiServer(uvicorn.Server):
    """Ends the event streams first: uvicorn would wait for them."""

    def __init__(self, config: uvicorn.Config, hub: LiveHub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drains and ends."""
        self._hub.close()
        await super().shutdown(sockets)


def build_server(settings: Settings, http: HttpSettings) -> ApiServer:
    """The server with everything wired; nothing is connected before it runs.

    Raises:
        SettingsError: a key of the acquirer cannot be used.
    """
    database = AsyncConnectionPool(
        settings.database_url,
        min_size=1,
        max_size=4,
        timeout=_DATABASE_PATIENCE_S,
        kwargs={"autocommit": True, "connect_timeout": 3, "options": "-c statement_timeout=5s -c application_name=api"},
        open=False,
        name="api",
    )
    redis = Redis.from_url(settings.redis_url, socket_connect_timeout=2, socket_timeout=5)
    acquirer = AcquirerClient.of_settings(settings.acquirer)
    sharing = SharingDesk(
        OffersInForce(ZoneInfo(settings.time_zone), f"hold:{settings.acquirer.code}"), settings.database_url
    )
    api = ApiState.build(
        http,
        clock=lambda: time.time_ns() // 1000,
        database=database,
        payments=PaymentDesk(acquirer, settings.acquirer.missing()),
        sharing=sharing,
        keeper_url=settings.keeper_url,
    )

    async def background(hub: LiveHub) -> None:
        async with database, redis, acquirer or contextlib.nullcontext(), sharing:
            await Follower(api, database, LiveState(redis)).run(hub)

    app = create_app(api, background)
    config = uvicorn.Config(
        app,
        host=http.host,
        port=http.port,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=_DRAIN_S,
    )
    return ApiServer(config, app.state.hub)


def listen(host: str, port: int) -> socket.socket:
    """The socket that requests come to, taken before anything is started: a process without one has nothing to do.

    Raises:
        SettingsError: the port is taken, or there is no such address.
    """
    if port > _HIGHEST_PORT:
        raise SettingsError(f"PARKING_HTTP_PORT is {port}; the highest port is {_HIGHEST_PORT}.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise SettingsError(
            f"Port {port} of {host} cannot be had ({error}); stop its program or set PARKING_HTTP_PORT to another."
        ) from error


def main() -> None:
    """Serves until SIGTERM; exits 1 with one sentence where a setting cannot be read."""
    configure_logging("api")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        settings = Settings.from_environ(os.environ)
    except ParkingError as error:
        sys.exit(str(error))
    http = HttpSettings.from_environ(os.environ, port=settings.http_port, time_zone=settings.time_zone)
    try:
        server = build_server(settings, http)
        listener = listen(http.host, http.port)
    except ParkingError as error:
        sys.exit(str(error))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)  # before uvicorn listens for them, and again when it hands them on after draining
    server.run(sockets=[listener])


def _leave(*_: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
