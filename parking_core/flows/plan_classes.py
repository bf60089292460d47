"""Classes of an agreement from what an owner proposes: same windows are one class, a space belongs to one class only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from parking_core.errors import InvalidInputError
from parking_core.store.agreements import NewClass
from parking_core.windows import describe_schedule, parse_schedule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from parking_core.store.agreements import LotSpaces
    from parking_core.windows import Schedule

_MOST_CLASSES: Final = 200  # more is a slip: it is more windows than any lot has owners


@dataclass(frozen=True, slots=True)
class ProposedClass:
    """Spaces with the same windows: named ones by code, or a number of them."""

    windows: Mapping[str, Any]
    spaces: tuple[str, ...] = ()
    quota: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is stored of a proposal, and its schedules with numbers of spaces as they were proposed."""

    classes: tuple[NewClass, ...]
    proposed: tuple[tuple[Schedule, int], ...]


@dataclass(slots=True)
class _Part:
    """A class in the making; spaces by id."""

    schedule: Schedule
    named: list[int]
    picked: list[int]


def plan_classes(proposed: Sequence[ProposedClass], lot: LotSpaces) -> Plan:
    """Classes A, B, ... in the order of their first appearance.

    For a quota, ordinary bays that nobody named are picked in the order of their codes, class after class: the same
    proposal gets the same spaces. Bays for a purpose (accessible, charging, ...) are shared only where they are named.

    Raises:
        InvalidInputError: windows cannot be read, a space is unknown or in two classes, or the lot has too few.
    """
    if not 0 < len(proposed) <= _MOST_CLASSES:
        raise InvalidInputError(f"An agreement has {len(proposed)} classes; give 1 to {_MOST_CLASSES}.")
    schedules = [_schedule(number, each) for number, each in enumerate(proposed, 1)]
    _check_names(proposed, lot)
    named = {code for each in proposed for code in each.spaces}
    ordinary = iter([code for code in lot.spaces if code in lot.ordinary and code not in named])
    parts: dict[Schedule, _Part] = {}
    for number, (each, schedule) in enumerate(zip(proposed, schedules, strict=True), 1):
        part = parts.setdefault(schedule, _Part(schedule, [], []))
        part.named += [lot.spaces[code] for code in each.spaces]
        part.picked += [lot.spaces[code] for code in _pick(ordinary, each.quota or 0, number, lot.code)]
    sizes = [each.quota or len(each.spaces) for each in proposed]
    return Plan(
        tuple(_class(place, part) for place, part in enumerate(parts.values())),
        tuple(zip(schedules, sizes, strict=True)),
    )


def _schedule(number: int, proposed: ProposedClass) -> Schedule:
    try:
        schedule = parse_schedule(dict(proposed.windows))
    except InvalidInputError as error:
        raise InvalidInputError(f"Class {number}: {error}") from error
    if (proposed.quota is None) == (not proposed.spaces):
        raise InvalidInputError(f"Class {number}: give either the spaces by their codes, or a quota of spaces.")
    if proposed.quota is not None and proposed.quota < 1:
        raise InvalidInputError(f"Class {number}: the quota is {proposed.quota}; give at least one space.")
    return schedule


def _check_names(proposed: Sequence[ProposedClass], lot: LotSpaces) -> None:
    times = Counter(code for each in proposed for code in each.spaces)
    if unknown := [code for code in times if code not in lot.spaces]:
        raise InvalidInputError(f"Lot {lot.code} has no space {_listed(unknown)}; see /v1/lots/{lot.code}/spaces.")
    if twice := [code for code, count in times.items() if count > 1]:
        raise InvalidInputError(
            f"Space {_listed(twice)} of lot {lot.code} is named more than once; a space belongs to one class only."
        )


def _pick(ordinary: Iterator[str], quota: int, number: int, lot: str) -> list[str]:
    picked = list(islice(ordinary, quota))
    if len(picked) < quota:
        raise InvalidInputError(
            f"Class {number} asks for {quota} spaces and lot {lot} has only {len(picked)} ordinary ones left; lower the "
            "quota, or name spaces."
        )
    return picked


def _class(place: int, part: _Part) -> NewClass:
    windows = describe_schedule(part.schedule)
    if part.named:
        return NewClass(
            code=_letters(place), windows=windows, spaces=tuple(part.named), named=True, picked=tuple(part.picked)
        )
    return NewClass(code=_letters(place), windows=windows, spaces=tuple(part.picked))


def _letters(place: int) -> str:
    """A, B, ..., Z, AA, AB, ..."""
    return (_letters(place // 26 - 1) if place >= 26 else "") + chr(ord("A") + place % 26)


def _listed(codes: Sequence[str]) -> str:
    return ", ".join(codes[:5]) + (f" and {len(codes) - 5} more" if len(codes) > 5 else "")
