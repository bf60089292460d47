"""The worker's clearing loop and the simulated centre over TCP: lost answers, cut connections, repeats, any order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import psycopg
import pytest

from parking_core.clearing import packages
from parking_core.clearing.frames import encode_frame
from parking_core.settings import Settings
from simulators import clearing_wire as wire
from simulators.clearing_books import Habits
from simulators.clearing_centre import ClearingCentre
from tests.integration.clearing_rows import a_lane, add_ready, balances, open_differences, states
from tests.integration.money_rows import ZONE
from worker import clearing, loops, pauses
from worker.clearing import Clearing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.services


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_FIRST_RESEND", timedelta(seconds=0.3))
    monkeypatch.setattr(pauses, "_FIRST_S", 0.05)
    monkeypatch.setattr(clearing, "_PASS_S", 0.05)
    monkeypatch.setattr(clearing, "_LANES_S", 0.1)


@contextlib.asynccontextmanager
async def running(database_url: str, url: str) -> AsyncIterator[None]:
    """The loop as the worker supervises it."""
    settings = Settings(
        database_url=database_url,
        redis_url="redis://127.0.0.1:1",
        mqtt_url="mqtt://127.0.0.1:1",
        clearing_url=url,
        clearing_package_s=0,
    )
    stop = asyncio.Event()
    loop = Clearing(settings, lambda: loops.connect(settings), stop)
    task = asyncio.create_task(loops.supervise("clearing", loop.step, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


async def until(condition: Callable[[], Any], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.05)


def clear(store: psycopg.Connection[Any], centre: ClearingCentre, added: int) -> None:
    """What both sides must agree on at the end."""
    truth, found = centre.books.summary(), balances(store)
    assert truth["refusals"] == []
    assert found.get("bank", 0) == truth["paid"]["amount_fen"]
    assert found.get("bad_debt:P01", 0) == truth["lost"]["amount_fen"]
    assert "etc_clearing" not in found
    assert "etc_disputed" not in found
    assert states(store) == {
        state: count
        for state, count in (("booked", truth["paid"]["records"]), ("bad_debt", truth["lost"]["records"]))
        if count
    }
    assert truth["paid"]["records"] + truth["lost"]["records"] == added
    assert {state for state, _ in open_differences(store).values()} <= {"settled", "written_off", "explained"}


def test_faults_of_all_kinds_end_in_the_same_books(database_url: str) -> None:
    habits = Habits(
        seed=5,
        disputed=0.02,
        refused={4: 0.15, 8: 0.1},
        lost_replies=0.2,
        lost_responses=0.2,
        repeated=0.3,
        reordered=0.3,
        bookkeeping_s=0.5,
    )

    async def scenario(store: psycopg.Connection[Any]) -> None:
        centre = ClearingCentre(habits)
        port = await centre.start()
        async with running(database_url, f"tcp://127.0.0.1:{port}"):
            await until(lambda: len(centre.books.verdicts) > 4)
            centre.drop_connections()
            await until(lambda: states(store).get("packed", 0) < 400)
            centre.drop_connections()
            await until(lambda: set(states(store)) <= {"booked", "disputed"} and centre.idle)
            for _ in range(3):
                centre.end_day()
                centre.drop_connections()
                await until(lambda: centre.idle)
        await centre.stop()
        assert centre.resends > 0
        assert centre.books.results_of_platform[5] > 0  # repeated messages, told as duplicates
        clear(store, centre, 1200)

    with psycopg.connect(database_url, autocommit=True) as store:
        add_ready(store, a_lane(store), 1200)
        asyncio.run(scenario(store))


def test_a_lost_response_is_answered_as_a_duplicate_and_booked_once(database_url: str) -> None:
    async def scenario(store: psycopg.Connection[Any]) -> None:
        centre = ClearingCentre(Habits(lost_responses=1.0, bookkeeping_s=1.5))
        port = await centre.start()
        async with running(database_url, f"tcp://127.0.0.1:{port}"):
            await until(lambda: states(store) == {"booked": 150})
        await centre.stop()
        assert centre.resends > 0
        rows = store.execute("SELECT state, result FROM etc_packages").fetchall()
        assert rows == [("booked", 5), ("booked", 5)]

    with psycopg.connect(database_url, autocommit=True) as store:
        add_ready(store, a_lane(store), 150)
        asyncio.run(scenario(store))


def test_a_worker_that_is_killed_after_its_commit_and_before_its_reply_books_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply is lost with the connection: the centre sends again and is told that it did so."""
    broken = list[int]()
    reply = clearing._Session.reply

    async def cut(self: clearing._Session, number: int, *, taken: bool) -> None:
        if len(broken) < 3:
            broken.append(number)
            raise ConnectionResetError("cut before the reply")
        await reply(self, number, taken=taken)

    monkeypatch.setattr(clearing._Session, "reply", cut)

    async def scenario(store: psycopg.Connection[Any]) -> None:
        centre = ClearingCentre()
        port = await centre.start()
        async with running(database_url, f"tcp://127.0.0.1:{port}"):
            await until(lambda: states(store) == {"booked": 250} and centre.idle)
            centre.end_day()
            await until(lambda: centre.idle)
        await centre.stop()
        assert len(broken) == 3
        clear(store, centre, 250)

    with psycopg.connect(database_url, autocommit=True) as store:
        add_ready(store, a_lane(store), 250)
        asyncio.run(scenario(store))


