"""Cursors of lists by pages: where the next page begins, as text that means nothing to a client."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from msgspec import Meta

from api.query import InvalidQueryError, ParameterProblem

Cursor = Annotated[str, Meta(max_length=400, description="`next` of the page before.")]


def encode_cursor(place: str) -> str:
    """The cursor of a place."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """The place that a cursor names.

    Raises:
        InvalidQueryError: the cursor is none of ours.
    """
    try:
        place = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise foreign_cursor() from None
    if "\0" in place:  # no text of the database holds one
        raise foreign_cursor()
    return place


def number_of(cursor: str) -> int:
    """The number that a cursor names, of a list that is ordered by numbers. Errors as in `decode_cursor`."""
    place = decode_cursor(cursor)
    if not (place.isascii() and place.isdigit() and len(place) <= 18):
        raise foreign_cursor()
    return int(place)


def foreign_cursor() -> InvalidQueryError:
    """What is said of a cursor that is none of ours."""
    return InvalidQueryError(ParameterProblem("cursor", "It is none of ours; take `next` of the page before."))
