"""How owners publish windows, and why (pure).

Spaces of a lot with the same schedule are one class, and a class of c spaces is a number: as long as no more than c
cars are promised to it at any instant, a concrete space for each exists, because first come, first served colours an
interval graph with as many colours as its busiest instant has cars. That stays true for classes that differ at one end
only: in the morning, or in the evening, one set of spaces contains the other. Where windows differ at both ends it is
false; four cars can fit two spaces at every instant and yet not stand in them (tests/unit/test_windows_publication.py
has the example), and deciding whether they do is NP-hard. Such spaces must be counted apart, one class each. Many
small classes waste what lies between them and make every allocation slower: hence a grid of 30 minutes and at most six
classes a lot. Owners are told; what they publish works anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import TYPE_CHECKING

from parking_core.errors import InvalidInputError
from parking_core.windows.document import clock
from parking_core.windows.stretches import openings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from zoneinfo import ZoneInfo

    from parking_core.tariffs import Interval
    from parking_core.windows.schedule import Schedule
    from parking_core.work_calendar import DayKinds

GRID_MINUTES = 30
MOST_CLASSES = 6


class AdviceCode(StrEnum):
    """What an owner is told about a publication."""

    MERGED = "merged"  # classes that say the same were counted as one
    OFF_GRID = "off_grid"
    TOO_MANY_CLASSES = "too_many_classes"
    DIFFER_AT_BOTH_ENDS = "differ_at_both_ends"


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to tell an owner; `classes` are places in the list that was given."""

    code: AdviceCode
    classes: tuple[int, ...]
    zh: str
    en: str


def merged_classes(classes: Sequence[tuple[Schedule, int]]) -> tuple[tuple[Schedule, int], ...]:
    """Schedules with numbers of spaces, each schedule once, in the order of their first appearance.

    Raises:
        InvalidInputError: a class has no spaces.
    """
    counts: dict[Schedule, int] = {}
    for place, (schedule, count) in enumerate(classes):
        if count < 1:
            raise InvalidInputError(f"Class {place + 1} has {count} spaces; give at least one, or leave the class out.")
        counts[schedule] = counts.get(schedule, 0) + count
    return tuple(counts.items())


def publication_advice(
    classes: Sequence[tuple[Schedule, int]], calendar: DayKinds, zone: ZoneInfo, over: Interval
) -> tuple[Advice, ...]:
    """What to tell the owner of a lot who publishes these schedules with numbers of spaces; none: all is well.

    Windows are compared by what they open in `over`; a month shows what recurs.

    Raises:
        InvalidInputError: a class has no spaces.
    """
    merged_classes(classes)
    places: dict[Schedule, list[int]] = {}
    for place, (schedule, _) in enumerate(classes):
        places.setdefault(schedule, []).append(place)
    advice = [_merged(same) for same in places.values() if len(same) > 1]
    advice += [found for schedule, same in places.items() if (found := _off_grid(schedule, same))]
    if len(places) > MOST_CLASSES:
        advice.append(_too_many(len(places), tuple(same[0] for same in places.values())))
    opened = {same[0]: _opened(schedule, calendar, zone, over) for schedule, same in places.items()}
    apart = tuple(pair for pair in combinations(opened, 2) if not _share_ends([opened[place] for place in pair]))
    return (*advice, *([_apart(apart)] if apart else []))


def poolable(schedules: Iterable[Schedule], calendar: DayKinds, zone: ZoneInfo, over: Interval) -> bool:
    """Whether spaces with these schedules can be counted together exactly, as the spaces that are open at an instant.

    They can where of all stretches that overlap one another the beginnings are equal, or the ends: then whoever comes
    finds a space that is as good as any other (or, backwards in time, whoever leaves).
    """
    return _share_ends([_opened(schedule, calendar, zone, over) for schedule in schedules])


def _opened(schedule: Schedule, calendar: DayKinds, zone: ZoneInfo, over: Interval) -> tuple[Interval, ...]:
    return openings(schedule, calendar, zone, over.begins_at, over.ends_at)


def _share_ends(opened: Sequence[tuple[Interval, ...]]) -> bool:
    together: list[Interval] = []
    for stretch in sorted({each for stretches in opened for each in stretches}, key=lambda each: each.begins_at):
        if together and stretch.begins_at >= max(each.ends_at for each in together):
            together = []
        together.append(stretch)
        if len({each.begins_at for each in together}) > 1 and len({each.ends_at for each in together}) > 1:
            return False
    return True


def _merged(same: list[int]) -> Advice:
    numbers = [place + 1 for place in same]
    return Advice(
        AdviceCode.MERGED,
        tuple(same),
        f"第{'、'.join(map(str, numbers))}类时段相同, 已合并为一类。",
        f"Classes {_listed(numbers)} have the same windows and count as one.",
    )


def _off_grid(schedule: Schedule, same: list[int]) -> Advice | None:
    hours = [window.hours for window in schedule.windows] + [each for _, day in schedule.exceptions for each in day]
    minutes = {minute for each in hours for minute in (each.from_minute, each.until_minute)}
    off = [clock(minute) for minute in sorted(minutes) if minute % GRID_MINUTES]
    if not off:
        return None
    return Advice(
        AdviceCode.OFF_GRID,
        tuple(same),
        f"{'、'.join(off)}不是整点或半点; 时段按{GRID_MINUTES}分钟取整, 同类车位才能合并调配, 接纳更多车辆。",
        f"{_listed(off)} {'is' if len(off) == 1 else 'are'} not on the {GRID_MINUTES}-minute grid; on it, more spaces "
        "have equal windows, and equal windows serve more cars.",
    )


def _too_many(count: int, firsts: tuple[int, ...]) -> Advice:
    return Advice(
        AdviceCode.TOO_MANY_CLASSES,
        firsts,
        f"共有{count}类不同时段; 建议每个停车场不超过{MOST_CLASSES}类: 类别越多, 每类车位越少, 空档越难利用。",
        f"There are {count} different classes; keep to {MOST_CLASSES} a lot: the more classes, the fewer spaces in each "
        "and the more gaps that nobody can use.",
    )


def _apart(pairs: tuple[tuple[int, int], ...]) -> Advice:
    named = [f"{one + 1}/{other + 1}" for one, other in pairs]
    return Advice(
        AdviceCode.DIFFER_AT_BOTH_ENDS,
        tuple(sorted({place for pair in pairs for place in pair})),
        f"第{'、'.join(named)}类的开始和结束时间都不同, 不能合并计算车位, 只能分别调配; 统一开始或结束时间后即可合并。",
        f"Classes {_listed(named)} differ at both ends, so that their spaces cannot be counted together; with the same "
        "beginning or the same end they could.",
    )


def _listed(names: Sequence[object]) -> str:
    return " and ".join(filter(None, (", ".join(map(str, names[:-1])), str(names[-1]))))
