"""A small district and an application over it, without services."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

from api.application import create_app
from api.state import ApiState, HttpSettings
from parking_core.places import Lot, LotId, OpeningWindow, Registry, Space, SpaceId
from parking_core.store.live_state import LOT, SPACE, SPACE_CHANGE, LiveChange, LiveImage

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW_US = 1_795_000_000_000_000  # Wednesday 2026-11-18 19:06:40 in the district
OFFICE_HOURS = (OpeningWindow(frozenset({1, 2, 3, 4, 5}), 8 * 60, 18 * 60),)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_us: int = NOW_US) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us


def lot(number: int, **facts: Any) -> Lot:
    """A lot a hundred metres or so north of the one before."""
    given = {"kind": "off_street", "lat": 31.72 + number * 0.001, "lon": 117.28, "name": f"滨湖 {number}号", **facts}
    return Lot(id=LotId(number), code=f"L{number:02}", **given)


def district() -> Registry:
    """Four lots with 4, 3, 2 and 0 spaces; the second keeps office hours."""
    lots = (lot(1, area="A", etc_lanes=1), lot(2, opening=OFFICE_HOURS, shared=True), lot(3, kind="on_street"), lot(4))
    sizes = {1: 4, 2: 3, 3: 2}
    spaces = [
        Space(SpaceId(number * 10 + bay), LotId(number), f"{bay:03}", lat=31.72, lon=117.28)
        for number, size in sizes.items()
        for bay in range(1, size + 1)
    ]
    return Registry(1, lots, tuple(spaces))


def image(
    states: Mapping[int, bool | None], *, pulse_us: int = NOW_US, last_id: bytes = b"1795000000000-0"
) -> LiveImage:
    """Live state with the given spaces occupied (True), free (False) or silent (None); others never spoke."""
    spaces = np.zeros(len(states), SPACE)
    spaces["space_id"] = list(states)
    spaces["known"] = [state is not None for state in states.values()]
    spaces["occupied"] = [bool(state) for state in states.values()]
    spaces["occurred_us"] = NOW_US - 60_000_000
    of_lot: dict[int, list[bool]] = {}
    for space, state in states.items():
        of_lot.setdefault(space // 10, []).extend([] if state is None else [state])
    lots = np.zeros(len(of_lot), LOT)
    lots["lot_id"] = list(of_lot)
    lots["known"] = [len(known) for known in of_lot.values()]
    lots["occupied"] = [sum(known) for known in of_lot.values()]
    return LiveImage("epoch", last_id, 1, spaces, lots, pulse_us)


def change(
    entry: bytes,
    *,
    spaces: Mapping[int, bool | None] | None = None,
    lots: Mapping[int, tuple[int, int]] | None = None,
    pulse_us: int | None = None,
) -> LiveChange:
    """An entry of the change stream; lots are (occupied, known)."""
    moved = np.zeros(len(spaces or {}), SPACE_CHANGE)
    if spaces:
        moved["space_id"] = list(spaces)
        moved["known"] = [state is not None for state in spaces.values()]
        moved["occupied"] = [bool(state) for state in spaces.values()]
    counts = np.zeros(len(lots or {}), LOT)
    if lots:
        counts["lot_id"] = list(lots)
        counts["occupied"], counts["known"] = zip(*lots.values(), strict=True)
    return LiveChange(entry, moved, counts, pulse_us, reset=False)


STATES: dict[int, bool | None] = {11: False, 12: True, 13: None, 21: True, 22: True, 23: True, 31: None}


def loaded_api(clock: Clock | None = None, *, registry: Registry | None = None, **http: Any) -> ApiState:
    """One API process that has loaded the district."""
    api = ApiState.build(HttpSettings(**http), clock or Clock())
    api.snapshot.install(registry or district(), image(STATES))
    return api


def fetch(api: ApiState, path: str, *, method: str = "GET", **options: Any) -> httpx.Response:
    """One request through the whole application."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(api))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await client.request(method, path, **options)

    return asyncio.run(ask())