def test_damaged_frames_are_refused_and_noise_ends_the_connection_only(database_url: str) -> None:
    async def scenario() -> None:
        heard: list[bytes] = []
        second = asyncio.Event()

        async def centre(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if heard:
                second.set()
            else:
                good = encode_frame(71, wire.response(71, 4711, 1))
                writer.write(good[:26] + b"0" * 32 + good[58:])  # the check sum is another one
                heard.append(await reader.readexactly(21))
                writer.write(b"this is no frame of any kind")
            await reader.read()
            writer.close()

        server = await asyncio.start_server(centre, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with running(database_url, f"tcp://127.0.0.1:{port}"):
            await asyncio.wait_for(second.wait(), 20)
        server.close()
        assert heard == [b"%020d0" % 71]

    asyncio.run(scenario())


def test_without_a_centre_transactions_wait_as_ready(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(store: psycopg.Connection[Any]) -> None:
        async with running(database_url, ""):
            await asyncio.sleep(0.5)
        assert states(store) == {"ready": 3}

    with psycopg.connect(database_url, autocommit=True) as store:
        add_ready(store, a_lane(store), 3)
        asyncio.run(scenario(store))
    assert "PARKING_CLEARING_URL" in capsys.readouterr().out


def test_a_centre_that_comes_late_is_found(database_url: str) -> None:
    async def scenario(store: psycopg.Connection[Any]) -> None:
        centre = ClearingCentre()
        port = await centre.start()
        await centre.stop()
        async with running(database_url, f"tcp://127.0.0.1:{port}"):
            await asyncio.sleep(0.3)
            late = ClearingCentre()
            await late.start(port)
            await until(lambda: states(store) == {"booked": 3})
            await late.stop()

    with psycopg.connect(database_url, autocommit=True) as store:
        add_ready(store, a_lane(store), 3)
        asyncio.run(scenario(store))


def test_status_lists_come_over_the_wire_and_a_gap_is_filled_by_the_full_list(database_url: str) -> None:
    async def scenario(store: psycopg.Connection[Any]) -> None:
        def known() -> str | None:
            row = store.execute("SELECT max(version) FROM status_lists").fetchone()
            return None if row is None else row[0]

        centre = ClearingCentre()
        port = await centre.start()
        centre.publish({("card", "c1"): 1, ("obu", "o1"): 101})
        async with running(database_url, f"tcp://127.0.0.1:{port}"):
            await until(lambda: known() == centre.books.version)
            centre.publish({("card", "c2"): 4, ("card", "c1"): None})
            await until(lambda: known() == centre.books.version)
            centre.books.publish({("card", "c3"): 1}, datetime.now(ZONE))  # this increment is lost
            centre.publish({("card", "c4"): 2})
            await until(lambda: known() == centre.books.version and centre.idle)
            await until(lambda: _told(store, centre))
        await centre.stop()
        rows = store.execute("SELECT medium, number, reason FROM status_entries WHERE until_version IS NULL").fetchall()
        assert {(medium, number): reason for medium, number, reason in rows} == centre.books.listed
        assert store.execute("SELECT count(*) FROM clearing_messages WHERE applied_at IS NULL").fetchone() == (0,)

    with psycopg.connect(database_url, autocommit=True) as store:
        a_lane(store)
        asyncio.run(scenario(store))


def _told(store: psycopg.Connection[Any], centre: ClearingCentre) -> bool:
    row = store.execute("SELECT version FROM lane_status_lists").fetchone()
    return row is not None and row[0] == centre.books.version


def test_the_centre_shows_its_books_over_http() -> None:
    async def scenario() -> dict[str, Any]:
        centre = ClearingCentre()
        await centre.start(truth_port=0)
        port = centre._servers[1].sockets[0].getsockname()[1]

        def ask() -> dict[str, Any]:
            with urlopen(f"http://127.0.0.1:{port}/") as answer:
                told: dict[str, Any] = json.load(answer)
                return told

        told = await asyncio.to_thread(ask)
        await centre.stop()
        return told

    assert asyncio.run(scenario())["paid"] == {"records": 0, "amount_fen": 0}
