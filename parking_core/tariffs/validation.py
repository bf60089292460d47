"""From what an operator wrote to a tariff that can be charged by, or to all that is wrong with it (pure)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from parking_core.tariffs.compiled import compile_tariff
from parking_core.tariffs.document import Plan, Rate, TariffDocument, Window
from parking_core.tariffs.soundness import findings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from parking_core.tariffs.compiled import Tariff

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, as a path into the document ("" the whole), and a sentence that says what."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def parse_tariff(document: bytes | str | Mapping[str, Any]) -> Tariff | list[Problem]:
    """A tariff ready to price stays, or every problem of the document.

    A document whose form is wrong (unknown field, text instead of a number) is not looked at further: it then has one
    problem.
    """
    try:
        raw = json.loads(document, object_pairs_hook=_unrepeated) if isinstance(document, (bytes, str)) else document
    except (ValueError, RecursionError) as error:
        return [Problem("", f"This is no JSON: {error}.")]
    read = _convert(raw, TariffDocument, "")
    if isinstance(read, Problem):
        return [read]
    problems = [Problem(path, message) for path, message in findings(read)]
    return problems or compile_tariff(read)


def _unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """JSON lets a name stand twice and the later silently win; a price must not be lost like that."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for place, (name, _) in enumerate(pairs) if name in dict(pairs[:place]))
        raise ValueError(f'the name "{twice}" stands twice in one object')
    return found


# Objects whose names are the operator's own: msgspec calls their place "[...]", we look for the name.
_NAMED: Final[Mapping[str, Any]] = {
    "rates": Rate,
    "plans": Plan,
    "windows": tuple[Window, ...],
    "day_groups": tuple[str, ...],
}


def _convert(raw: object, wanted: type[_T], path: str) -> _T | Problem:
    try:
        return msgspec.convert(raw, type=wanted)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        place = place.strip("`").removeprefix("$").removeprefix(".")
        name, _, rest = place.partition("[...]")
        if name in _NAMED and rest is not place and isinstance(raw, dict) and isinstance(raw.get(name), dict):
            for key, value in raw[name].items():
                found = _convert(value, _NAMED[name], _joined(path, f"{name}.{key}"))
                if isinstance(found, Problem):
                    return found
        if place.startswith("key in "):
            place = "a name in " + place.removeprefix("key in ").strip("`").removeprefix("$").removeprefix(".")
        return _of_form(message, _joined(path, place))


def _joined(path: str, place: str) -> str:
    if not path or not place or place.startswith("["):
        return path + place
    return f"{path}.{place}"


# How msgspec says it → how an operator reads it; the first that fits.
_WORDS: Final = (
    (
        r"Object contains unknown field `(.+)`",
        r"has a field \1 that this format does not know; remove it or correct its name",
    ),
    (r"Object missing required field `(.+)`", r"lacks the field \1"),
    (r"Expected `(?:int|int \| null)`, got `(.+)`", r"must be a whole number, but is \1"),
    (r"Expected `int` >= (\d+)", r"must be at least \1"),
    (r"Expected `int` <= (\d+)", r"must be at most \1; is a unit or a zero too much?"),
    (r"Expected `(?:str|str \| null)`, got `(.+)`", r"must be a text, but is \1"),
    (r"Expected `bool`, got `(.+)`", r"must be true or false, but is \1"),
    (r"Expected `array(?: \| null)?`, got `(.+)`", r"must be a list [...], but is \1"),
    (r"Expected `object(?: \| null)?`, got `(.+)`", r"must be an object {...}, but is \1"),
    (r"Expected `str` matching regex '\^\(\[01\].*", 'must be a time of day as "HH:MM", 24:00 at most'),
    (
        r"Expected `str` matching regex '\^\[a-z\].*",
        "must be a short name of a-z, 0-9, _ and -, beginning with a letter",
    ),
    (r"Expected `str` of length >= 1", "must not be empty"),
    (r"Expected `str` of length <= (\d+)", r"is longer than \1 characters"),
    (r"Invalid enum value (.+)", r"is \1, which is none of the words that may stand here"),
)


def _of_form(message: str, path: str) -> Problem:
    for pattern, words in _WORDS:
        found = re.fullmatch(pattern, message)
        if found is not None:
            return Problem(path, f"{'It' if path else 'The document'} {found.expand(words)}.")
    return Problem(path, f"{message}.")
