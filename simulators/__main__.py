"""`python -m simulators SCENARIO [--speed N] [--for SECONDS] [--district FILE]`: simulated sensors of a district.

PARKING_MQTT_URL names the broker, with a credential that may publish for any device.

`python -m simulators clearing-centre [--port P] [--truth-port P] [--day SECONDS] ...`: a simulated ETC clearing centre.

`python -m simulators acquirer --notify URL --key FILE --merchant-key FILE ...`: a simulated acquirer of QR payments.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import uvloop

from parking_core.districts import District, parse_district
from parking_core.errors import InvalidInputError, ParkingError, SettingsError
from simulators import acquirer, clearing_centre
from simulators.district import generate_district
from simulators.scenario import load_scenario, scenario_names
from simulators.sensors import Fleet
from simulators.simulation import Simulation

_LINE_EVERY_S = 5.0


def main() -> None:
    """Runs one scenario until it is told to stop."""
    if sys.argv[1:2] == ["clearing-centre"]:
        clearing_centre.main(sys.argv[2:])
        return
    if sys.argv[1:2] == ["acquirer"]:
        acquirer.main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        prog="python -m simulators",
        description="Simulated sensors of a district.",
        epilog="Others: `clearing-centre`, `acquirer`; each has its own --help.",
    )
    parser.add_argument("scenario", choices=scenario_names())
    parser.add_argument("--speed", type=float, default=1.0, metavar="N", help="simulated seconds a real second")
    parser.add_argument("--for", dest="seconds", type=float, metavar="SECONDS", help="stop after so many real seconds")
    parser.add_argument("--district", type=Path, metavar="FILE", help="district file (default: the synthetic district)")
    options = parser.parse_args()
    if not options.speed > 0:
        parser.error("--speed must be above 0")
    try:
        url = os.environ.get("PARKING_MQTT_URL")
        if not url:
            raise SettingsError("PARKING_MQTT_URL is not set; `parking status --json` shows it as mqtt_url.")
        fleet = Fleet(
            _district(options.district), load_scenario(options.scenario), time.time_ns() // 1000, options.speed
        )
        uvloop.run(_run(Simulation(fleet, url), options.seconds))
    except ParkingError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


def _district(file: Path | None) -> District:
    if file is None:
        return generate_district()
    parsed = parse_district(file.read_bytes())
    if isinstance(parsed, list):
        raise InvalidInputError(f"{file} is no district file ({parsed[0]}); check it with `parking seed {file}`.")
    return parsed


async def _run(simulation: Simulation, seconds: float | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if seconds is not None:
        loop.call_later(seconds, stop.set)
    lines = asyncio.create_task(_print_lines(simulation), name="progress lines")
    try:
        await simulation.run(stop)
    finally:
        lines.cancel()
    sys.stdout.write(f"{_line(simulation)}\n")


async def _print_lines(simulation: Simulation) -> None:
    while True:
        await asyncio.sleep(_LINE_EVERY_S)
        sys.stdout.write(f"{_line(simulation)}\n")
        sys.stdout.flush()


def _line(simulation: Simulation) -> str:
    progress = simulation.progress
    return (
        f"published {progress.published}  acknowledged {progress.acknowledged}  refused {progress.refused}  "
        f"unheard {progress.unheard}  reconnects {progress.reconnects}  behind {progress.behind_s:.1f} s"
    )


if __name__ == "__main__":
    main()
