"""`make bench`: every benchmark with its peers, and one table.

    python -m benchmarks [ingest] [lanes] [clearing] [quotes] [closing] [latency] [http] [rebuild] [allocation] [online] [hospital]
                         [reservations] [storm] [week]
                         [--messages N] [--rounds N] [--quick] [--json FILE]

Private services run in a folder of their own (--home) and are stopped at the end. PARKING_RUNTIME, where it is set,
names a folder of unpacked services to use instead of unpacking them again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import (
    allocation,
    allocation_online,
    clearing,
    closing,
    device_week,
    hospital_month,
    http,
    ingest_table,
    lanes,
    latency,
    quotes,
    rebuild,
    reconnect_storm,
    reservations,
)
from benchmarks.stage import Stage, default_home, stage
from benchmarks.table import Row, show

if TYPE_CHECKING:
    from collections.abc import Callable

    Figures = dict[str, object]

MESSAGES = 1_000_000
QUICK_MESSAGES, QUICK_PROBES, QUICK_EVENTS = 100_000, 60, 1_000_000
NAMES = (
    "ingest",
    "lanes",
    "clearing",
    "quotes",
    "closing",
    "latency",
    "http",
    "rebuild",
    "allocation",
    "online",
    "hospital",
    "reservations",
    "storm",
    "week",
)
_WITHOUT_SERVICES = frozenset({"http", "quotes", "allocation", "online", "hospital"})
_PACKAGES = (
    *("mqtt5", "psycopg", "numpy", "redis", "fastapi", "uvicorn", "aiomqtt", "sqlalchemy", "mq-bridge"),
    *("numba", "highspy", "ortools"),
)


def machine(running: Stage | None) -> Figures:
    """Where and when this was measured."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")),
        platform.processor(),
    )
    found: Figures = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "load_average_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }
    if running is not None:
        found["services"] = running.versions()
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.is_file() else []


def _measure(names: list[str], running: Stage | None, asked: argparse.Namespace) -> tuple[list[Row], Figures]:
    messages = QUICK_MESSAGES if asked.quick else asked.messages
    probes = QUICK_PROBES if asked.quick else latency.PROBES
    events = QUICK_EVENTS if asked.quick else rebuild.EVENTS
    known: dict[str, Callable[[], tuple[list[Row], dict[str, object]]]] = {
        "http": lambda: (http.run(), {}),
        "quotes": quotes.run,
        "allocation": lambda: allocation.run(quick=asked.quick),
        "online": lambda: allocation_online.run(quick=asked.quick),
        "hospital": lambda: hospital_month.run(quick=asked.quick),
    }
    if running is not None:
        known |= {
            "ingest": lambda: ingest_table.run(running, messages, asked.rounds),
            "lanes": lambda: lanes.run(running, messages // 5, asked.rounds),
            "clearing": lambda: clearing.run(running, messages // 20),
            "closing": lambda: closing.run(running, closing.VISITS // (8 if asked.quick else 1)),
            "latency": lambda: latency.run(running, probes),
            "rebuild": lambda: rebuild.run(running, events),
            "storm": lambda: reconnect_storm.run(running, reconnect_storm.DEVICES // (10 if asked.quick else 1)),
            "week": lambda: device_week.run(running, asked.home, quick=asked.quick),
            "reservations": lambda: reservations.run(running, reservations.REQUESTS // (5 if asked.quick else 1)),
        }
    rows: list[Row] = []
    figures: Figures = {}
    for name in names:
        began = time.monotonic()
        mine, figures[name] = known[name]()
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        rows += mine
    return rows, figures


def main() -> None:
    """Runs what was asked for and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *NAMES], metavar="name")
    parser.add_argument("--messages", type=int, default=MESSAGES, help="readings of the ingest benchmark")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of the ingest benchmark, in alternating order")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything: shows that it runs, not how fast")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    parser.add_argument("--home", type=Path, default=default_home(), help="folder of the private services")
    asked = parser.parse_args()
    names = asked.names or list(NAMES)
    if set(names) <= _WITHOUT_SERVICES:
        where = machine(None)
        rows, figures = _measure(names, None, asked)
    else:
        with stage(asked.home) as running:
            where = machine(running)
            rows, figures = _measure(names, running, asked)
    print(f"{where['date']}  {where['cpu']}, {where['cores']} cores, {where['memory_gb']} GB, {where['system']}")
    print("  ".join(f"{name} {number}" for name, number in _versions(where).items()))
    print(show(rows))
    if asked.json:
        document = {"machine": where, "rows": [_named(row) for row in rows], "figures": figures}
        asked.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _versions(where: Figures) -> dict[str, object]:
    services, packages = where.get("services"), where["packages"]
    assert isinstance(packages, dict)
    return {"python": where["python"], **(services if isinstance(services, dict) else {}), **packages}


def _named(row: Row) -> dict[str, str]:
    return {name: str(getattr(row, name)) for name in ("name", "figure", "beside", "ratio", "bar")}


if __name__ == "__main__":
    main()
