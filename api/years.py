"""Which years clients may send: far enough from the ends of the calendar that no arithmetic leaves it.

What lies further away is a mistake of a clock or of somebody's arithmetic. The database would keep it, and some of it could
not be read again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from api.bodies import FieldProblem, InvalidBodyError
from api.query import InvalidQueryError, ParameterProblem

if TYPE_CHECKING:
    from datetime import date

YEARS: Final = range(2000, 2200)
FAR: Final = f"Its year is not within {YEARS[0]} and {YEARS[-1]}."


def far_fields(**given: date | None) -> list[FieldProblem]:
    """Fields of a body whose moment or date lies too far away."""
    return [FieldProblem(name, FAR) for name, at in given.items() if at is not None and at.year not in YEARS]


def check_fields(**given: date | None) -> None:
    """Refuses fields of a body that lie too far away.

    Raises:
        InvalidBodyError: names each of them.
    """
    if problems := far_fields(**given):
        raise InvalidBodyError(*problems)


def check_parameters(**given: date | None) -> None:
    """Refuses parameters of a query that lie too far away; `from_` is the parameter `from`.

    Raises:
        InvalidQueryError: names each of them.
    """
    far = [name.rstrip("_") for name, at in given.items() if at is not None and at.year not in YEARS]
    if far:
        raise InvalidQueryError(*(ParameterProblem(name, FAR) for name in far))
