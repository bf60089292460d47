"""Fifty real fare tables: what our engine makes of them, and where a record's text says otherwise than its table.

Taipei's open parking data (snapshot of 2025-12-30) gives 50 of 200 records a table of hourly fares beside the text that
drivers read. The records are not part of this repository; without them these tests are skipped.
"""

# ruff: noqa: RUF001  # the full-width punctuation of Chinese texts is meant

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from parking_core.tariffs import Stay, Tariff, parse_tariff, price
from parking_core.work_calendar import PlainWeekdays
from tests.conftest import REPOSITORY

TAIPEI = ZoneInfo("Asia/Taipei")
UNIT_MINUTES = 30  # 全程以半小時計; the tables do not say so, the texts do
FOLDER = Path(os.environ.get("PARKING_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
FILE = FOLDER / "tariffs" / "taipei_sample.json"

# Tables that contradict themselves: windows that overlap, leave hours out, or have no length.
CONTRADICTORY = {"TPE0062", "TPE0714", "TPE1317", "TPE1705"}


@dataclass(frozen=True)
class Record:
    """One car park: its table by kind of day, and its text."""

    code: str
    table: dict[str, list[tuple[int, int, int]]]  # workday, rest_day: from hour, until hour, dollars an hour
    text: str

    def fare(self, kind: str, hour: int) -> int:
        """Dollars an hour at an hour of such a day."""
        (found,) = {fare for begins, ends, fare in self.table[kind] if begins <= hour < ends}
        return found


def records() -> list[Record]:
    if not FILE.is_file():
        pytest.skip(f"{FILE} is not there; set PARKING_SHARED_DATA to the folder that holds tariffs/taipei_sample.json")
    found = []
    for park in json.loads(FILE.read_text("utf-8"))["parks"]:
        fares = park["FareInfo"]
        if not fares.get("WorkingDay"):
            continue
        table = {
            kind: [_window(one) for one in fares[name]]
            for kind, name in (("workday", "WorkingDay"), ("rest_day", "Holiday"))
        }
        found.append(Record(park["id"], table, park["payex"]))
    return found


def _window(one: dict[str, str]) -> tuple[int, int, int]:
    begins, ends = one["Period"].split("~")
    return int(begins), int(ends), int(one["Fare"])


def sound(record: Record) -> bool:
    return record.code not in CONTRADICTORY


def document(record: Record) -> dict[str, Any]:
    """The table as a tariff of ours; a dollar is 100 of the smallest unit."""
    prices = {fare for windows in record.table.values() for _, _, fare in windows}
    plan = {
        kind: [
            {"name": f"from-{begins}", "from": f"{begins:02}:00", "until": f"{ends:02}:00", "rate": f"ntd-{fare}"}
            for begins, ends, fare in windows
        ]
        for kind, windows in record.table.items()
    }
    return {
        "format": "parking-tariff/1",
        "code": record.code.lower(),
        "name_zh": record.code,
        "name_en": record.code,
        "time_zone": "Asia/Taipei",
        "day_groups": {"rest_day": ["weekend", "holiday"]},
        "rates": {
            f"ntd-{fare}": {"unit_minutes": UNIT_MINUTES, "price_fen": fare * 100 * UNIT_MINUTES // 60}
            for fare in prices
        },
        "plans": {"standard": {"windows": plan, "straddle": "earlier"}},
    }


def tariff(record: Record) -> Tariff:
    parsed = parse_tariff(document(record))
    assert isinstance(parsed, Tariff), (record.code, parsed)
    return parsed


def expected(record: Record, entered: datetime, minutes: int) -> int:
    """Half hour by half hour: each started one at the fare of the hour in which it begins."""
    total = 0
    for begun in range(0, minutes, UNIT_MINUTES):
        local = entered + timedelta(minutes=begun)
        kind = "rest_day" if local.isoweekday() >= 6 else "workday"
        total += record.fare(kind, local.hour) * 100 * UNIT_MINUTES // 60
    return total


def test_there_are_fifty_tables_and_these_contradict_themselves() -> None:
    found = records()
    assert len(found) == 50
    refused = {each.code: parse_tariff(document(each)) for each in found if not sound(each)}
    assert refused.keys() == CONTRADICTORY
    for code, problems in refused.items():
        assert isinstance(problems, list), f"{code} was taken for a tariff"
        assert any("windows" in problem.path for problem in problems), problems


DURATIONS = (1, 29, 30, 31, 60, 95, 485, 1440, 2890)
DAYS = (
    datetime(2025, 12, 3, tzinfo=TAIPEI),
    datetime(2025, 12, 5, tzinfo=TAIPEI),
    datetime(2025, 12, 7, tzinfo=TAIPEI),
)


def test_prices_of_a_grid_of_stays_are_those_of_an_independent_computation() -> None:
    calendar, compared = PlainWeekdays(), 0
    for record in filter(sound, records()):
        by_table = tariff(record)
        edges = sorted(
            {edge for windows in record.table.values() for begins, ends, _ in windows for edge in (begins, ends)}
        )
        for day in DAYS:  # a Wednesday, a Friday (overnight into the weekend) and a Sunday (out of it)
            for minute in {edge * 60 + shift for edge in edges for shift in (-20, 0, 15)}:
                entered = day + timedelta(minutes=minute)
                for length in DURATIONS:
                    bill = price(
                        by_table, Stay(entered_at=entered, exited_at=entered + timedelta(minutes=length)), calendar
                    )
                    assert bill.total_fen == expected(record, entered, length), (record.code, entered, length)
                    assert bill.total_fen == sum(line.amount_fen for line in bill.lines)
                    compared += 1
    assert compared > 10_000


def test_a_half_hour_over_a_boundary_costs_what_it_cost_when_it_began() -> None:
    """TPE0008 says so in words: 40 dollars an hour by day, 30 by night, the earlier fare for the half hour across."""
    (record,) = [each for each in records() if each.code == "TPE0008"]
    by_table = tariff(record)
    at_night = datetime(2025, 12, 3, 20, 45, tzinfo=TAIPEI)
    bills = [
        price(by_table, Stay(entered_at=at_night, exited_at=at_night + timedelta(minutes=minutes)), PlainWeekdays())
        for minutes in (30, 31)
    ]
    assert [bill.total_fen for bill in bills] == [2000, 2000 + 1500]


# What drivers read, against the table ---------------------------------------------------------------------------------

WORKDAYS, WEEKEND, HOLIDAY = frozenset({1, 2, 3, 4, 5}), frozenset({6, 7}), 8
EVERY_DAY = WORKDAYS | WEEKEND | {HOLIDAY}
_NUMERALS = {"一": 1, "二": 2, "三": 3, "四": 4, "五": 5, "六": 6, "日": 7}
# Where the hourly fares of cars end: units, season tickets, motorcycles (not "heavy" ones), charging bays, per visit.
_END = re.compile(r"停車全程|全程|，?停車未滿|月租|全日雙月票|計次|停放於|本場常因|當日單次|。|(?<!重型)機車")
_BETWEEN_CLAUSES = re.compile(r"[，、；;]")
_FARE = re.compile(r"(\d+)元/時")
_HOURS = re.compile(r"\((\d{1,2})時?[-~]翌?日?(\d{1,2})時?\)")
_DAYS = re.compile(r"[週周]([一二三四五六日])(?:[至~到][週周]([一二三四五六日]))?")


def days_named(clause: str) -> frozenset[int]:
    """Weekdays (8: a public holiday) that a clause names; none: it goes on with those of the clause before."""
    found: set[int] = set()
    for first, last in _DAYS.findall(clause):
        found |= set(range(_NUMERALS[first], _NUMERALS[last or first] + 1))
    return frozenset(found | ({HOLIDAY} if "放假" in clause else set()))


def hours_named(clause: str) -> range | list[int]:
    match = _HOURS.search(clause)
    if match is None:
        return range(24)
    begins, ends = int(match[1]), int(match[2])
    return range(begins, ends) if begins < ends else [*range(begins, 24), *range(ends)]


def fares_in_words(text: str) -> dict[tuple[int, int], int]:
    """Dollars by weekday and hour, as far as the text gives them."""
    begins = text.index("計時") + 2 if "計時" in text else 0
    end = _END.search(text, begins)
    said = text[begins : end.start() if end else None].replace("(含大型重型機車)", "")
    fares: dict[tuple[int, int], int] = {}
    days = EVERY_DAY
    names = ""
    for clause in _BETWEEN_CLAUSES.split(said):
        names += clause
        fare = _FARE.search(clause)
        if fare is None:  # a name in a list of days
            continue
        days, names = days_named(names) or days, ""
        fares |= {(day, hour): int(fare[1]) for day in days for hour in hours_named(clause)}
    return fares


def disagreements(record: Record) -> set[str]:
    """What the text says otherwise than the table.

    workday, rest_day: another fare at some hour of such days; one_fare: the table has several by the hour on workdays,
    the text one for all of them; friday: the text charges it otherwise than Mondays, for which the table has no place.
    """
    said = fares_in_words(record.text)
    found = set()
    for (day, hour), fare in said.items():
        kind = "workday" if day in WORKDAYS else "rest_day"
        if record.fare(kind, hour) != fare:
            found.add(kind)
    on_mondays = [said.get((1, hour)) for hour in range(24)]
    if [said.get((5, hour)) for hour in range(24)] != on_mondays:
        found.add("friday")
    if len(set(on_mondays)) == 1 and len({fare for _, _, fare in record.table["workday"]}) > 1:
        found.add("one_fare")
    return found


@pytest.mark.parametrize(
    ("text", "fares"),
    [
        ("小型車：計時 30元/時，全程以半小時計，全日雙月票1元。", {(1, 0): 30, (8, 23): 30}),
        ("小型車：計時 40元/時(09-21)，30元/時(21-09)，停車全程以半小時計", {(1, 9): 40, (7, 21): 30, (3, 8): 30}),
        (
            "計時：週一~週五30元/時(08-20)，10元/時(20-08)，週六、週日、行政機關放假之紀念日與民俗日60元/時，全程",
            {(5, 8): 30, (5, 7): 10, (6, 7): 60, (8, 12): 60},
        ),
        ("小型車(含大型重型機車)：計時 (16時~22時)40元/時，(22時~16時)30元/時，全程", {(2, 16): 40, (2, 15): 30}),
        (
            "計時：周一至周四40元/時；周五至周日與行政機關放假之紀念日50元/時，全程",
            {(4, 0): 40, (5, 0): 50, (8, 0): 50},
        ),
    ],
)
def test_the_reading_of_texts(text: str, fares: dict[tuple[int, int], int]) -> None:
    read = fares_in_words(text)
    assert {key: read.get(key) for key in fares} == fares


# Of the 46 sound tables these 32 say otherwise than their texts.
KNOWN_DISAGREEMENTS = {
    frozenset({"workday"}): {654},
    frozenset({"rest_day"}): {72, 95, 742, 828, 835},
    frozenset({"workday", "rest_day"}): {11, 98, 100, 120, 239, 334, 360, 723, 758, 783, 816, 824, 1027},
    frozenset({"workday", "rest_day", "one_fare"}): {108, 230, 355, 357, 421, 449, 534, 537, 540, 615, 690},
    frozenset({"workday", "rest_day", "friday"}): {716},
    frozenset({"workday", "rest_day", "friday", "one_fare"}): {851},
}


def test_where_text_and_table_disagree_is_known() -> None:
    found: dict[frozenset[str], set[int]] = {}
    for record in filter(sound, records()):
        if words := disagreements(record):
            found.setdefault(frozenset(words), set()).add(int(record.code.removeprefix("TPE")))
    assert found == KNOWN_DISAGREEMENTS


def test_a_disagreement_is_money() -> None:
    """TPE0098: the text asks 50 dollars an hour by day, the table 30; ten hours of a workday are 500 or 300."""
    (record,) = [each for each in records() if each.code == "TPE0098"]
    entered = datetime(2025, 12, 3, 9, tzinfo=TAIPEI)
    bill = price(tariff(record), Stay(entered_at=entered, exited_at=entered + timedelta(hours=10)), PlainWeekdays())
    assert bill.total_fen == 300_00
    assert sum(fares_in_words(record.text)[3, hour] for hour in range(9, 19)) == 500
