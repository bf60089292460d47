"""True visits: drawn vehicle by vehicle, so that nobody is in two places at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

    from parking_core.districts import LotRecord

# Visits that begin in each hour of the day, relative to each other: two peaks and quiet nights.
_HOURS = (1, 1, 1, 1, 1, 2, 5, 12, 16, 14, 11, 10, 10, 11, 12, 11, 10, 12, 14, 11, 8, 5, 3, 2)
_MEDIAN_STAY_S, _STAY_SPREAD = 75 * 60.0, 0.9  # log-normal
_SHORTEST_STAY_S, _LONGEST_STAY_S = 120.0, 23 * 3600.0
_BETWEEN_VISITS = timedelta(hours=26)  # of one vehicle: no rule that looks back a day joins two of its visits
_A_VEHICLE_VISITS = 8  # a month, on average
_REGIONS = ("苏B", "苏A", "苏E", "沪A")
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"  # plates have no I and no O


class Channel(StrEnum):
    """How a vehicle settles what it owes."""

    ETC = "etc"  # the antenna charges its card
    QR = "qr"  # leaves, and pays on the phone afterwards
    LATER = "later"  # leaves and owes
    PERMIT = "permit"


@dataclass(frozen=True, slots=True)
class Vehicle:
    """One that parks here: `card_credit` says whether its card counts down from two thousand million."""

    plate: str
    color: str
    vehicle_class: int
    obu_id: str
    card_no: str
    card_credit: bool


@dataclass(frozen=True, slots=True)
class TrueVisit:
    """What really happened. Times are aware."""

    number: int
    vehicle: Vehicle
    channel: Channel
    lot: str
    entry_lane: str
    exit_lane: str
    entered_at: datetime
    exited_at: datetime


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of the channels; the rest pays by ETC."""

    qr: float = 0.03
    later: float = 0.10
    permit: float = 0.08


def draw_visits(
    rng: random.Random, lots: Sequence[LotRecord], count: int, *, begins_at: datetime, ends_at: datetime, mix: Mix
) -> list[TrueVisit]:
    """`count` visits within [begins_at, ends_at), by time of entry. Cost: linear."""
    visits: list[TrueVisit] = []
    taken: set[str] = set()
    while len(visits) < count:
        vehicle, channel = _vehicle(rng, taken), _channel(rng, mix)
        home = rng.choice(lots)
        for entered_at, exited_at in _stays(rng, begins_at, ends_at):
            lot = home if channel is Channel.PERMIT or rng.random() < 0.7 else rng.choice(lots)
            ways = {
                way: [lane.code for lane in lot.lanes if lane.direction in (way, "both")] for way in ("entry", "exit")
            }
            visits.append(
                TrueVisit(
                    len(visits),
                    vehicle,
                    channel,
                    lot.code,
                    rng.choice(ways["entry"]),
                    rng.choice(ways["exit"]),
                    entered_at,
                    exited_at,
                )
            )
            if len(visits) == count:
                break
    return sorted(visits, key=lambda visit: (visit.entered_at, visit.number))


def _stays(rng: random.Random, begins_at: datetime, ends_at: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Times of one vehicle's visits, in order."""
    apart_s = (ends_at - begins_at).total_seconds() / _A_VEHICLE_VISITS
    earliest = begins_at + timedelta(seconds=rng.uniform(0, apart_s))
    while True:
        entered_at = _in_daytime(rng, earliest)
        stay_s = min(max(_MEDIAN_STAY_S * math.exp(rng.gauss(0, _STAY_SPREAD)), _SHORTEST_STAY_S), _LONGEST_STAY_S)
        exited_at = entered_at + timedelta(seconds=int(stay_s))
        if exited_at >= ends_at - timedelta(hours=1):
            return
        yield entered_at, exited_at
        earliest = exited_at + _BETWEEN_VISITS + timedelta(seconds=rng.expovariate(1 / apart_s))


def _in_daytime(rng: random.Random, earliest: datetime) -> datetime:
    """A moment within the day after `earliest`, at the hours when people come."""
    hour = rng.choices(range(24), _HOURS)[0]
    at = earliest.replace(hour=hour, minute=rng.randrange(60), second=rng.randrange(60), microsecond=0)
    return at if at >= earliest else at + timedelta(days=1)


def _channel(rng: random.Random, mix: Mix) -> Channel:
    draw = rng.random()
    for channel, share in ((Channel.QR, mix.qr), (Channel.LATER, mix.later), (Channel.PERMIT, mix.permit)):
        if draw < share:
            return channel
        draw -= share
    return Channel.ETC


def checked_plate(region: str, body: str) -> str:
    """A plate whose last figure is a check figure: two plates of the month differ in two places at least."""
    return f"{region}{body}{sum((place + 1) * ord(letter) for place, letter in enumerate(body)) % 10}"


def misread(plate: str) -> str:
    """What a camera reads that takes one letter for its neighbour; nobody of the month has this plate."""
    place = _LETTERS.index(plate[3])
    return plate[:3] + _LETTERS[place + 1 if place + 1 < len(_LETTERS) else place - 1] + plate[4:]


def _vehicle(rng: random.Random, taken: set[str]) -> Vehicle:
    """A vehicle with a plate that nobody has, far enough from others that one misread letter is none of theirs."""
    electric = rng.random() < 0.3
    while True:
        letters = ("D" if electric else rng.choice(_LETTERS)) + rng.choice(_LETTERS)
        plate = checked_plate(rng.choice(_REGIONS), letters + f"{rng.randrange(1000):03}"[: 3 if electric else 2])
        if plate not in taken:
            taken.add(plate)
            break
    serial = len(taken)
    return Vehicle(
        plate=plate,
        color="green" if electric else "blue",
        vehicle_class=1,
        obu_id=f"3401{serial:012d}",
        card_no=f"3201{serial:016d}",
        card_credit=rng.random() < 0.7,
    )
