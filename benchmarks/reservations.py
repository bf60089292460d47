"""How long a driver waits for the answer to a request for a shared space: the real API process and database.

The synthetic district's 43 shared lots are filled by requests for the two nights to come; then others ask, each an account
that the process has not seen before: one after the other, and eight at a time. Every answer is a promise with its hold,
events, notice and gate command, committed, or a refusal with alternatives, committed too. What is measured is what the
client sees: headers sent to body read, over a connection that it keeps.
"""

from __future__ import annotations

import json
import random
import statistics
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from benchmarks.stage import Database, Stage, wait_until
from benchmarks.table import Row
from onebox.commands.seed import load
from parking_core.flows.keep_accounts import Wanted, add_accounts
from parking_core.flows.offers_in_force import read_offer
from parking_core.flows.roll_capacity import horizon, roll_capacity
from parking_core.slots import SLOTS
from parking_core.store import capacity
from simulators.district import DistrictSize, generate_district

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parking_core.offers import Offer

BAR_P99_MS: Final = 5.0
REQUESTS: Final = 2_000  # of each measurement
FILLING: Final = 2_000
CLIENTS: Final = 8
_ZONE: Final = ZoneInfo("Asia/Shanghai")
_SIX: Final = clock_time(18)
_NEAR_DEG: Final = 0.004  # destinations lie about so far from a shared lot: 400 m
_PRICED_DAYS: Final = 4
_HIGHEST_PRICE_FEN: Final = 20.0  # of a slot


@dataclass(frozen=True, slots=True)
class Client:
    """A driver who will ask once."""

    token: str
    body: bytes


