"""What an operator is told about a document that cannot be charged by."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from parking_core import tariffs
from parking_core.tariffs import Problem, Tariff, documents, parse_tariff
from tests.unit.tariff_cases import document, window

if TYPE_CHECKING:
    from collections.abc import Callable

    Json = dict[str, Any]


def sound() -> Json:
    """A document with something of everything; each test breaks one thing of it."""
    return {
        "format": "parking-tariff/1",
        "code": "sound",
        "name_zh": "样例",
        "name_en": "sound",
        "day_groups": {"rest_day": ["weekend", "holiday"]},
        "rates": {
            "day": {
                "bands": [
                    {"unit_minutes": 30, "price_fen": 150, "until_minutes": 60},
                    {"unit_minutes": 30, "price_fen": 200},
                ]
            },
            "night": {"free": True},
            "rest": {"unit_minutes": 60, "price_fen": 300},
        },
        "plans": {
            "standard": {
                "windows": {
                    "workday": [window("day", "08:00", "22:00"), window("night", "22:00", "08:00")],
                    "rest_day": [window("rest", "00:00", "24:00")],
                },
                "straddle": "split",
                "free": {"minutes": 15, "when_exceeded": "kept"},
                "caps": [{"over": "day", "max_fen": 3000}, {"over": "window", "window": "day", "max_fen": 2000}],
                "restart": {"after_hours": 24, "free_again": True},
            },
            "green": {"windows": {"any_day": [window("all", "00:00", "24:00", "rest")]}, "straddle": "earlier"},
        },
        "choices": [{"plan": "green", "when": {"plate_colors": ["green"]}}],
        "vehicles": [
            {
                "name": "large",
                "label_zh": "大型车",
                "label_en": "large",
                "percent": 200,
                "caps": "scaled",
                "vehicle_classes": [2],
            }
        ],
    }


def problems(written: object) -> list[str]:
    found = parse_tariff(written)  # type: ignore[arg-type]  # tests also give what is no document
    assert isinstance(found, list), "the document was taken"
    assert all(isinstance(each, Problem) for each in found)
    return [str(each) for each in found]


def test_the_sound_document_is_taken_as_mapping_text_and_bytes() -> None:
    for written in (sound(), json.dumps(sound()), json.dumps(sound()).encode()):
        assert isinstance(parse_tariff(written), Tariff)


def change(path: str, value: object) -> Callable[[Json], None]:
    def apply(written: Json) -> None:
        *steps, last = path.split("/")
        place: Any = written
        for step in steps:
            place = place[int(step) if step.isdigit() else step]
        if value is None:
            del place[last]
        else:
            place[int(last) if last.isdigit() else last] = value

    return apply


WORKDAY = "plans/standard/windows/workday"
HOLIDAY = {"over": "rolling", "hours": 24, "max_fen": 1000}
WRONG: list[tuple[str, object, str]] = [
    # form
    ("colour", "red", "has a field colour that this format does not know"),
    ("plans/standard/grace", 5, "plans.standard: It has a field grace that this format does not know"),
    ("plans/standard/straddle", None, "plans.standard: It lacks the field straddle"),
    ("rates/rest/price_fen", "3 yuan", "rates.rest.price_fen: It must be a whole number, but is str"),
    ("rates/rest/price_fen", 2.5, "must be a whole number"),
    ("rates/rest/price_fen", -1, "rates.rest.price_fen: It must be at least 0"),
    ("rates/rest/price_fen", 10**9, "is a unit or a zero too much?"),
    ("rates/rest/unit_minutes", 0, "must be at least 1"),
    (f"{WORKDAY}/0/from", "8:00", 'plans.standard.windows.workday[0].from: It must be a time of day as "HH:MM"'),
    (f"{WORKDAY}/0/from", "25:00", 'must be a time of day as "HH:MM"'),
    ("format", "parking-tariff/9", "format: It is 'parking-tariff/9', which is none of the words"),
    ("plans/standard/straddle", "later", "plans.standard.straddle: It is 'later', which is none of the words"),
    ("exempt", ["taxi"], "exempt[0]: It is 'taxi', which is none of the words"),
    ("code", "Not A Code", "code: It must be a short name"),
    ("code", "", "must be a short name"),
    ("name_zh", "", "name_zh: It must not be empty"),
    ("plans/standard/caps", {}, "must be a list [...]"),
    ("rates/night", [], "must be an object {...}"),
    ("rates/night/free", "yes", "must be true or false"),
    # days and windows
    (f"{WORKDAY}/0/until", "21:00", "plans.standard.windows.workday: No window covers 21:00-22:00"),
    (
        f"{WORKDAY}/1/until",
        "09:30",
        "workday[1]: 22:00-09:30 overlaps 08:00-22:00 of [0]: 08:00-09:30 would be charged twice",
    ),
    (f"{WORKDAY}/1/from", "21:00", "21:00-22:00 would be charged twice"),
    (f"{WORKDAY}/0/until", "08:00", "08:00-08:00 is empty"),
    (f"{WORKDAY}/0/from", "24:00", "is empty or begins at the end of the day"),
    (WORKDAY, [], "No window covers 00:00-24:00"),
    (f"{WORKDAY}/1/name", "day", '2 windows are called "day"'),
    (f"{WORKDAY}/0/rate", "dya", 'workday[0]: There is no rate "dya"'),
    ("plans/standard/windows/rest_day", None, "No windows are given for a weekend"),
    ("plans/standard/windows/weekend", [window("rest", "00:00", "24:00")], "Windows for a weekend are given 2 times"),
    ("plans/standard/windows/restday", [], '"restday" is no day kind and no group of them; known are workday, weekend'),
    ("day_groups/rest_day", ["weekend", "sunday"], '"sunday" is no day kind'),
    ("day_groups/rest_day", ["weekend", "weekend", "holiday"], '"weekend" stands in it 2 times'),
    ("day_groups/holiday", ["holiday"], '"holiday" already means something else'),
    ("day_groups/none", [], "The group has no day kinds"),
    ("time_zone", "Asia/Wuxi", '"Asia/Wuxi" is no time zone'),
    ("time_zone", "../../etc/passwd", "is no time zone"),
    # rates
    ("rates/night/price_fen", 100, "rates.night: A rate is one of three"),
    ("rates/rest", {}, "rates.rest: A rate is one of three"),
    ("rates/rest/price_fen", None, "It has unit_minutes but no price_fen"),
    ("rates/unused", {"free": True}, "No window uses this rate"),
    ("rates/day/bands", [], "It has no bands"),
    ("rates/day/bands/1/until_minutes", 600, "The last band must not end"),
    ("rates/day/bands/0/until_minutes", None, "Only the last band may do without until_minutes"),
    ("rates/day/bands/0/until_minutes", 50, "Its 50 minutes are no whole number of units of 30 minutes"),
    # caps, free periods, restarts
    ("plans/standard/caps/0/max_fen", 0, "A cap of 0 makes everything free"),
    ("plans/standard/caps/0/hours", 24, 'A cap over "day" has no hours'),
    ("plans/standard/caps/0", {"over": "from_entry", "max_fen": 100}, 'A cap over "from_entry" needs hours'),
    ("plans/standard/caps/0/window", "day", 'A cap over "window" names its window, and no other cap does'),
    ("plans/standard/caps/1/window", None, 'A cap over "window" names its window'),
    ("plans/standard/caps/1/window", "nacht", 'No window is called "nacht"; known are day, night, rest'),
    ("plans/standard/caps/1", {"over": "day", "max_fen": 100}, 'There are 2 caps over "day"'),
    ("plans/standard/caps/1/earlier_stays", True, 'earlier_stays goes with a cap over "day"'),
    ("plans/standard/free/minutes", 1440, "nothing is ever charged"),
    ("plans/standard/free", None, "free_again is set, but the plan has no free period"),
    # choices, vehicles, totals
    ("plans/standard", None, 'There is no plan "standard"'),
    ("choices/0/plan", "gren", 'There is no plan "gren"'),
    ("choices/0/when", {}, "It has no condition and would always hold"),
    ("choices/0/when/plate_colors", [], "An empty list never holds"),
    ("choices/0/when/entered_on", ["sunday"], '"sunday" is no day kind and no group of them'),
    ("choices/0/when/left_in", {"from": "00:00", "until": "24:00"}, "is empty or the whole day"),
    ("choices", [], "No choice uses this plan"),
    ("vehicles/0/vehicle_classes", None, "It is for no kind of vehicle"),
    ("vehicles/0/vehicle_classes", [], "An empty list fits no vehicle"),
    ("vehicles/0/percent", 33, "33 % of 150 fen (rate day) is no whole number of fen"),
    ("total", {"minimum_fen": 2500}, "The cap of 2000 fen is below the minimum of 2500 fen"),
    ("total", {"round_to_fen": 700, "rounding": "up"}, "Rounding to 700 fen would exceed the cap of 3000 fen"),
]


@pytest.mark.parametrize(("path", "value", "said"), WRONG, ids=[f"{path}={value!s:.30}" for path, value, _ in WRONG])
def test_what_is_wrong_is_named_with_its_place(path: str, value: object, said: str) -> None:
    written = sound()
    change(path, copy.deepcopy(value))(written)
    found = problems(written)
    assert any(said in each for each in found), found
    assert all(each.endswith((".", "?")) for each in found)


def test_a_minimum_a_stay_and_a_cap_over_stays_contradict_each_other() -> None:
    written = sound() | {"total": {"minimum_fen": 100}}
    written["plans"]["standard"]["caps"] = [HOLIDAY]
    assert any("contradict each other" in each for each in problems(written))


def test_two_vehicle_rules_of_one_name_and_scaled_caps_of_half_a_fen() -> None:
    written = sound()
    written["vehicles"] *= 2
    written["vehicles"][0]["percent"] = 150
    written["plans"]["standard"]["caps"][0]["max_fen"] = 3001
    found = problems(written)
    assert any('2 rules are called "large"' in each for each in found)
    assert any("150 % of the cap of 3001 fen" in each for each in found)


def test_all_problems_are_named_at_once() -> None:
    written = sound()
    written["plans"]["standard"]["windows"]["workday"][0]["until"] = "21:00"
    written["plans"]["standard"]["caps"][0]["max_fen"] = 0
    written["rates"]["unused"] = {"free": True}
    assert len(problems(written)) == 3


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b'"a"', b"\xff\xfe", b'{"format": 1}', "{}", "[" * 100_000, 7, None]
)
def test_what_is_no_document_is_one_problem(text: object) -> None:
    assert len(problems(text)) == 1


def test_a_name_that_stands_twice_is_found() -> None:
    text = json.dumps(sound()).replace('"rest": {"unit_minutes"', '"day": {"unit_minutes"')
    assert problems(text) == ['This is no JSON: the name "day" stands twice in one object.']


def test_a_window_over_midnight_and_one_beside_it_cover_the_day_in_any_order() -> None:
    windows = [window("night", "22:00", "08:00", "a"), window("day", "08:00", "22:00", "a")]
    for order in (windows, windows[::-1]):
        assert isinstance(parse_tariff(document({"a": {"unit_minutes": 60, "price_fen": 1}}, order)), Tariff)


@pytest.mark.parametrize("name", documents.names())
def test_shipped_documents_are_sound_and_say_where_they_come_from(name: str) -> None:
    parsed = parse_tariff(documents.read(name))
    assert isinstance(parsed, Tariff), [str(each) for each in parsed]
    assert parsed.document.code == name
    assert parsed.document.sources
    assert parsed.document.note_zh
    assert parsed.document.note_en
    assert "http" not in documents.read(name).decode()


def test_the_document_of_the_package_docstring_is_read() -> None:
    text = tariffs.__doc__ or ""
    start = text.index('{"format"')
    assert isinstance(parse_tariff(text[start : text.index('"earlier"}}}') + len('"earlier"}}}')]), Tariff)
