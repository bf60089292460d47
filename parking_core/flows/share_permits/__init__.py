"""Recurring permits of shared lots: their life from the application to the end. Rules in parking_core.share_permits.

    driver     apply ──► (operator: approve | refuse) ──► active ──► withdraw, give_back of an opening
    day        draw            openings of new days, before anybody else can take of them
    worker     watch_permits   expiry, months, violations
    barrier    note_violation, cars_outside_window
    owner      resolve_draws (suspension), end_for_owner (termination)

Locks: a person's turn, classes' turns, a permit's row, then all else; rows of capacity last.
"""

from __future__ import annotations

from parking_core.flows.share_permits.applying import apply
from parking_core.flows.share_permits.deciding import approve, refuse
from parking_core.flows.share_permits.drawing import Drawn, draw
from parking_core.flows.share_permits.ending import (
    cars_outside_window,
    end_for_owner,
    expire_permits,
    give_back,
    note_violation,
    withdraw,
)
from parking_core.flows.share_permits.money import Settled, settle_permit_money
from parking_core.flows.share_permits.suspension import Resolved, refund_lost_elsewhere, resolve_draws
from parking_core.flows.share_permits.watching import Watched, watch_permits

__all__ = [
    "Drawn",
    "Resolved",
    "Settled",
    "Watched",
    "apply",
    "approve",
    "cars_outside_window",
    "draw",
    "end_for_owner",
    "expire_permits",
    "give_back",
    "note_violation",
    "refund_lost_elsewhere",
    "refuse",
    "resolve_draws",
    "settle_permit_money",
    "watch_permits",
    "withdraw",
]