@dataclass(slots=True)
class Answers:
    """What clients saw."""

    seconds: list[float] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    took_s: float = 0.0

    def quantile_ms(self, part: float) -> float:
        """A quantile of the time to the answer."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(int(part * len(ordered)), len(ordered) - 1)]


def prepare(database: Database, drivers: int, rng: random.Random) -> list[Client]:
    """The district with capacity and prices in force, and drivers who want to park in its nights."""
    now = datetime.now(UTC)
    load(database.owner_url, generate_district(DistrictSize(), 20_240))
    with closing(database.connect()) as connection:
        offer = read_offer(connection, now, _ZONE, "hold:acq")
        roll_capacity(connection, offer, now)
        _price(connection, offer, now)
        wanted = [Wanted(code=f"D-{n:05}", plates=(f"苏B{n:05}",)) for n in range(drivers)]
        issued = add_accounts(connection, wanted)
        connection.execute("ANALYZE")
    return [
        Client(one.token, json.dumps(_request(offer, rng, now, each.plates[0])).encode())
        for one, each in zip(issued, wanted, strict=True)
    ]


def _price(connection: Any, offer: Offer, now: datetime) -> None:  # noqa: ANN401  # a connection of any row type
    """Prices as they are after a re-solve: every decision reads and weighs them."""
    chance = np.random.default_rng(7)
    ids = [each.id for each in offer.classes]
    first, _ = horizon(offer, now)
    with connection.transaction():
        for ahead in range(_PRICED_DAYS):
            price = chance.uniform(0, _HIGHEST_PRICE_FEN, (len(ids), 1)) * np.ones((1, SLOTS))
            capacity.keep_prices(connection, ids, first + timedelta(days=ahead), price, now)


def _request(offer: Offer, rng: random.Random, now: datetime, plate: str) -> dict[str, Any]:
    """A stay of some hours in one of the two nights to come, near a shared lot."""
    lot = rng.choice(offer.lots)
    evening = datetime.combine((now.astimezone(_ZONE) + timedelta(days=rng.randint(1, 2))).date(), _SIX, _ZONE)
    arrive = evening + timedelta(minutes=5 * rng.randint(6, 96))
    depart = arrive + timedelta(minutes=5 * rng.randint(6, 48))
    return {
        "lat": lot.lat + rng.gauss(0, _NEAR_DEG),
        "lon": lot.lon + rng.gauss(0, _NEAR_DEG),
        "walk_m": 800,
        "arrive_at": arrive.isoformat(),
        "depart_at": depart.isoformat(),
        "plate": plate,
    }


def ask_all(port: int, clients: Sequence[Client], at_once: int) -> Answers:
    """Every client asks once, over `at_once` connections.

    Raises:
        RuntimeError: an answer was neither a promise nor a refusal.
    """
    seen, lock = Answers(), threading.Lock()

    def ask(mine: Sequence[Client]) -> None:
        seconds, states = [], Counter[str]()
        with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as http:
            for number, client in enumerate(mine):
                headers = {
                    "Authorization": f"Bearer {client.token}",
                    "Content-Type": "application/json",
                    "Idempotency-Key": f"bench-{number}",
                }
                began = time.perf_counter()
                http.request("POST", "/v1/reservations", client.body, headers)
                answer = http.getresponse()
                body = answer.read()
                seconds.append(time.perf_counter() - began)
                if answer.status not in (200, 201):
                    raise RuntimeError(f"The API answered {answer.status}: {body[:200]!r}")
                found = json.loads(body)
                states[found["state"] if found["refusal"] is None else found["refusal"]["reason"]] += 1
        with lock:
            seen.seconds += seconds
            seen.states += states

    began = time.perf_counter()
    threads = [threading.Thread(target=ask, args=(clients[part::at_once],)) for part in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen.took_s = time.perf_counter() - began
    if len(seen.seconds) != len(clients):
        raise RuntimeError(f"Only {len(seen.seconds)} of {len(clients)} requests were answered.")
    return seen


def measure(stage: Stage, requests: int, filling: int) -> dict[int, Answers]:
    """Answers by how many asked at once; 0: those that filled the lots."""
    with stage.database() as database:
        clients = prepare(database, filling + 2 * requests, random.Random(20))
        api = stage.start_system(database, "api")["api"]
        try:
            wait_until(lambda: bool(api.metrics()), api)
            found = {0: ask_all(api.metrics_port, clients[:filling], CLIENTS)}
            with closing(database.connect()) as connection:
                connection.execute("ANALYZE")  # as the database itself does within a minute; plans were for no rows
            stage.checkpoint()
            rest = clients[filling:]
            found[1] = ask_all(api.metrics_port, rest[:requests], 1)
            found[CLIENTS] = ask_all(api.metrics_port, rest[requests:], CLIENTS)
        finally:
            stage.stop_children()
    return found


def run(stage: Stage, requests: int = REQUESTS) -> tuple[list[Row], dict[str, object]]:
    """Rows of the table, and the figures behind them."""
    found = measure(stage, requests, FILLING if requests == REQUESTS else requests)
    rows, figures = [], dict[str, object]()
    for at_once, seen in found.items():
        p50, p99 = seen.quantile_ms(0.5), seen.quantile_ms(0.99)
        name = f"clients_{at_once}" if at_once else "filling"
        figures[name] = {
            "p50_ms": p50,
            "p99_ms": p99,
            "worst_ms": seen.quantile_ms(1.0),
            "mean_ms": 1000 * statistics.fmean(seen.seconds),
            "a_second": len(seen.seconds) / seen.took_s,
            "answers": dict(seen.states),
        }
        if at_once:
            granted = seen.states["granted"] / len(seen.seconds)
            who = "1 client" if at_once == 1 else f"{at_once} clients"
            rows.append(
                Row(
                    f"request for a shared space → committed answer, {who}, {granted:.0%} granted",
                    f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, {len(seen.seconds) / seen.took_s:,.0f}/s",
                    "",
                    "",
                    f"p99 ≤ {BAR_P99_MS:.0f} ms" if at_once == 1 else "",
                )
            )
    return rows, figures
