"""What sensors of other makes can be told: the shape of a family's table of downlinks, and their check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value of a downlink, within bounds that are included.

    Attributes:
        name: as the family calls it.
        unit: "" for a code or a switch.
    """

    name: str
    unit: str
    least: float
    most: float
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Downlink:
    """Something a family can be told.

    Attributes:
        name: as the family calls it.
        title: what it does, in a few words.
        parameters: all are needed.
        encode: values that were checked to (port, bytes).
    """

    name: str
    title: str
    parameters: tuple[Parameter, ...]
    encode: Callable[[Mapping[str, Any]], tuple[int, bytes]]


def encode(downlink: Downlink, values: Mapping[str, Any]) -> tuple[int, bytes] | str:
    """Port and bytes, or why the values cannot be sent."""
    known = {parameter.name: parameter for parameter in downlink.parameters}
    for name in values:
        if name not in known:
            return f"{downlink.name} has no parameter {name!r}; known are {', '.join(known) or 'none'}."
    for name, parameter in known.items():
        if (problem := _problem(parameter, values.get(name))) is not None:
            return f"{downlink.name}: {problem}"
    return downlink.encode(values)


def _problem(parameter: Parameter, value: object) -> str | None:
    unit = f" {parameter.unit}" if parameter.unit else ""
    bounds = f"{parameter.least:g} to {parameter.most:g}{unit}"
    if value is None:
        return f"{parameter.name} is missing; it is {bounds}."
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or (parameter.is_whole and not isinstance(value, int))
    ):
        return f"{parameter.name} is {value!r}; it is a {'whole ' if parameter.is_whole else ''}number, {bounds}."
    if not parameter.least <= value <= parameter.most:
        return f"{parameter.name} is {value:g}; it is {bounds}."
    return None
