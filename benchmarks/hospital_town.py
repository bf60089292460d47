"""The shared lots round a hospital in a real month: where they are, when their spaces are open, how their drivers leave.

| what | distribution |
| --- | --- |
| lots | 15, uniform in a disc from which every lot is 800 m of walking at most: 6 offices, 3 schools, 6 compounds |
| spaces | shares lognormal (sigma 0.5), at least 6 a lot, exactly `spaces` in all |
| window classes | 1 to 6 a lot of those of its kind (below), without repetition; sizes Dirichlet (4), at least one space |
| destinations | the hospital's four entrances, within 60 m of the middle, and 12 places in the inner 85 % of the disc |
| walking | straight line times 1.3, metres |
| lateness | by lot: 5 punctual, 6 usual, 4 lax ones; a share is late by a lognormal time of sigma 0.8 |

The windows are documents of parking_core.windows, opened over the work calendar: offices and schools on workday evenings
and nights and, but for some classes, all day when nobody works; compounds while their residents are at work, some at
night, a few spaces always. Minute 0 is the first evening at 17:00 local time: by then on a workday what is open by day
is about to close and what is open at night about to begin, so that hardly any car stands across it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from parking_core.sharing import AllocationPolicy, Terms, grant_value_fen
from parking_core.slots import minute_of
from parking_core.windows import openings, parse_schedule
from parking_core.work_calendar import DayKind, WorkCalendar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int32]
    Floats = NDArray[np.float64]

ZONE = ZoneInfo("Asia/Shanghai")
FIRST_NIGHT = date(2026, 10, 1)  # the National Day holiday lasts until 7 October; Saturday 10 October is worked
NIGHTS = 31
DAY_MIN = 1440
BEGINS_HOUR = 17
_AHEAD_DAYS = 3  # beyond the last night, for stays that end then
POLICY, TERMS = AllocationPolicy(), Terms()
_KINDS = ("office",) * 6 + ("school",) * 3 + ("compound",) * 6
_HABITS = ("punctual",) * 5 + ("usual",) * 6 + ("lax",) * 4
HABITS = {"punctual": (0.05, 8.0), "usual": (0.15, 18.0), "lax": (0.30, 25.0)}  # share late, median minutes
LATE_SIGMA = 0.8
_RADIUS_M, _DETOUR = 800 / 1.3, 1.3
_ENTRANCES, _PLACES, _INNER = 4, 12, 0.85
_FEWEST_SPACES, _MOST_CLASSES = 6, 6
_OFF = ("weekend", "holiday")


def _window(days: tuple[str, ...], begins: str, ends: str) -> dict[str, Any]:
    return {"days": list(days), "from": begins, "until": ends}


def _night(begins: str, ends: str, *, off_days: bool = True) -> dict[str, Any]:
    """Open on workday nights, and all day while nobody works."""
    windows = [_window(("workday",), begins, ends)]
    return {"windows": windows + ([_window(_OFF, "00:00", "24:00")] if off_days else [])}


_WINDOWS: dict[str, tuple[dict[str, Any], ...]] = {
    "office": (
        *(_night("17:30", ends) for ends in ("07:00", "07:30")),
        *(_night("18:00", ends) for ends in ("07:30", "08:00")),
        _night("18:30", "08:00"),
        _night("19:00", "07:30", off_days=False),
        _night("18:30", "07:00", off_days=False),
    ),
    "school": (
        *(_night("17:30", ends) for ends in ("06:30", "07:00")),
        _night("18:00", "06:30"),
        _night("18:30", "07:00", off_days=False),
    ),
    "compound": (
        {"windows": [_window(("workday",), "08:00", "17:00")]},
        {"windows": [_window(("workday",), "08:30", "17:30")]},
        {"windows": [_window(("workday",), "09:00", "17:30"), _window(_OFF, "09:00", "16:00")]},
        {"windows": [_window(("any_day",), "20:00", "07:00")]},
        {"windows": [_window(("any_day",), "21:00", "07:30")]},
        {"windows": [_window(("any_day",), "00:00", "24:00")]},
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Classes that requests may use if nobody needed a buffer: those of request r are first[r] .. first[r+1]-1.

    Attributes:
        first: int64[R+1].
        group: int32[C] class, nearest first, of equal ones that whose opening is shortest.
        closes: int32[C] minute at which the opening ends.
        walk: int32[C] metres.
        value: int64[C] fen (parking_core.sharing.grant_value_fen).
    """

    first: NDArray[np.int64]
    group: Ints
    closes: Ints
    walk: Ints
    value: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Town:
    """Lots (L), their classes (G) and the ways to them (D destinations).

    Attributes:
        lot: int32[G] ascending.
        spaces: int32[G].
        opens: int32[G, O] minutes at which openings begin, ascending, the last ones padded.
        closes: int32[G, O] at which they end.
        walk_m: int32[D, L].
        late_share, late_median: float64[L].
        habit: by lot.
    """

    lot: Ints
    spaces: Ints
    opens: Ints
    closes: Ints
    walk_m: Ints
    late_share: Floats
    late_median: Floats
    habit: tuple[str, ...]

    @property
    def lots(self) -> int:
        """Number of lots."""
        return len(self.habit)

    def opening(self, group: int, minute: int) -> tuple[int, int]:
        """The opening of a class that holds a minute, or (0, 0)."""
        place = int(np.searchsorted(self.opens[group], minute, side="right")) - 1
        if place < 0 or self.closes[group, place] <= minute:
            return 0, 0
        return int(self.opens[group, place]), int(self.closes[group, place])

    def open_minutes(self, nights: int) -> NDArray[np.int64]:
        """int64[nights]: space-minutes that are open from 17:00 to 17:00."""
        edges = DAY_MIN * np.arange(nights + 1)
        held = np.clip(edges[:, None, None], self.opens, self.closes) - self.opens
        total: NDArray[np.int64] = np.diff((held.sum(axis=2, dtype=np.int64) * self.spaces).sum(axis=1))
        return total

    def candidates(self, arrive: Ints, depart: Ints, destination: Ints, limit_m: Ints) -> Candidates:
        """What requests may use: open from arrival to departure, and near enough."""
        walk = self.walk_m[destination][:, self.lot]
        begins, ends = np.zeros_like(walk), np.zeros_like(walk)
        for column in range(len(self.lot)):
            place = np.searchsorted(self.opens[column], arrive, side="right") - 1
            begins[:, column] = self.opens[column][place]
            ends[:, column] = np.where(place >= 0, self.closes[column][place], 0)
        fits = (walk <= limit_m[:, None]) & (ends >= depart[:, None])
        request, group = np.nonzero(fits)
        span = (ends - begins)[request, group]
        order = np.lexsort((group, span, self.lot[group], walk[request, group], request))
        request, group = request[order], group[order]
        far = walk[request, group]
        stay = (depart - arrive)[request]
        worth = {pair: _worth(*pair) for pair in set(zip(stay.tolist(), far.tolist(), strict=True))}
        return Candidates(
            first=np.searchsorted(request, np.arange(len(arrive) + 1)).astype(np.int64),
            group=group.astype(np.int32),
            closes=ends[request, group].astype(np.int32),
            walk=far.astype(np.int32),
            value=np.array([worth[pair] for pair in zip(stay.tolist(), far.tolist(), strict=True)], np.int64),
        )


