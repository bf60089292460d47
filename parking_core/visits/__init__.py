"""Visits: a vehicle's stays, derived from what lanes saw of it (facts and rules)."""

from parking_core.visits.comparison import Comparison, DerivedVisit, StoredVisit, compare
from parking_core.visits.facts import CHANGES, Direction, LaneCount, Oddity, Passage, Policy, VisitDraft, VisitState
from parking_core.visits.findings import NAMES, VisitChannel, VisitReview, channel_of, findings
from parking_core.visits.pairing import in_order, pair

__all__ = [
    "CHANGES",
    "NAMES",
    "Comparison",
    "DerivedVisit",
    "Direction",
    "LaneCount",
    "Oddity",
    "Passage",
    "Policy",
    "StoredVisit",
    "VisitChannel",
    "VisitDraft",
    "VisitReview",
    "VisitState",
    "channel_of",
    "compare",
    "findings",
    "in_order",
    "pair",
]
