"""Past demand in the columns that decisions choose from: the same as one request's, clipped to the day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parking_core.demand import DAY_MIN, Demand, past_day, ways_of
from parking_core.offers import Offer
from parking_core.people import ANYONE
from parking_core.reservations import Ask
from parking_core.sharing import AllocationPolicy, SharedLot, SpaceClass, Terms
from parking_core.slots import SLOTS, begins_of

SHANGHAI = ZoneInfo("Asia/Shanghai")
HERE = (31.49, 120.31)
DAY = date(2026, 3, 10)  # from 08:00 on in Wuxi


def lot(number: int, *, north_m: float = 0.0, **terms: object) -> SharedLot:
    return SharedLot(
        id=number,
        code=f"L{number}",
        name=f"Lot {number}",
        lat=HERE[0] + north_m / 111_195,
        lon=HERE[1],
        agreement_id=number,
        agreement=f"A{number}",
        open=True,
        terms=Terms(**terms),  # type: ignore[arg-type]  # keyword arguments of the test
    )


def offer(*lots: tuple[SharedLot, int], policy: AllocationPolicy | None = None) -> Offer:
    """Lots with a number of classes of two spaces."""
    classes = [
        SpaceClass(id=10 * each.id + number, code="ABC"[number], windows=None, spaces=2, lot=each)
        for each, count in lots
        for number in range(count)
    ]
    return Offer(classes, policy or AllocationPolicy(), {}, {}, zone=SHANGHAI, channel="hold:tongpay")


def asks_of(*asks: Ask, asked: datetime | None = None) -> Demand:
    moment = int((asked or begins_of(DAY)).timestamp())
    return Demand(
        asked=np.full(len(asks), moment, np.int64),
        arrive=np.array([int(each.arrive_at.timestamp()) for each in asks], np.int64),
        depart=np.array([int(each.depart_at.timestamp()) for each in asks], np.int64),
        lat=np.array([each.lat for each in asks], np.float64),
        lon=np.array([each.lon for each in asks], np.float64),
        walk_m=np.array([each.walk_m for each in asks], np.int32),
        group=np.array([each.group for each in asks], np.str_),
    )


def ask(hours: tuple[float, float], *, walk_m: int = 500, group: str = ANYONE, north_m: float = 0.0) -> Ask:
    """A stay in hours from the begin of DAY."""
    begins = begins_of(DAY)
    return Ask(
        plate="苏B12345",
        group=group,
        lat=HERE[0] + north_m / 111_195,
        lon=HERE[1],
        walk_m=walk_m,
        arrive_at=begins + timedelta(hours=hours[0]),
        depart_at=begins + timedelta(hours=hours[1]),
    )


TOWN = offer(
    (lot(1, north_m=300, price_fen_per_hour=150), 2),
    (lot(2, eligible=("patient",)), 1),
    (lot(3, north_m=-700, failure_rate=0.05), 3),
)
OPEN = np.ones((len(TOWN.classes), 3 * SLOTS), np.bool_)


@settings(max_examples=60)
@given(
    st.lists(
        st.builds(
            ask,
            st.tuples(st.floats(0, 20), st.floats(0.3, 60)).map(lambda each: (each[0], each[0] + each[1])),
            walk_m=st.integers(50, 2000),
            group=st.sampled_from([ANYONE, "patient", "resident"]),
            north_m=st.floats(-2000, 2000),
        ),
        max_size=8,
    )
)
def test_all_at_once_is_what_one_by_one_is(asks: list[Ask]) -> None:
    whole = [
        # seconds, as the database hands them over
        Ask(
            plate=each.plate,
            group=each.group,
            lat=each.lat,
            lon=each.lon,
            walk_m=each.walk_m,
            arrive_at=each.arrive_at.replace(microsecond=0),
            depart_at=each.depart_at.replace(microsecond=0),
        )
        for each in asks
    ]
    ways = ways_of(TOWN, asks_of(*whole))
    assert len(ways.first) == len(whole) + 1
    for number, each in enumerate(whole):
        mine = slice(ways.first[number], ways.first[number + 1])
        expected = TOWN.near(each)
        near = slice(0, expected.near)
        assert ways.row[mine].tolist() == expected.row[near].tolist()
        assert ways.value[mine].tolist() == expected.value[near].tolist()
        assert ways.buffer_min[mine].tolist() == expected.buffer_min[near].tolist()


def test_of_nobody_and_of_nothing_comes_nothing() -> None:
    assert ways_of(TOWN, asks_of()).first.tolist() == [0]
    nowhere = offer()
    day = past_day(nowhere, asks_of(ask((1, 2))), DAY, np.zeros((0, 3 * SLOTS), np.bool_), {})
    assert (day.instance.requests, day.instance.columns, day.instance.groups) == (1, 0, 0)


def test_a_stay_counts_for_the_part_inside_the_day() -> None:
    """From two hours before the day's end until two hours (less the buffer) after it: half of its value each."""
    town = offer((lot(1), 1))
    opened = np.ones((1, 3 * SLOTS), np.bool_)
    buffer_min = int(ways_of(town, asks_of(ask((22, 25)))).buffer_min[0])
    stay = ask((22, 26 - buffer_min / 60))
    whole = ways_of(town, asks_of(stay)).value[0]
    today = past_day(town, asks_of(stay), DAY, opened, {}).instance
    tomorrow = past_day(town, asks_of(stay), DAY + timedelta(days=1), opened, {}).instance
    assert today.value.tolist() == tomorrow.value.tolist() == [whole // 2]
    assert (today.arrive[0], today.until[0]) == (22 * 60, DAY_MIN)
    assert (tomorrow.arrive[0], tomorrow.until[0]) == (0, 120)
    yesterday = past_day(town, asks_of(stay), DAY - timedelta(days=1), opened, {}).instance
    assert yesterday.columns == 0


@pytest.mark.parametrize(("closed_h", "columns"), [(21.9, 1), (22.5, 0), (24.5, 0), (27.0, 1)])
def test_a_class_that_closes_in_the_stay_admits_it_not(closed_h: float, columns: int) -> None:
    town = offer((lot(1), 1))
    opened = np.ones((1, 3 * SLOTS), np.bool_)
    opened[0, SLOTS + int(closed_h * 12)] = False
    assert past_day(town, asks_of(ask((22, 26))), DAY, opened, {}).instance.columns == columns


def test_who_asks_for_whom_and_when() -> None:
    asked = begins_of(DAY) - timedelta(hours=30, seconds=1)
    demand = asks_of(ask((1, 2), group="patient"), ask((1, 2), group="night"), ask((1, 2)), asked=asked)
    day = past_day(TOWN, demand, DAY, OPEN, {"patient": 1, "resident": 2})
    assert day.book.tolist() == [-30 * 60 - 1] * 3  # minutes begun
    assert day.member is not None
    assert day.member.tolist() == [1, 0, 0]
    assert np.diff(day.instance.first).tolist() == [3, 2, 2]  # the third class nearby is for patients


def test_seconds_of_a_stay_are_rounded_to_what_a_promise_takes() -> None:
    begins = datetime(2026, 3, 10, 10, 0, 59, tzinfo=UTC)
    stay = Ask(
        plate="苏B12345", group=ANYONE, lat=HERE[0], lon=HERE[1], walk_m=500, arrive_at=begins,
        depart_at=begins + timedelta(hours=1),
    )  # fmt: skip
    night = past_day(TOWN, asks_of(stay), DAY, OPEN, {}).instance
    assert (int(night.arrive[0]), int(night.depart[0])) == (600, 661)
