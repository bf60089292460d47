"""The OpenAPI document: parameters and answers come from the same structs that read and describe them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import Response
from fastapi.openapi.utils import get_openapi

from api.problems import Problem
from api.query import describe_parameters

if TYPE_CHECKING:
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
) -> dict[str, Any]:
    """What FastAPI cannot see of a route, as keyword arguments of its decorator; `serve_openapi` adds the schemas."""
    schema = {"$ref": _REFERENCE.format(name=answer.__name__)} if answer else {"type": "string"}
    responses: dict[int, dict[str, Any]] = {
        200: {"description": "The answer.", "content": {media_type: {"schema": schema}}}
    }
    if answer:
        responses[304] = {"description": _SENTENCES[304]}
    problem = {"application/problem+json": {"schema": {"$ref": _REFERENCE.format(name=Problem.__name__)}}}
    responses |= {status: {"description": _SENTENCES[status], "content": problem} for status in errors}
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
            built.setdefault("components", {})["schemas"] = components
            app.openapi_schema = built
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's own way to extend the document
