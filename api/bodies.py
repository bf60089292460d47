"""JSON bodies: read into a struct, every bad field named, documented from the same struct. The edge bounds their size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from starlette.requests import ClientDisconnect

from parking_core.errors import InvalidInputError, ParkingError

if TYPE_CHECKING:
    from starlette.requests import Request

Body = TypeVar("Body", bound=msgspec.Struct)

_JSON: Final = "application/json"
_KEY: Final = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)
_MOST_NAMED: Final = 20  # fields that an answer repeats
_NUL: Final = "It holds the character U+0000, which no text may."
_IN: Final = re.compile(r" - at `\$(?P<place>[^`]*)`$")  # where msgspec says that a nested value is wrong


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One field that cannot be used, and why."""

    field: str
    detail: str


class InvalidBodyError(InvalidInputError):
    """Fields of a body that cannot be used, all of them."""

    code = "invalid_fields"

    def __init__(self, *problems: FieldProblem) -> None:
        names = ", ".join(problem.field or "the body" for problem in problems)
        super().__init__(f"These fields cannot be used: {names}; see errors.")
        self.problems = problems


class UnsupportedBodyError(ParkingError):
    """A body that says it is no JSON."""

    code = "unsupported_media_type"


async def read_body(kind: type[Body], request: Request) -> Body:
    """The body as `kind`; fields that it does not know are refused, because a mistyped wish would be overheard.

    Raises:
        UnsupportedBodyError: Content-Type is not application/json.
        InvalidBodyError: names every field that cannot be used.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != _JSON:
        raise UnsupportedBodyError(f"The body must be JSON; send it with `Content-Type: {_JSON}`.")
    try:
        raw = await request.body()
    except ClientDisconnect as error:
        raise InvalidBodyError(FieldProblem("", "It ends before its announced length.")) from error
    return parse_body(kind, raw)


def parse_body(kind: type[Body], raw: bytes) -> Body:
    """JSON as `kind`. Errors as in `read_body`."""
    try:
        values = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidBodyError(FieldProblem("", f"It is not JSON ({error}).")) from error
    if not isinstance(values, dict):
        raise InvalidBodyError(FieldProblem("", "It must be a JSON object."))
    if b"\\u0000" in raw and (holding := [name for name, value in values.items() if _holds_nul((name, value))]):
        raise InvalidBodyError(*(FieldProblem(name.replace("\0", "")[:100], _NUL) for name in holding[:_MOST_NAMED]))
    known = kind.__struct_encode_fields__  # `structs.fields` reads all annotations again: 0.3 ms a request
    if not values.keys() <= set(known):
        raise InvalidBodyError(*_unknown(values, set(known)), *_explain(kind, values))
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        problems = _explain(kind, values) or [FieldProblem("", f"{error}.")]
        raise InvalidBodyError(*problems) from None


def _holds_nul(value: object) -> bool:
    """Whether a text anywhere in a value holds U+0000, which no text of the database may."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(map(_holds_nul, value.items()))
    return isinstance(value, list | tuple) and any(map(_holds_nul, value))


def idempotency_key(request: Request) -> str:
    """The Idempotency-Key header: what takes space or money is done once however often it is sent.

    Raises:
        InvalidBodyError: there is none, or it is none.
    """
    key = request.headers.get("idempotency-key", "")
    if not _KEY.fullmatch(key):
        detail = "Send 1 to 128 printable ASCII characters without spaces, a new one (a UUID) for every new request."
        raise InvalidBodyError(FieldProblem("Idempotency-Key", detail))
    return key


def _unknown(values: dict[str, Any], known: set[str]) -> list[FieldProblem]:
    names = sorted(values.keys() - known)[:_MOST_NAMED]
    return [
        FieldProblem(name[:100], f"There is no such field; known are {', '.join(sorted(known))}.") for name in names
    ]


def _explain(kind: type[msgspec.Struct], values: dict[str, Any]) -> list[FieldProblem]:
    problems = []
    for field in msgspec.structs.fields(kind):
        if field.encode_name not in values:
            if field.required:
                problems.append(FieldProblem(field.encode_name, "It is missing."))
            continue
        try:
            msgspec.convert(values[field.encode_name], field.type)
        except msgspec.ValidationError as error:
            text = str(error)
            place = match["place"] if (match := _IN.search(text)) else ""
            problems.append(FieldProblem(field.encode_name + place, f"{_IN.sub('', text)}.".replace(" | null", "")))
    return problems


def describe_body(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """`requestBody` of a route that reads `kind`; `serve_openapi` adds the schema."""
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"required": True, "content": {_JSON: {"schema": schema}}}
