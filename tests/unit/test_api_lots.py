from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from parking_core.places import Registry, to_gcj02
from tests.unit.api_builders import STATES, change, district, fetch, image, loaded_api, lot


def pages(path: str, key: str, **registry: Any) -> list[list[str]]:
    api = loaded_api(**registry)
    taken, cursor = [], ""
    while True:
        body = fetch(api, path + (f"&cursor={cursor}" if cursor else "")).json()
        taken.append([each["code"] for each in body[key]])
        cursor = body["next"]
        if cursor is None:
            return taken


def test_pages_hold_every_lot_once_in_order() -> None:
    assert pages("/v1/lots?limit=3", "lots") == [["L01", "L02", "L03"], ["L04"]]
    assert pages("/v1/lots?limit=4", "lots") == [["L01", "L02", "L03", "L04"]]
    assert pages("/v1/lots?limit=1&kind=off_street", "lots") == [["L01"], ["L02"], ["L04"]]


def test_pages_work_with_codes_of_any_script() -> None:
    codes = ["A/1", "滨湖-01", "🅿"]
    lots = tuple(lot(number) for number in (1, 2, 3))
    named = tuple(replace(each, code=code) for each, code in zip(lots, codes, strict=True))
    assert pages("/v1/lots?limit=1", "lots", registry=Registry(1, named, ())) == [[code] for code in codes]


def test_pages_hold_every_space_once_in_order() -> None:
    assert pages("/v1/lots/L01/spaces?limit=3", "spaces") == [["001", "002", "003"], ["004"]]
    assert pages("/v1/lots/L01/spaces?state=unknown&limit=1", "spaces") == [["003"], ["004"]]
    assert pages("/v1/lots/L04/spaces?limit=3", "spaces") == [[]]


@pytest.mark.parametrize(
    ("wanted", "codes"),
    [
        ("kind=on_street", ["L03"]),
        ("area=A", ["L01"]),
        ("area=B", []),
        ("shared=true", ["L02"]),
        ("shared=false&etc=true", ["L01"]),
        ("status=open", ["L01"]),
        ("status=closed", ["L02"]),
        ("status=unknown", ["L03", "L04"]),
        ("time_limited=true", []),
        ("operator=none", []),
    ],
)
def test_filters(wanted: str, codes: list[str]) -> None:
    assert [each["code"] for each in fetch(loaded_api(), f"/v1/lots?{wanted}").json()["lots"]] == codes


def test_a_cursor_of_somebody_else_is_refused() -> None:
    for cursor in ("x", "%21%21", "_w"):
        answer = fetch(loaded_api(), f"/v1/lots?cursor={cursor}")
        assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "cursor")


def test_a_lot_by_code_else_by_id() -> None:
    assert fetch(loaded_api(), "/v1/lots/L02").json() == fetch(loaded_api(), "/v1/lots/2").json()
    numbers = tuple(replace(each, code=code) for each, code in ((lot(1), "2"), (lot(2), "1")))
    assert fetch(loaded_api(registry=Registry(1, numbers, ())), "/v1/lots/2").json()["id"] == 1


@pytest.mark.parametrize("name", ["L99", "99", "²", "99999999999999999999", "-1", "%00", "L01%20"])
@pytest.mark.parametrize("what", ["", "/spaces", "/history"])
def test_a_lot_that_is_not_there_is_404(name: str, what: str) -> None:
    answer = fetch(loaded_api(), f"/v1/lots/{name}{what}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_lot_shows_what_is_registered() -> None:
    body = fetch(loaded_api(), "/v1/lots/L02").json()
    assert body["opening"] == [{"days": [1, 2, 3, 4, 5], "from": "08:00", "until": "18:00"}]
    assert (body["shared"], body["etc_lanes"], body["area"], body["height_limit_m"]) == (True, 0, None, None)


def test_spaces_follow_the_change_stream() -> None:
    api = loaded_api()
    states = {each["code"]: each["state"] for each in fetch(api, "/v1/lots/L01/spaces").json()["spaces"]}
    assert states == {"001": "free", "002": "occupied", "003": "unknown", "004": "unknown"}
    tag = fetch(api, "/v1/lots/L01/spaces").headers["etag"]
    entry = change(b"1795000002000-0", spaces={11: True, 12: None, 13: False, 999: True}, lots={1: (1, 2)})
    api.snapshot.apply(entry)
    answer = fetch(api, "/v1/lots/L01/spaces", headers={"If-None-Match": tag})
    spaces = answer.json()["spaces"]
    assert [each["state"] for each in spaces] == ["occupied", "unknown", "free", "unknown"]
    assert [each["changed_at"] for each in spaces[::3]] == ["2026-11-18T19:06:42.000+08:00", None]
    body = fetch(api, "/v1/lots/L01").json()
    assert (body["free"], body["occupied"], body["unknown"]) == (1, 1, 2)
    assert body["changed_at"] == "2026-11-18T19:05:40.000+08:00"  # 1 of 2 as before: the figures did not move


def test_spaces_in_the_maps_coordinates() -> None:
    (space, *_) = fetch(loaded_api(), "/v1/lots/L01/spaces?crs=gcj02").json()["spaces"]
    assert (space["lat"], space["lon"]) == pytest.approx(to_gcj02(31.72, 117.28), abs=1e-6)


def test_history_of_an_impossible_stretch_is_refused() -> None:
    stretches = (
        "from=2026-11-02T00:00:00Z&until=2026-11-01T00:00:00Z",
        "from=2020-01-01T00:00:00Z&until=2026-11-01T00:00:00Z",
        "step=5m&from=2026-01-01T00:00:00Z&until=2026-11-01T00:00:00Z",
        "until=0001-01-01T00:00:00%2B14:00",
    )
    for stretch in stretches:
        assert fetch(loaded_api(), f"/v1/lots/L01/history?{stretch}").status_code == 422
    assert fetch(loaded_api(), "/v1/lots/L01/history?step=2h").json()["errors"][0]["parameter"] == "step"


def test_a_later_registry_replaces_the_board() -> None:
    api = loaded_api()
    registry = district()
    more = Registry(2, (*registry.lots, lot(5)), registry.spaces)
    api.snapshot.install(more, image(STATES))
    assert fetch(api, "/v1/lots/L05").status_code == 200
