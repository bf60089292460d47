"""Query parameters: read into a struct at a few microseconds, every bad one named, documented from the same struct."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from parking_core.errors import InvalidInputError

Query = TypeVar("Query", bound=msgspec.Struct)

_MANY_PARAMETERS = 100  # no route has more than a dozen


@dataclass(frozen=True, slots=True)
class ParameterProblem:
    """One parameter that cannot be used, and why."""

    parameter: str
    detail: str


class InvalidQueryError(InvalidInputError):
    """Parameters that cannot be used, all of them."""

    code = "invalid_parameters"

    def __init__(self, *problems: ParameterProblem) -> None:
        names = ", ".join(problem.parameter for problem in problems)
        super().__init__(f"These parameters cannot be used: {names}; see errors.")
        self.problems = problems


def parse_query(kind: type[Query], query_string: bytes) -> Query:
    """The parameters that `kind` names; others are ignored.

    Raises:
        InvalidQueryError: names every parameter that cannot be used.
    """
    pairs = _pairs(query_string)
    values = dict(pairs)
    if len(values) != len(pairs):
        raise InvalidQueryError(*_given_twice(pairs))
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError:
        raise InvalidQueryError(*_explain(kind, values)) from None


def _pairs(query_string: bytes) -> list[tuple[str, str]]:
    try:
        text = query_string.decode("ascii")
        if "%" not in text and "+" not in text and ";" not in text and text.count("&") < _MANY_PARAMETERS:
            return [(name, value) for name, _, value in (pair.partition("=") for pair in text.split("&")) if name]
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MANY_PARAMETERS)
    except ValueError:
        raise InvalidQueryError(
            ParameterProblem("", f"The query is not URL-encoded UTF-8 with at most {_MANY_PARAMETERS} parameters.")
        ) from None


def _given_twice(pairs: list[tuple[str, str]]) -> list[ParameterProblem]:
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    return [ParameterProblem(name, "It is given more than once.") for name in twice]


def _explain(kind: type[msgspec.Struct], values: dict[str, str]) -> list[ParameterProblem]:
    problems = []
    for field in msgspec.structs.fields(kind):
        if field.encode_name not in values:
            if field.required:
                problems.append(ParameterProblem(field.encode_name, "It is missing."))
            continue
        try:
            msgspec.convert(values[field.encode_name], field.type, strict=False)
        except msgspec.ValidationError as error:
            problems.append(ParameterProblem(field.encode_name, f"{error}.".replace(" | null", "")))
    return problems


def describe_parameters(kind: type[msgspec.Struct]) -> list[dict[str, Any]]:
    """The same struct as OpenAPI parameters."""
    _, components = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
    schema = components[kind.__name__]
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), **_described(facts)}
        for name, facts in schema["properties"].items()
    ]


def _described(facts: dict[str, Any]) -> dict[str, Any]:
    """A parameter that may be left out is not one that may be null: only what it can be is shown."""
    choices = [choice for choice in facts.get("anyOf", ()) if choice.get("type") != "null"]
    shown = choices[0] if len(choices) == 1 else facts
    described: dict[str, Any] = {"schema": {key: value for key, value in shown.items() if key != "description"}}
    if "description" in shown:
        described["description"] = shown["description"]
    return described
