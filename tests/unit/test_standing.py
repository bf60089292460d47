"""`GET /v1/lots/{lot}/standing`: may a car stand, until when, why not, when again."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from parking_core.places import OpeningWindow, Registry
from tests.unit.api_builders import NOW_US, Clock, fetch, loaded_api, lot

# Of a road whose bays are legal between the evening and the morning peak.
NIGHTS = {
    "windows": [
        {"days": ["workday"], "from": "20:00", "until": "07:00"},
        {"days": ["weekend", "holiday"], "from": "00:00", "until": "24:00"},
    ],
    "exceptions": {"2026-12-12": "closed"},
}
OFFICE = (OpeningWindow(frozenset({1, 2, 3, 4, 5}), 8 * 60, 18 * 60),)
LOTS = Registry(
    1,
    (
        lot(1, kind="on_street", time_limited=True, legal_windows=json.dumps(NIGHTS), opening=OFFICE),
        lot(2, opening=OFFICE),
        lot(3),
        lot(4, legal_windows=json.dumps({"windows": [{"days": [1], "from": "08:00", "until": "12:00"}]})),
    ),
    (),
)


def ask(name: str = "L01", **times: str) -> dict[str, Any]:
    answer = fetch(loaded_api(registry=LOTS), f"/v1/lots/{name}/standing?{urlencode(times)}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def at(text: str) -> str:
    """`11-27 18:00` of 2026, in the district."""
    return f"2026-{text.replace(' ', 'T')}:00+08:00"


@pytest.mark.parametrize(
    ("begins", "ends", "reason", "stay_until", "next_from"),
    [
        ("11-24 21:00", "11-25 06:30", "allowed", "11-25 07:00", None),
        ("11-24 10:00", "11-24 11:00", "closed", None, "11-24 20:00"),
        ("11-24 21:00", "11-25 08:00", "too_long", "11-25 07:00", "11-25 20:00"),
        ("11-27 20:00", "11-30 07:00", "allowed", "11-30 07:00", None),  # Friday evening to Monday morning
        ("12-12 09:00", "12-12 10:00", "exception", None, "12-13 00:00"),
        # Saturday 2026-10-10 is a workday in exchange for the holiday; Thursday 10-01 is a holiday.
        ("10-10 10:00", "10-10 11:00", "closed", None, "10-10 20:00"),
        ("10-01 10:00", "10-01 11:00", "allowed", "10-08 07:00", None),
    ],
)
def test_legal_windows_decide_by_the_work_calendar(
    begins: str, ends: str, reason: str, stay_until: str | None, next_from: str | None
) -> None:
    body = ask(**{"from": at(begins), "until": at(ends)})
    assert (body["allowed"], body["reason"], body["basis"]) == (reason == "allowed", reason, "legal_windows")
    assert body["stay_until"] == (stay_until and at(stay_until))
    assert body["next_from"] == (next_from and at(next_from))
    assert (body["lot"], body["from"], body["until"]) == ("L01", at(begins), at(ends))
    assert body["notes"] == []


def test_both_languages_say_what_the_fields_say() -> None:
    refused = ask(**{"from": at("11-24 21:00"), "until": at("11-25 08:00")})["text"]
    assert refused["zh"] == (
        "可停放的时间不够长；最晚2026年11月25日（周三）07:00离开；下次可驶入时间：2026年11月25日（周三）20:00。"  # noqa: RUF001  # Chinese punctuation is meant
    )
    assert refused["en"] == (
        "The car would stand there for too long; leave by 07:00 on Wednesday, 25 November 2026; "
        "drive in from 20:00 on Wednesday, 25 November 2026 on."
    )
    allowed = ask("L03", **{"from": at("11-24 21:00"), "until": at("11-25 08:00")})
    assert allowed["text"] == {"zh": "可以停放，不限时间。", "en": "The car may stand: there is no limit."}  # noqa: RUF001  # Chinese punctuation is meant
    hours = ask()["hours"]
    assert hours["en"] == "Workdays 20:00 to 07:00 the next day, weekends and holidays all day; on 2026-12-12 closed."
    assert hours["zh"].startswith("工作日20:00至次日07:00，")  # noqa: RUF001  # Chinese punctuation is meant


def test_opening_hours_decide_where_legality_does_not_and_else_nothing_does() -> None:
    office = ask("L02", **{"from": at("11-24 17:00"), "until": at("11-24 19:00")})
    assert (office["allowed"], office["basis"], office["stay_until"]) == (False, "opening", at("11-24 18:00"))
    # Opening hours are weekly: on a Saturday that is a workday they stay as they are.
    assert ask("L02", **{"from": at("10-10 09:00"), "until": at("10-10 10:00")})["allowed"] is False
    always = ask("L03", **{"from": at("11-24 17:00"), "until": at("12-20 19:00")})
    assert (always["allowed"], always["basis"], always["stay_until"]) == (True, "always", None)


def test_without_times_it_is_now_and_the_answer_is_until_when() -> None:
    body = ask()  # Wednesday 19:06:40
    assert (body["from"], body["until"]) == (at("11-18 19:06").replace(":00+", ":40+"), "2026-11-18T19:07:40+08:00")
    assert (body["allowed"], body["next_from"]) == (False, at("11-18 20:00"))
    assert ask(**{"from": at("11-18 20:00")})["stay_until"] == at("11-19 07:00")
    later = loaded_api(Clock(NOW_US + 3_600_000_000), registry=LOTS)
    assert fetch(later, "/v1/lots/1/standing").json()["allowed"] is True


def test_a_year_whose_holidays_are_not_announced_is_said_where_the_calendar_matters() -> None:
    far = {"from": "2028-06-01T21:00:00+08:00", "until": "2028-06-01T22:00:00+08:00"}
    (note,) = ask(**far)["notes"]
    assert "2028" in note["en"]
    assert "not announced yet" in note["en"]
    assert "2028年节假日安排尚未公布" in note["zh"]
    assert ask("L02", **far)["notes"] == ask("L03", **far)["notes"] == ask("L04", **far)["notes"] == []


@pytest.mark.parametrize(
    ("times", "parameter"),
    [
        ({"from": at("11-25 10:00"), "until": at("11-25 10:00")}, "until"),
        ({"from": at("11-25 10:00"), "until": at("11-24 10:00")}, "until"),
        ({"from": at("10-01 10:00"), "until": at("11-24 10:00")}, "until"),
        ({"from": "2031-01-01T00:00:00Z"}, "from"),
        ({"from": "0001-01-01T00:00:00+14:00"}, "from"),
        ({"from": "9999-12-31T23:59:30Z"}, "from"),
        ({"from": "2026-11-25T10:00:00"}, "from"),
        ({"until": "tomorrow"}, "until"),
    ],
)
def test_times_that_cannot_be_are_refused(times: dict[str, str], parameter: str) -> None:
    answer = fetch(loaded_api(registry=LOTS), f"/v1/lots/L01/standing?{urlencode(times)}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert [each["parameter"] for each in answer.json()["errors"]] == [parameter]


def test_a_plus_sign_of_an_offset_may_be_sent_as_it_is() -> None:
    answer = fetch(loaded_api(registry=LOTS), f"/v1/lots/L01/standing?from={at('11-24 21:00')}")
    assert answer.json()["stay_until"] == at("11-25 07:00")


def test_a_lot_that_is_not_there_is_404() -> None:
    assert fetch(loaded_api(registry=LOTS), "/v1/lots/L99/standing").status_code == 404


def test_a_lot_shows_its_legal_windows() -> None:
    api = loaded_api(registry=LOTS)
    shown = fetch(api, "/v1/lots/L01").json()["legal_windows"]
    assert shown["document"] == NIGHTS
    assert shown["text"]["en"].startswith("Workdays 20:00 to 07:00 the next day, weekends and holidays all day")
    assert "工作日20:00至次日07:00" in shown["text"]["zh"]
    assert [each["legal_windows"] is None for each in fetch(api, "/v1/lots").json()["lots"]] == [
        False,
        True,
        True,
        False,
    ]
