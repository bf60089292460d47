"""The OpenAPI document: parameters and answers come from the same structs that read and describe them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import Response
from fastapi.openapi.utils import get_openapi

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


def operation(
    answer: type[msgspec.Struct] | None,
    *,
    query: type[msgspec.Struct] | None = None,
    errors: tuple[int, ...] = (503,),
    media_type: str = "application/json",
    sentences: Mapping[int, str] = _SENTENCES,
    conditional: bool = True,
) -> dict[str, Any]:
    """What FastAPI cannot see of a route, as keyword arguments of its decorator; `serve_openapi` adds the schemas.

    `sentences` describes what each status means here; `conditional`: the answer may be 304.
    """
    schema = {"$ref": _REFERENCE.format(name=answer.__name__)} if answer else {"type": "string"}
    responses: dict[int, dict[str, Any]] = {
        200: {"description": "The answer.", "content": {media_type: {"schema": schema}}}
    }
    if answer and conditional:
        responses[304] = {"description": _SENTENCES[304]}
    problem = {"application/problem+json": {"schema": {"$ref": _REFERENCE.format(name=Problem.__name__)}}}
    responses |= {status: {"description": sentences[status], "content": problem} for status in errors}
    return {
        "response_class": Response,
        "responses": responses,
        "openapi_extra": {"parameters": describe_parameters(query) if query else []},
    }


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
