from __future__ import annotations

import gzip
import json
from datetime import datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.availability import Availability
from api.lots import LotDetail, LotPage, SpacePage
from parking_core.places import Registry, distance_m, to_gcj02
from tests.unit.api_builders import NOW_US, Clock, change, district, fetch, loaded_api, lot

HERE = "/v1/availability?lat=31.72&lon=117.28"


def test_the_answer_is_the_plain_json_of_the_same_facts() -> None:
    body = fetch(loaded_api(Clock(NOW_US + 1_500_000)), f"{HERE}&radius_m=250").json()
    as_of = "2026-11-18T19:06:40.000+08:00"
    since = {"source": "sensors", "quality": None, "changed_at": "2026-11-18T19:05:40.000+08:00"}
    age = {"as_of": as_of, "age_s": 1.5}
    assert body == {
        "as_of": as_of,
        "stale": False,
        "lots": [
            {"id": 1, "code": "L01", "name": "滨湖 1号", "kind": "off_street", "lat": 31.721, "lon": 117.28}
            | {"distance_m": round(distance_m(31.72, 117.28, 31.721, 117.28))}
            | {"capacity": 4, "free": 1, "occupied": 1, "unknown": 2, "status": "open"}
            | since
            | age,
            {"id": 2, "code": "L02", "name": "滨湖 2号", "kind": "off_street", "lat": 31.722, "lon": 117.28}
            | {"distance_m": round(distance_m(31.72, 117.28, 31.722, 117.28))}
            | {"capacity": 3, "free": 0, "occupied": 3, "unknown": 0, "status": "closed"}
            | since
            | age,
        ],
    }


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        (HERE, Availability),
        ("/v1/availability", Availability),
        ("/v1/availability?lat=0&lon=0&radius_m=5", Availability),
        ("/v1/lots", LotPage),
        ("/v1/lots?area=nowhere", LotPage),
        ("/v1/lots/L02", LotDetail),
        ("/v1/lots/L01/spaces", SpacePage),
        ("/v1/lots/L04/spaces", SpacePage),
    ],
)
def test_answers_have_the_shape_that_the_document_promises(path: str, shape: type[msgspec.Struct]) -> None:
    content = fetch(loaded_api(), path).content
    read = msgspec.json.decode(content, type=shape)
    assert msgspec.to_builtins(read) == json.loads(content)


def test_unknown_is_never_free() -> None:
    by_code = {lot["code"]: lot for lot in fetch(loaded_api(), "/v1/availability").json()["lots"]}
    assert [by_code[code]["status"] for code in ("L01", "L02", "L03", "L04")] == [
        "open",
        "closed",
        "unknown",
        "unknown",
    ]
    for each in by_code.values():
        assert each["free"] + each["occupied"] + each["unknown"] == each["capacity"]
    assert (by_code["L03"]["free"], by_code["L03"]["unknown"]) == (0, 2)


def test_a_lot_opens_and_closes_with_its_hours_and_is_full_only_when_open() -> None:
    clock = Clock()
    api = loaded_api(clock)
    assert fetch(api, "/v1/lots/L02").json()["status"] == "closed"
    clock.now_us = NOW_US + 14 * 3_600_000_000  # Thursday, 09:06
    api.snapshot.open_and_close()
    assert fetch(api, "/v1/lots/L02").json()["status"] == "full"


def test_counts_stay_sane_when_the_registry_lost_spaces_that_the_live_state_still_counts() -> None:
    api = loaded_api()
    api.snapshot.apply(change(b"1795000000001-0", lots={1: (9, 30), 77: (1, 1)}))
    body = fetch(api, "/v1/lots/L01").json()
    assert (body["capacity"], body["free"], body["occupied"], body["unknown"]) == (4, 0, 4, 0)


def test_without_a_point_lots_come_by_code_and_limit_holds() -> None:
    lots = fetch(loaded_api(), "/v1/availability?limit=2").json()["lots"]
    assert [lot["code"] for lot in lots] == ["L01", "L02"]
    assert lots[0]["distance_m"] is None


def test_gcj02_asks_and_answers_in_the_maps_coordinates() -> None:
    lat, lon = to_gcj02(31.723, 117.28)
    body = fetch(loaded_api(), f"/v1/availability?lat={lat}&lon={lon}&crs=gcj02&limit=1").json()
    (nearest,) = body["lots"]
    assert (nearest["code"], nearest["distance_m"]) == ("L03", 0)
    assert (nearest["lat"], nearest["lon"]) == pytest.approx((float(lat), float(lon)), abs=1e-6)


