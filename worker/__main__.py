"""`python -m worker`: rollups, silence and retention."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import structlog
from prometheus_client import start_http_server

from parking_core.errors import SettingsError
from parking_core.observability import configure_logging
from parking_core.settings import Settings
from parking_core.store.acquirer import load_keys
from worker.loops import run

log = structlog.get_logger()


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(settings, stop)


def main() -> None:
    """Runs until SIGTERM; exits 0 after the passes that ran have ended."""
    configure_logging("worker")
    try:
        settings = Settings.from_environ(os.environ)
        if not settings.acquirer.missing():
            load_keys(settings.acquirer)  # a key that cannot be read is said now, not when this worker leads
    except SettingsError as error:
        sys.exit(str(error))
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr="127.0.0.1")
    log.info("worker starts", instance=settings.instance)
    asyncio.run(_serve(settings))
    log.info("worker stopped")


if __name__ == "__main__":
    main()
