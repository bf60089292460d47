"""`parking demo`: the whole platform on this machine with simulated devices, lanes and drivers, and a live view."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from onebox import connection, counterparts, lifecycle
from onebox.commands.instance import starting_bar
from onebox.home import Home
from onebox.instance import Instance, Plan
from parking_core.cancelling import cancel_until_done

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parking_core.districts import District
    from simulators.drivers import DriverCounts
    from simulators.lanes import LaneTraffic
    from simulators.observer import Observer
    from simulators.reserving import ReservationCounts, ReservingDriver
    from simulators.simulation import Simulation

_LOOK_EVERY_S = 1.0
_LINE_EVERY_S = 5.0  # without a terminal
_MS = 1000
_FEN = 100  # of a yuan
# The pilot lots have a car every few minutes; here one passes a lane every second, and every fourth pays by phone.
_CARS_A_MINUTE, _BY_CARD, _BY_PHONE = 60.0, 0.70, 0.25


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(demo)


def demo(
    *,
    speed: Annotated[
        float, typer.Option(min=0.001, help="Simulated seconds a real second: 60 is a day in 24 minutes.")
    ] = 60.0,
    seconds: Annotated[
        float | None, typer.Option("--for", min=0.1, help="Stop by itself after so many seconds.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="HTTP port; 0: PARKING_HTTP_PORT, else 8000.")] = 0,
    scenario: Annotated[str, typer.Option(help="weekday, rush_hour, reconnect_storm or faulty_sensors.")] = "weekday",
) -> None:
    """Everything at once: services, a district of 500 lots and 21,000 spaces, gateway, API, worker, sensors, drivers.

    Lanes of the ETC lots too, with those whom their money goes through: an acquirer of QR payments and a clearing centre.
    Ctrl-C stops all that this command started. A platform that was already up is used and stays up.

    Examples:
        parking demo

        parking demo --scenario rush_hour --speed 120 --port 8010

        parking demo --for 60
    """
    from simulators.scenario import load_scenario  # other commands start faster

    began = time.monotonic()
    chosen = load_scenario(scenario)
    home = Home.from_environ(os.environ)
    console = Console(highlight=False)
    started = False
    with _termination_interrupts():
        try:
            # A platform that is up stays as it is: with the acquirer and the clearing centre that it has, or without.
            simulated = {} if _is_up(home) else counterparts.simulated_environment(home, os.environ)
            instance, started = _start(home, port, {**os.environ, **simulated})
            wishes = _Wishes(speed, seconds, scenario, chosen, began, simulated)
            _live(home, instance, console, wishes)
        except KeyboardInterrupt:  # before the live view, which ends in order, has begun
            console.print("Interrupted.")
            raise typer.Exit(1) from None
        finally:
            if started:
                _stop(home, console)


@dataclass(frozen=True)
class _Wishes:
    speed: float
    seconds: float | None
    scenario_name: str
    scenario: Any
    began: float  # when the command was given
    simulated: dict[str, str]  # addresses of those whom the demo starts to settle with; others the platform has itself


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, also while services start, so that nothing stays behind."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_up(home: Home) -> bool:
    instance = Instance.load(home)
    return instance is not None and instance.supervisor.alive()


def _start(home: Home, port: int, environ: dict[str, str]) -> tuple[Instance, bool]:
    with starting_bar() as bar:
        task = bar.add_task("starting", total=None)
        return lifecycle.start(
            home,
            Plan(http_port=port),
            environ,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            say=lambda line: bar.update(task, description=line, total=None),
        )


def _stop(home: Home, console: Console) -> None:
    """Stops everything; a second Ctrl-C must not leave half of it running."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    console.print("Stopping ...")
    with home.locked():
        lifecycle.halt(home)
    console.print("Stopped.")


