"""Floors of acceptance and the cap per person: what they reach, what they cost, and what is said where they fail."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parking_core.allocation.answers import Accepted, Asker, Cancelled, Columns, Entry, Grant, Refusal, Refused, Request
from parking_core.allocation.fair_batch import FairAllocation, allocate_fairly
from parking_core.allocation.fairness import FairnessPolicy, FloorOutcome, fair_prices, standing, value_of
from parking_core.allocation.generator import Night, NightSpec, draw_night, past_days
from parking_core.allocation.instance import Instance
from parking_core.allocation.online import NightDesk
from parking_core.allocation.prices import Forecast, PastDay, Prices, slots_of
from parking_core.allocation.solve import allocate
from parking_core.errors import InvalidInputError

SPEC = NightSpec(spaces=120, requests=700, lots=12, seed=4)
HOSPITAL = ("elsewhere", "hospital")
ENTRANCES = 4  # destinations of the generator that are the hospital's


@cache
def drawn() -> tuple[Night, Instance]:
    night = draw_night(SPEC)
    return night, night.instance()


def member_of(night: Night) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return (night.demand.destination < ENTRANCES).astype(np.int32)


def policy(floor: float, most: int | None = None) -> FairnessPolicy:
    return FairnessPolicy(members=HOSPITAL, floors=(0.0, floor), most_per_person=most)


@cache
def fair(floor: float) -> FairAllocation:
    night, offer = drawn()
    return allocate_fairly(offer, member_of(night), policy(floor))


def assert_feasible(offer: Instance, groups: np.ndarray[tuple[int], np.dtype[np.int32]]) -> None:
    for g in range(offer.groups):
        inside = np.zeros(2000, np.int64)
        for r in np.flatnonzero(groups == g):
            mine = slice(offer.first[r], offer.first[r + 1])
            until = offer.until[mine][offer.group[mine] == g]
            assert len(until) == 1, "the group must be one of the request's columns"
            inside[offer.arrive[r] : until[0]] += 1
        assert inside.max() <= offer.capacity[g]


def tiny(capacity: int, stays: list[tuple[int, int, int]]) -> Instance:
    """One group of a day; each stay is arrival, departure and value, a value of 0 has no column."""
    has = [value > 0 for _, _, value in stays]
    kept = [stay for stay in stays if stay[2] > 0]
    return Instance(
        lot=np.zeros(1, np.int32),
        start=np.zeros(1, np.int32),
        end=np.array([1440], np.int32),
        capacity=np.array([capacity], np.int32),
        arrive=np.array([stay[0] for stay in stays], np.int32),
        depart=np.array([stay[1] for stay in stays], np.int32),
        first=np.concatenate([[0], np.cumsum(has)]).astype(np.int64),
        group=np.zeros(len(kept), np.int32),
        value=np.array([stay[2] for stay in kept], np.int64),
        until=np.array([stay[1] for stay in kept], np.int32),
    )


def test_a_floor_raises_the_worst_share_and_costs_value() -> None:
    night, offer = drawn()
    without, with_floor = fair(0.0), fair(0.38)
    shares = [[member.share for member in each.members] for each in (without, with_floor)]
    assert min(shares[1]) > min(shares[0])
    hospital = with_floor.members[1]
    assert hospital.outcome is FloorOutcome.MET
    assert hospital.met
    assert hospital.bonus > 0.0
    assert without.members[1].outcome is FloorOutcome.NONE
    assert 0 < with_floor.cost_of_floors < 0.2 * without.value
    assert with_floor.value + with_floor.cost_of_floors == without.value
    assert with_floor.value <= with_floor.upper_bound <= without.upper_bound
    assert_feasible(offer, with_floor.group_of_request)
    served = np.bincount(member_of(night)[with_floor.group_of_request >= 0], minlength=2)
    assert [member.served for member in with_floor.members] == served.tolist()
    assert [member.asked for member in with_floor.members] == np.bincount(member_of(night)).tolist()


def test_the_same_arguments_give_the_same_allocation() -> None:
    night, offer = drawn()
    again = allocate_fairly(offer, member_of(night), policy(0.38))
    assert np.array_equal(again.group_of_request, fair(0.38).group_of_request)
    assert again.members == fair(0.38).members


def test_a_floor_beyond_what_the_spaces_hold_is_said_so() -> None:
    offer = tiny(1, [(0, 100, 50), (0, 100, 60), (0, 100, 900), (200, 300, 10)])
    found = allocate_fairly(offer, np.array([1, 1, 0, 0], np.int32), policy(1.0))
    hospital = found.members[1]
    assert (hospital.served, hospital.wanted, hospital.most) == (1, 2, 1)
    assert hospital.outcome is FloorOutcome.CAPACITY
    assert not hospital.met
    assert hospital.sentence() == (
        "hospital: 1 of 2 served (50%); the floor wants 2, even alone no more than 1 find a space."
    )
    assert found.value == 60 + 10
    assert found.cost_of_floors == 900 - 60


def test_a_floor_on_requests_that_no_window_admits_is_said_so() -> None:
    offer = tiny(3, [(0, 100, 50), (0, 100, 0), (0, 100, 900)])
    hospital = allocate_fairly(offer, np.array([1, 1, 0], np.int32), policy(1.0)).members[1]
    assert (hospital.served, hospital.most) == (1, 1)
    assert hospital.outcome is FloorOutcome.NO_PLACE


def test_floors_that_exclude_one_another_are_proven_to() -> None:
    offer = tiny(1, [(0, 100, 50), (0, 100, 60)])
    both = FairnessPolicy(members=HOSPITAL, floors=(1.0, 1.0))
    found = allocate_fairly(offer, np.array([0, 1], np.int32), both)
    assert FloorOutcome.TOGETHER in {member.outcome for member in found.members}
    assert sum(member.served for member in found.members) == 1


def test_a_person_holds_no_more_than_the_cap_and_a_floor_behind_it_is_told() -> None:
    offer = tiny(5, [(0, 100, 50), (0, 100, 60), (0, 100, 70), (0, 100, 80)])
    person, member = np.array([7, 7, 7, -1], np.int32), np.array([1, 1, 1, 0], np.int32)
    found = allocate_fairly(offer, member, policy(1.0, most=2), person=person)
    assert (found.group_of_request >= 0).tolist() == [False, True, True, True]
    assert found.cost_of_cap == 50
    assert found.members[1].outcome is FloorOutcome.CAP
    assert found.members[1].most == 2


def test_cap_and_floor_hold_together_on_a_drawn_night() -> None:
    night, offer = drawn()
    person = np.random.default_rng(3).integers(0, 500, offer.requests).astype(np.int32)
    found = allocate_fairly(offer, member_of(night), policy(0.35, most=1), person=person)
    assert np.bincount(person[found.group_of_request >= 0]).max() == 1
    assert found.cost_of_cap > 0
    assert found.members[1].met
    assert_feasible(offer, found.group_of_request)


nights = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 120), st.integers(0, 300)), min_size=1, max_size=10)


@settings(max_examples=25, deadline=None)
@given(nights, st.integers(1, 3), st.lists(st.integers(0, 1), min_size=10, max_size=10), st.floats(0.0, 1.0))
def test_reports_add_up_and_an_unmet_floor_always_has_a_reason(
    stays: list[tuple[int, int, int]], capacity: int, members: list[int], floor: float
) -> None:
    offer = tiny(capacity, [(arrive, arrive + length, value) for arrive, length, value in stays])
    member = np.array(members[: len(stays)], np.int32)
    found = allocate_fairly(offer, member, policy(floor), rounds=6, solver=partial(allocate, gap=0.0, time_limit_s=2.0))
    assert_feasible(offer, found.group_of_request)
    assert found.value <= found.upper_bound
    for report in found.members:
        assert report.served <= report.most <= report.asked
        assert report.met == (report.outcome in {FloorOutcome.MET, FloorOutcome.NONE})
        assert report.name in report.sentence()


@pytest.mark.parametrize(
    ("members", "floors", "most", "wrong"),
    [
        ((), (), None, "need names"),
        (("a", "a"), (0.1, 0.1), None, "different one"),
        (("a", "b"), (0.1,), None, "1 floors"),
        (("a",), (1.1,), None, "share from 0 to 1"),
        (("a",), (float("nan"),), None, "share from 0 to 1"),
        (("a",), (0.1,), 0, "one grant"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(
    members: tuple[str, ...], floors: tuple[float, ...], most: int | None, wrong: str
) -> None:
    with pytest.raises(InvalidInputError, match=wrong):
        FairnessPolicy(members=members, floors=floors, most_per_person=most)


def test_a_floor_wants_whole_requests_without_rounding_noise() -> None:
    wanted = FairnessPolicy(members=("a", "b", "c"), floors=(0.1, 0.25, 0.7)).wanted(np.array([30, 5, 10]))
    assert wanted.tolist() == [3, 2, 7]


def test_requests_of_no_member_and_caps_without_persons_are_refused() -> None:
    _, offer = drawn()
    nobody = np.zeros(offer.requests, np.int32)
    with pytest.raises(InvalidInputError, match="none of the 2"):
        allocate_fairly(offer, nobody + 2, policy(0.1))
    with pytest.raises(InvalidInputError, match="entries"):
        allocate_fairly(offer, nobody[1:], policy(0.1))
    with pytest.raises(InvalidInputError, match="whose request"):
        allocate_fairly(offer, nobody, policy(0.1, most=1))


@cache
def forecast() -> Forecast:
    days = [PastDay(day.instance(), day.demand.book, member_of(day)) for day in past_days(SPEC, 4)]
    offer = drawn()[1]
    return Forecast(days, groups=offer.groups, slots=slots_of(int(offer.end.max())), members=2)


def online(floor: float) -> tuple[NightDesk, list[Entry]]:
    """The night in booking order under prices that carry the floor; 20 re-solves."""
    night, offer = drawn()
    desk, record = NightDesk(offer, members=2), list[Entry]()
    due, warm = forecast().epochs(20).tolist(), None
    member = member_of(night)
    for r in night.demand.book_order.tolist():
        now = int(night.demand.book[r])
        if due and now >= due[0]:
            due = [minute for minute in due if minute > now]
            warm = fair_prices(policy(floor), forecast(), desk.snapshot(), now=now, warm=warm)
            desk.use(warm)
        mine = slice(offer.first[r], offer.first[r + 1])
        may = Columns(offer.group[mine], offer.value[mine], offer.until[mine])
        asker = Asker(str(r), member=int(member[r]))
        record.append(desk.decide(Request(asker, int(offer.arrive[r]), int(offer.depart[r]), may)))
    return desk, record


def test_bonuses_carry_a_floor_into_decisions_one_by_one() -> None:
    (plain, plain_record), (floored, record) = online(0.0), online(0.45)
    without, with_floor = (standing(policy(0.45), desk.snapshot(), desk.prices) for desk in (plain, floored))
    assert without[1].outcome is FloorOutcome.NOT_REACHED
    assert with_floor[1].share > without[1].share + 0.04
    assert with_floor[0].share < without[0].share
    assert value_of(record) > 0.9 * value_of(plain_record)
    assert not plain.prices.bonus.any()


def test_bonuses_belong_to_the_members_of_the_policy() -> None:
    desk = NightDesk(drawn()[1], members=2)
    one = FairnessPolicy(members=("all",), floors=(0.5,))
    with pytest.raises(InvalidInputError, match="1 members"):
        fair_prices(one, forecast(), desk.snapshot(), now=0)


def test_a_bonus_lets_a_request_in_that_its_value_alone_does_not() -> None:
    desk = NightDesk(tiny(1, []), members=2)
    free = desk.prices
    dear = Prices(
        free.cumulative + 10 * np.arange(desk.slots + 1),
        free.by_day,
        np.array([0.0, 90.0]),
        free.bonus,
        free.bonus,
        0,
        1.0,
    )
    desk.use(dear)
    may = Columns(np.zeros(1, np.int32), np.array([50], np.int64), np.array([50], np.int32))
    elsewhere = desk.decide(Request(Asker("a"), 0, 50, may))
    assert isinstance(elsewhere, Refused)
    assert elsewhere.reason is Refusal.KEPT
    hospital = desk.decide(Request(Asker("b", member=1), 0, 50, may))
    assert isinstance(hospital, Accepted)
    assert (hospital.value, hospital.price) == (50, 100.0)


def test_a_cancelled_grant_is_worth_nothing() -> None:
    record: list[Entry] = [Accepted(Grant(Asker(key), 0, 0, 10), 70, 0.0) for key in "ab"]
    assert value_of(record) == 140
    assert value_of([*record, Cancelled("a"), Refused(Asker("c"), Refusal.FULL, ())]) == 70


def test_a_floor_takes_no_more_than_it_wants_of_requests_that_are_alike() -> None:
    """Two spaces, two equal patients and four dearer others: one bonus alone would move both patients or none."""
    six = np.arange(6)
    night = Instance(
        lot=np.array([0]), start=np.array([0]), end=np.array([60]), capacity=np.array([2]),
        arrive=np.zeros(6, np.int32), depart=np.full(6, 60, np.int32), first=np.arange(7), group=np.zeros(6, np.int32),
        value=np.where(six < 2, 200, 900), until=np.full(6, 60, np.int32),
    )  # fmt: skip
    policy = FairnessPolicy(members=("others", "patient"), floors=(0.0, 0.5))
    found = allocate_fairly(night, (six < 2).astype(np.int32), policy)
    assert [each.served for each in found.members] == [1, 1]
    assert (found.value, found.cost_of_floors) == (1100, 700)
