"""JSON bodies: what a struct says of them, every bad field named, whatever bytes come."""

from __future__ import annotations

import contextlib
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from api.bodies import InvalidBodyError, describe_body, parse_body
from api.cursors import decode_cursor, encode_cursor, number_of
from api.query import InvalidQueryError


class Inner(msgspec.Struct):
    """Nested."""

    size: Annotated[int, Meta(ge=1)]


class Wish(msgspec.Struct, rename={"from_": "from"}):
    """A body."""

    from_: int
    note: str = ""
    parts: list[Inner] = []


def _problems(raw: bytes) -> dict[str, str]:
    with pytest.raises(InvalidBodyError) as caught:
        parse_body(Wish, raw)
    return {problem.field: problem.detail for problem in caught.value.problems}


def test_a_good_body_is_read() -> None:
    found = parse_body(Wish, b'{"from": 3, "parts": [{"size": 2}]}')
    assert (found.from_, found.note, found.parts[0].size) == (3, "", 2)


def test_every_bad_field_has_its_name_and_place() -> None:
    found = _problems(b'{"note": 1, "parts": [{"size": 2}, {"size": 0}], "nte": 2}')
    assert set(found) == {"from", "note", "parts[1].size", "nte"}
    assert found["from"] == "It is missing."
    assert "known are from, note, parts" in found["nte"]
    assert found["parts[1].size"] == "Expected `int` >= 1."
    assert set(_problems(b"[]")) == set(_problems(b"{")) == {""}


@given(st.binary(max_size=60) | st.text(max_size=30).map(str.encode))
def test_no_bytes_are_more_than_a_bad_body(raw: bytes) -> None:
    with contextlib.suppress(InvalidBodyError):
        assert isinstance(parse_body(Wish, raw).from_, int)


def test_the_document_points_at_the_struct() -> None:
    assert describe_body(Wish)["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Wish"}


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50))
def test_a_cursor_comes_back(place: str) -> None:
    assert decode_cursor(encode_cursor(place)) == place


@given(st.text(max_size=50))
def test_a_foreign_cursor_is_refused_and_nothing_else(cursor: str) -> None:
    with contextlib.suppress(InvalidQueryError):
        assert number_of(cursor) >= 0


def test_a_cursor_with_a_character_that_no_text_has_is_refused() -> None:
    with pytest.raises(InvalidQueryError):
        decode_cursor(encode_cursor("a\0"))