def _live(home: Home, instance: Instance, console: Console, wishes: _Wishes) -> None:
    import uvloop  # other commands start faster

    from onebox.commands.seed import load  # same
    from onebox.demo_drivers import simulated_drivers  # same
    from parking_core.flows.seed_district import spaces_beside  # same
    from simulators.district import generate_district  # same
    from simulators.drivers import DriverCounts  # same
    from simulators.lanes import LaneTraffic, Traffic  # same
    from simulators.observer import Observer  # same
    from simulators.phones import PhoneCounts, phone_payer  # same
    from simulators.reserving import ReservationCounts  # same
    from simulators.sensors import Fleet  # same
    from simulators.simulation import Simulation  # same

    settings = connection.settings()
    district = generate_district()
    load(settings.database_url, district)
    _tell_of_others(console, spaces_beside(settings.database_url, district), home)
    reserving = simulated_drivers(home, settings.database_url)
    api_url = instance.urls["api_url"]
    _print_addresses(console, api_url, instance)

    async def run() -> None:
        gateways = [url for name, url in instance.metrics_urls.items() if name != "worker"]
        observer = Observer(api_url, gateways, instance.metrics_urls.get("worker"))
        fleet = Fleet(district, wishes.scenario, time.time_ns() // 1000, wishes.speed)
        simulation = Simulation(fleet, settings.mqtt_url, "demo", observer.notice)
        traffic = Traffic(cars_a_minute=_CARS_A_MINUTE, etc=_BY_CARD, phone=_BY_PHONE)
        payer = phone_payer(api_url, PhoneCounts())
        folder = home.root / "simulated-lanes"
        lanes = LaneTraffic(district.lots, settings.mqtt_url, folder, traffic=traffic, payer=payer)
        show = _Show(console, wishes, simulation, lanes, observer, DriverCounts(), ReservationCounts())
        async with counterparts.serve(home, api_url, wishes.simulated):
            await _run_together(show, district, api_url, reserving)

    uvloop.run(run())


def _tell_of_others(console: Console, spaces: int, home: Home) -> None:
    """Why figures never become complete where other lots, or those of an earlier demo, have no simulated sensors."""
    if spaces > 0:
        console.print(
            f"{home.root} also holds {spaces:,} spaces that the demo's district does not have: your own, or those of an "
            "earlier version's demo. They stay unknown here; PARKING_HOME=<an empty folder> shows the demo alone."
        )


def _print_addresses(console: Console, api_url: str, instance: Instance) -> None:
    console.print(f"Availability  {api_url}/v1/availability?lat=31.53&lon=120.27&radius_m=1000")
    console.print(f"Live changes  {api_url}/v1/live")
    console.print(f"API document  {api_url}/openapi.json")
    for name, url in {"api": f"{api_url}/metrics", **instance.metrics_urls}.items():
        console.print(f"Metrics       {url} ({name})")
    console.print("Ctrl-C stops the demo; `parking status --json` shows all addresses.")


async def _run_together(show: _Show, district: District, api_url: str, reserving: list[ReservingDriver]) -> None:
    """Sensors, lanes, drivers, probes and the view side by side, until a signal, the end of the time, or a failure."""
    from simulators.drivers import drive  # other commands start faster
    from simulators.reserving import reserve_spaces  # same

    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if show.wishes.seconds is not None:
        loop.call_later(show.wishes.seconds, stop.set)
    sensors = asyncio.create_task(show.simulation.run(stop), name="sensors")
    lanes = asyncio.create_task(show.lanes.run(stop), name="lanes")
    for task in (sensors, lanes):
        task.add_done_callback(lambda _task: stop.set())
    others = [
        asyncio.create_task(drive(api_url, district, stop, show.drivers), name="drivers"),
        asyncio.create_task(
            reserve_spaces(api_url, district, reserving, stop, show.reservations), name="reserving drivers"
        ),
        asyncio.create_task(show.observer.probe(), name="probes"),
    ]
    try:
        await show.until(stop)
        await asyncio.gather(sensors, lanes)
    finally:
        await cancel_until_done([sensors, lanes, *others], every_s=10.0)  # sensors and lanes say goodbye to the broker
        await show.observer.close()


@dataclass
class _Show:
    """The live view: a table on a terminal, else a line every few seconds."""

    console: Console
    wishes: _Wishes
    simulation: Simulation
    lanes: LaneTraffic
    observer: Observer
    drivers: DriverCounts
    reservations: ReservationCounts
    complete_after_s: float | None = None

    async def until(self, stop: asyncio.Event) -> None:
        """Shows figures until `stop` is set."""
        if not self.console.is_terminal:
            await self._lines(stop)
            return
        with Live(self._table(), console=self.console, auto_refresh=False) as live:
            while not stop.is_set():
                await self._look()
                live.update(self._table(), refresh=True)
                await _pause(stop, _LOOK_EVERY_S)

    async def _lines(self, stop: asyncio.Event) -> None:
        last_line = time.monotonic() - _LINE_EVERY_S
        while not stop.is_set():
            was_complete = self.complete_after_s is not None
            await self._look()
            now = time.monotonic()
            if now - last_line >= _LINE_EVERY_S or was_complete != (self.complete_after_s is not None):
                last_line = now
                self.console.print("  ".join(f"{name}: {value}" for name, value in self._facts()), soft_wrap=True)
            await _pause(stop, _LOOK_EVERY_S / 4 if self.complete_after_s is None else _LOOK_EVERY_S)

    async def _look(self) -> None:
        figures = await self.observer.look()
        told = self.simulation.progress.present_state_published
        if self.complete_after_s is None and told and figures.capacity and not figures.unknown:
            self.complete_after_s = time.monotonic() - self.wishes.began

    def _table(self) -> Table:
        table = Table(title=f"Binhu, scenario {self.wishes.scenario_name}", show_header=False, min_width=60)
        table.add_column(style="cyan")
        table.add_column(justify="right")
        for name, value in self._facts():
            table.add_row(name, value)
        return table

    def _facts(self) -> list[tuple[str, str]]:
        figures, progress, drivers = self.observer.figures, self.simulation.progress, self.drivers
        age = "not known" if figures.age_s is None else f"{figures.age_s:.1f} s"
        visible = figures.visible_percentiles()
        shown = "measuring" if visible is None else f"p50 {visible[0] * _MS:.0f} ms, p99 {visible[1] * _MS:.0f} ms"
        facts = [
            ("free", f"{figures.free:,} of {figures.capacity:,} spaces in {figures.lots} lots"),
            ("occupied", f"{figures.occupied:,}"),
            ("unknown", f"{figures.unknown:,}"),
            ("messages", f"{figures.messages_a_second:,.0f}/s, {figures.messages:,.0f} in all"),
            ("published → visible", shown),
            ("dead letters", f"{figures.dead_letters:,}"),
            ("age of the figures", age if figures.api_answers else f"{age} (the API does not answer)"),
            ("lanes", self._lane_facts()),
            ("shared spaces", self._shared_facts()),
            ("drivers", f"{drivers.answers:,} answers, {drivers.failures:,} failures"),
        ]
        if progress.behind_s > 1:
            facts.append(("simulation", f"{progress.behind_s:.0f} s behind; choose a lower --speed"))
        if progress.refused:
            facts.append(("refused by the broker", f"{progress.refused:,}"))
        if progress.unheard:
            facts.append(("reached no gateway", f"{progress.unheard:,}"))
        if self.complete_after_s is not None:
            facts.append(("all spaces known", f"{self.complete_after_s:.1f} s after the start"))
        return facts

    def _shared_facts(self) -> str:
        """Reservations of shared spaces: owners open them off-peak only, so that by day most are for tonight."""
        counts = self.reservations
        facts = [f"{counts.granted:,} promised, {counts.refused.total():,} refused"]
        if counts.refused:
            facts[0] += f" ({counts.refused.most_common(1)[0][0].replace('_', ' ')} mostly)"
        if counts.alternatives:
            facts.append(f"{counts.alternatives:,} alternatives taken")
        if self.lanes.counts.guests:
            facts.append(f"{self.lanes.counts.guests:,} guests came")
        if counts.failures:
            facts.append(f"{counts.failures:,} failures")
        return ", ".join(facts)

    def _lane_facts(self) -> str:
        """The lots with ETC lanes on one line; answers are measured from a lane's question for a fee to its answer."""
        counts, figures = self.lanes.counts, self.observer.figures
        facts = [f"{counts.lanes}", f"{counts.entries:,} in, {counts.exits:,} out"]
        if counts.last_fee_fen is not None:
            facts.append(f"last fee {counts.last_fee_fen / _FEN:.2f} yuan")
        if times := sorted(counts.answer_s):
            facts.append(f"told in p50 {times[len(times) // 2] * _MS:.0f} ms")
        if figures.payments_booked:
            facts.append(f"{figures.payments_booked:,} paid by phone")
        if figures.packages_booked:
            facts.append(f"{figures.packages_booked:,} packages booked")
        if counts.offline:
            facts.append(f"{counts.offline:,} computed by the lane")
        return ", ".join(facts)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
