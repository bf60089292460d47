"""Life cycles of reservations, permits and agreements, and the fold of events into a standing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parking_core import reservations as rules
from parking_core import sharing
from parking_core.reservations import (
    CHANGES,
    HOLDING_CAPACITY,
    PERMIT_CHANGES,
    STATE_AFTER,
    Event,
    EventKind,
    Lateness,
    ReservationState,
    standing_of,
)

AT = datetime(2026, 11, 23, tzinfo=UTC)


def events(*kinds: EventKind, **detail: Any) -> list[Event]:
    return [Event(kind, AT, "test", detail if kind is kinds[-1] else {}) for kind in kinds]


@pytest.mark.parametrize("table", [CHANGES, PERMIT_CHANGES, sharing.CHANGES])
def test_every_state_has_its_changes_and_an_end_can_be_reached(table: dict[Any, frozenset[Any]]) -> None:
    assert set(table) == {state for after in table.values() for state in after} | {next(iter(table))}
    ends = {state for state, after in table.items() if not after}
    for state in table:
        seen, waiting = {state}, [state]
        while waiting:
            for after in table[waiting.pop()] - seen:
                seen.add(after)
                waiting.append(after)
        assert seen & ends, f"{state} never ends"


def test_only_what_can_still_use_a_space_holds_capacity() -> None:
    assert {state for state in ReservationState if ReservationState.COMPLETED in CHANGES[state]} <= HOLDING_CAPACITY
    assert not any(state in HOLDING_CAPACITY for state, after in CHANGES.items() if not after)


def test_a_stay_is_folded_from_its_events() -> None:
    kinds = (EventKind.ASKED, EventKind.GRANTED, EventKind.ARRIVED, EventKind.REBOUND, EventKind.WARNED)
    standing = standing_of(events(*kinds, space_id=7))
    assert (standing.state, standing.lateness, standing.space_id) == (ReservationState.ARRIVED, Lateness.WARNED, 7)
    left = standing_of([*events(*kinds), Event(EventKind.LEFT, AT, "barrier", {"fee_fen": 600})])
    assert (left.state, left.fee_fen) == (ReservationState.COMPLETED, 600)


@pytest.mark.parametrize(
    "kinds",
    [
        (),
        (EventKind.GRANTED,),
        (EventKind.ASKED, EventKind.ARRIVED),
        (EventKind.ASKED, EventKind.GRANTED, EventKind.CANCELLED, EventKind.ARRIVED),
        (EventKind.ASKED, EventKind.REFUSED, EventKind.GRANTED),
    ],
)
def test_a_damaged_log_is_not_believed(kinds: tuple[EventKind, ...]) -> None:
    with pytest.raises(ValueError, match=r"begins with|cannot become"):
        standing_of(events(*kinds) if kinds else [])


@given(st.lists(st.sampled_from(EventKind), max_size=8))
def test_a_fold_ends_in_a_state_that_the_table_allows_or_refuses(kinds: list[EventKind]) -> None:
    log = events(EventKind.ASKED, *kinds)
    try:
        standing = standing_of(log)
    except ValueError:
        return
    state = ReservationState.WAITING
    for kind in kinds:
        after = STATE_AFTER.get(kind, state)
        assert after is state or rules.may_become(state, after)
        state = after
    assert standing.state is state
