"""Traffic through the lanes of ETC lots: cars come, stay, ask what they owe, pay, and leave.

    arrival   ─► entry record
    departure ─► fee_request ─► fee_answer within a second, or the lane's own tariff
                   ├─ nothing due        ─► exit
                   ├─ card, not listed   ─► charged by the antenna ─► exit with the transaction
                   ├─ phone              ─► pays the link ─► open_gate ─► exit
                   └─ else               ─► exit, arrears

Lanes of lots that share spaces have a barrier only, which rises for who was promised a space (simulators.lane_guests).

Records carry real times. At its first start the traffic tells of cars that came in the hours before, as controllers do
that were offline, so that fees are worth looking at from the first minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from parking_core.cancelling import cancel_until_done
from parking_core.tariffs import PlateColor, Stay, Tariff, parse_tariff, price
from parking_core.work_calendar import WorkCalendar
from simulators.lane_controller import GOODBYE_S, LaneController, LaneName
from simulators.lane_guests import car_of, comes_at
from simulators.lane_memory import LaneMemory
from simulators.lane_vehicles import Car, Pays, charge, new_car

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

    from parking_core.districts import LaneRecord, LotRecord

    Payer = Callable[[str], Awaitable[bool]]  # pays the link of a path; False: it cannot be paid

CARS_AT_FIRST: Final = 30  # in each lot
EARLIEST: Final = timedelta(hours=10)  # when those came, at most so long ago
GATE_PATIENCE_S: Final = 30.0  # of a driver who has paid
_GUESTS_EVERY_S: Final = 1.0
_KEPT_TIMES: Final = 2_000
_STATE_FILE: Final = "cars.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """How much of what."""

    cars_a_minute: float = 12.0  # of all lots: arrivals and departures together
    etc: float = 0.85  # share of cards; the rest is split between phones and those who owe
    phone: float = 0.10
    seed: int | None = None


@dataclass(slots=True)
class LaneCounts:
    """What happened so far; `answer_s` are seconds from question to answer, the newest ones."""

    lanes: int = 0
    entries: int = 0
    exits: int = 0
    guests: int = 0  # of the entries those who were promised a space
    answered: int = 0
    offline: int = 0  # fees that a lane computed by itself
    unpriced: int = 0  # it could not, for want of a tariff: let out free
    last_fee_fen: int | None = None
    answer_s: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT_TIMES))


@dataclass(slots=True)
class LaneLot:
    """One lot with its lanes, and who is inside."""

    code: str
    entries: list[LaneController]
    exits: list[LaneController]
    barrier: bool = False  # only for who was promised a space
    cars: list[Car] = field(default_factory=list)

    @property
    def kept_as(self) -> str:
        """Its name in the state file: a lot may have lanes of both kinds."""
        return f"{self.code} barrier" if self.barrier else self.code


class LaneTraffic:
    """Lots with lanes, and their traffic.

    Args:
        lots: those without lanes are passed over.
        url: broker, with a credential that may speak for any device.
        folder: where lanes keep their journals, or None: they forget.
        payer: pays a link for a driver; without one nobody pays by phone.
    """

    def __init__(
        self,
        lots: Iterable[LotRecord],
        url: str,
        folder: Path | None = None,
        *,
        traffic: Traffic | None = None,
        payer: Payer | None = None,
    ) -> None:
        self.counts = LaneCounts()
        self.lots: list[LaneLot] = []  # with ETC
        self.barriers: list[LaneLot] = []  # of lots that share spaces
        self._traffic = traffic or Traffic()
        self._payer = payer
        self._rng = random.Random(self._traffic.seed)
        self._folder = folder
        self._terminals: dict[str, str] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        for lot in lots:
            for barrier, into in ((False, self.lots), (True, self.barriers)):
                lanes = [lane for lane in lot.lanes if lane.active is not barrier]  # no clearing centre knows a barrier
                if lanes:
                    into.append(self._lot(LaneLot(lot.code, [], [], barrier=barrier), lanes, url))
        self.counts.lanes = len(self._terminals)

    async def run(self, stop: asyncio.Event) -> None:
        """Lanes and traffic until `stop` is set; then what was not sent is kept for the next start."""
        lanes = [lane for lot in (*self.lots, *self.barriers) for lane in (*lot.entries, *lot.exits)]
        running = [asyncio.create_task(lane.run(), name=lane.name.code) for lane in dict.fromkeys(lanes)]
        try:
            self._remember_cars()
            running += [asyncio.create_task(self._keep_driving(lot), name=lot.code) for lot in self.lots]
            running += [asyncio.create_task(self._keep_receiving(lot), name=lot.code) for lot in self.barriers]
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait([stopping, *running], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            for task in running:
                if task.done():
                    task.result()
        finally:
            await cancel_until_done(running, every_s=2 * GOODBYE_S)
            self._keep_cars()
            for lane in lanes:
                lane.memory.close()

    def arrive(self, lot: LaneLot, car: Car, at: datetime) -> int:
        """The car drives in; gives the number of the record."""
        lane = self._rng.choice(lot.entries)
        car.entered_at = at.isoformat()
        lot.cars.append(car)
        self.counts.entries += 1
        is_read = car.pays is Pays.ETC
        return lane.report("entry", at, **car.sight(etc=is_read, list_version=lane.memory.list_version))

    async def leave(self, lot: LaneLot, car: Car) -> int | None:
        """The car asks, pays and drives out; gives the fee in fen, None where nobody could tell one."""
        lane, at = self._rng.choice(lot.exits), datetime.now(UTC)
        asked = time.monotonic()
        answer = await lane.ask_fee(at, **car.sight(etc=car.pays is Pays.ETC, list_version=lane.memory.list_version))
        fee_fen = self._fee(lane, car, at, answer, time.monotonic() - asked)
        await self._settle(lane, car, at, (fee_fen or 0, None if answer is None else answer["pay_path"]))
        lot.cars.remove(car)  # a stop before this moment leaves the car inside
        self.counts.exits += 1
        return fee_fen

    async def _settle(self, lane: LaneController, car: Car, asked_at: datetime, due: tuple[int, str | None]) -> None:
        """Charges the card or waits for the phone, and reports the exit. `due`: fen, and the path of the link if any.

        What the antenna charges is the price of the moment of the question, so that moment is the exit's.
        """
        fee_fen, pay_path = due
        at = asked_at
        listed = lane.memory.is_listed("card", car.card_no) or lane.memory.is_listed("obu", car.obu_id)
        said = car.sight(etc=car.pays is Pays.ETC, list_version=lane.memory.list_version)
        if fee_fen and car.pays is Pays.ETC and not listed:
            terminal = self._terminals[lane.name.code], lane.memory.next_serial()
            said["etc"] |= charge(car, fee_fen, terminal, self._rng)
        elif fee_fen and car.pays is Pays.PHONE and self._payer and pay_path:
            opened = asyncio.create_task(lane.opened(GATE_PATIENCE_S))
            await asyncio.sleep(0)  # it listens before the money is on its way
            if await self._payer(pay_path):
                await opened  # who has waited long enough drives off when the next one is let out
                at = datetime.now(UTC)
            opened.cancel()
        lane.report("exit", at, **said)

    def _fee(
        self, lane: LaneController, car: Car, at: datetime, answer: Mapping[str, Any] | None, took_s: float
    ) -> int | None:
        if answer is not None:
            self.counts.answered += 1
            self.counts.answer_s.append(took_s)
            fee_fen: int | None = answer["amount_fen"]
        else:
            fee_fen = offline_fee(lane.memory.tariffs, car, at)
            if fee_fen is None:
                self.counts.unpriced += 1
            else:
                self.counts.offline += 1
        if fee_fen is not None:
            self.counts.last_fee_fen = fee_fen
        return fee_fen

    async def _keep_driving(self, lot: LaneLot) -> None:
        """Cars come and go at the rate of the lot's share."""
        pause_s = 60.0 * len(self.lots) / self._traffic.cars_a_minute
        while True:
            await asyncio.sleep(self._rng.expovariate(1 / pause_s))
            if lot.cars and self._rng.random() < len(lot.cars) / (2 * CARS_AT_FIRST):
                await self.leave(lot, self._rng.choice(lot.cars))
            else:
                self.arrive(lot, new_car(self._rng, self._pays()), datetime.now(UTC))
            self._keep_cars()

    async def _keep_receiving(self, lot: LaneLot) -> None:
        """Guests come to the barrier and leave, each at his time."""
        while True:
            await asyncio.sleep(_GUESTS_EVERY_S)
            if await self.receive(lot, datetime.now(UTC)):
                self._keep_cars()

    async def receive(self, lot: LaneLot, now: datetime) -> int:
        """Guests whose time it is come and leave; gives how many did."""
        moved = 0
        for lane in lot.entries:
            for guest in lane.memory.expected(now):
                at = None if guest.came else comes_at(guest)
                if at is not None and at <= now and lane.raise_for(guest.plate, now) is not None:
                    self.arrive(lot, car_of(guest, now), now)
                    self.counts.guests += 1
                    moved += 1
        for car in [each for each in lot.cars if datetime.fromisoformat(each.leaves_at) <= now]:
            await self.leave(lot, car)
            moved += 1
        return moved

    def _pays(self) -> Pays:
        draw = self._rng.random()
        if draw < self._traffic.etc:
            return Pays.ETC
        return Pays.PHONE if draw < self._traffic.etc + self._traffic.phone else Pays.LATER

    def _lot(self, lot: LaneLot, lanes: Iterable[LaneRecord], url: str) -> LaneLot:
        for lane in lanes:
            journal = None if self._folder is None else self._folder / f"{lane.code}.journal"
            controller = LaneController(LaneName(lot.code, lane.code), url, LaneMemory(journal))
            self._terminals[lane.code] = f"3201{len(self._terminals):08X}"
            for way, controllers in (("entry", lot.entries), ("exit", lot.exits)):
                if lane.direction in (way, "both"):
                    controllers.append(controller)
        return lot

    def _remember_cars(self) -> None:
        """Who is inside: as it was kept, or cars that came in the hours before."""
        kept: dict[str, list[dict[str, Any]]] = {}
        path = None if self._folder is None else self._folder / _STATE_FILE
        if path is not None:
            with contextlib.suppress(FileNotFoundError):
                kept = json.loads(path.read_text("utf-8"))
        now = datetime.now(UTC)
        for lot in (*self.lots, *self.barriers):
            if lot.kept_as in kept:
                lot.cars = [Car(**(facts | {"pays": Pays(facts["pays"])})) for facts in kept[lot.kept_as]]
                continue
            if lot.barrier:
                continue
            if any(lane.memory.last_record_no for lane in lot.entries):
                continue  # it has told the hours before already
            times = sorted(now - EARLIEST * self._rng.random() for _ in range(CARS_AT_FIRST))
            for at in times:
                self.arrive(lot, new_car(self._rng, self._pays()), at)

    def _keep_cars(self) -> None:
        if self._folder is None:
            return
        path = self._folder / _STATE_FILE
        anew = path.with_suffix(".new")
        every = (*self.lots, *self.barriers)
        inside = {lot.kept_as: [asdict(car) for car in lot.cars] for lot in every}
        anew.write_text(json.dumps(inside), "utf-8")
        anew.replace(path)


def offline_fee(told: Mapping[str, Any] | None, car: Car, at: datetime) -> int | None:
    """What a lane computes by the tariffs it was told, in fen; None: none of them holds for the car's entry."""
    entered_at = datetime.fromisoformat(car.entered_at)
    holding = [one for one in (told or {}).get("tariffs", ()) if datetime.fromisoformat(one["from"]) <= entered_at]
    if not holding:
        return None
    tariff = parse_tariff(max(holding, key=lambda one: datetime.fromisoformat(one["from"]))["document"])
    if not isinstance(tariff, Tariff):
        return None
    stay = Stay(entered_at=entered_at, exited_at=at, plate_color=PlateColor(car.color), vehicle_class=1)
    return price(tariff, stay, WorkCalendar()).total_fen
