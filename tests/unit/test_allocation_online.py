"""The desk of a night: laws of its state, of its answers and of what it offers instead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parking_core.allocation.answers import (
    Accepted,
    Asker,
    Cancelled,
    Columns,
    Departed,
    Entry,
    Refusal,
    Refused,
    Request,
)
from parking_core.allocation.instance import Instance
from parking_core.allocation.online import DeskState, NightDesk
from parking_core.allocation.prices import SLOT_MIN, Prices, free_prices, slots_of
from parking_core.errors import InvalidInputError, NotFoundError

GROUPS, END = 4, 300


def small_offer(capacity: list[int] | None = None) -> Instance:
    """Two lots of two groups each; windows of 300, 240, 200 and 300 minutes."""
    none = np.zeros(0, np.int32)
    return Instance(
        lot=np.array([0, 0, 1, 1]),
        start=np.array([0, 30, 50, 0]),
        end=np.array([END, 270, 250, END]),
        capacity=np.array(capacity or [1, 2, 1, 1]),
        arrive=none,
        depart=none,
        first=np.zeros(1, np.int64),
        group=none,
        value=np.zeros(0, np.int64),
        until=none,
    )


def request(key: str, arrive: int, depart: int, values: dict[int, int], **more: object) -> Request:
    """A request with a buffer of 10 minutes in every group."""
    asker = Asker(key, member=int(str(more.get("member", 0))), person=str(more["person"]) if "person" in more else None)
    others = columns(more["others"], depart) if isinstance(more.get("others"), dict) else None
    return Request(asker, arrive, depart, columns(values, depart), others, earliest=int(str(more.get("earliest", 0))))


def columns(values: object, depart: int) -> Columns:
    assert isinstance(values, dict)
    until = np.full(len(values), depart + 10)
    return Columns(np.array(list(values), np.int32), np.array(list(values.values()), np.int64), until.astype(np.int32))


def steep_prices(fen_a_slot: list[int]) -> Prices:
    """Each group costs the same in every slot."""
    free = free_prices(GROUPS, slots_of(END))
    return replace(free, cumulative=np.outer(fen_a_slot, np.arange(slots_of(END) + 1)).astype(np.float64))


def same(one: DeskState, other: DeskState) -> bool:
    arrays = ("residual", "asked_of", "served_of")
    equal = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
    return equal and one.asked == other.asked and one.grants == other.grants


stays = st.tuples(st.integers(0, 200), st.integers(5, 90), st.dictionaries(st.integers(0, 3), st.integers(1, 900)))


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[str, tuple[int, int, dict[int, int]], int]]:
    verbs = st.sampled_from(["ask", "ask", "ask", "cancel", "depart"])
    return draw(st.lists(st.tuples(verbs, stays, st.integers(0, 300)), max_size=40))


def played(desk: NightDesk, script: list[tuple[str, tuple[int, int, dict[int, int]], int]]) -> list[Entry]:
    """The record of a script; cancellations and departures take the grant that the number points to."""
    record: list[Entry] = []
    for number, (verb, (arrive, length, values), pick) in enumerate(script):
        standing = sorted(desk.snapshot().grants)
        if verb == "ask":
            record.append(desk.decide(request(str(number), arrive, arrive + length, values, person=str(pick % 3))))
        elif standing and verb == "cancel":
            record.append(desk.cancel(standing[pick % len(standing)]))
        elif standing:
            record.append(desk.depart(standing[pick % len(standing)], pick))
    return record


@settings(max_examples=60, deadline=None)
@given(steps(), st.lists(st.integers(0, 60), min_size=4, max_size=4))
def test_no_group_holds_more_than_its_spaces_at_any_minute(
    script: list[tuple[str, tuple[int, int, dict[int, int]], int]], prices: list[int]
) -> None:
    offer = small_offer()
    desk = NightDesk(offer, steep_prices(prices))
    ends: dict[str, int] = {}
    grants = {}
    for entry in played(desk, script):
        match entry:
            case Accepted(grant=grant):
                grants[grant.asker.key] = grant
            case Cancelled(key=key):
                del grants[key]
            case Departed(key=key, at=at):
                ends[key] = at
            case Refused():
                pass
    for group in range(GROUPS):
        inside = np.zeros(END, np.int64)
        for key, grant in grants.items():
            if grant.group == group:
                inside[grant.arrive : min(grant.until, max(ends.get(key, END), grant.arrive))] += 1
        assert inside.max() <= offer.capacity[group]
    state = desk.snapshot()
    assert state.residual.min() >= 0
    assert np.all(state.residual <= offer.capacity[:, None])


@settings(max_examples=60, deadline=None)
@given(steps(), stays)
def test_cancelling_restores_exactly(
    script: list[tuple[str, tuple[int, int, dict[int, int]], int]], stay: tuple[int, int, dict[int, int]]
) -> None:
    desk = NightDesk(small_offer())
    played(desk, script)
    before = desk.snapshot()
    answer = desk.decide(request("last", stay[0], stay[0] + stay[1], stay[2]))
    if isinstance(answer, Accepted):
        assert not np.array_equal(desk.snapshot().residual, before.residual)
        desk.cancel("last")
        after = desk.snapshot()
        assert np.array_equal(after.asked_of, before.asked_of)
        assert np.array_equal(after.served_of, before.served_of)
        assert after.grants == before.grants
    assert np.array_equal(desk.snapshot().residual, before.residual)


@settings(max_examples=40, deadline=None)
@given(steps(), st.lists(st.integers(0, 60), min_size=4, max_size=4))
def test_a_record_gives_the_same_state_and_the_same_script_the_same_record(
    script: list[tuple[str, tuple[int, int, dict[int, int]], int]], prices: list[int]
) -> None:
    desk, twin = (NightDesk(small_offer(), steep_prices(prices), most_active=2) for _ in range(2))
    record = played(desk, script)
    assert played(twin, script) == record
    restored = NightDesk(small_offer(), most_active=2)
    restored.replay(record)
    assert same(restored.snapshot(), desk.snapshot())
    further = request("further", 60, 90, {0: 500, 1: 400, 2: 300}, person="1")
    restored.use(desk.prices)
    assert restored.decide(further) == desk.decide(further)


@settings(max_examples=80, deadline=None)
@given(steps(), st.lists(st.integers(0, 60), min_size=4, max_size=4), stays, st.integers(0, 120))
def test_alternatives_are_accepted_when_asked_next(
    script: list[tuple[str, tuple[int, int, dict[int, int]], int]],
    prices: list[int],
    stay: tuple[int, int, dict[int, int]],
    earliest: int,
) -> None:
    offer = small_offer()
    desk = NightDesk(offer, steep_prices(prices))
    played(desk, script)
    arrive, length, values = stay
    further = {group: 300 for group in range(GROUPS) if group not in values}
    asked = request("last", arrive, arrive + length, values, others=further, earliest=earliest)
    answer = desk.decide(asked)
    if isinstance(answer, Accepted):
        return
    counted = desk.snapshot().asked
    for alternative in answer.alternatives:
        next_one = asked.instead(alternative)
        accepted = desk.decide(next_one)
        assert isinstance(accepted, Accepted)
        assert (accepted.grant.group, accepted.grant.until) == (alternative.group, alternative.until)
        assert next_one.arrive >= earliest
        assert offer.start[alternative.group] <= next_one.arrive
        assert alternative.until <= offer.end[alternative.group]
        desk.cancel("last")
    assert desk.snapshot().asked == counted


def test_of_equal_gains_the_shortest_window_is_taken_and_full_is_told_from_kept() -> None:
    desk = NightDesk(small_offer())
    values = {0: 500, 1: 500, 2: 500}
    groups = [desk.decide(request(str(n), 60, 120, values)) for n in range(5)]
    assert [answer.grant.group for answer in groups if isinstance(answer, Accepted)] == [2, 1, 1, 0]
    assert isinstance(groups[-1], Refused)
    assert groups[-1].reason is Refusal.FULL
    dear = NightDesk(small_offer(), steep_prices([100, 100, 100, 100]))
    kept = dear.decide(request("kept", 60, 120, values))
    assert isinstance(kept, Refused)
    assert kept.reason is Refusal.KEPT
    nowhere = dear.decide(request("nowhere", 60, 120, {}))
    assert isinstance(nowhere, Refused)
    assert nowhere.reason is Refusal.NOWHERE
    assert nowhere.alternatives == ()


def test_the_nearest_lot_wins_only_for_the_baseline() -> None:
    far_is_dearer = {3: 200, 0: 900}
    assert accepted_group(NightDesk(small_offer(), nearest=True), far_is_dearer) == 3
    assert accepted_group(NightDesk(small_offer()), far_is_dearer) == 0


def accepted_group(desk: NightDesk, values: dict[int, int]) -> int:
    answer = desk.decide(request("one", 60, 120, values))
    assert isinstance(answer, Accepted)
    return answer.grant.group


def test_a_full_lot_is_answered_with_another_lot_and_the_nearest_other_times() -> None:
    desk = NightDesk(small_offer([1, 0, 0, 1]))
    assert isinstance(desk.decide(request("first", 100, 150, {0: 700})), Accepted)
    answer = desk.decide(request("second", 110, 150, {0: 700}, others={3: 250}))
    assert isinstance(answer, Refused)
    # group 0 is taken from 100 to 160: the stay with its buffer, 110 to 160, fits an hour earlier or later
    assert [(each.shift, each.group) for each in answer.alternatives] == [(0, 3), (-15, 3), (15, 3)]
    alone = desk.decide(request("third", 110, 150, {0: 700}))
    assert isinstance(alone, Refused)
    assert [(each.shift, each.group) for each in alone.alternatives] == [(-60, 0), (60, 0)]


def test_an_owners_buffer_keeps_alternatives_from_the_end_of_the_window() -> None:
    latest = np.array([END - 60] * GROUPS, np.int32)
    desk = NightDesk(small_offer([1, 0, 0, 0]), latest_depart=latest)
    assert isinstance(desk.decide(request("first", 150, 200, {0: 700})), Accepted)
    answer = desk.decide(request("second", 150, 190, {0: 700}, earliest=140))
    assert isinstance(answer, Refused)
    assert answer.alternatives == ()
    without = NightDesk(small_offer([1, 0, 0, 0]))
    without.decide(request("first", 150, 200, {0: 700}))
    later = without.decide(request("second", 150, 190, {0: 700}, earliest=140))
    assert isinstance(later, Refused)
    assert [each.shift for each in later.alternatives] == [60]


def test_a_persons_active_grants_are_capped_until_one_ends() -> None:
    desk = NightDesk(small_offer([3, 3, 3, 3]), most_active=1)
    assert isinstance(desk.decide(request("a", 60, 90, {0: 500}, person="p")), Accepted)
    second = desk.decide(request("b", 100, 120, {0: 500}, person="p"))
    assert isinstance(second, Refused)
    assert second.reason is Refusal.PERSON_CAP
    assert isinstance(desk.decide(request("c", 100, 120, {0: 500}, person="q")), Accepted)
    desk.depart("a", 95)
    assert isinstance(desk.decide(request("b", 100, 120, {0: 500}, person="p")), Accepted)


def test_an_early_departure_frees_the_rest_of_the_stay() -> None:
    desk = NightDesk(small_offer([1, 0, 0, 0]))
    desk.decide(request("a", 60, 190, {0: 500}))
    desk.depart("a", 97)
    taken = np.flatnonzero(desk.snapshot().residual[0] == 0)
    assert taken.tolist() == list(range(60 // SLOT_MIN, 100 // SLOT_MIN))
    with pytest.raises(NotFoundError):
        desk.depart("a", 100)


@pytest.mark.parametrize(
    "wrong",
    [
        request("x", 60, 90, {7: 500}),
        request("x", 60, 299, {0: 500}),
        request("x", 60, 90, {0: 500}, member=1),
        request("taken", 60, 90, {0: 500}),
    ],
)
def test_what_is_not_of_the_night_is_refused_as_wrong(wrong: Request) -> None:
    desk = NightDesk(small_offer())
    desk.decide(request("taken", 60, 90, {0: 500}))
    with pytest.raises(InvalidInputError):
        desk.decide(wrong)


def test_a_stay_must_have_a_length_and_columns_one_length() -> None:
    with pytest.raises(InvalidInputError, match="is none"):
        request("x", 60, 60, {0: 500})
    with pytest.raises(InvalidInputError, match="after the arrival"):
        Request(Asker("x"), 60, 90, columns({0: 500}, 40))
    with pytest.raises(InvalidInputError, match="different lengths"):
        Columns(np.zeros(1, np.int32), np.zeros(2, np.int64), np.zeros(1, np.int32))
