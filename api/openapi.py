"""The OpenAPI document: parameters and answers come from the same structs that read and describe them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from fastapi import Response
from fastapi.openapi.utils import get_openapi

from api.bodies import describe_body
from api.problems import Problem
from api.query import describe_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI

_REFERENCE = "#/components/schemas/{name}"
_SENTENCES = {
    304: "Nothing changed but the age; `Parking-As-Of` says up to when the figures hold.",
    404: "There is no such lot.",
    422: "Parameters cannot be used; `errors` lists each.",
    503: "Not ready; `Retry-After` says when to ask again.",
}

_ANSWERED: Final[Mapping[int, str]] = {200: "The answer."}
_NO_HEADERS: Final[Mapping[str, str]] = {}
_BEARER: Final = "bearer"


def operation(
    answer: type[msgspec.Struct] | None,
    *,
    query: type[msgspec.Struct] | None = None,
    errors: tuple[int, ...] = (503,),
    media_type: str = "application/json",
    sentences: Mapping[int, str] = _SENTENCES,
    conditional: bool = True,
    body: type[msgspec.Struct] | None = None,
    headers: Mapping[str, str] = _NO_HEADERS,
    statuses: Mapping[int, str] = _ANSWERED,
    personal: bool = False,
) -> dict[str, Any]:
    """What FastAPI cannot see of a route, as keyword arguments of its decorator; `serve_openapi` adds the schemas.

    `sentences` describes what each error means here, `statuses` each answer; `conditional`: the answer may be 304;
    `headers`: required ones with what they are for; `personal`: it takes a bearer token.
    """
    schema = {"$ref": _REFERENCE.format(name=answer.__name__)} if answer else {"type": "string"}
    responses: dict[int, dict[str, Any]] = {
        status: {"description": description, "content": {media_type: {"schema": schema}}}
        for status, description in statuses.items()
    }
    if answer and conditional:
        responses[304] = {"description": _SENTENCES[304]}
    problem = {"application/problem+json": {"schema": {"$ref": _REFERENCE.format(name=Problem.__name__)}}}
    responses |= {status: {"description": sentences[status], "content": problem} for status in errors}
    extra: dict[str, Any] = {"parameters": [*(describe_parameters(query) if query else ()), *_described(headers)]}
    if body:
        extra["requestBody"] = describe_body(body)
    if personal:
        extra["security"] = [{_BEARER: []}]
    return {
        "response_class": Response,
        "status_code": min(statuses),
        "responses": responses,
        "openapi_extra": extra,
    }


def _described(headers: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
        for name, text in headers.items()
    ]


def serve_openapi(app: FastAPI, *structs: type[msgspec.Struct]) -> None:
    """Makes `app.openapi()` give the document with the schemas of `structs`, built once."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            built = get_openapi(
                title=app.title,
                version=app.version,
                openapi_version="3.1.0",
                description=app.description,
                routes=app.routes,
            )
            _, components = msgspec.json.schema_components([Problem, *structs], ref_template=_REFERENCE)
            _drop_foreign_refusals(built)
            built.setdefault("components", {})["schemas"] = components
            built["components"]["securitySchemes"] = {_BEARER: {"type": "http", "scheme": "bearer"}}
            app.openapi_schema = built
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's own way to extend the document


def _drop_foreign_refusals(document: dict[str, Any]) -> None:
    """FastAPI says of every path with a name in it that it refuses in its own form; no route of ours does."""
    for item in document["paths"].values():
        for described in item.values():
            refusal = described["responses"].get("422")
            if refusal and "application/json" in refusal["content"]:
                del described["responses"]["422"]
