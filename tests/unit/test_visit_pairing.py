"""Every odd case of pairing has a policy; what arrives in whatever order ends in the same visits."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parking_core.visits import CHANGES, Direction, Oddity, Passage, Policy, VisitState, pair
from tests.unit.visit_builders import (
    MUCH_LATER,
    NOON,
    POLICY,
    Increments,
    drafts,
    entry,
    in_one_order,
    leaving,
    passage,
)

HOUR = 3600
DAY = 24 * HOUR


def test_an_entry_and_an_exit_are_a_visit() -> None:
    came, left = entry(0, plate_color="blue"), leaving(HOUR, amount_fen=500, vehicle_class=1)
    (visit,) = drafts(left, came)
    assert visit.state is VisitState.CLOSED
    assert (visit.entry_event_id, visit.exit_event_id) == (came.event_id, left.event_id)
    assert (visit.entered_at, visit.exited_at) == (came.at, left.at)
    assert visit.reasons == ()
    assert (visit.paid_at_lane_fen, visit.plate_color, visit.vehicle_class) == (500, "blue", 1)


def test_a_vehicle_that_is_inside_has_an_open_visit() -> None:
    (visit,) = drafts(entry(0))
    assert (visit.state, visit.reasons, visit.exited_at) == (VisitState.OPEN, (), None)


def test_an_exit_without_an_entry_is_a_visit_of_its_own() -> None:
    (visit,) = drafts(leaving(0, amount_fen=300))
    assert (visit.state, visit.reasons) == (VisitState.MISSING_ENTRY, (Oddity.MISSING_ENTRY,))
    assert visit.paid_at_lane_fen == 300


def test_a_later_entry_in_the_lot_says_that_the_exit_is_missing() -> None:
    first, second = drafts(entry(0), entry(HOUR), leaving(2 * HOUR))
    assert (first.state, first.reasons) == (VisitState.MISSING_EXIT, (Oddity.MISSING_EXIT,))
    assert second.state is VisitState.CLOSED
    assert second.entered_at == NOON + timedelta(hours=1)


def test_a_stay_that_is_too_long_has_a_missing_exit_and_pairs_no_more() -> None:
    days = POLICY.longest_stay.days
    (still,) = drafts(entry(0), now=NOON + POLICY.longest_stay)
    assert still.state is VisitState.OPEN
    (given_up,) = drafts(entry(0), now=NOON + POLICY.longest_stay + timedelta(seconds=1))
    assert (given_up.state, given_up.reasons) == (VisitState.MISSING_EXIT, (Oddity.MISSING_EXIT,))
    states = [visit.state for visit in drafts(entry(0), leaving(days * DAY + 1), now=MUCH_LATER)]
    assert states == [VisitState.MISSING_EXIT, VisitState.MISSING_ENTRY]
    (longest,) = drafts(entry(0), leaving(days * DAY), now=MUCH_LATER)
    assert longest.state is VisitState.CLOSED


def test_a_stay_over_a_day_is_named() -> None:
    (short,) = drafts(entry(0), leaving(DAY))
    (long,) = drafts(entry(0), leaving(DAY + 1))
    assert short.reasons == ()
    assert long.reasons == (Oddity.STAYS_DAYS,)


def test_a_second_reading_at_the_entry_is_the_same_visit() -> None:
    came = entry(0)
    (visit,) = drafts(came, entry(20, device_id=13), entry(60), leaving(HOUR))
    assert (visit.state, visit.reasons) == (VisitState.CLOSED, (Oddity.RE_ENTRY,))
    assert visit.entry_event_id == came.event_id
    assert len(visit.event_ids) == 4
    assert len(drafts(entry(0), entry(61))) == 2


def test_a_second_reading_at_the_exit_is_the_same_visit_and_its_money_belongs_to_it() -> None:
    left, again = leaving(HOUR), leaving(HOUR + 30, amount_fen=500)
    (visit,) = drafts(entry(0), left, again)
    assert (visit.reasons, visit.exit_event_id) == ((Oddity.REPEATED_EXIT,), left.event_id)
    assert again.event_id in visit.event_ids
    assert visit.paid_at_lane_fen == 500
    states = [visit.state for visit in drafts(entry(0), leaving(HOUR), leaving(HOUR + 61))]
    assert states == [VisitState.CLOSED, VisitState.MISSING_ENTRY]


def test_coming_back_at_once_is_another_visit() -> None:
    first, second = drafts(entry(0), leaving(HOUR), entry(HOUR + 10), leaving(HOUR + 30))
    assert (first.state, second.state) == (VisitState.CLOSED, VisitState.CLOSED)
    assert second.reasons == ()


def test_an_exit_at_another_lot_is_linked_to_the_entry() -> None:
    came, left = entry(0), leaving(HOUR, lot_id=2)
    there, here = drafts(came, left)
    assert (there.state, there.reasons) == (
        VisitState.MISSING_EXIT,
        (Oddity.EXIT_ELSEWHERE, Oddity.MISSING_EXIT),
    )
    assert (here.state, here.reasons) == (
        VisitState.MISSING_ENTRY,
        (Oddity.EXIT_ELSEWHERE, Oddity.MISSING_ENTRY),
    )
    assert (there.linked_event_id, here.linked_event_id) == (left.event_id, came.event_id)


def test_the_last_of_several_lots_is_where_it_came_from() -> None:
    first, second = entry(0), entry(HOUR, lot_id=2)
    *_, last = drafts(first, second, leaving(2 * HOUR, lot_id=3))
    assert last.linked_event_id == second.event_id


def test_an_exit_in_its_own_lot_ends_a_visit_that_was_given_up() -> None:
    visit, stray = drafts(entry(0), leaving(HOUR, lot_id=2), leaving(2 * HOUR))
    assert (visit.state, visit.reasons, visit.linked_event_id) == (VisitState.CLOSED, (), None)
    assert (stray.state, stray.reasons, stray.linked_event_id) == (
        VisitState.MISSING_ENTRY,
        (Oddity.MISSING_ENTRY,),
        None,
    )


def test_entering_another_lot_says_that_it_left_this_one() -> None:
    left_behind, inside = drafts(entry(0), entry(HOUR, lot_id=2))
    assert (left_behind.state, left_behind.reasons) == (
        VisitState.MISSING_EXIT,
        (Oddity.MISSING_EXIT, Oddity.SEEN_ELSEWHERE),
    )
    assert inside.state is VisitState.OPEN
    states = {visit.lot_id: visit for visit in drafts(entry(0), entry(HOUR, lot_id=2), leaving(2 * HOUR))}
    assert (states[1].state, states[1].reasons) == (VisitState.CLOSED, ())


@pytest.mark.parametrize(
    ("lead", "states", "first"),
    [
        (120, [VisitState.CLOSED], (Oddity.CLOCK_SKEW,)),
        (121, [VisitState.MISSING_ENTRY, VisitState.OPEN], (Oddity.ENTRY_AFTER_EXIT, Oddity.MISSING_ENTRY)),
        (600, [VisitState.MISSING_ENTRY, VisitState.OPEN], (Oddity.ENTRY_AFTER_EXIT, Oddity.MISSING_ENTRY)),
        (601, [VisitState.MISSING_ENTRY, VisitState.OPEN], (Oddity.MISSING_ENTRY,)),
    ],
)
def test_an_exit_lane_whose_clock_is_behind(lead: int, states: list[VisitState], first: tuple[Oddity, ...]) -> None:
    visits = drafts(leaving(0), entry(lead))
    assert [visit.state for visit in visits] == states
    assert visits[0].reasons == first


def test_a_skewed_stay_has_no_length() -> None:
    came, left = entry(90), leaving(0)
    (visit,) = drafts(came, left)
    assert visit.entered_at == visit.exited_at == left.at
    assert visit.entry_event_id == came.event_id


def test_one_lane_for_both_ways_has_one_clock() -> None:
    states = [visit.state for visit in drafts(leaving(0, device_id=15), entry(30, device_id=15))]
    assert states == [VisitState.MISSING_ENTRY, VisitState.OPEN]


def test_a_skewed_stay_parts_from_the_lot_that_it_seemed_to_come_from() -> None:
    elsewhere, here = drafts(entry(-HOUR, lot_id=2), leaving(0), entry(30))
    assert (here.state, here.reasons) == (VisitState.CLOSED, (Oddity.CLOCK_SKEW,))
    assert elsewhere.reasons == (Oddity.MISSING_EXIT, Oddity.SEEN_ELSEWHERE)


def test_close_behind_another_vehicle_without_a_transaction_is_tailgating() -> None:
    (paid,) = drafts(entry(0), leaving(HOUR, close_behind=True, amount_fen=500))
    (unpaid,) = drafts(entry(0), leaving(HOUR, close_behind=True))
    assert paid.reasons == ()
    assert unpaid.reasons == (Oddity.TAILGATED,)


def test_a_barrier_opened_by_hand_passes_the_vehicle_it_names() -> None:
    (out,) = drafts(entry(0), passage(Direction.EXIT, HOUR, manual=True))
    assert (out.state, out.reasons) == (VisitState.CLOSED, (Oddity.MANUAL,))
    (both,) = drafts(passage(Direction.EITHER, 0, manual=True), passage(Direction.EITHER, HOUR, manual=True))
    assert both.state is VisitState.CLOSED
    (read,) = drafts(entry(0), passage(Direction.EITHER, 20, manual=True))
    assert (read.state, read.reasons) == (VisitState.OPEN, (Oddity.MANUAL, Oddity.RE_ENTRY))


def test_a_corrected_reading_is_named() -> None:
    (visit,) = drafts(entry(0, corrected=True), leaving(HOUR))
    assert visit.reasons == (Oddity.PLATE_CORRECTED,)


def test_equal_instants_are_ordered_by_the_lanes_not_by_arrival() -> None:
    came, left = entry(0, event_id=902), leaving(0, event_id=901)
    (visit,) = drafts(left, came)
    assert visit.state is VisitState.CLOSED


def test_the_life_cycle_ends_with_void_and_never_begins_again() -> None:
    assert not CHANGES[VisitState.VOID]
    assert set(CHANGES) == set(VisitState)
    assert all(VisitState.VOID in after for before, after in CHANGES.items() if before is not VisitState.VOID)


def test_the_slack_covers_every_short_rule() -> None:
    policy = Policy()
    assert policy.slack >= max(policy.repeat, policy.skew, policy.clock_error, policy.tailgate)


# Gaps that matter to some rule, and on either side of its limit.
_GAPS = st.sampled_from(
    [0, 1, 30, 59, 60, 61, 119, 120, 121, 599, 600, 601, HOUR, DAY, 8 * DAY, 15 * DAY, 15 * DAY + 1]
)


@st.composite
def histories(draw: st.DrawFn) -> list[Passage]:
    """Up to 14 passages of one vehicle in three lots, in any order of directions."""
    at, found = 0, []
    for _ in range(draw(st.integers(1, 14))):
        at += draw(_GAPS)
        direction = draw(st.sampled_from(Direction))
        lot = draw(st.integers(1, 3))
        lane = 10 * lot + draw(st.integers(1, 3))
        found.append(passage(direction, at, lot_id=lot, device_id=lane, manual=direction is Direction.EITHER))
    return found


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[Passage], list[list[Passage]]]:
    """A history, and batches in which it arrives: any order, anything repeated."""
    history = draw(histories())
    order = draw(st.permutations(history)) + draw(st.lists(st.sampled_from(history), max_size=4))
    cuts = sorted(draw(st.sets(st.integers(1, len(order)), max_size=6)))
    bounds = [0, *cuts, len(order)]
    return history, [order[begin:end] for begin, end in pairwise(bounds)]


@settings(max_examples=400, deadline=None)
@given(arrivals())
def test_any_order_of_arrival_and_any_repetition_give_the_same_visits(
    case: tuple[list[Passage], list[list[Passage]]],
) -> None:
    history, batches = case
    store = Increments()
    for batch in batches:
        store.take(batch, MUCH_LATER)
    assert store.visits() == in_one_order(pair(history, POLICY, MUCH_LATER))


@settings(max_examples=200, deadline=None)
@given(histories())
def test_every_reading_belongs_to_one_visit_and_no_time_runs_backwards(history: list[Passage]) -> None:
    visits = pair(history, POLICY, MUCH_LATER)
    assert sorted(event for visit in visits for event in visit.event_ids) == sorted(one.event_id for one in history)
    for visit in visits:
        assert visit.entry_event_id or visit.exit_event_id
        assert (visit.state is VisitState.CLOSED) == bool(visit.entry_event_id and visit.exit_event_id)
        assert visit.state is not VisitState.OPEN  # much later
        if visit.entered_at and visit.exited_at:
            assert visit.entered_at <= visit.exited_at


def test_a_commuter_is_not_read_from_the_beginning_every_day() -> None:
    store = Increments()
    for day in range(200):
        store.take([entry(day * DAY)], MUCH_LATER)
        store.take([leaving(day * DAY + 9 * HOUR)], MUCH_LATER)
    assert store.read == 3 * 200  # the entry, then entry and exit
