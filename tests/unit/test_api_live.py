from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from api import live
from api.live import LiveHub, LiveStream
from api.snapshot import Snapshot, parse_stream_id
from tests.unit.api_builders import NOW_US, STATES, Clock, change, district, fetch, image, loaded_api

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from api.state import ApiState


class Client:
    """The other end of a stream: collects what is sent, leaves when told."""

    def __init__(self) -> None:
        self.frames: list[str] = []
        self.aborted = False
        self.stuck = asyncio.Event()
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if self.stuck.is_set():
            await asyncio.Event().wait()
        if message.get("body"):
            self.frames.append(message["body"].decode())

    def events(self, kind: str = "availability") -> list[tuple[str, list[str]]]:
        """Id and lots' codes of the events taken so far."""
        taken = []
        for frame in self.frames:
            fields = dict(line.split(": ", 1) for line in frame.strip().split("\n") if not line.startswith(":"))
            if fields.get("event") == kind:
                taken.append((fields.get("id", ""), [lot["code"] for lot in json.loads(fields["data"])["lots"]]))
        return taken


def play(
    api: ApiState,
    story: Callable[[LiveHub, Client], Awaitable[None]],
    *,
    wanted: frozenset[str] | None = None,
    last_event_id: bytes = b"",
) -> Client:
    """A stream of `api` during `story`, which ends by its client's leaving if not before."""

    async def run() -> Client:
        hub, client = LiveHub(api), Client()
        ticking = asyncio.create_task(hub.run())
        scope = {"type": "http", "extensions": {live.ABORT: {"abort": lambda: setattr(client, "aborted", True)}}}
        stream = LiveStream(hub, wanted, last_event_id)
        streaming = asyncio.create_task(stream(scope, client.receive, client.send))
        await asyncio.sleep(0.05)
        await story(hub, client)
        client.gone.set()
        await asyncio.wait_for(streaming, 5)
        assert hub.clients == 0
        ticking.cancel()
        return client

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "TICK_S", 0.05)


def test_the_first_event_holds_every_lot_and_later_ones_what_moved() -> None:
    api = loaded_api()

    async def story(_: LiveHub, __: Client) -> None:
        api.snapshot.apply(change(b"1795000000500-0", lots={3: (1, 2)}))
        await asyncio.sleep(0.2)

    client = play(api, story)
    assert client.frames[0] == "retry: 2000\n\n"
    assert client.events() == [
        ("1795000000000-0", ["L01", "L02", "L03", "L04"]),
        ("1795000000500-0", ["L03"]),
    ]


def test_many_changes_of_a_lot_become_few_events_with_the_last_figures() -> None:
    api = loaded_api()

    async def story(_: LiveHub, __: Client) -> None:
        for number in range(100):
            api.snapshot.apply(change(b"%d-0" % (1795000001000 + number), lots={1: (number % 4, 4)}))
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.2)

    client = play(api, story)
    assert 2 <= len(client.events()) <= 15
    last = json.loads(client.frames[-1].split("data: ")[1])["lots"][0]
    assert (last["occupied"], last["free"]) == (3, 1)
    assert client.events()[-1][0] == "1795000001099-0"


def test_only_the_lots_asked_for() -> None:
    api = loaded_api()

    async def story(_: LiveHub, __: Client) -> None:
        api.snapshot.apply(change(b"1795000000500-0", lots={1: (2, 2)}))
        await asyncio.sleep(0.15)
        api.snapshot.apply(change(b"1795000000600-0", lots={2: (0, 3)}))
        await asyncio.sleep(0.15)

    client = play(api, story, wanted=frozenset({"L02"}))
    assert [codes for _, codes in client.events()] == [["L02"], ["L02"]]


