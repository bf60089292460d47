"""One night to allocate, as arrays.

A group is the spaces of one lot that have the same window. A request may have several columns, one for each group that
it may use; what makes a column eligible (window, the owner's buffer, walking limit) is decided when columns are made,
so that nothing after this module looks at it again. A column occupies [arrive, until), half-open: a car that leaves at
t frees for one that arrives at t. Times are integer minutes from the instance's own zero, values are integer fen.

Within a group a concrete space for every chosen column exists exactly when no instant holds more columns than the
group has spaces (interval graphs are perfect), hence groups have a capacity and spaces have no place here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FORMAT = "shared-parking-alloc-1"
LARGEST_TOTAL = 2**52
"""Fen; the sum of every request's best value stays below it, so that sums are exact in double precision too."""
_MINUTES = 60
_METRES = 100


@dataclass(frozen=True, slots=True)
class Instance:
    """Groups, requests and columns (in CSR form by request) of one night.

    Attributes:
        lot: int32[G] lot of the group.
        start: int32[G] first minute of the group's window.
        end: int32[G] minute at which the window ends.
        capacity: int32[G] spaces of the group, >= 0.
        arrive: int32[R] minute of arrival.
        depart: int32[R] minute of departure, > arrive.
        first: int64[R+1] columns of request r are first[r] .. first[r+1]-1.
        group: int32[C] group of the column; at most one column for a request and group.
        value: int64[C] fen, > 0.
        until: int32[C] minute until which a space is taken (departure and that lot's buffer), > arrive.

    Raises:
        InvalidInputError: the arrays contradict this description; one sentence says which and where.
    """

    lot: NDArray[np.int32]
    start: NDArray[np.int32]
    end: NDArray[np.int32]
    capacity: NDArray[np.int32]
    arrive: NDArray[np.int32]
    depart: NDArray[np.int32]
    first: NDArray[np.int64]
    group: NDArray[np.int32]
    value: NDArray[np.int64]
    until: NDArray[np.int32]

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            object.__setattr__(self, name, _typed(name, getattr(self, name), kind))
        _check_shapes(self)
        _check_values(self)

    @property
    def groups(self) -> int:
        """Number of groups G."""
        return len(self.capacity)

    @property
    def requests(self) -> int:
        """Number of requests R."""
        return len(self.arrive)

    @property
    def columns(self) -> int:
        """Number of columns C."""
        return len(self.group)

    @property
    def request_of_column(self) -> NDArray[np.int32]:
        """int32[C], the request of every column."""
        return np.repeat(np.arange(self.requests, dtype=np.int32), np.diff(self.first))

    @classmethod
    def from_file(cls, path: Path) -> Instance:
        """The instance in a file of the format shared-parking-alloc-1.

        Raises:
            InvalidInputError: the file is no JSON, or its document is not what `from_document` wants.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"{path.name} cannot be read as JSON: {error}.") from error
        return cls.from_document(document)

    @classmethod
    def from_document(cls, document: object) -> Instance:
        """The instance in a document of the format shared-parking-alloc-1; columns are made by its value rule.

        v(r, g) = base + price[lot] * (d - a) // 60 - walk[dest][lot] * sens // 100. Request r may use group g if its
        lot is among the k_nearest lots of its destination (ties by lot index), a >= start, d + buffer <= end, v > 0.

        Raises:
            InvalidInputError: a part is missing or is not what the format says.
        """
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise InvalidInputError(f'The document is not of the format "{FORMAT}".')
        return _made_from(document)


_KINDS: dict[str, type[np.integer[Any]]] = {
    "lot": np.int32,
    "start": np.int32,
    "end": np.int32,
    "capacity": np.int32,
    "arrive": np.int32,
    "depart": np.int32,
    "first": np.int64,
    "group": np.int32,
    "value": np.int64,
    "until": np.int32,
}


def _typed(name: str, given: object, kind: type[np.integer[Any]]) -> NDArray[Any]:
    """`given` as a C-contiguous array of `kind`, refused where numbers would change."""
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise InvalidInputError(f"{name} is not a list of numbers: {error}.") from error
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InvalidInputError(f"{name} must be a list of whole numbers.")
    info = np.iinfo(kind)
    if array.size and (int(array.min()) < info.min or int(array.max()) > info.max):
        raise InvalidInputError(f"{name} holds a number outside {info.min} .. {info.max}.")
    return np.ascontiguousarray(array, dtype=kind)


def _check_shapes(instance: Instance) -> None:
    for name in ("lot", "start", "end"):
        _same_length(name, getattr(instance, name), "capacity", instance.capacity)
    _same_length("depart", instance.depart, "arrive", instance.arrive)
    for name in ("value", "until"):
        _same_length(name, getattr(instance, name), "group", instance.group)
    first = instance.first
    if (
        len(first) != instance.requests + 1
        or first[0] != 0
        or first[-1] != instance.columns
        or np.any(np.diff(first) < 0)
    ):
        raise InvalidInputError("first must rise from 0 to the number of columns, one entry a request and one more.")


def _same_length(name: str, array: NDArray[Any], other_name: str, other: NDArray[Any]) -> None:
    if len(array) != len(other):
        raise InvalidInputError(f"{name} has {len(array)} entries, {other_name} has {len(other)}.")


def _check_values(instance: Instance) -> None:
    _refuse("capacity of group", instance.capacity < 0, "is negative")
    _refuse("departure of request", instance.depart <= instance.arrive, "is not after its arrival")
    if not instance.columns:
        return
    request = instance.request_of_column
    _refuse("group of column", (instance.group < 0) | (instance.group >= instance.groups), "does not exist")
    _refuse("value of column", instance.value <= 0, "is not positive")
    _refuse("until of column", instance.until <= instance.arrive[request], "is not after the arrival of its request")
    if best_total(instance) > LARGEST_TOTAL:
        raise InvalidInputError(f"The best values of all requests add up to more than {LARGEST_TOTAL} fen.")
    pair = np.sort(request.astype(np.int64) * instance.groups + instance.group)
    if np.any(pair[1:] == pair[:-1]):
        twice = int(pair[1:][pair[1:] == pair[:-1]][0]) // instance.groups
        raise InvalidInputError(f"Request {twice} has two columns in the same group.")


def _refuse(what: str, wrong: NDArray[np.bool_], why: str) -> None:
    if wrong.any():
        raise InvalidInputError(f"The {what} {int(np.argmax(wrong))} {why}.")


def best_total(instance: Instance) -> int:
    """Sum of every request's best value in fen: what unlimited capacity would be worth (exact, any size)."""
    if not instance.columns:
        return 0
    has = np.flatnonzero(np.diff(instance.first))
    best = np.maximum.reduceat(instance.value, instance.first[:-1][has])
    largest = int(best.max())
    return int(best.sum()) if largest < 2**62 // len(best) else sum(int(one) for one in best)


