"""What permits cover, against a simulation that walks minute by minute and remembers who holds which slot."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parking_core.permits import Permit, PermitBook, Presence, covered
from parking_core.tariffs import Interval

NOON = datetime(2026, 11, 18, 4, tzinfo=UTC)
LOT = 7


def at(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute)


def presence(vehicle: str, entered: int, exited: int | None) -> Presence:
    return Presence(vehicle, at(entered), None if exited is None else at(exited))


def permit(code: str, plates: str, begins: int = -10_000, ends: int = 10_000, slots: int = 1) -> Permit:
    """`plates`: one letter each."""
    return Permit(
        code=code,
        lot_id=LOT,
        kind="resident",
        valid_from=at(begins),
        valid_until=at(ends),
        plates=frozenset(plates),
        slots=slots,
    )


def minutes(parts: tuple[Interval, ...]) -> list[tuple[int, int]]:
    return [
        (int((part.begins_at - NOON).total_seconds() // 60), int((part.ends_at - NOON).total_seconds() // 60))
        for part in parts
    ]


def spans(stay: Presence, permits: list[Permit], *others: Presence) -> list[tuple[int, int]]:
    return minutes(covered(stay, permits, others))


def test_without_a_permit_of_its_own_nothing_is_covered() -> None:
    assert spans(presence("A", 0, 60), []) == []
    assert spans(presence("A", 0, 60), [permit("P", "B")]) == []


def test_a_permit_covers_the_whole_stay_within_its_validity() -> None:
    assert spans(presence("A", 0, 60), [permit("P", "A")]) == [(0, 60)]


@pytest.mark.parametrize(
    ("begins", "ends", "expected"),
    [
        (-10, 25, [(0, 25)]),  # expires mid-stay: only the part until then
        (25, 100, [(25, 60)]),  # begins mid-stay
        (10, 20, [(10, 20)]),
        (60, 90, []),  # begins at the exit
        (-30, 0, []),  # ended at the entry
        (0, 60, [(0, 60)]),
    ],
)
def test_only_the_part_within_the_validity_is_covered(begins: int, ends: int, expected: list[tuple[int, int]]) -> None:
    assert spans(presence("A", 0, 60), [permit("P", "A", begins, ends)]) == expected


def test_two_permits_one_after_the_other_cover_as_one_and_a_gap_between_them_is_charged() -> None:
    first, second = permit("P", "A", -10, 20), permit("Q", "A", 20, 90)
    assert spans(presence("A", 0, 60), [first, second]) == [(0, 60)]
    assert spans(presence("A", 0, 60), [first, permit("Q", "A", 30, 90)]) == [(0, 20), (30, 60)]


def test_first_in_keeps_the_slot_and_the_second_pays_until_it_frees() -> None:
    shared = [permit("P", "AB")]
    first, second = presence("A", 0, 60), presence("B", 30, 120)
    assert spans(first, shared, second) == [(0, 60)]
    assert spans(second, shared, first) == [(60, 120)]


def test_a_vehicle_that_is_still_inside_keeps_its_slot() -> None:
    assert spans(presence("B", 30, 120), [permit("P", "AB")], presence("A", 0, None)) == []


def test_a_slot_frees_at_the_very_moment_of_the_exit() -> None:
    assert spans(presence("B", 60, 120), [permit("P", "AB")], presence("A", 0, 60)) == [(60, 120)]


def test_the_third_of_two_slots_waits_for_whoever_leaves_first() -> None:
    shared = [permit("P", "ABC", slots=2)]
    first, second, third = presence("A", 0, 100), presence("B", 10, 50), presence("C", 20, 130)
    assert spans(third, shared, first, second) == [(50, 130)]
    assert spans(second, shared, first, third) == [(10, 50)]


def test_who_waits_longest_gets_the_slot_that_frees() -> None:
    shared = [permit("P", "ABC")]
    first, second, third = presence("A", 0, 60), presence("B", 10, 90), presence("C", 20, 120)
    assert spans(second, shared, first, third) == [(60, 90)]
    assert spans(third, shared, first, second) == [(90, 120)]


def test_entries_at_one_instant_go_by_plate() -> None:
    shared = [permit("P", "AB")]
    assert spans(presence("A", 0, 60), shared, presence("B", 0, 60)) == [(0, 60)]
    assert spans(presence("B", 0, 60), shared, presence("A", 0, 60)) == []


def test_a_vehicle_with_a_permit_of_its_own_leaves_the_shared_slot_to_the_other() -> None:
    permits = [permit("FAMILY", "AB"), permit("OWN", "A")]
    first, second = presence("A", 0, 60), presence("B", 10, 120)
    assert spans(second, permits, first) == [(10, 120)]


def test_when_the_own_permit_ends_the_earlier_vehicle_takes_the_shared_slot() -> None:
    permits = [permit("FAMILY", "AB"), permit("OWN", "A", ends=40)]
    first, second = presence("A", 0, 60), presence("B", 10, 120)
    assert spans(first, permits, second) == [(0, 60)]
    assert spans(second, permits, first) == [(10, 40), (60, 120)]


def test_own_other_stays_take_no_slot() -> None:
    assert spans(presence("A", 0, 60), [permit("P", "A")], presence("A", -5, 30)) == [(0, 60)]


def test_one_vehicle_with_two_stays_holds_one_slot() -> None:
    """A visit without an exit and the next one of the same vehicle: it is inside once, whatever the records say."""
    shared = [permit("P", "ABC", slots=2)]
    doubled = (presence("A", 0, None), presence("A", 5, None))
    assert spans(presence("B", 10, 60), shared, *doubled) == [(10, 60)]


def test_an_empty_stay_is_not_covered_and_a_running_one_needs_a_moment() -> None:
    assert spans(presence("A", 0, 0), [permit("P", "A")]) == []
    with pytest.raises(ValueError, match="exit"):
        covered(presence("A", 0, None), [permit("P", "A")], [])


def test_a_book_of_many_permits_finds_what_matters_to_a_stay() -> None:
    elsewhere = replace(permit("P", "AB"), code="ELSEWHERE", lot_id=LOT + 1)
    book = PermitBook(
        [permit("FAMILY", "AB"), permit("OWN", "A", ends=40), permit("Q", "C"), elsewhere],
        {LOT: [presence("A", 0, 60), presence("B", 10, 120), presence("C", 0, 500)], LOT + 1: [presence("A", 0, 90)]},
    )
    assert minutes(book.covered(LOT, presence("B", 10, 120))) == [(10, 40), (60, 120)]
    assert minutes(book.covered(LOT, presence("C", 0, 9))) == [(0, 9)]
    assert minutes(book.covered(LOT + 1, presence("B", 10, 120))) == [(90, 120)]
    assert book.covered(LOT, presence("D", 0, 9)) == ()
    assert book.covered(LOT + 2, presence("A", 0, 9)) == ()


HORIZON = 40
VEHICLES = "ABCD"


@st.composite
def stays(draw: st.DrawFn) -> list[Presence]:
    """Up to two stays of each of four vehicles, one after the other, some of them running."""
    found = []
    for vehicle in VEHICLES:
        clock = 0
        for _ in range(draw(st.integers(0, 2))):
            entered = clock + draw(st.integers(0, 12))
            exited = entered + draw(st.integers(1, 14))
            running = draw(st.integers(0, 9)) == 0
            found.append(presence(vehicle, entered, None if running else exited))
            if running:
                break
            clock = exited
    return found


one_permit = st.builds(
    lambda plates, begins, length, slots: permit("P", "".join(sorted(plates)), begins, begins + length, slots),
    st.sets(st.sampled_from(VEHICLES), min_size=1),
    st.integers(-5, HORIZON),
    st.integers(1, HORIZON),
    st.integers(1, 3),
)
several_permits = st.lists(one_permit, max_size=4).map(
    lambda drawn: [
        permit(
            f"P{number}",
            "".join(sorted(each.plates)),
            minutes((Interval(each.valid_from, each.valid_until),))[0][0],
            minutes((Interval(each.valid_from, each.valid_until),))[0][1],
            each.slots,
        )
        for number, each in enumerate(drawn)
    ]
)


def inside(stay: Presence, minute: int) -> bool:
    return stay.entered_at <= at(minute) and (stay.exited_at is None or stay.exited_at > at(minute))


def holders_by_minute(permit_: Permit, present: list[Presence]) -> list[list[Presence]]:
    """One permit, walked through with a memory: a stay that holds a slot keeps it, one that waits stands in line.

    Who leaves and enters again in the same minute begins a new stay at the end of the line.
    """
    held: list[Presence] = []
    line: list[Presence] = []
    found = []
    for minute in range(HORIZON):
        here = [stay for stay in present if inside(stay, minute) and stay.vehicle in permit_.plates]
        held = [stay for stay in held if stay in here]
        line = [stay for stay in line if stay in here]
        arrived = [stay for stay in here if stay not in held and stay not in line]
        line += sorted(arrived, key=lambda stay: stay.vehicle)
        if permit_.valid_from <= at(minute) < permit_.valid_until:
            while line and len(held) < permit_.slots:
                held.append(line.pop(0))
        else:
            line = sorted(here, key=lambda stay: (stay.entered_at, stay.vehicle))
            held = []
        found.append(list(held))
    return found


def covered_minutes(stay: Presence, permits: list[Permit], present: list[Presence]) -> set[int]:
    looked_at = Presence(stay.vehicle, stay.entered_at, stay.exited_at or at(HORIZON))
    if looked_at.exited_at is not None and looked_at.exited_at <= looked_at.entered_at:
        return set()
    others = [other for other in present if other is not stay]
    return {minute for begins, ends in spans(looked_at, permits, *others) for minute in range(begins, ends)}


@settings(max_examples=300, deadline=None)
@given(one_permit, stays())
def test_one_permit_covers_what_the_walk_with_a_memory_covers(permit_: Permit, present: list[Presence]) -> None:
    walked = holders_by_minute(permit_, present)
    for stay in present:
        expected = {m for m in range(HORIZON) if stay in walked[m]}
        assert {m for m in covered_minutes(stay, [permit_], present) if m < HORIZON} == expected


@settings(max_examples=300, deadline=None)
@given(several_permits, stays())
def test_several_permits_never_cover_more_vehicles_than_they_have_slots(
    permits: list[Permit], present: list[Presence]
) -> None:
    by_stay = [(stay, covered_minutes(stay, permits, present)) for stay in present]
    for minute in range(HORIZON):
        paid_for = {stay.vehicle for stay, held in by_stay if minute in held}
        valid = [each for each in permits if each.valid_from <= at(minute) < each.valid_until]
        assert len(paid_for) <= sum(each.slots for each in valid)
        for vehicle in paid_for:
            assert any(vehicle in each.plates for each in valid)
        for vehicle in {s.vehicle for s in present if inside(s, minute)} - paid_for:
            mine = [each for each in valid if vehicle in each.plates]
            sharing = {v for v in paid_for if any(v in each.plates for each in mine)}
            assert len(sharing) >= sum(each.slots for each in mine), "nobody pays while a slot of his is free"


@settings(max_examples=300, deadline=None)
@given(several_permits, stays())
def test_nobody_loses_a_slot_but_by_leaving_or_by_the_end_of_a_permit(
    permits: list[Permit], present: list[Presence]
) -> None:
    ends = {each.valid_until for each in permits} | {each.valid_from for each in permits}
    for stay in present:
        held = covered_minutes(stay, permits, present)
        for minute in range(HORIZON - 1):
            if minute in held and inside(stay, minute + 1) and at(minute + 1) not in ends:
                assert minute + 1 in held
