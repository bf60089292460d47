"""Sharing agreements and the district's policy of allocation: what owners offer and what is decided (facts and rules).

negotiating ──► signed ──► published ◄──► suspended
      │            │            └──────────────┴──► terminated
      └────────────┴──► terminated

An agreement is worked out in its windows and terms until it is signed; only a published one promises spaces. Suspended
means: no new promise; what is promised for a date is resolved by the suspension of that date.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  # msgspec reads the annotations when a policy is read
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec

from parking_core.errors import InvalidInputError
from parking_core.lateness import BufferPolicy, NoShowPolicy, OverstayPolicy
from parking_core.people import ANYONE

_Read = TypeVar("_Read", "Terms", "AllocationPolicy")


class AgreementState(StrEnum):
    """Where an agreement stands."""

    NEGOTIATING = "negotiating"
    SIGNED = "signed"
    PUBLISHED = "published"
    SUSPENDED = "suspended"
    TERMINATED = "terminated"


_A = AgreementState
CHANGES: Final[Mapping[AgreementState, frozenset[AgreementState]]] = {
    _A.NEGOTIATING: frozenset({_A.SIGNED, _A.TERMINATED}),
    _A.SIGNED: frozenset({_A.PUBLISHED, _A.TERMINATED}),
    _A.PUBLISHED: frozenset({_A.SUSPENDED, _A.TERMINATED}),
    _A.SUSPENDED: frozenset({_A.PUBLISHED, _A.TERMINATED}),
    _A.TERMINATED: frozenset(),
}


def may_become(before: AgreementState, after: AgreementState) -> bool:
    """Whether the life cycle allows the change."""
    return after in CHANGES[before]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an agreement says beside its windows. Money in fen, shares in permille.

    The defaults are the district's usual terms: a month's permit of 200 yuan and a notice of a day are what Wuxi and
    Wuhu publish (ourjiangsu.com 2022-11-15; the notice of Wuhu); the owner's share and the hourly price are examples.
    """

    price_fen_per_hour: int = 200  # every hour begun
    permit_fen_per_month: int | None = 20_000  # None: no permits
    notice_h: int = 24  # before a date is taken back
    eligible: tuple[str, ...] = (ANYONE,)  # groups
    owner_permille: int = 700  # of what is earned
    failure_rate: float = 0.01  # of promises that may find the space still taken
    most_violations: int = 3  # a permit ends with the next one (Wuxi 2022)
    most_permits_permille: int = 500  # of a class's spaces; the rest stays for single reservations
    approve_permits: bool = False  # the operator decides on every application

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise InvalidInputError("The terms cannot be used: " + "; ".join(problems) + ".")

    def _problems(self) -> list[str]:
        ranges: tuple[tuple[str, float, float, float], ...] = (
            ("price_fen_per_hour", self.price_fen_per_hour, 0, 100_000),
            ("permit_fen_per_month", self.permit_fen_per_month or 0, 0, 10_000_000),
            ("notice_h", self.notice_h, 0, 720),
            ("owner_permille", self.owner_permille, 0, 1000),
            ("failure_rate", self.failure_rate, 0.0001, 0.5),
            ("most_violations", self.most_violations, 0, 100),
            ("most_permits_permille", self.most_permits_permille, 0, 1000),
        )
        found = [
            f"{name} is {value}, not within {low} and {high}"
            for name, value, low, high in ranges
            if not low <= value <= high
        ]
        if not self.eligible:
            found.append(f"eligible names nobody; `{ANYONE}` means everybody")
        return found

    def allows(self, group: str) -> bool:
        """Whether members of a group may have spaces of it."""
        return ANYONE in self.eligible or group in self.eligible

    def price_fen(self, minutes: int) -> int:
        """What a reservation of so many minutes costs: every hour begun."""
        return -(-minutes // 60) * self.price_fen_per_hour

    def document(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"eligible": list(self.eligible)}


def read_terms(document: object) -> Terms:
    """Terms of a document; what it leaves out is as usual.

    Raises:
        InvalidInputError: a field is unknown, of the wrong type or out of range.
    """
    return _read(document, Terms, "terms")


# The longest stay is what the barrier looks ahead by; sums of values stay exact.
_MOST: Final = {
    "most_active": 1_000,
    "horizon_days": 100,
    "early_min": 720,
    "shortest_stay_min": 1_440,
    "longest_stay_h": 72,
    "walk_fen_per_100m": 1_000_000,
    "base_fen": 1_000_000,
    "hour_fen": 1_000_000,
    "no_shows_allowed": 1_000,
    "day_ahead_at_hour": 23,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationPolicy:
    """What the district decides about who gets the spaces, and what becomes of promises. Shares are 0 to 1, times minutes.

    The failure rates of `buffers` are those of lots whose agreement says none.
    """

    floors: Mapping[str, float] = field(default_factory=dict)  # group → share of its requests that must be served
    most_active: int = 3  # promises that a person may have at once
    horizon_days: int = 35  # how far ahead is promised
    early_min: int = 15  # before the promised begin: the barrier opens already
    shortest_stay_min: int = 15
    longest_stay_h: int = 72
    walk_fen_per_100m: int = 100  # what a walk costs the driver, in the value of a grant
    base_fen: int = 500  # what serving somebody is worth
    hour_fen: int = 200  # and what every hour of his stay is
    no_shows_allowed: int = 3  # of 90 days; with the next one a person waits until one of them is older
    day_ahead_at_hour: int = 18  # local: the round for those who wait for the next day's nights
    buffers: BufferPolicy = field(default_factory=BufferPolicy)
    overstay: OverstayPolicy = field(default_factory=OverstayPolicy)
    no_show: NoShowPolicy = field(default_factory=NoShowPolicy)

    def __post_init__(self) -> None:
        problems = [
            f"the floor of {group} is {share}, not a share"
            for group, share in self.floors.items()
            if not 0 <= share <= 1
        ]
        numbers = {name: value for name in self.__dataclass_fields__ if isinstance(value := getattr(self, name), int)}
        problems += [f"{name} is {value}, below 0" for name, value in numbers.items() if value < 0]
        problems += [
            f"{name} is {numbers[name]}, above {most}" for name, most in _MOST.items() if numbers.get(name, 0) > most
        ]
        if problems:
            raise InvalidInputError("The policy cannot be used: " + "; ".join(problems) + ".")

    def document(self) -> dict[str, Any]:
        """As JSON keeps it."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def buffers_of(policy: AllocationPolicy, terms: Terms) -> BufferPolicy:
    """The limits of the district with the failure rate that the lot's operator chose."""
    return replace(policy.buffers, guest_failure_rate=terms.failure_rate, owner_failure_rate=terms.failure_rate)


def grant_value_fen(policy: AllocationPolicy, minutes: int, walk_m: int) -> int:
    """What a grant is worth to the district, at least 1 fen: serving somebody, for so long, less what his walk costs.

    What the driver pays is no part of it: the money only changes hands, and dear lots would be preferred to cheap ones.
    """
    worth = policy.base_fen + policy.hour_fen * minutes // 60
    return max(worth - policy.walk_fen_per_100m * walk_m // 100, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLot:
    """A lot whose owner shares spaces."""

    id: int
    code: str
    name: str
    lat: float
    lon: float
    agreement_id: int
    agreement: str  # code
    open: bool  # published: makes new promises
    terms: Terms
    operator_id: int | None = None
    barriers: tuple[int, ...] = ()  # devices that let vehicles in


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceClass:
    """Spaces of a shared lot with the same windows."""

    id: int
    code: str
    windows: object  # document of parking_core.windows
    spaces: int
    lot: SharedLot


def read_policy(document: object) -> AllocationPolicy:
    """The policy of a document; what it leaves out is as usual.

    Raises:
        InvalidInputError: a field is unknown, of the wrong type or out of range.
    """
    return _read(document, AllocationPolicy, "policy")


def _read(document: object, kind: type[_Read], name: str) -> _Read:
    if isinstance(document, dict):
        unknown = sorted(set(document) - set(kind.__dataclass_fields__))
        if unknown:
            raise InvalidInputError(
                f"The {name} have no field {unknown[0]!r}; known are {', '.join(kind.__dataclass_fields__)}."
            )
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"The {name} cannot be read: {error}.") from error
