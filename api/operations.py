"""`/healthz`, `/readyz`, `/metrics`: for whoever runs the process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.board import encode
from api.openapi import operation
from api.problems import RETRY_AFTER_S, problem

if TYPE_CHECKING:
    from api.state import ApiState


def operations_routes(router: APIRouter, api: ApiState) -> None:
    """Adds the routes of this file."""
    fresh = {"Cache-Control": "no-store"}

    @router.get("/healthz", tags=["operations"], **operation(None, errors=()), summary="Whether the process lives")
    async def healthz(_: Request) -> Response:
        """200 as long as the event loop turns, whatever the services do."""
        return Response(b'{"status":"alive"}', headers=fresh, media_type="application/json")

    @router.get("/readyz", tags=["operations"], **operation(None), summary="Whether answers are complete")
    async def readyz(_: Request) -> Response:
        """200 when registry and a complete live state are loaded and the services answered lately."""
        missing = api.health.missing(time.monotonic(), api.snapshot)
        if missing:
            headers = {"Retry-After": str(RETRY_AFTER_S)}
            return problem(
                503, "This process is not ready; see missing.", code="not_ready", missing=missing, headers=headers
            )
        snapshot = api.snapshot
        age = snapshot.age_us()
        facts = {
            "status": "ready",
            "as_of": snapshot.as_of(),
            "age_s": None if age is None else round(age / 1e6, 1),
            "stale": snapshot.stale(),
        }
        return Response(encode(facts), headers=fresh, media_type="application/json")

    @router.get(
        "/metrics",
        tags=["operations"],
        **operation(None, errors=(), media_type="text/plain"),
        summary="Prometheus metrics",
    )
    async def metrics(_: Request) -> Response:
        """Of this process."""
        return Response(generate_latest(api.measures.registry), headers={**fresh, "Content-Type": CONTENT_TYPE_LATEST})