def _worth(stay_min: int, walk_m: int) -> int:
    return grant_value_fen(POLICY, stay_min, walk_m)


def date_of(night: int) -> date:
    """The date on whose evening a night begins; those before the month are negative."""
    return FIRST_NIGHT + timedelta(days=night)


def night_kind(night: int, calendar: WorkCalendar) -> tuple[bool, bool]:
    """Whether people work on the day whose evening it is, and on the day after: nights of one kind open alike."""
    days = (date_of(night), date_of(night + 1))
    return calendar.day_kind(days[0]) is DayKind.WORKDAY, calendar.day_kind(days[1]) is DayKind.WORKDAY


def local_hour(minute: NDArray[np.integer] | int) -> Any:  # noqa: ANN401  # int for int, array for array
    """Hour of the local day, 0 to 23."""
    return (minute // 60 + BEGINS_HOUR) % 24


def draw_town(spaces: int, seed: int) -> Town:
    """The town of a seed."""
    chance = np.random.default_rng((seed, 1))
    kinds, habits = (chance.permutation(np.array(given)).tolist() for given in (_KINDS, _HABITS))
    in_lot = _FEWEST_SPACES + _apportioned(chance.lognormal(0.0, 0.5, len(kinds)), spaces - _FEWEST_SPACES * len(kinds))
    lot, sizes, documents = list[int](), list[int](), list[dict[str, Any]]()
    for number, kind in enumerate(kinds):
        known = _WINDOWS[kind]
        count = int(chance.integers(1, min(len(known), _MOST_CLASSES) + 1))
        chosen = chance.permutation(len(known))[:count]
        lot += [number] * count
        sizes += (1 + _apportioned(chance.dirichlet(np.full(count, 4.0)), int(in_lot[number]) - count)).tolist()
        documents += [known[place] for place in chosen]
    opens, closes = _opened(documents)
    places = _in_disc(len(kinds), _RADIUS_M, chance)
    entrances = chance.uniform(-60.0, 60.0, (_ENTRANCES, 2))
    destinations = np.concatenate((entrances, _in_disc(_PLACES, _INNER * _RADIUS_M, chance)))
    apart = np.linalg.norm(destinations[:, None, :] - places[None, :, :], axis=2)
    share, median = np.array([HABITS[habit] for habit in habits]).T
    walk = np.rint(_DETOUR * apart).astype(np.int32)
    return Town(np.array(lot, np.int32), np.array(sizes, np.int32), opens, closes, walk, share, median, tuple(habits))


def _opened(documents: list[dict[str, Any]]) -> tuple[Ints, Ints]:
    """Openings of every class over the month, by the product's windows on the work calendar."""
    zero = datetime.combine(FIRST_NIGHT, time(BEGINS_HOUR), ZONE)
    until = zero + timedelta(days=NIGHTS + _AHEAD_DAYS)
    calendar = WorkCalendar()
    found = [openings(parse_schedule(document), calendar, ZONE, zero, until) for document in documents]
    width = max(len(each) for each in found)
    beyond = (NIGHTS + _AHEAD_DAYS) * DAY_MIN
    opens, closes = np.full((2, len(documents), width), beyond, np.int32)
    for group, stretches in enumerate(found):
        opens[group, : len(stretches)] = [minute_of(each.begins_at, zero) for each in stretches]
        closes[group, : len(stretches)] = [minute_of(each.ends_at, zero) for each in stretches]
    return opens, closes


def _apportioned(weights: Floats, total: int) -> NDArray[np.int64]:
    """`total` whole things by weight: largest remainders, ties to the first."""
    exact = weights / weights.sum() * total
    whole: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    whole[np.argsort(whole - exact, kind="stable")[: total - int(whole.sum())]] += 1
    return whole


def _in_disc(count: int, radius: float, chance: np.random.Generator) -> Floats:
    away, angle = radius * np.sqrt(chance.random(count)), 2 * np.pi * chance.random(count)
    return np.column_stack((away * np.cos(angle), away * np.sin(angle)))