def _made_from(document: dict[str, Any]) -> Instance:
    groups, requests = _part(document, "groups", dict), _part(document, "requests", dict)
    lot, start, end, capacity = (_numbers(groups, "groups", name) for name in ("lot", "start", "end", "cap"))
    for name, array in (("lot", lot), ("start", start), ("end", end)):
        _same_length(f"groups.{name}", array, "groups.cap", capacity)
    asked = [_numbers(requests, "requests", name) for name in ("a", "d", "dest", "k_nearest", "base", "sens")]
    for name, array in zip(("d", "dest", "k_nearest", "base", "sens"), asked[1:], strict=True):
        _same_length(f"requests.{name}", array, "requests.a", asked[0])
    arrive, depart, dest, nearest, base, sens = asked
    price = _numbers(document, "document", "lot_price_cents_h")
    walk = _walks(document, len(price))
    buffer = _part(document, "buffer_min", int)
    if buffer < 0:
        raise InvalidInputError(f'"buffer_min" is {buffer}; a space is kept free for 0 minutes or more.')
    _refuse("k_nearest of request", nearest < 0, "is negative; give 0 or more lots")
    _refuse("lot of group", (lot < 0) | (lot >= len(price)), "has no price")
    _refuse("destination of request", (dest < 0) | (dest >= len(walk)), "has no walks")
    _refuse("departure of request", depart <= arrive, "is not after its arrival")
    by_lot = _groups_by_lot(lot, len(price))
    by_distance = np.argsort(walk, axis=1, kind="stable")
    chosen, values = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    counts = np.zeros(len(arrive) + 1, np.int64)
    for r in range(len(arrive)):
        near = by_distance[dest[r], : nearest[r]]
        mine = np.sort(np.concatenate([np.zeros(0, np.int64), *(by_lot[one] for one in near)]))
        mine = mine[(start[mine] <= arrive[r]) & (end[mine] >= depart[r] + buffer)]
        rent = price[lot[mine]] * (depart[r] - arrive[r]) // _MINUTES
        value = base[r] + rent - walk[dest[r], lot[mine]] * sens[r] // _METRES
        chosen.append(mine[value > 0])
        values.append(value[value > 0])
        counts[r + 1] = len(chosen[-1])
    return Instance(
        lot=_typed("groups.lot", lot, np.int32),
        start=_typed("groups.start", start, np.int32),
        end=_typed("groups.end", end, np.int32),
        capacity=_typed("groups.cap", capacity, np.int32),
        arrive=_typed("requests.a", arrive, np.int32),
        depart=_typed("requests.d", depart, np.int32),
        first=np.cumsum(counts),
        group=np.concatenate(chosen).astype(np.int32),
        value=np.concatenate(values),
        until=_typed("requests.d and buffer_min", np.repeat(depart + buffer, counts[1:]), np.int32),
    )


def _groups_by_lot(lot: NDArray[np.int64], lots: int) -> list[NDArray[np.int64]]:
    order = np.argsort(lot, kind="stable")
    return np.split(order, np.searchsorted(lot[order], np.arange(1, lots)))


def _part(document: dict[str, Any], name: str, kind: type) -> Any:  # noqa: ANN401  # JSON: the kind is checked here
    part = document.get(name)
    if not isinstance(part, kind) or isinstance(part, bool):
        raise InvalidInputError(f'"{name}" is missing, or is not of the kind {kind.__name__}.')
    return part


def _numbers(part: dict[str, Any], where: str, name: str) -> NDArray[np.int64]:
    if not isinstance(part.get(name), list):
        raise InvalidInputError(f'"{name}" is missing in {where}, or is no list.')
    return _listed(f"{where}.{name}", part[name])


def _listed(name: str, given: object) -> NDArray[np.int64]:
    """Numbers of a JSON list; true and false are none, though NumPy counts them among others."""
    if isinstance(given, list) and any(isinstance(each, bool) for each in given):
        raise InvalidInputError(f"{name} holds true or false; give whole numbers.")
    return _typed(name, given, np.int64).astype(np.int64)


def _walks(document: dict[str, Any], lots: int) -> NDArray[np.int64]:
    rows = _part(document, "walk_m", list)
    table = [_listed(f"walk_m[{i}]", row) for i, row in enumerate(rows)]
    for i, row in enumerate(table):
        if len(row) != lots:
            raise InvalidInputError(f"walk_m[{i}] has {len(row)} entries, there are {lots} lots.")
    return np.array(table, np.int64).reshape(len(table), lots)
