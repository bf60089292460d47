"""A small district on private services: what the acceptance tests load, break and count."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import aiomqtt
import msgspec
import numpy as np
import psycopg
from psycopg import sql
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.subscribe import CLIENT_ID_PREFIX
from parking_core.flows.rebuild_live_state import rebuild_live_state
from parking_core.store import history
from parking_core.store.live_state import LiveState
from tests.acceptance.processes import Process, until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from onebox.services import RunningServices
    from parking_core.districts import District
    from parking_core.store.live_state import LiveImage
    from tests.acceptance.load import Message

DRAIN_S = 60.0


class _Reading(msgspec.Struct):
    space: str
    occupied: bool
    seq: int


@dataclass
class Stage:
    """One test's database, broker and cache, and the processes that it starts on them."""

    services: RunningServices
    database_url: str  # owner
    district: District
    logs: Path
    name: str
    figures: list[str]
    processes: dict[str, Process] = field(default_factory=dict)

    def report(self, figure: str) -> None:
        """Keeps a figure for the summary at the end of the run."""
        self.figures.append(figure)

    def gateway(self, instance: str = "1", **environ: str) -> Process:
        """A gateway with its own name, as the deployment runs it: with its own logins."""
        return self._process("gateway", instance, "subscribed", environ)

    def worker(self, **environ: str) -> Process:
        """The worker."""
        return self._process("worker", "w", "leading", environ)

    def api(self, port: int, instance: str = "api", **environ: str) -> Process:
        """An API process on a port of its own."""
        return self._process("api", instance, "price list loaded", {"PARKING_HTTP_PORT": str(port), **environ})

    def _process(self, root: str, instance: str, ready_word: str, environ: dict[str, str]) -> Process:
        key = f"{root}-{instance}"
        if key not in self.processes:
            login = with_database(self.services.database_urls[root], self.database_name)
            urls = {
                "PARKING_DATABASE_URL": login,
                "PARKING_REDIS_URL": self.services.redis_url,
                "PARKING_MQTT_URL": self.services.mqtt_gateway_url,
                "PARKING_INSTANCE": f"{self.name}-{instance}",
            }
            self.processes[key] = Process(root, urls | environ, self.logs / f"{key}.log", ready_word)
        return self.processes[key]

    @property
    def database_name(self) -> str:
        """Name of the test's own database."""
        return urlsplit(self.database_url).path.removeprefix("/")

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of a query by the owner."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return connection.execute(statement.encode(), parameters).fetchall()

    def execute(self, statement: str, *parameters: object) -> None:
        """Runs a statement as the owner."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(statement.encode(), parameters)

    def count(self, table: str = "occupancy_events") -> int:
        """Rows of a table."""
        return int(self.query(f"SELECT count(*) FROM {table}")[0][0])

    def await_rows(self, number: int, table: str = "occupancy_events", patience_s: float = DRAIN_S) -> float:
        """Waits for that many rows; gives the seconds it took."""
        return until(lambda: self._count_or_less(table) >= number, patience_s, f"{table} has not {number} rows")

    def _count_or_less(self, table: str) -> int:
        try:
            return self.count(table)
        except psycopg.OperationalError:
            return -1

    def settle(self, patience_s: float = 15.0) -> None:
        """Waits until the live state equals history; fails when it never does."""
        until(lambda: not self.difference(), patience_s, "the live state never equals history")

    def difference(self) -> set[int]:
        """Spaces whose live state is not what history says, lots whose counts are not those of their spaces."""
        try:
            return asyncio.run(self._difference())
        except (RedisError, OSError, psycopg.OperationalError):
            return {-1}

    async def _difference(self) -> set[int]:
        async with Redis.from_url(self.services.redis_url) as redis:
            image = await LiveState(redis).load()
        async with await psycopg.AsyncConnection.connect(self.database_url, autocommit=True) as connection:
            newest = await history.newest_states(connection)
        if image.epoch is None:
            return {-1}
        live = {int(row["space_id"]): row.tolist() for row in image.spaces}
        kept = {int(row["space_id"]): row.tolist() for row in newest.spaces}
        different = {space for space in live.keys() | kept.keys() if live.get(space) != kept.get(space)}
        return different | _wrong_lots(
            image, dict(zip(newest.spaces["space_id"].tolist(), newest.lot_ids, strict=True))
        )

    def rebuild(self) -> None:
        """Live state from history, as `parking rebuild` does."""
        asyncio.run(self._rebuild())

    async def _rebuild(self) -> None:
        async with Redis.from_url(self.services.redis_url) as redis:
            await rebuild_live_state(self.database_url, LiveState(redis))

    def pulse_us(self) -> int:
        """What the API would give as its `as_of`."""
        return int(self.image().pulse_us)

    def image(self) -> LiveImage:
        """The whole live state."""
        return asyncio.run(self._load())

    async def _load(self) -> LiveImage:
        async with Redis.from_url(self.services.redis_url) as redis:
            return await LiveState(redis).load()

    def stored(self) -> dict[tuple[str, str, int, bool], int]:
        """(device, space, seq, occupied) -> number of rows."""
        rows = self.query(
            "SELECT d.code, s.code, e.seq, e.occupied, count(*) FROM occupancy_events e"
            " JOIN devices d ON d.id = e.device_id JOIN spaces s ON s.id = e.space_id GROUP BY 1, 2, 3, 4"
        )
        return {(device, space, seq, occupied): number for device, space, seq, occupied, number in rows}

    def account(self, sent: Sequence[Message]) -> Account:
        """Compares what was sent with what is stored, message by message."""
        expected = set()
        for message in sent:
            reading = msgspec.json.decode(message.payload, type=_Reading)
            expected.add((message.topic.split("/")[3], reading.space, reading.seq, reading.occupied))
        stored = self.stored()
        return Account(
            sent=len(expected),
            stored=len(stored),
            lost=len(expected - stored.keys()),
            duplicates=sum(stored.values()) - len(stored),
            strangers=len(stored.keys() - expected),
        )

    def end(self) -> None:
        """Ends processes, their broker sessions and the database."""
        for process in self.processes.values():
            process.end()
        instances = [p.environ["PARKING_INSTANCE"] for p in self.processes.values() if p.root == "gateway"]
        asyncio.run(self._end_sessions(instances))
        asyncio.run(forget_retained(self.services.mqtt_url))
        save_broker_state(self.services)  # a killed broker would bring the ended sessions back from its last snapshot
        with admin(self.services) as connection:
            name = sql.Identifier(self.database_name)
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))

    async def _end_sessions(self, instances: Sequence[str]) -> None:
        """A session left in the share group would swallow messages of the next test."""
        for instance in instances:
            with suppress(aiomqtt.MqttError):
                await end_session(self.services.mqtt_gateway_url, CLIENT_ID_PREFIX + instance)


@dataclass(frozen=True, slots=True)
class Account:
    """Sent and stored, message by message."""

    sent: int
    stored: int
    lost: int
    duplicates: int
    strangers: int

    def __str__(self) -> str:
        return f"sent {self.sent}, stored {self.stored}, lost {self.lost}, duplicates {self.duplicates}"

    @property
    def is_exact(self) -> bool:
        """Nothing lost, nothing twice, nothing that nobody sent."""
        return self.lost == self.duplicates == self.strangers == 0


async def end_session(url: str, client_id: str) -> None:
    """Ends a persistent session: whoever connects under its name with a clean start inherits nothing."""
    parts = urlsplit(url)
    async with aiomqtt.Client(
        parts.hostname or "",
        parts.port or 1883,
        username=parts.username,
        password=parts.password,
        identifier=client_id,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=True,
    ):
        pass


async def forget_retained(url: str, quiet_s: float = 0.3) -> None:
    """The broker keeps a device's last word; to the next test, which has no such device, it would be a stranger's."""
    parts = urlsplit(url)
    with suppress(aiomqtt.MqttError):
        async with aiomqtt.Client(
            parts.hostname or "", parts.port or 1883, username=parts.username, password=parts.password
        ) as client:
            await client.subscribe("parking/v1/#")
            with suppress(TimeoutError):
                async with asyncio.timeout(quiet_s):
                    async for message in client.messages:
                        if message.retain:
                            await client.publish(message.topic.value, b"", qos=1, retain=True)


def save_broker_state(services: RunningServices) -> None:
    """Makes the broker write its snapshot now, as it does by itself every few seconds."""
    snapshot, before = services.home / "mosquitto" / "data" / "mosquitto.db", time.time()
    services.children["mosquitto"].send_signal(signal.SIGUSR1)
    until(lambda: snapshot.exists() and snapshot.stat().st_mtime > before, 15, "the broker writes no snapshot")


def admin(services: RunningServices) -> psycopg.Connection:
    """A superuser's connection."""
    assert services.admin_url is not None, "acceptance tests run against private services"
    return psycopg.connect(services.admin_url, autocommit=True)


def with_database(url: str, name: str) -> str:
    """The same login in another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def _wrong_lots(image: LiveImage, lots: dict[int, int]) -> set[int]:
    """Minus the ids of lots whose counters differ from their spaces."""
    known = image.spaces[image.spaces["known"] == 1]
    of = np.array([lots.get(space, 0) for space in known["space_id"].tolist()], "i8")
    wrong = set()
    for row in image.lots:
        mine = known[of == row["lot_id"]]
        if (len(mine), int(mine["occupied"].sum())) != (int(row["known"]), int(row["occupied"])):
            wrong.add(-1 - int(row["lot_id"]))
    return wrong
