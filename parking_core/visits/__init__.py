"""Visits: a vehicle's stays, derived from what lanes saw of it (facts and rules)."""

from parking_core.visits.comparison import Comparison, DerivedVisit, StoredVisit, compare
from parking_core.visits.facts import CHANGES, Direction, Oddity, Passage, Policy, VisitDraft, VisitState
from parking_core.visits.pairing import in_order, pair

__all__ = [
    "CHANGES",
    "Comparison",
    "DerivedVisit",
    "Direction",
    "Oddity",
    "Passage",
    "Policy",
    "StoredVisit",
    "VisitDraft",
    "VisitState",
    "compare",
    "in_order",
    "pair",
]
