"""Every error leaves as an RFC 9457 problem document; one table says which code is which status."""

from __future__ import annotations

import math
from contextvars import ContextVar
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.bodies import InvalidBodyError, UnsupportedBodyError
from api.query import InvalidQueryError
from api.rates import TooManyRequestsError
from parking_core.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    ParkingError,
    ServiceUnavailableError,
    UnauthorizedError,
)
from parking_core.flows.agree_sharing import VersionMovedError
from parking_core.payments import AlreadyPaidError, LinkOverError
from parking_core.store.acquirer import AcquirerRefusedError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

request_id: ContextVar[str] = ContextVar("request_id", default="")

STATUS_OF: dict[type[ParkingError], int] = {
    NotFoundError: 404,
    InvalidInputError: 422,
    UnsupportedBodyError: 415,
    VersionMovedError: 412,
    ConflictError: 409,
    UnauthorizedError: 401,
    ForbiddenError: 403,
    TooManyRequestsError: 429,
    AlreadyPaidError: 409,
    LinkOverError: 410,
    AcquirerRefusedError: 502,
    ServiceUnavailableError: 503,
}  # any other is a mistake of ours: 500
RETRY_AFTER_S = 2


class Problem(msgspec.Struct, omit_defaults=True):
    """RFC 9457 problem document."""

    title: str
    status: int
    detail: str
    code: str
    type: str = "about:blank"
    request_id: str = ""
    errors: list[dict[str, str]] = []
    missing: list[str] = []


def problem(
    status: int,
    detail: str,
    *,
    code: str,
    errors: list[dict[str, str]] | None = None,
    missing: list[str] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """An error as the client sees it; `errors` lists parameters or fields, `missing` what a process waits for."""
    document = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        type=f"urn:parking:problem:{code}",
        request_id=request_id.get(),
        errors=errors or [],
        missing=missing or [],
    )
    return Response(
        msgspec.json.encode(document),
        status,
        {"Cache-Control": "no-store", **(headers or {})},
        media_type="application/problem+json",
    )


async def of_platform(_: Request, error: Exception) -> Response:
    """Problem document of an error of ours."""
    status = next((STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF), None)
    if status is None or not isinstance(error, ParkingError):
        raise error
    errors = None
    if isinstance(error, InvalidQueryError):
        errors = [{"parameter": bad.parameter, "detail": bad.detail} for bad in error.problems]
    elif isinstance(error, InvalidBodyError):
        errors = [{"field": bad.field, "detail": bad.detail} for bad in error.problems]
    return problem(status, str(error), code=error.code, errors=errors, headers=_headers_of(error))


def _headers_of(error: ParkingError) -> dict[str, str] | None:
    match error:
        case ServiceUnavailableError():
            return {"Retry-After": str(RETRY_AFTER_S)}
        case TooManyRequestsError():
            return {"Retry-After": str(math.ceil(error.wait_s))}
        case UnauthorizedError():
            wrong = "" if error.code == UnauthorizedError.code else f', error="{error.code}"'  # RFC 6750, section 3
            return {"WWW-Authenticate": f'Bearer realm="parking"{wrong}'}
        case _:
            return None


async def _of_framework(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    match status:
        case HTTPStatus.NOT_FOUND:
            detail = "There is nothing at this address; /openapi.json lists what there is."
        case HTTPStatus.METHOD_NOT_ALLOWED:
            detail = f"{request.method} is not allowed here; see the Allow header."
        case _:
            detail = status.description or status.phrase
    headers = dict(error.headers) if error.headers else None
    return problem(status, detail, code=status.phrase.lower().replace(" ", "_"), headers=headers)


def register_problems(app: FastAPI) -> None:
    """Makes every error that leaves a route a problem document; what remains is caught at the edge."""
    app.add_exception_handler(ParkingError, of_platform)
    app.add_exception_handler(HTTPException, _of_framework)
