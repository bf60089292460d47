"""Quotes through the whole application, without services."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from api.state import ApiState, HttpSettings
from parking_core.store.tariffs import Binding, PriceList, StoredTariff
from tests.tariff_rows import hourly
from tests.unit.api_builders import NOW_US, Clock, fetch

if TYPE_CHECKING:
    import httpx

NOW = datetime.fromtimestamp(NOW_US / 1e6, UTC)  # 2026-11-18 19:06:40 in the district
SINCE = NOW - timedelta(days=100)
GREEN = {
    "name": "new",
    "label_zh": "半价",
    "label_en": "half",
    "percent": 50,
    "caps": "same",
    "plate_colors": ["green"],
}
LARGE = {
    "name": "big",
    "label_zh": "双倍",
    "label_en": "double",
    "percent": 200,
    "caps": "same",
    "vehicle_classes": [3],
}
DOCUMENT = hourly(vehicles=[GREEN, LARGE], note_en="Card only.", note_zh="仅限刷卡。")


def price_list(*versions: dict[str, Any], numbers: tuple[int, int] = (1, 1)) -> PriceList:
    """Lot L01 charges by each version for a hundred days, one after the other; L02 by none."""
    stored = [StoredTariff(place + 1, one["code"], place + 1, one, NOW) for place, one in enumerate(versions)]
    bindings = [Binding(1, SINCE + timedelta(days=100 * place), one.id) for place, one in enumerate(stored)]
    return PriceList(numbers, {"L01": 1, "L02": 2}, tuple(bindings), tuple(stored))


@pytest.fixture
def api() -> ApiState:
    """A process that has neither registry nor live state: a quote needs none."""
    made = ApiState.build(HttpSettings(), Clock())
    made.prices.install(price_list(DOCUMENT))
    return made


def ask(api: ApiState, query: str, lot: str = "L01") -> httpx.Response:
    return fetch(api, f"/v1/lots/{lot}/quote?{query}")


DAY = "entry=2026-11-18T08:00:00%2B08:00&exit=2026-11-18T10:30:00%2B08:00"


def test_a_quote_says_the_amount_and_why(api: ApiState) -> None:
    answer = ask(api, DAY)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"
    body = answer.json()
    assert {name: body[name] for name in ("lot", "entry", "exit", "duration_min", "amount_fen", "currency")} == {
        "lot": "L01",
        "entry": "2026-11-18T08:00:00+08:00",
        "exit": "2026-11-18T10:30:00+08:00",
        "duration_min": 150,
        "amount_fen": 1500,
        "currency": "CNY",
    }
    assert body["tariff"] == {"code": "hourly", "version": 1, "name": {"zh": "每小时", "en": "by the hour"}}
    (line,) = body["lines"]
    assert (line["rule"], line["units"], line["unit_price_fen"], line["amount_fen"]) == ("rate.hour.0", 3, 500, 1500)
    assert (line["from"], line["until"]) == ("2026-11-18T08:00:00+08:00", "2026-11-18T10:30:00+08:00")
    assert "5元" in line["text"]["zh"]
    assert "5 yuan" in line["text"]["en"]
    assert body["notes"][0] == {"zh": "仅限刷卡。", "en": "Card only."}
    assert len(body["notes"]) == 2


def test_without_an_exit_the_stay_ends_now(api: ApiState) -> None:
    body = ask(api, "entry=2026-11-18T18:00:00%2B08:00").json()
    assert (body["exit"], body["duration_min"], body["amount_fen"]) == ("2026-11-18T19:06:40+08:00", 66, 1000)


@pytest.mark.parametrize(
    "entry",
    ["2026-11-18T08:00:00%2B08:00", "2026-11-18T08:00:00+08:00", "2026-11-18T00:00:00Z", "2026-11-17T19:00:00-05:00"],
)
def test_times_in_any_offset_with_the_plus_as_it_is_often_sent(api: ApiState, entry: str) -> None:
    assert ask(api, f"entry={entry}&exit=2026-11-18T10:00:00+08:00").json()["amount_fen"] == 1000


@pytest.mark.parametrize(
    ("vehicle", "amount_fen"),
    [
        ("plate_color=green", 750),
        ("plate_color=%E7%BB%BF", 750),  # 绿
        ("plate_color=4", 750),  # its national code
        ("plate_color=blue", 1500),
        ("plate_color=unknown", 1500),
        ("plate_color=plain_green", 1500),
        ("vehicle_class=3", 3000),
        ("vehicle_class=1&plate_color=0", 1500),
    ],
)
def test_the_vehicle_counts(api: ApiState, vehicle: str, amount_fen: int) -> None:
    assert ask(api, f"{DAY}&{vehicle}").json()["amount_fen"] == amount_fen


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("", "entry"),
        ("entry=yesterday", "entry"),
        ("entry=2026-11-18T08:00:00", "entry"),  # no offset
        ("entry=2026-11-18T20:00:00Z&exit=2026-11-18T19:00:00Z", "exit"),
        ("entry=2026-11-18T20:00:00Z", "entry"),  # in the future, without an exit
        ("entry=2026-10-01T00:00:00Z&exit=2026-11-18T00:00:00Z", "exit"),  # 48 days
        ("entry=2029-11-18T08:00:00Z&exit=2029-11-18T09:00:00Z", "entry"),
        ("entry=0001-01-01T00:00:00%2B14:00&exit=0001-01-01T01:00:00Z", "entry"),
        (f"{DAY}&plate_color=mauve", "plate_color"),
        (f"{DAY}&plate_color=77", "plate_color"),
        (f"{DAY}&vehicle_class=-1", "vehicle_class"),
        (f"{DAY}&vehicle_class=car", "vehicle_class"),
    ],
)
def test_what_cannot_be_quoted_is_said(api: ApiState, query: str, parameter: str) -> None:
    answer = ask(api, query)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["parameter"] for error in answer.json()["errors"]] == [parameter]


def test_a_stay_of_no_length_costs_nothing(api: ApiState) -> None:
    body = ask(api, "entry=2026-11-18T08:00:00Z&exit=2026-11-18T08:00:00Z").json()
    assert (body["duration_min"], body["amount_fen"], body["lines"]) == (0, 0, [])


def test_a_lot_is_found_by_code_or_id_and_an_unknown_one_is_404(api: ApiState) -> None:
    assert ask(api, DAY, "1").json()["lot"] == "L01"
    for name in ("L99", "99", "%00", "²"):
        answer = ask(api, DAY, name)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_lot_without_a_tariff_at_that_moment_says_so(api: ApiState) -> None:
    answer = ask(api, DAY, "L02")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_tariff")
    assert "Lot L02 has no tariff" in answer.json()["detail"]
    before = ask(api, "entry=2025-11-18T08:00:00Z&exit=2025-11-18T09:00:00Z")
    assert (before.status_code, before.json()["code"]) == (404, "no_tariff")


def test_the_version_that_holds_at_entry_counts_even_where_the_next_begins_during_the_stay(api: ApiState) -> None:
    api.prices.install(price_list(DOCUMENT, hourly(price_fen=900)))
    straddling = ask(api, "entry=2026-11-18T19:00:00%2B08:00&exit=2026-11-18T21:00:00%2B08:00").json()
    assert (straddling["tariff"]["version"], straddling["amount_fen"]) == (1, 1000)
    after = ask(api, "entry=2026-11-18T19:07:00%2B08:00&exit=2026-11-18T21:00:00%2B08:00").json()
    assert (after["tariff"]["version"], after["amount_fen"]) == (2, 1800)


def test_a_year_that_is_not_announced_is_noted() -> None:
    made = ApiState.build(HttpSettings(), Clock(round(datetime(2090, 1, 1, tzinfo=UTC).timestamp() * 1e6)))
    made.prices.install(price_list(DOCUMENT))
    body = ask(made, "entry=2089-12-31T23:00:00%2B08:00&exit=2090-01-01T01:00:00%2B08:00").json()
    noted = " ".join(note["en"] for note in body["notes"])
    assert "2089 are not announced" in noted
    assert "2090 are not announced" in noted
    assert len(body["notes"]) == 4


def test_a_binding_whose_version_was_read_too_early_waits_for_the_next_reading(api: ApiState) -> None:
    loaded = price_list(DOCUMENT)
    api.prices.install(replace(loaded, bindings=(*loaded.bindings, Binding(2, SINCE, 99))))
    assert ask(api, DAY).status_code == 200
    assert ask(api, DAY, "L02").json()["code"] == "no_tariff"


def test_a_version_that_cannot_be_read_any_more_spoils_no_other_lot(api: ApiState) -> None:
    loaded = price_list(DOCUMENT)
    gone = StoredTariff(2, "gone", 1, {"format": "parking-tariff/0"}, NOW)
    bindings = (*loaded.bindings, Binding(2, SINCE, 2))
    api.prices.install(replace(loaded, bindings=bindings, versions=(*loaded.versions, gone)))
    assert ask(api, DAY).status_code == 200
    assert (ask(api, DAY, "L02").status_code, ask(api, DAY, "L02").json()["code"]) == (503, "tariff_unreadable")
    assert "gone version 1 cannot be read" in ask(api, DAY, "L02").json()["detail"]


def test_before_the_price_list_is_loaded_the_answer_is_503() -> None:
    answer = ask(ApiState.build(HttpSettings(), Clock()), DAY)
    assert (answer.status_code, answer.json()["code"]) == (503, "not_loaded")


def test_the_document_of_the_api_describes_the_quote(api: ApiState) -> None:
    document = fetch(api, "/openapi.json").json()
    route = document["paths"]["/v1/lots/{lot}/quote"]["get"]
    required = {each["name"]: each["required"] for each in route["parameters"] if each["in"] == "query"}
    assert required == {"entry": True, "exit": False, "plate_color": False, "vehicle_class": False}
    assert {"Quote", "QuoteLine", "QuotedTariff", "Words"} <= document["components"]["schemas"].keys()
