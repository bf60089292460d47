from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from parking_core.calendar import describe_opening, is_open, parse_opening
from parking_core.errors import InvalidInputError

SHANGHAI = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo = SHANGHAI) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


DAYTIME = [{"days": [1, 2, 3, 4, 5], "from": "08:00", "until": "22:00"}]
FRIDAY_NIGHT = [{"days": [5], "from": "20:00", "until": "02:30"}]
WHOLE_SUNDAY = [{"days": [7], "from": "00:00", "until": "24:00"}]


@pytest.mark.parametrize(
    ("opening", "moment", "expected"),
    [
        (None, "2026-11-22T03:00", True),
        ([], "2026-11-23T12:00", False),
        (DAYTIME, "2026-11-23T07:59:59", False),
        (DAYTIME, "2026-11-23T08:00", True),
        (DAYTIME, "2026-11-23T21:59:59", True),
        (DAYTIME, "2026-11-23T22:00", False),
        (DAYTIME, "2026-11-22T12:00", False),  # Sunday
        (FRIDAY_NIGHT, "2026-11-20T19:59", False),
        (FRIDAY_NIGHT, "2026-11-20T20:00", True),
        (FRIDAY_NIGHT, "2026-11-21T02:29", True),  # Saturday, the night that began on Friday
        (FRIDAY_NIGHT, "2026-11-21T02:30", False),
        (FRIDAY_NIGHT, "2026-11-20T01:00", False),  # Friday before dawn belongs to Thursday's night
        (FRIDAY_NIGHT, "2026-11-21T21:00", False),
        (WHOLE_SUNDAY, "2026-11-22T00:00", True),
        (WHOLE_SUNDAY, "2026-11-22T23:59", True),
        (WHOLE_SUNDAY, "2026-11-23T00:00", False),
        (FRIDAY_NIGHT + WHOLE_SUNDAY, "2026-11-22T10:00", True),
    ],
)
def test_opening_hours(opening: list[dict[str, object]] | None, moment: str, expected: bool) -> None:  # noqa: FBT001  # a table's column
    assert is_open(parse_opening(opening), at(moment), SHANGHAI) is expected


def test_hours_are_local_whatever_zone_the_moment_comes_in() -> None:
    hours = parse_opening(DAYTIME)
    assert is_open(hours, datetime(2026, 11, 23, 0, 0, tzinfo=UTC), SHANGHAI)  # 08:00 in the district
    assert not is_open(hours, datetime(2026, 11, 23, 15, 0, tzinfo=UTC), SHANGHAI)


def test_a_window_over_a_clock_change_follows_the_wall_clock() -> None:
    night = parse_opening([{"days": [6], "from": "22:00", "until": "03:00"}])  # clocks go back on 2026-10-25 at 03:00
    assert is_open(night, datetime(2026, 10, 25, 0, 30, tzinfo=UTC), BERLIN)  # 02:30, first time
    assert is_open(night, datetime(2026, 10, 25, 1, 30, tzinfo=UTC), BERLIN)  # 02:30, again
    assert not is_open(night, datetime(2026, 10, 25, 2, 0, tzinfo=UTC), BERLIN)


@pytest.mark.parametrize("opening", [None, [], DAYTIME, FRIDAY_NIGHT, WHOLE_SUNDAY])
def test_hours_are_described_as_they_were_written(opening: object) -> None:
    assert describe_opening(parse_opening(opening)) == opening


@pytest.mark.parametrize(
    "opening",
    [
        {"days": [1]},
        "always",
        [{"days": [], "from": "08:00", "until": "22:00"}],
        [{"days": [0], "from": "08:00", "until": "22:00"}],
        [{"days": [8], "from": "08:00", "until": "22:00"}],
        [{"days": [True], "from": "08:00", "until": "22:00"}],
        [{"days": [1], "from": "8:00", "until": "22:00"}],
        [{"days": [1], "from": "08:00", "until": "24:01"}],
        [{"days": [1], "from": "08:60", "until": "22:00"}],
        [{"days": [1], "from": 480, "until": "22:00"}],
        [{"days": [1], "from": "08:00"}],
    ],
)
def test_what_is_no_opening_is_refused(opening: object) -> None:
    with pytest.raises(InvalidInputError):
        parse_opening(opening)
