"""Completions and corrections of records that nobody has: named, and settled when the record comes after all."""

from __future__ import annotations

from datetime import timedelta

import pytest

from parking_core.flows.watch_references import PATIENCE, watch_references
from tests.visit_rows import HOUR, NOON, ZONE, Town

pytestmark = pytest.mark.services

LATER = NOON + HOUR + PATIENCE


def found(town: Town) -> list[tuple[str, str]]:
    return town.rows(
        "SELECT detail ->> 'kind', state FROM differences WHERE name = 'reference_missing' ORDER BY event_id"
    )


def test_a_correction_of_nothing_is_named_until_its_record_comes(town: Town) -> None:
    town.event("P01-in", "correction", 1, refers_to=900)
    town.follow()
    assert watch_references(town.db, LATER - timedelta(seconds=1), ZONE) == 0  # it may be on its way
    for _ in range(2):
        assert watch_references(town.db, LATER, ZONE) == 1
    assert found(town) == [("correction", "open")]
    town.event("P01-in", "entry", 0, record_no=900)
    town.follow()
    assert watch_references(town.db, LATER, ZONE) == 0
    assert found(town) == [("correction", "settled")]


def test_a_correction_of_a_correction_corrects_nothing(town: Town) -> None:
    town.enter(0, record_no=1_001)
    town.event("P01-in", "correction", 0.5, record_no=1_002, refers_to=1_001)
    town.event("P01-in", "correction", 1, record_no=1_003, refers_to=1_002)
    town.follow()
    assert watch_references(town.db, LATER, ZONE) == 1
    assert found(town) == [("correction", "open")]


@pytest.mark.parametrize("by_record", [True, False])
def test_a_completion_meets_its_exit_by_number_or_by_terminal(town: Town, *, by_record: bool) -> None:
    names = {"refers_to": 2_001} if by_record else {"refers_to": None}
    town.event("P01-out", "completion", 1, paid=None if by_record else 500, record_no=2_002, **names)
    if not by_record:
        town.db.execute("UPDATE lane_events SET terminal_serial = '00002001' WHERE record_no = 2002")
    town.follow()
    assert watch_references(town.db, LATER, ZONE) == 1
    assert found(town) == [("completion", "open")]
    town.leave(0.5, paid=500, record_no=2_001, tac=None)
    town.follow()
    assert watch_references(town.db, LATER, ZONE) == 0
    assert found(town) == [("completion", "settled")]


def test_a_completion_of_another_terminal_meets_nothing_though_its_record_exists(town: Town) -> None:
    town.leave(0.5, paid=500, record_no=3_001, tac=None)
    town.event("P01-out", "completion", 1, paid=500, record_no=3_002, refers_to=3_001)
    town.follow()
    assert town.rows("SELECT state FROM etc_transactions") == [("awaiting_tac",)]
    assert watch_references(town.db, LATER, ZONE) == 1
    assert found(town) == [("completion", "open")]
