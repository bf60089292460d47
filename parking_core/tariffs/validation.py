"""From what an operator wrote to a tariff that can be charged by, or to all that is wrong with it (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from parking_core.tariffs.compiled import compile_tariff
from parking_core.tariffs.document import TariffDocument
from parking_core.tariffs.soundness import findings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from parking_core.tariffs.compiled import Tariff


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
        if isinstance(document, (bytes, str)):
            read = msgspec.json.decode(document, type=TariffDocument)
        else:
            read = msgspec.convert(document, type=TariffDocument)
    except msgspec.ValidationError as error:
        return [_of_form(str(error))]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return [Problem("", f"This is no JSON: {error}.")]
    problems = [Problem(path, message) for path, message in findings(read)]
    return problems or compile_tariff(read)


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


def _of_form(error: str) -> Problem:
    message, _, place = error.partition(" - at ")
    path = place.strip("`").removeprefix("$").removeprefix(".").replace("key in ", "a name in ")
    if path.startswith("a name in "):
        path = "a name in " + path.removeprefix("a name in ").strip("`").removeprefix("$").removeprefix(".")
    for pattern, words in _WORDS:
        found = re.fullmatch(pattern, message)
        if found is not None:
            return Problem(path, f"{'It' if path else 'The document'} {found.expand(words)}.")
    return Problem(path, f"{message}.")
