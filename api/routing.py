"""Routes whose functions read the request themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.routing import APIRoute
from starlette.requests import Request

from api.problems import of_platform
from parking_core.errors import ParkingError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Receive, Scope, Send


class Shortcut:
    """Answers the exact addresses of DirectRoutes before the framework's own layers.

    Its matching of routes, its exception and its exit-stack layers cost 20 microseconds a request, which had nothing
    to do here: one look into a table finds the route, and errors become the same problem documents.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._routes = {
            (method, route.path): route
            for route in routes
            if isinstance(route, DirectRoute) and "{" not in route.path
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route  # what requests are counted under
        request = Request(scope, receive)
        try:
            response = await route.endpoint(request)
        except ParkingError as error:
            response = await of_platform(request, error)
        await response(scope, receive, send)


class DirectRoute(APIRoute):
    """FastAPI's route in the document and in matching; the function is called with the request and the path's names.

    What FastAPI does in between (dependencies, parameters, exit stacks) cost 70 microseconds a request, as much as
    the whole answer, and had nothing to do: parameters are read by `parse_query`, bodies by `read_body`.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  # FastAPI's own long signature
        super().__init__(*arguments, **options)
        self.app = self._serve

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Nothing is called with U+0000 in it, and the database could not look for it: each route finds nothing in its own words.
        names = {key: name.replace("\0", "\ufffd") for key, name in scope["path_params"].items()}
        response = await self.endpoint(Request(scope, receive), **names)
        await response(scope, receive, send)
