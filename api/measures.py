"""Prometheus metrics of the API process, in a registry of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

if TYPE_CHECKING:
    from starlette.types import Scope

    from api.snapshot import Snapshot

_LATENCY_CLASSES_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Measures:
    """What this process counts; reading `registry` gives all of it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "parking_api_requests", "Requests answered.", ["route", "status"], registry=self.registry
        )
        self._latency = Histogram(
            "parking_api_request_seconds",
            "From the request's headers to the answer's last byte.",
            ["route"],
            buckets=_LATENCY_CLASSES_S,
            registry=self.registry,
        )
        self.changes = Counter("parking_api_changes", "Entries of the change stream applied.", registry=self.registry)
        self.loads = Counter("parking_api_loads", "Times the whole live state was loaded.", registry=self.registry)
        self.failures = Counter(
            "parking_api_background_failures", "Background tasks begun again.", ["task"], registry=self.registry
        )
        self.live_clients = Gauge("parking_api_live_clients", "Open event streams.", registry=self.registry)
        self.live_dropped = Counter(
            "parking_api_live_dropped", "Event streams closed because the client was too slow.", registry=self.registry
        )
        age = Gauge("parking_api_age_seconds", "Age of the figures, -1 while nothing is known.", registry=self.registry)
        age.set_function(lambda: -1.0 if (us := snapshot.age_us()) is None else us / 1e6)
        lots = Gauge("parking_api_lots", "Lots in the snapshot.", registry=self.registry)
        lots.set_function(lambda: len(snapshot.board.lots) if snapshot.board else 0)
        spaces = Gauge("parking_api_spaces", "Spaces in the snapshot.", registry=self.registry)
        spaces.set_function(lambda: len(snapshot.board.registry.spaces) if snapshot.board else 0)
        self._children: dict[tuple[str, int], tuple[Any, Any]] = {}

    def request(self, scope: Scope, status: int, seconds: float) -> None:
        """Counts one request under its route, never under its path: a stranger must not make new series."""
        route = getattr(scope.get("route"), "path", "none")
        children = self._children.get((route, status))
        if children is None:
            children = self._requests.labels(route, str(status)), self._latency.labels(route)
            self._children[route, status] = children
        children[0].inc()
        if route != "/v1/live":  # a stream lasts as long as its client likes
            children[1].observe(seconds)
