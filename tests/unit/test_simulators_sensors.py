"""Simulated sensors: faults happen as often as the scenario says, and messages are those of the contract."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from parking_core.errors import NotFoundError
from simulators.district import DistrictSize, generate_district
from simulators.profiles import PROFILES, STEP_S, expected_share, rates
from simulators.scenario import Faults, Scenario, Storm, Traffic, load_scenario, scenario_names
from simulators.sensors import Fleet, Message

if TYPE_CHECKING:
    from parking_core.districts import District
    from simulators.district import Use

START_US = 1_790_000_000_000_000
MINUTE_US = 60_000_000


@pytest.fixture(scope="module")
def district() -> District:
    return generate_district(DistrictSize(lots=30, spaces=900))


def _fleet(district: District, *, speed: float = 60.0, storm: Storm | None = None, **faults: float) -> Fleet:
    scenario = Scenario("test", seed=3, traffic=Traffic("10:00", day_off=False), faults=Faults(**faults), storm=storm)
    return Fleet(district, scenario, START_US, speed)


def _run(fleet: Fleet, minutes: float = 3) -> list[Message]:
    return list(fleet.due(START_US + round(minutes * MINUTE_US)))


def _occupancy(messages: list[Message]) -> list[Message]:
    return [message for message in messages if message.topic.endswith("/occupancy")]


def test_the_same_scenario_gives_the_same_messages(district: District) -> None:
    first, second = (_fleet(district, loss=0.1, duplicates=0.1, late=0.1, skew_s=5.0) for _ in range(2))
    assert _run(first) == _run(second)


def test_messages_leave_in_order_of_time_and_not_before_they_are_due(district: District) -> None:
    messages = _run(_fleet(district, late=0.3, duplicates=0.3))
    assert messages == sorted(messages, key=lambda message: message.due_us)
    assert messages[0].due_us >= START_US
    assert messages[-1].due_us <= START_US + 3 * MINUTE_US


def test_payloads_are_those_of_the_contract(district: District) -> None:
    topics = {
        f"parking/v1/{lot.code}/{device.code}/occupancy": device.watched()
        for lot in district.lots
        for device in lot.devices
    }
    readings = _occupancy(_run(_fleet(district)))
    assert len(readings) > 300
    for message in readings:
        reading = json.loads(message.payload)
        assert reading["space"] in topics[message.topic]
        assert type(reading["occupied"]) is bool
        assert reading["at"] == message.due_us // 1000  # a good clock, to the millisecond
        assert 2.6 < reading["battery_v"] < 3.7
        assert -120 < reading["rssi_dbm"] < -50


def test_present_state_tells_every_bay_once(district: District) -> None:
    fleet = _fleet(district)
    told = Counter[tuple[str, str]]()
    occupied = 0
    for message in fleet.present_state(START_US):
        content = json.loads(message.payload)
        for reading in content if isinstance(content, list) else [content]:
            told[message.topic.split("/")[2], reading["space"]] += 1
            occupied += reading["occupied"]
    assert told == Counter((lot.code, space.code) for lot in district.lots for space in lot.spaces)
    assert occupied == fleet.occupied()


def test_a_fleet_without_faults_numbers_each_devices_reports_without_gap(district: District) -> None:
    fleet = _fleet(district)
    first = list(fleet.present_state(START_US))
    numbers: dict[int, list[int]] = defaultdict(list)
    for message in [*first, *_occupancy(_run(fleet))]:
        content = json.loads(message.payload)
        numbers[message.device] += [reading["seq"] for reading in (content if isinstance(content, list) else [content])]
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())


def test_duplicates_are_the_same_message_again(district: District) -> None:
    fleet = _fleet(district, duplicates=0.2)
    messages = _occupancy(_run(fleet))
    copies = Counter((message.topic, message.payload) for message in messages)
    doubled = sum(count == 2 for count in copies.values())
    assert set(copies.values()) == {1, 2}
    assert doubled == pytest.approx(0.2 * len(copies), rel=0.3)


def test_lost_messages_leave_gaps_in_the_numbers(district: District) -> None:
    fleet = _fleet(district, loss=0.2)
    seen = defaultdict(set)
    for message in _occupancy(_run(fleet)):
        seen[message.device].add(json.loads(message.payload)["seq"])
    gaps = sum(max(found) - len(found) for found in seen.values())
    assert fleet.counts.lost >= gaps > 0.1 * fleet.counts.reports


def test_late_messages_arrive_after_newer_ones_with_their_own_time(district: District) -> None:
    messages = _occupancy(_run(_fleet(district, late=0.3, late_s=20.0)))
    lateness = [message.due_us / 1e6 - json.loads(message.payload)["at"] / 1e3 for message in messages]
    assert 10 < max(lateness) <= 20.001
    newest: dict[int, int] = {}
    overtaken = 0
    for message in messages:
        number = json.loads(message.payload)["seq"]
        overtaken += number < newest.get(message.device, 0)
        newest[message.device] = max(number, newest.get(message.device, 0))
    assert overtaken > 0


def test_clocks_are_wrong_by_a_constant_of_each_device(district: District) -> None:
    offsets = defaultdict(set)
    for message in _occupancy(_run(_fleet(district, skew_s=30.0))):
        offsets[message.device].add(json.loads(message.payload)["at"] - message.due_us // 1000)
    assert all(max(found) - min(found) <= 1 for found in offsets.values())  # one millisecond of rounding
    means = [min(found) for found in offsets.values()]
    assert min(means) < -20_000
    assert max(means) > 20_000
    assert all(abs(mean) <= 30_001 for mean in means)


def test_clocks_drift(district: District) -> None:
    fleet = _fleet(district, drift_ppm=100_000.0)
    late = [message for message in _occupancy(_run(fleet)) if message.due_us > START_US + 2 * MINUTE_US]
    wrong_ms = [abs(json.loads(message.payload)["at"] - message.due_us // 1000) for message in late]
    assert 6_000 < max(wrong_ms) <= 18_001  # up to a tenth of two to three minutes


def test_a_silent_device_says_nothing_any_more(district: District) -> None:
    fleet = _fleet(district, silent_devices=1.0, silent_within_s=30.0)
    assert max(message.due_us for message in _run(fleet)) <= START_US + 30_000_000


def test_an_empty_battery_silences_a_device_and_its_voltage_falls_before(district: District) -> None:
    fleet = _fleet(district, weak_batteries=1.0, battery_mv_a_day=2_400.0)  # 0.1 V of reserve: an hour, here a minute
    messages = _occupancy(_run(fleet))
    assert max(message.due_us for message in messages) <= START_US + MINUTE_US
    volts = [json.loads(message.payload)["battery_v"] for message in messages]
    assert volts[0] == pytest.approx(2.7, abs=0.01)
    assert volts[-1] < 2.61


def test_cut_messages_are_no_json(district: District) -> None:
    fleet = _fleet(district, truncated=0.1)
    bad = 0
    for message in _run(fleet):
        try:
            json.loads(message.payload) if not message.retain else None
        except ValueError:
            bad += 1
    assert bad == fleet.counts.truncated > 0


def test_a_storm_takes_devices_offline_and_brings_back_what_they_kept(district: District) -> None:
    fleet = _fleet(district, storm=Storm(after_s=30, every_s=600, share=0.5, outage_s=20, spread_s=5))
    quiet = _run(_fleet(district))
    messages = _run(fleet)
    offline = {message.device for message in messages if message.payload == b"offline"}
    assert len(offline) == pytest.approx(0.5 * len(fleet.sensors), rel=0.15)
    outage = (START_US + 30_000_000, START_US + 50_000_000)
    for message in messages:
        inside = outage[0] < message.due_us < outage[1]
        assert not (inside and message.device in offline), "an offline device was heard"
    back = [message for message in messages if message.payload == b"online" and message.due_us >= outage[1]]
    assert {message.device for message in back} == offline
    assert max(message.due_us for message in back) <= outage[1] + 5_000_000
    delayed = [m for m in _occupancy(messages) if m.due_us / 1000 - json.loads(m.payload)["at"] > 1]
    assert delayed, "nothing was kept during the outage"
    assert all(message.retain for message in messages if message.topic.endswith("/status"))
    assert len(_occupancy(messages)) == pytest.approx(len(_occupancy(quiet)), rel=0.2)


def test_heartbeats_keep_their_real_rhythm_at_any_speed(district: District) -> None:
    beats = [m for m in _run(_fleet(district, speed=5), minutes=75) if m.topic.endswith("/heartbeat")]
    times = defaultdict(list)
    for beat in beats:
        times[beat.device].append(beat.due_us)
    intervals = [d.expected_interval_s for lot in district.lots for d in lot.devices]
    for device, found in times.items():
        gaps = {later - earlier for earlier, later in pairwise(found)}
        assert gaps <= {round(0.8 * intervals[device] * 1e6)}
    assert len(times) > 0.9 * len(intervals)


@pytest.mark.parametrize("use", sorted(PROFILES))
def test_rates_hold_the_profile(use: Use) -> None:
    share = expected_share(use, 0, day_off=False)
    for step in range(96):
        arriving, leaving = rates(use, step, 1.0, day_off=False)
        assert arriving >= 0
        assert leaving >= 0
        for _ in range(STEP_S // 30):
            share += 30 * (arriving * (1 - share) - leaving * share)
        assert share == pytest.approx(
            expected_share(use, (step + 1) * STEP_S, day_off=False), abs=0.06
        )  # rates stand still for a quarter of an hour


def test_a_simulated_day_ends_as_full_as_its_profile_says(district: District) -> None:
    fleet = _fleet(district, speed=3600.0)
    for _ in fleet.due(START_US + 5_000_000):  # five hours
        pass
    expected = sum(expected_share(bay.use, 15 * 3600, day_off=False) for bay in fleet.bays)
    assert fleet.occupied() == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("name", ["weekday", "rush_hour", "reconnect_storm", "faulty_sensors"])
def test_named_scenarios_run(district: District, name: str) -> None:
    assert name in scenario_names()
    fleet = Fleet(district, load_scenario(name), START_US, 60)
    assert len(_run(fleet, 1)) > 100


def test_rush_hour_moves_more_than_a_calm_scenario(district: District) -> None:
    rush = Fleet(district, load_scenario("rush_hour"), START_US, 60)
    calm = _fleet(district)
    assert len(_occupancy(_run(rush))) > 1.5 * len(_occupancy(_run(calm)))


def test_an_unknown_scenario_is_named_with_the_choice() -> None:
    with pytest.raises(NotFoundError, match="rush_hour"):
        load_scenario("holiday")
