"""What an ended visit's money says: its channel, and at most one difference for what happened and one for its balance."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from parking_core.reconciliation import OWNERS, DifferenceName
from parking_core.visits import NAMES, Oddity, VisitChannel, VisitReview, VisitState, channel_of, findings
from tests.unit.visit_builders import NOON

ZONE = ZoneInfo("Asia/Shanghai")


def a_review(**other: Any) -> VisitReview:
    """A closed visit of 10 yuan, paid by ETC."""
    facts: dict[str, Any] = {
        "visit_id": 7,
        "lot_id": 1,
        "state": VisitState.CLOSED,
        "reasons": frozenset(),
        "entered_at": NOON,
        "exited_at": NOON + timedelta(hours=2),
        "exit_device_id": 12,
        "linked_event_id": None,
        "owed_fen": 0,
        "paid_by": frozenset({"etc"}),
        "charge_fen": 1000,
        "tariff_id": 3,
        "by_permit": False,
        "etc_fen": 1000,
    }
    return VisitReview(**(facts | other))


UNPAID: dict[str, Any] = {"owed_fen": 1000, "paid_by": frozenset(), "etc_fen": None}
FREE: dict[str, Any] = {"paid_by": frozenset(), "etc_fen": None, "charge_fen": 0}
UNKNOWN: dict[str, Any] = {"charge_fen": None, "tariff_id": None, "paid_by": frozenset(), "etc_fen": None}


@pytest.mark.parametrize(
    ("facts", "channel"),
    [
        ({}, VisitChannel.ETC),
        ({"paid_by": frozenset({"qr"})}, VisitChannel.QR),
        ({"paid_by": frozenset({"cash"})}, VisitChannel.CASH),
        ({"paid_by": frozenset({"etc", "qr"})}, VisitChannel.MIXED),
        (UNPAID, VisitChannel.LATER),
        (FREE, VisitChannel.FREE),
        (FREE | {"by_permit": True}, VisitChannel.PERMIT),
        (UNKNOWN, None),
        ({"state": VisitState.OPEN}, None),
        ({"state": VisitState.MISSING_EXIT}, None),
        ({"state": VisitState.VOID}, None),
        ({"state": VisitState.MISSING_ENTRY, "tariff_id": None}, VisitChannel.ETC),
        (UNKNOWN | {"state": VisitState.MISSING_ENTRY}, None),
        (UNKNOWN | {"state": VisitState.MISSING_ENTRY, "charge_fen": 0}, None),
    ],
)
def test_the_channel_is_how_it_was_paid(facts: dict[str, Any], channel: VisitChannel | None) -> None:
    assert channel_of(a_review(**facts)) is channel


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({}, []),
        (FREE, []),
        (UNPAID, [("arrears", 1000)]),
        (UNPAID | {"reasons": frozenset({Oddity.TAILGATED})}, [("tailgated", 1000)]),
        ({"reasons": frozenset({Oddity.TAILGATED})}, []),
        ({"owed_fen": 200}, [("amount_differs", 200)]),
        ({"owed_fen": -200}, [("amount_differs", -200)]),
        ({"owed_fen": -200, "etc_fen": None, "paid_by": frozenset({"qr"})}, [("overpaid", -200)]),
        (UNKNOWN, [("no_tariff", 0)]),
        (UNKNOWN | {"owed_fen": -500, "etc_fen": 500}, [("no_tariff", -500)]),
        ({"state": VisitState.OPEN, "owed_fen": -500}, []),
        (UNKNOWN | {"state": VisitState.MISSING_EXIT}, [("missing_exit", 0)]),
        (UNKNOWN | {"state": VisitState.MISSING_EXIT, "owed_fen": -500}, [("missing_exit", 0), ("overpaid", -500)]),
        (UNKNOWN | {"state": VisitState.MISSING_ENTRY}, [("missing_entry", 0)]),
        (
            UNKNOWN | {"state": VisitState.MISSING_ENTRY, "reasons": frozenset({Oddity.EXIT_ELSEWHERE})},
            [("exit_elsewhere", 0)],
        ),
        (
            {"state": VisitState.MISSING_ENTRY, "tariff_id": None, "owed_fen": 300},
            [("missing_entry", 0), ("arrears", 300)],
        ),
        ({"state": VisitState.VOID}, []),
        ({"state": VisitState.VOID, "owed_fen": -700}, [("overpaid", -700)]),
    ],
)
def test_every_balance_and_every_odd_ending_has_a_name(facts: dict[str, Any], found: list[tuple[str, int]]) -> None:
    differences = findings(a_review(**facts), ZONE)
    assert [(one.name.value, one.amount_fen) for one in differences] == found
    assert {one.name for one in differences} <= NAMES


def test_no_visit_that_is_over_keeps_a_balance_without_a_name() -> None:
    for state in set(VisitState) - {VisitState.OPEN}:
        for tariff in (None, 3):
            for etc in (None, 500):
                for owed in (-1, 1):
                    review = a_review(state=state, tariff_id=tariff, etc_fen=etc, owed_fen=owed)
                    assert sum(one.amount_fen for one in findings(review, ZONE)) == owed


def test_a_difference_says_where_and_on_which_local_day() -> None:
    late = NOON.replace(hour=17)  # 01:00 of the next day
    (one,) = findings(a_review(**UNPAID, exited_at=late, linked_event_id=5), ZONE)
    assert (one.key, one.day, one.lot_id, one.device_id, one.visit_id) == ("arrears:7", date(2026, 6, 2), 1, 12, 7)
    assert (one.channel, one.detail) == ("later", {"charged_fen": 1000, "linked_event_id": 5})
    assert one.owner is OWNERS[DifferenceName.ARREARS]


def test_a_balance_without_any_time_is_a_fault_of_ours() -> None:
    with pytest.raises(ValueError, match="no time"):
        findings(a_review(owed_fen=1, entered_at=None, exited_at=None), ZONE)
