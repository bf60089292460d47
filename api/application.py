"""The ASGI application: routes, errors, the edge, and a lifespan that keeps the snapshot."""

from __future__ import annotations

import asyncio
import contextlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI
from starlette.middleware.cors import CORSMiddleware

from api.agreements import AGREEMENT_SCHEMAS, agreement_routes
from api.availability import Availability, availability_routes
from api.device_health import device_health_routes
from api.device_views import DEVICE_SCHEMAS
from api.devices import device_routes
from api.edge import Edge
from api.live import LiveHub, live_routes
from api.lots import History, LotDetail, LotPage, SpacePage, lot_routes
from api.me import Me, NoticePage, NoticesSeen, SeenCount, me_routes
from api.openapi import serve_openapi
from api.operations import operations_routes
from api.payments import NoticeTaken, PaymentOrder, PaymentPage, payment_routes
from api.planning_sharing import PLANNING_SCHEMAS, planning_routes
from api.problems import register_problems
from api.quotes import Quote, quote_routes
from api.reservation_views import ReservationPage, ReservationRequest, ReservationView
from api.reservations import reservation_routes
from api.routing import DirectRoute, Shortcut
from api.shared_permits import PERMIT_SCHEMAS, permit_routes
from api.standing import Standing, standing_routes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from api.state import ApiState

    Background = Callable[[LiveHub], Coroutine[object, object, None]]

_DESCRIPTION = (
    "Live availability of a district's parking. Figures say up to when they hold (`as_of`, `age_s`, `stale`); "
    "an unknown space is never counted as free. Errors are RFC 9457 problem documents."
)
_SCHEMAS = (
    Availability,
    LotPage,
    LotDetail,
    SpacePage,
    History,
    Quote,
    Standing,
    PaymentPage,
    PaymentOrder,
    NoticeTaken,
    ReservationRequest,
    ReservationView,
    ReservationPage,
    Me,
    NoticePage,
    NoticesSeen,
    SeenCount,
    *AGREEMENT_SCHEMAS,
    *DEVICE_SCHEMAS,
    *PERMIT_SCHEMAS,
    *PLANNING_SCHEMAS,
)


def create_app(api: ApiState, background: Background | None = None) -> FastAPI:
    """The application over `api`; `background` runs as long as the application does and keeps the snapshot."""
    hub = LiveHub(api)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        keeping = asyncio.create_task(background(hub) if background else hub.run())
        try:
            yield
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping

    app = FastAPI(
        title="Parking platform",
        version=_version(),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts of strangers
        redoc_url=None,
        redirect_slashes=False,  # one address a resource; a redirect would name this host to the world
    )
    app.state.hub = hub
    app.router.route_class = DirectRoute
    _add_routes(app.router, api, hub)
    register_problems(app)
    serve_openapi(app, *_SCHEMAS)
    _add_layers(app, api)
    return app


def _add_routes(router: APIRouter, api: ApiState, hub: LiveHub) -> None:
    availability_routes(router, api)
    lot_routes(router, api)
    quote_routes(router, api)
    standing_routes(router, api)
    payment_routes(router, api)
    reservation_routes(router, api)
    permit_routes(router, api)
    me_routes(router, api)
    agreement_routes(router, api)
    device_routes(router, api)
    device_health_routes(router, api)
    planning_routes(router, api)
    live_routes(router, hub)
    operations_routes(router, api)


def _add_layers(app: FastAPI, api: ApiState) -> None:
    """From the innermost to the outermost."""
    app.add_middleware(Shortcut, routes=app.routes)
    if api.http.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(api.http.origins),
            allow_methods=["GET", "POST", "PUT", "PATCH"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-Match"],
            expose_headers=["ETag", "Location", "Parking-As-Of", "Retry-After", "X-Request-Id"],
        )
    app.add_middleware(Edge, measures=api.measures)


def _version() -> str:
    try:
        return version("binhu-parking")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0"