def test_arrival_is_accepted_and_nothing_is_promised() -> None:
    answer = fetch(loaded_api(), f"{HERE}&arrive_at=2026-11-18T20:00:00%2B08:00&stay_min=90")
    assert answer.status_code == 200
    assert "at_arrival" not in answer.text


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("lat=91&lon=181", ["lat", "lon"]),
        ("lat=nan&lon=inf", ["lat", "lon"]),
        ("lat=31", ["lon"]),
        ("lon=117", ["lat"]),
        ("radius_m=100", ["radius_m"]),
        ("lat=31&lon=117&radius_m=0", ["radius_m"]),
        ("limit=0", ["limit"]),
        ("limit=501", ["limit"]),
        ("limit=", ["limit"]),
        ("limit=1.5", ["limit"]),
        ("limit=1&limit=2", ["limit"]),
        ("crs=bd09&limit=x&stay_min=-1", ["limit", "crs", "stay_min"]),
        ("arrive_at=2026-11-18T20:00:00", ["arrive_at"]),  # without an offset it names no moment
        ("arrive_at=tomorrow", ["arrive_at"]),
        ("lat=%ff&lon=1", [""]),
        ("&".join(f"p{n}=1" for n in range(150)), [""]),
    ],
)
def test_every_bad_parameter_is_named(query: str, named: list[str]) -> None:
    answer = fetch(loaded_api(), f"/v1/availability?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["code"] == "invalid_parameters"
    assert [error["parameter"] for error in body["errors"]] == named
    assert all(error["detail"].endswith(".") for error in body["errors"])


def test_figures_age_and_become_stale() -> None:
    clock = Clock()
    api = loaded_api(clock)
    clock.now_us += 10_000_000
    assert fetch(api, HERE).json()["stale"] is False
    clock.now_us += 100_000
    body = fetch(api, HERE).json()
    assert (body["stale"], body["lots"][0]["age_s"]) == (True, 10.1)
    api.snapshot.apply(change(b"1795000000001-0", pulse_us=clock.now_us))
    assert fetch(api, HERE).json()["stale"] is False
    api.snapshot.apply(change(b"1795000000002-0", pulse_us=clock.now_us - 5_000_000))  # another gateway lags behind
    assert datetime.fromisoformat(fetch(api, HERE).json()["as_of"]).timestamp() == clock.now_us / 1e6


def test_nothing_loaded_is_503_and_says_when_to_come_back() -> None:
    api = loaded_api()
    api.snapshot.board = None
    for path in (HERE, "/v1/lots", "/v1/lots/L01", "/v1/lots/L01/spaces", "/v1/live"):
        answer = fetch(api, path)
        assert (answer.status_code, answer.json()["code"]) == (503, "not_loaded")
        assert answer.headers["retry-after"] == "2"


def test_an_unchanged_answer_is_304_though_its_age_moved() -> None:
    clock = Clock()
    api = loaded_api(clock)
    first = fetch(api, HERE)
    clock.now_us += 1_000_000
    api.snapshot.apply(change(b"1795000001000-0", pulse_us=clock.now_us))
    held = {"If-None-Match": f'"other", {first.headers["etag"]}'}
    again = fetch(api, HERE, headers=held)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["parking-as-of"] == "2026-11-18T19:06:41.000+08:00"
    assert first.headers["cache-control"] == again.headers["cache-control"] == "max-age=1"
    api.snapshot.apply(change(b"1795000001001-0", lots={1: (2, 2)}))
    moved = fetch(api, HERE, headers=held)
    assert (moved.status_code, moved.json()["lots"][0]["free"]) == (200, 0)


def test_an_answer_that_became_stale_is_not_the_same() -> None:
    clock = Clock()
    api = loaded_api(clock)
    tag = fetch(api, HERE).headers["etag"]
    clock.now_us += 60_000_000
    assert fetch(api, HERE, headers={"If-None-Match": tag}).json()["stale"] is True


@pytest.mark.parametrize(
    ("accepted", "zipped"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("*", True), ("gzip;q=0", False), ("gzip;q=0.0", False), ("br", False)],
)
def test_compression_only_when_asked(accepted: str, zipped: bool) -> None:  # noqa: FBT001  # a table's column
    api = loaded_api(registry=Registry(1, tuple(lot(number) for number in range(1, 30)), district().spaces))
    plain = fetch(api, "/v1/availability", headers={"Accept-Encoding": "identity"})
    answer = fetch(api, "/v1/availability", headers={"Accept-Encoding": accepted})
    assert (answer.headers.get("content-encoding") == "gzip") is zipped
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.content == plain.content  # httpx unpacks
    assert (int(answer.headers["content-length"]) < len(plain.content) / 3) is zipped
    assert len(gzip.compress(plain.content)) > 100


def test_a_small_answer_is_not_compressed() -> None:
    answer = fetch(loaded_api(), "/v1/lots/L01", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers


NAMES = ("lat", "lon", "radius_m", "limit", "crs", "arrive_at", "stay_min", "cursor", "kind", "status", "from", "until")
PATHS = ("/v1/availability", "/v1/lots", "/v1/lots/L01", "/v1/lots/L01/spaces", "/v1/lots/L01/history")
VALUES = (
    st.text(max_size=20) | st.floats().map(str) | st.integers().map(str) | st.datetimes().map(lambda at: f"{at}+08:00")
)


@settings(deadline=None, max_examples=250)
@given(st.sampled_from(PATHS), st.lists(st.tuples(st.sampled_from(NAMES) | st.text(max_size=5), VALUES), max_size=5))
def test_no_parameters_are_a_mistake_of_ours(path: str, parameters: list[tuple[str, str]]) -> None:
    answer = fetch(loaded_api(), path, params=parameters)
    history = path.endswith("/history")  # which has no database here
    assert answer.status_code in ((422, 503) if history else (200, 422)), answer.text


@settings(deadline=None, max_examples=250)
@given(st.sampled_from(PATHS), st.binary(max_size=60).map(lambda raw: raw.replace(b"#", b"")))
def test_no_raw_query_is_a_mistake_of_ours(path: str, query: bytes) -> None:
    readable = "".join(chr(byte) if 32 < byte < 127 else f"%{byte:02x}" for byte in query)
    assert fetch(loaded_api(), f"{path}?{readable}").status_code in (200, 422, 503)
