"""What is said of devices: each rule at its limit, beyond it, and when it is over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from parking_core.health import bay_rules, device_rules
from parking_core.health.activity import HOUR_US, HOURS, LotClock
from parking_core.health.conditions import NEVER
from parking_core.health.days import BAY_DAY
from parking_core.health.device_rules import DEVICE
from parking_core.health.learning import BATTERY, BAY_PAST, BAY_USUAL, CALM, DEVICE_PAST, SLOPE, Pool, Usual, learn

SECOND = 1_000_000
NOW = 100 * 24 * HOUR_US
NOBODY: frozenset[int] = frozenset()


def devices(number: int = 1, **values: Any) -> Any:
    """Devices of which nothing is wrong, and what is said of them."""
    rows = np.zeros(number, DEVICE)
    rows["device_id"] = 1 + np.arange(number)
    rows["interval_s"], rows["heard_us"], rows["messages"] = 3600, NOW, 100
    for name in ("battery_v", "battery_percent", "rssi_dbm"):
        rows[name] = np.nan
    for name in ("battery_us", "clock_us", "clock_at_us", "quarantined_us", "flood_us"):
        rows[name] = NEVER
    for name, value in values.items():
        rows[name] = value
    return rows


def past(number: int = 1, **values: Any) -> Usual:
    """Learned from a month."""
    known = np.zeros(number, DEVICE_PAST)
    known["device_id"], known["days"], known["quiet_s"] = 1 + np.arange(number), 28, 7200
    known["messages"], known["rssi_dbm"] = 2800, -80
    slopes = np.zeros(number, SLOPE)
    slopes["device_id"] = known["device_id"]
    for name, value in values.items():
        (slopes if name == "slope" else known)[name] = value
    return Usual(np.zeros(0, BAY_USUAL), known, slopes, Pool())


def bays(number: int = 1, *, calm: Any = 0.0, heard_us: int = NOW, **values: Any) -> bay_rules.Bays:
    """Bays that live like their lot, of one device each."""
    rows, expected = np.zeros(number, BAY_DAY), np.zeros(number, BAY_USUAL)
    rows["device_id"], rows["space_id"] = 1 + np.arange(number), 1 + np.arange(number)
    rows["last_us"], rows["changed_us"], rows["run_us"] = NOW, NOW - HOUR_US, NOW - HOUR_US
    expected["device_id"], expected["space_id"], expected["days"] = rows["device_id"], rows["space_id"], 28
    expected["same"], expected["flickers"], expected["calm_free"] = 0.01, 0.02, 4
    for name, value in values.items():
        (rows if name in (BAY_DAY.names or ()) and name != "calm_free" else expected)[name] = value
    lot, before = np.zeros(number, np.int64), np.zeros(number, np.int64)
    return bay_rules.Bays(rows, lot, np.full(number, heard_us), before, expected, np.full(number, calm, np.float64))


POOL = Usual(np.zeros(0, BAY_USUAL), np.zeros(0, DEVICE_PAST), np.zeros(0, SLOPE), Pool(60.0))


def test_silent_is_twice_its_own_longest_quiet() -> None:
    heard = devices(heard_us=NOW - 14_399 * SECOND)
    assert device_rules.silent(heard, past(), NOW) == []
    (found,) = device_rules.silent(devices(heard_us=NOW - 14_401 * SECOND), past(), NOW)
    assert found.since_us == NOW - 14_401 * SECOND
    assert found.evidence == {"quiet_s": 14_401, "limit_s": 14_400}


def test_silent_by_its_registration_while_nobody_knows_it() -> None:
    young = past(days=4)
    assert device_rules.quiet_limits(devices(), young).round(3).tolist() == [3960]
    assert device_rules.silent(devices(heard_us=NEVER), young, NOW) == [], "never heard is not silent"
    assert device_rules.quiet_limits(devices(), past(quiet_s=10)).tolist() == [900], "no alarm within minutes"


@pytest.mark.parametrize("sign", [1, -1])
def test_clock_begins_at_ten_seconds_and_is_over_below_five(sign: int) -> None:
    def judge(offset_s: float, already: frozenset[int] = NOBODY) -> list[Any]:
        told = devices(clock_us=int(sign * offset_s * SECOND), clock_at_us=NOW - HOUR_US)
        return device_rules.clock(told, already, NOW)

    assert judge(9.9) == []
    (found,) = judge(51)
    assert found.evidence == {"ahead_s": sign * 51.0}
    assert judge(6, frozenset({1}))
    assert judge(4.9, frozenset({1})) == []


def test_a_clock_that_nobody_can_use_is_wrong_and_an_old_offset_proves_nothing() -> None:
    (found,) = device_rules.clock(devices(suspects=3), NOBODY, NOW)
    assert found.evidence == {"unusable_times": 3}
    old = devices(clock_us=60 * SECOND, clock_at_us=NOW - 49 * HOUR_US)
    assert device_rules.clock(old, NOBODY, NOW) == []


def test_battery_by_volts_by_word_by_percent_and_by_trend() -> None:
    def judge(already: frozenset[int] = NOBODY, slope: float = 0.0, **said: Any) -> list[Any]:
        return device_rules.battery(devices(battery_us=NOW, **said), past(slope=slope), already)

    assert judge(battery_v=2.95) == []
    assert judge(battery_v=2.85)
    assert judge(frozenset({1}), battery_v=2.95), "not over yet"
    assert judge(frozenset({1}), battery_v=3.6) == [], "a new cell"
    assert judge(battery_low=True)
    assert judge(battery_percent=14)
    assert judge(battery_v=3.6, slope=-0.02) == [], "45 days are left"
    (found,) = judge(battery_v=3.6, slope=-0.09)
    assert found.evidence == {"battery_v": 3.6, "days_left": 10.0}
    assert judge() == [], "a device that says nothing of it has mains"


def test_signal_is_weak_or_much_weaker_than_it_was() -> None:
    def judge(rssi: float, already: frozenset[int] = NOBODY) -> list[Any]:
        return device_rules.signal(devices(rssi_dbm=rssi), past(recent_dbm=rssi - 1), already, NOW)

    assert judge(-97) == []
    (found,) = judge(-99)
    assert found.evidence == {"rssi_dbm": -99, "usually_dbm": -80}
    assert judge(-91, frozenset({1}))
    assert judge(-89, frozenset({1})) == []
    always = past(rssi_dbm=-117, recent_dbm=-118)
    assert device_rules.signal(devices(rssi_dbm=-118), always, NOBODY, NOW)
    assert device_rules.signal(devices(rssi_dbm=-116), always, NOBODY, NOW) == [], "a weak day and a better one"
    assert device_rules.signal(devices(rssi_dbm=-118), past(days=4, recent_dbm=-118), NOBODY, NOW) == []


def test_missing_is_measured_beside_what_is_usual() -> None:
    def judge(lost: int, messages: int, before: int = 0) -> list[Any]:
        return device_rules.missing(devices(missing=lost, messages=messages), past(missing=before), NOBODY, NOW)

    assert judge(9, 10) == [], "a few are nothing"
    assert judge(10, 89)
    assert judge(20, 80, before=700) == [], "a radio that always loses a fifth"
    assert judge(-4, 80) == [], "some came late"


def test_measurement_and_flood_last_as_long_as_they_are_fresh() -> None:
    assert device_rules.measurement(devices(quarantined_us=NOW - 23 * HOUR_US), NOW)
    assert device_rules.measurement(devices(quarantined_us=NOW - 25 * HOUR_US), NOW) == []
    assert device_rules.flooding(devices(flood_us=NOW - 60 * SECOND, left_out=700), NOW)[0].evidence == {
        "left_out": 700
    }
    assert device_rules.flooding(devices(flood_us=NOW - 1000 * SECOND), NOW) == []


def test_stuck_free_by_most_bays_of_its_lot_and_stuck_occupied_by_the_district() -> None:
    crowd = np.ones(20, np.bool_)
    assert bay_rules.stuck(bays(20, calm=11.9, occupied=~crowd), POOL) == []
    assert len(bay_rules.stuck(bays(20, calm=12.1, occupied=~crowd), POOL)) == 20
    assert bay_rules.stuck(bays(20, calm=14, calm_free=10.0), POOL) == [], "bays of the lot were free for as long"
    spells = np.full(20, 4.0)
    spells[0] = 50
    assert {one.device_id for one in bay_rules.stuck(bays(20, calm=14, calm_free=spells), POOL)} == set(range(2, 21)), (
        "a bay that is used in spells does not speak for the others, nor they for it"
    )
    assert bay_rules.stuck(bays(20, calm=59, occupied=crowd), POOL) == [], "a car may stay for days"
    (found, *_) = bay_rules.stuck(bays(20, calm=61, occupied=crowd), POOL)
    assert found.evidence["limit"] == 60
    assert bay_rules.stuck(bays(20, calm=99, days=2), POOL) == [], "nobody knows it yet"


def test_a_small_lot_is_measured_by_most_bays_of_the_district() -> None:
    mixed = bays(22, calm=16.0)
    mixed.lot[:2] = 1  # two bays, whose few days say little
    mixed.expected["calm_free"][:2], mixed.expected["calm_free"][2:] = 1, 12
    assert bay_rules.stuck(mixed, POOL) == []
    mixed.expected["calm_free"][2:] = 4
    assert len(bay_rules.stuck(mixed, POOL)) == 22
    assert bay_rules.stuck(bays(0), POOL) == []


def test_a_silent_device_is_not_stuck_as_well() -> None:
    rows = bays().rows
    rows["changed_us"] = 10 * HOUR_US
    twice, later = (stand(rows, hour * HOUR_US, POOL).calm[0] for hour in (12, 14))
    assert twice == pytest.approx(-4 * np.log(1 - 2 / 4))
    assert later > twice, "the calm ends where it was heard last"


def stand(rows: Any, heard_us: int, usual: Usual) -> bay_rules.Bays:
    """One bay of a lot whose bays change once an hour, on the fifth day."""
    clock, zero = LotClock.of(0, np.ones((5, 1, HOURS))), np.zeros(1, np.int64)
    return bay_rules.stand(rows, zero, np.array([heard_us]), zero, usual=usual, clock=clock)


def test_a_bay_that_stands_still_does_not_teach_that_it_hardly_changes() -> None:
    known = np.zeros(1, BAY_USUAL)
    known["device_id"], known["space_id"], known["days"] = 1, 1, 4
    known["changes"], known["activity"] = 12, 96
    rows = bays().rows
    rows["changed_us"] = 24 * HOUR_US  # its twelve changes were on the first of the four days
    stood = stand(rows, 100 * HOUR_US, Usual(known, np.zeros(0, DEVICE_PAST), np.zeros(0, SLOPE), Pool()))
    assert stood.calm[0] == pytest.approx(-16 * np.log(1 - 76 / (96 + 4 + 4)))
    assert stood.calm[0] > 16 * 76 / 104


def test_frozen_needs_more_repeats_where_repeats_are_usual() -> None:
    assert bay_rules.frozen(bays(run=7), NOBODY) == []
    (found,) = bay_rules.frozen(bays(run=8), NOBODY)
    assert found.evidence["repeats"] == 8
    assert bay_rules.frozen(bays(run=40, same=0.8), NOBODY) == []
    assert bay_rules.frozen(bays(run=95, same=0.8), NOBODY)
    assert bay_rules.frozen(bays(run=5000, same=1.0), NOBODY) == [], "it never measures anything new"
    assert bay_rules.frozen(bays(run=3), frozenset({1}))
    assert bay_rules.frozen(bays(run=2), frozenset({1})) == []


def test_flapping_begins_with_a_day_of_it_and_is_over_after_two_calm_ones() -> None:
    today = bays()
    today.rows["flickers"] = 5
    assert bay_rules.flapping(today, NOBODY, NOW) == []
    today.rows["flickers"] = 6
    assert bay_rules.flapping(today, NOBODY, NOW)
    today.rows["flickers"] = 0
    today.flickers_before[:] = 3
    assert bay_rules.flapping(today, frozenset({1}), NOW)
    today.flickers_before[:] = 2
    assert bay_rules.flapping(today, frozenset({1}), NOW) == []


def test_two_devices_of_a_bay_disagree_for_longer_than_a_car_parks() -> None:
    pair = bays(2)
    pair.rows["space_id"] = 9
    pair.rows["occupied"] = [True, False]
    found = bay_rules.contradicted(pair, NOW)
    assert {(one.device_id, one.evidence["device_id"]) for one in found} == {(1, 2), (2, 1)}
    pair.rows["changed_us"][0] = NOW - 599 * SECOND
    assert bay_rules.contradicted(pair, NOW) == []
    pair.rows["changed_us"][0], pair.heard_us[1] = NOW - HOUR_US, NOW - 25 * HOUR_US
    assert bay_rules.contradicted(pair, NOW) == [], "one of them is silent: it contradicts nobody"


def test_occupied_while_lanes_counted_everybody_out() -> None:
    full = bays(occupied=[True])
    assert bay_rules.implausible(full, np.array([0]), NOW)[0].evidence == {
        "space_id": 1,
        "occupied_s": 3600,
        "inside_by_lanes": 0,
    }
    assert bay_rules.implausible(full, np.array([1]), NOW) == []
    assert bay_rules.implausible(full, np.array([-1]), NOW) == [], "nobody counts"
    full.rows["changed_us"] = NOW - 1799 * SECOND
    assert bay_rules.implausible(full, np.array([0]), NOW) == []


def test_of_several_bays_the_one_that_is_wrong_for_longest_is_told() -> None:
    several = bays(3, calm=99)
    several.rows["device_id"] = 4
    several.rows["changed_us"] = [NOW - HOUR_US, NOW - 3 * HOUR_US, NOW - 2 * HOUR_US]
    (found,) = bay_rules.stuck(several, POOL)
    assert found.evidence["space_id"] == 2


@pytest.mark.parametrize("mean", [0.01, 0.3, 2.0, 9.0])
def test_poissons_limit_is_never_too_low(mean: float) -> None:
    limit = int(bay_rules.poisson_limit(np.array([mean]), 1e-5)[0])
    terms = np.cumprod(np.concatenate([[np.exp(-mean)], mean / np.arange(1, 200)]))
    assert terms[limit:].sum() < 1e-5
    assert terms[max(0, limit - 4) :].sum() > 1e-9, "and not absurdly high"


def test_learning_shrinks_the_young_to_the_district() -> None:
    own = np.zeros(3, BAY_PAST)
    own["device_id"], own["space_id"], own["days"] = [1, 2, 3], [1, 2, 3], [28, 28, 0]
    own["changes"], own["activity"] = [280, 0, 0], [140, 140, 0]
    own["measured"], own["repeats"], own["calm_taken"] = [300, 300, 0], [3, 297, 0], [5, 0, 0]
    found = learn(own, np.zeros(0, CALM), np.zeros(0, DEVICE_PAST), np.zeros(0, BATTERY))
    assert found.bays["same"].round(2).tolist() == [0.04, 0.96, 0.5]
    assert found.bays["calm_taken"][0] == pytest.approx(-284 * np.log(1 - 5 / 144))
    assert found.bays["calm_taken"][1:].tolist() == [0, 0]


def test_the_districts_rare_calm_is_what_one_of_thousands_came_out_of() -> None:
    number = 1000
    own = np.zeros(number, BAY_PAST)
    own["device_id"] = own["space_id"] = 1 + np.arange(number)
    own["days"], own["changes"], own["activity"] = 20, 100, 100
    calms = np.zeros(number, CALM)
    calms["device_id"], calms["space_id"] = own["device_id"], own["space_id"]
    own["activity"] = 100_000
    own["changes"] = 100_000
    calms["calm_taken"] = np.arange(number)
    pool = learn(own, calms, np.zeros(0, DEVICE_PAST), np.zeros(0, BATTERY)).pool
    assert pool.calm_taken == pytest.approx(997, rel=0.02)


def test_the_trend_of_a_battery_is_that_of_its_newest_days() -> None:
    days = np.arange(20)
    volts = np.where(days < 12, 3.6, 3.6 - 0.1 * (days - 12))
    volts[17] = 9.9  # one wrong reading
    told = np.zeros(40, BATTERY)
    told["device_id"], told["day"], told["battery_v"] = np.repeat([5, 6], 20), np.tile(days, 2), np.tile(volts, 2)
    told["battery_v"][20:] = 3.6
    found = learn(np.zeros(0, BAY_PAST), np.zeros(0, CALM), np.zeros(0, DEVICE_PAST), told).volts_a_day
    assert found["device_id"].tolist() == [5, 6]
    assert found["slope"].round(3).tolist() == [-0.1, 0]