@pytest.mark.parametrize(
    ("last_event_id", "expected"),
    [
        (b"1795000000200-0", ["L02", "L03"]),  # saw the first change, missed two
        (b"1795000000250-7", ["L02", "L03"]),  # an id between two entries
        (b"1795000000400-0", []),  # missed nothing
        (b"1795000009999-0", []),  # came from a process that was ahead of this one
        (b"1794999999999-0", ["L01", "L02", "L03", "L04"]),  # older than what is remembered
        (b"", ["L01", "L02", "L03", "L04"]),
        (b"garbage", ["L01", "L02", "L03", "L04"]),
    ],
)
def test_a_client_that_comes_back_gets_what_it_missed(last_event_id: bytes, expected: list[str]) -> None:
    api = loaded_api()
    api.snapshot.apply(change(b"1795000000200-0", lots={1: (0, 2)}))
    api.snapshot.apply(change(b"1795000000300-0", lots={2: (0, 3)}))
    api.snapshot.apply(change(b"1795000000400-0", lots={3: (0, 2)}))

    async def story(_: LiveHub, __: Client) -> None:
        await asyncio.sleep(0.1)

    client = play(api, story, last_event_id=last_event_id)
    assert [code for _, codes in client.events() for code in codes] == expected


def test_a_new_registry_sends_everything_again() -> None:
    api = loaded_api()

    async def story(_: LiveHub, __: Client) -> None:
        api.snapshot.install(district(), image(STATES, last_id=b"1795000000900-0"))
        await asyncio.sleep(0.15)

    assert [len(codes) for _, codes in play(api, story).events()] == [4, 4]


def test_a_stream_says_when_figures_become_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_LOOK_EVERY_S", 0.02)
    clock = Clock()
    api = loaded_api(clock)

    async def story(_: LiveHub, __: Client) -> None:
        clock.now_us = NOW_US + 20_000_000
        await asyncio.sleep(0.1)
        api.snapshot.apply(change(b"1795000020000-0", pulse_us=clock.now_us))
        await asyncio.sleep(0.1)

    events = [frame for frame in play(api, story).frames if "event: freshness" in frame]
    assert [json.loads(frame.split("data: ")[1])["stale"] for frame in events] == [True, False]


def test_a_quiet_stream_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(live, "HEARTBEAT_S", 0.05)

    async def story(_: LiveHub, __: Client) -> None:
        await asyncio.sleep(0.3)

    beats = [frame for frame in play(loaded_api(), story).frames if frame.startswith(": as of 2026-11-18T19:06:40")]
    assert len(beats) >= 2


def test_a_client_that_takes_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SEND_TIMEOUT_S", 0.05)
    api = loaded_api()

    async def story(_: LiveHub, client: Client) -> None:
        client.stuck.set()
        api.snapshot.apply(change(b"1795000000500-0", lots={3: (1, 2)}))
        await asyncio.sleep(0.3)

    assert play(api, story).aborted
    assert "parking_api_live_dropped_total 1.0" in fetch(api, "/metrics").text


def test_the_end_of_the_process_ends_streams() -> None:
    async def story(hub: LiveHub, client: Client) -> None:
        hub.close()
        await asyncio.sleep(0.1)
        assert hub.clients == 0
        assert not client.gone.is_set()

    assert not play(loaded_api(), story).aborted


def test_streams_are_bounded() -> None:
    answer = fetch(loaded_api(live_clients=0), "/v1/live")
    assert (answer.status_code, answer.json()["code"]) == (503, "too_many_streams")
    assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize("lots", ["L01,nowhere", "L01,,L02", ",".join(str(number) for number in range(600))])
def test_lots_that_do_not_exist_are_named(lots: str) -> None:
    answer = fetch(loaded_api(), f"/v1/live?lots={lots}")
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "lots")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"12-3", (12, 3)),
        (b"0-0", (0, 0)),
        (b"12", None),
        (b"-", None),
        (b"a-1", None),
        (b"1-\xb2", None),
        (b"9" * 60 + b"-1", None),
    ],
)
def test_stream_ids(text: bytes, expected: tuple[int, int] | None) -> None:
    assert parse_stream_id(text) == expected


def test_the_memory_of_versions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.snapshot._LOG_LENGTH", 10)
    snapshot: Snapshot = loaded_api().snapshot
    for number in range(1, 60):
        snapshot.apply(change(b"%d-0" % (1795000000000 + number), lots={1: (number % 2, 2)}))
    assert len(snapshot._ids) == len(snapshot._versions) <= 10
    assert snapshot.version_at(b"1795000000001-0") is None
    assert snapshot.version_at(b"1795000000059-0") == snapshot.version
