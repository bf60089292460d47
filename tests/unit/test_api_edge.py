from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
import structlog

from api import availability
from api.application import create_app
from api.state import ApiState, HttpSettings
from tests.unit.api_builders import Clock, fetch, loaded_api


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "not_found"),
        ("GET", "/v1/availability/", 404, "not_found"),
        ("POST", "/v1/availability", 405, "method_not_allowed"),
        ("DELETE", "/v1/lots/L01", 405, "method_not_allowed"),
        ("GET", "/v1/availability?" + "x" * 4200, 414, "url_too_long"),
        ("GET", "/v1/availability?limit=x", 422, "invalid_parameters"),
    ],
)
def test_every_error_is_a_problem_document(method: str, path: str, status: int, code: str) -> None:
    answer = fetch(loaded_api(), path, method=method, headers={"X-Request-Id": "app-17"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["code"], body["request_id"]) == (status, code, "app-17")
    assert body["type"] == f"urn:parking:problem:{code}"
    assert body["detail"].endswith(".")
    assert answer.headers["cache-control"] == "no-store"
    assert ("allow" in answer.headers) is (status == 405)


def test_a_mistake_of_ours_tells_nothing_of_the_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret in /srv/parking.py")

    monkeypatch.setattr(availability, "select", broken)
    with structlog.testing.capture_logs() as logs:
        answer = fetch(loaded_api(), "/v1/availability")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert logs[0]["request_id"] == answer.headers["x-request-id"] == answer.json()["request_id"]


@pytest.mark.parametrize("given", ["abc-DEF_1.2", "x" * 64])
def test_a_sane_request_id_is_kept(given: str) -> None:
    assert fetch(loaded_api(), "/healthz", headers={"X-Request-Id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", 'a"b', "a\tb", "é".encode()])
def test_another_request_id_is_replaced(given: str | bytes) -> None:
    answer = fetch(loaded_api(), "/healthz", headers={"X-Request-Id": given})
    assert len(answer.headers["x-request-id"]) == 16


def test_answers_carry_security_headers_and_no_foreign_origin() -> None:
    answer = fetch(loaded_api(), "/v1/availability", headers={"Origin": "https://elsewhere.example"})
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "access-control-allow-origin" not in answer.headers


def test_origins_that_are_set_may_read() -> None:
    api = loaded_api(origins=("https://map.example",))
    answer = fetch(api, "/v1/availability", headers={"Origin": "https://map.example"})
    assert answer.headers["access-control-allow-origin"] == "https://map.example"
    assert (
        "access-control-allow-origin"
        not in fetch(api, "/v1/availability", headers={"Origin": "https://elsewhere.example"}).headers
    )


def test_a_large_body_is_refused_unread() -> None:
    assert fetch(loaded_api(), "/v1/availability", method="POST", content=b"x" * 70_000).status_code == 413
    bad = fetch(loaded_api(), "/v1/availability", headers={"Content-Length": "-5"})
    assert bad.status_code == 413


def test_head_has_the_headers_of_get() -> None:
    get, head = fetch(loaded_api(), "/v1/availability"), fetch(loaded_api(), "/v1/availability", method="HEAD")
    assert head.status_code == 200
    assert head.headers["etag"] == get.headers["etag"]


def test_ready_says_what_is_missing() -> None:
    api = ApiState.build(HttpSettings(), Clock())
    answer = fetch(api, "/readyz")
    assert answer.status_code == 503
    assert len(answer.json()["missing"]) == 3
    assert fetch(api, "/healthz").status_code == 200


def test_ready_when_loaded_complete_and_answered_lately() -> None:
    api = loaded_api()
    api.health.database_at = api.health.redis_at = time.monotonic()
    assert fetch(api, "/readyz").json() == {
        "status": "ready",
        "as_of": "2026-11-18T19:06:40.000+08:00",
        "age_s": 0.0,
        "stale": False,
    }
    api.snapshot.complete = False
    assert fetch(api, "/readyz").json()["missing"][0].startswith("Redis holds no complete live state")
    api.snapshot.complete, api.health.database_at = True, -100.0
    assert "PARKING_DATABASE_URL" in fetch(api, "/readyz").json()["missing"][0]


def test_metrics_count_by_route_and_never_by_path() -> None:
    api = loaded_api()
    for path in ("/v1/lots/L01", "/v1/lots/L02", "/v1/lots/none", "/somewhere/else", "/v1/availability?limit=x"):
        fetch(api, path)
    lines = fetch(api, "/metrics").text.splitlines()
    assert 'parking_api_requests_total{route="/v1/lots/{lot}",status="200"} 2.0' in lines
    assert 'parking_api_requests_total{route="/v1/lots/{lot}",status="404"} 1.0' in lines
    assert 'parking_api_requests_total{route="none",status="404"} 1.0' in lines
    assert "parking_api_spaces 9.0" in lines
    assert not any("L01" in line or "somewhere" in line for line in lines)


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [reference for value in node.values() for reference in _references(value)]
    return [reference for value in node for reference in _references(value)] if isinstance(node, list) else []


def test_the_document_is_whole() -> None:
    document = fetch(loaded_api(), "/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) >= {"/v1/availability", "/v1/lots/{lot}/spaces", "/v1/live", "/readyz", "/metrics"}
    for reference in _references(document):
        assert reference.startswith("#/components/schemas/")
        assert reference.rsplit("/", 1)[1] in document["components"]["schemas"]
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    parameters = {each["name"]: each for each in document["paths"]["/v1/availability"]["get"]["parameters"]}
    assert set(parameters) == {"lat", "lon", "radius_m", "limit", "crs", "arrive_at", "stay_min"}
    assert parameters["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 500, "default": 20}
    assert parameters["lat"]["schema"] == {"type": "number", "minimum": -90, "maximum": 90}
    assert "not yet" in parameters["arrive_at"]["description"]
    path = document["paths"]["/v1/lots/{lot}"]["get"]
    assert [each["name"] for each in path["parameters"]] == ["lot", "crs"]
    assert "HTTPValidationError" not in json.dumps(document)


def test_the_background_ends_with_the_application() -> None:
    ended = []

    async def background(_: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def live_and_die() -> None:
        app = create_app(loaded_api(), background)
        async with app.router.lifespan_context(app):
            await asyncio.sleep(0)

    asyncio.run(live_and_die())
    assert ended == [True]


def test_settings_of_the_environment() -> None:
    environ = {"PARKING_HTTP_HOST": "127.0.0.9", "PARKING_CORS_ORIGINS": "https://a.example, https://b.example"}
    http = HttpSettings.from_environ(environ, port=8001, time_zone="Asia/Shanghai")
    assert (http.host, http.port, http.origins) == ("127.0.0.9", 8001, ("https://a.example", "https://b.example"))
    assert HttpSettings.from_environ({}, port=8000, time_zone="Asia/Shanghai") == HttpSettings()
