"""Stored visits against drafts: ids stay, what has no draft is void, and the life cycle is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from parking_core.visits import DerivedVisit, Passage, StoredVisit, VisitDraft, VisitState, compare
from tests.unit.visit_builders import drafts, entry, leaving

CAR, OTHER = "苏B12345", "苏B99999"


def stored(number: int, draft: VisitDraft, vehicle: str = CAR) -> StoredVisit:
    """The draft as the store holds it."""
    return StoredVisit(
        id=number,
        lot_id=draft.lot_id,
        vehicle=vehicle,
        plate_color=draft.plate_color,
        vehicle_class=draft.vehicle_class,
        state=draft.state,
        reasons=tuple(str(reason) for reason in draft.reasons),
        entry_event_id=draft.entry_event_id,
        exit_event_id=draft.exit_event_id,
        entered_at=draft.entered_at,
        exited_at=draft.exited_at,
        matters_until=draft.matters_until,
        linked_event_id=draft.linked_event_id,
    )


def of_car(*passages: Passage) -> list[tuple[str, VisitDraft]]:
    return [(CAR, draft) for draft in drafts(*passages)]


def ids(visits: list[DerivedVisit]) -> list[int | None]:
    return [visit.id for visit in visits]


def test_what_the_store_does_not_hold_is_new() -> None:
    result = compare([], of_car(entry(0)))
    assert (ids(result.new), result.changed, result.same, result.void) == ([None], [], [], [])


def test_what_is_the_same_is_not_written() -> None:
    passages = entry(0), leaving(3600, plate_color="blue")
    ((_, draft),) = of_car(*passages)
    result = compare([stored(1, draft)], of_car(*passages))
    assert (result.new, result.changed, ids(result.same), result.void) == ([], [], [1], [])
    assert result.same[0].before is VisitState.CLOSED


@pytest.mark.parametrize(
    "facts", [{"vehicle": OTHER}, {"reasons": ("manual",)}, {"vehicle_class": 2}, {"linked_event_id": 9}]
)
def test_whatever_differs_is_written(facts: dict[str, object]) -> None:
    passages = entry(0), leaving(3600)
    ((_, draft),) = of_car(*passages)
    result = compare([replace(stored(1, draft), **facts)], of_car(*passages))  # type: ignore[arg-type]  # a table of cases
    assert ids(result.changed) == [1]


def test_an_open_visit_keeps_its_id_when_it_closes() -> None:
    came = entry(0)
    ((_, before),) = of_car(came)
    result = compare([stored(1, before)], of_car(came, leaving(3600)))
    assert [(visit.id, visit.before) for visit in result.changed] == [(1, VisitState.OPEN)]


def test_an_exit_keeps_its_id_when_its_entry_comes() -> None:
    left = leaving(3600)
    ((_, before),) = of_car(left)
    result = compare([stored(1, before)], of_car(entry(0), left))
    assert [(visit.id, visit.before) for visit in result.changed] == [(1, VisitState.MISSING_ENTRY)]


def test_of_two_halves_the_entry_stays_and_the_exit_is_void() -> None:
    came, left = entry(0), leaving(3600)
    ((_, half),), ((_, other),) = of_car(came), of_car(left)
    result = compare([stored(1, half), stored(2, other, OTHER)], of_car(came, left))
    assert ids(result.changed) == [1]
    assert [visit.id for visit in result.void] == [2]


def test_an_entry_that_moves_away_takes_its_visit_along() -> None:
    came, left = entry(0), leaving(3600)
    ((_, whole),) = of_car(came, left)
    halves = [(OTHER, drafts(came)[0]), (CAR, drafts(left)[0])]
    result = compare([stored(1, whole)], halves)
    assert [(visit.id, visit.vehicle) for visit in result.changed] == [(1, OTHER)]
    assert [(visit.id, visit.vehicle) for visit in result.new] == [(None, CAR)]


def test_exits_that_change_places_keep_the_ids_of_their_entries() -> None:
    first, second, left, late = entry(0), entry(7200), leaving(3600), leaving(9000)
    before = drafts(first, second, late)
    result = compare([stored(1, before[0]), stored(2, before[1])], of_car(first, left, second, late))
    assert ids(result.changed) == [1]
    assert ids(result.same) == [2]


def test_an_entry_that_was_read_before_is_the_same_visit() -> None:
    first, again, left = entry(0), entry(20), leaving(3600)
    ((_, known),) = of_car(again)
    for now_known in ((first, again), (first, again, left)):
        result = compare([stored(1, known)], of_car(*now_known))
        assert (ids(result.changed), result.new, result.void) == ([1], [], [])
    ((_, whole),) = of_car(again, left)
    apart = [draft for draft in of_car(first, again) if draft[1].state is VisitState.OPEN]
    assert ids(compare([stored(1, whole), stored(2, known)], apart).changed) == [1]  # the oldest that fits


def test_void_visits_are_passed_over() -> None:
    came = entry(0)
    ((_, draft),) = of_car(came)
    result = compare([replace(stored(1, draft), state=VisitState.VOID)], of_car(came))
    assert (ids(result.new), result.void) == ([None], [])


def test_a_change_that_the_life_cycle_does_not_know_is_a_fault_of_ours() -> None:
    came = entry(0)
    ((_, draft),) = of_car(came)
    odd = replace(stored(1, draft), state=VisitState.MISSING_ENTRY)
    with pytest.raises(ValueError, match="cannot become open"):
        compare([odd], of_car(came))
