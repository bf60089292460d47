"""Buffers of shared lots from how late their cars left: every night.

departures, arrivals, drivers let down ─► what was expected of the last days beside what happened
                                      ─► distributions by lot and hour ─► buffers and grace for every lot and hour
a transaction a lot: its buffers are in force ─► what it offers is cut by them

A lot without a history gets the prior's buffers, with its own chosen rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parking_core.flows.offers_in_force import read_offer
from parking_core.flows.roll_capacity import roll_agreement
from parking_core.lateness import LatenessModel, guest_buffer, no_show_grace, owner_buffer
from parking_core.offers import LotBuffers
from parking_core.sharing import buffers_of
from parking_core.store import buffers, learning, sharing
from parking_core.store.buffers import LearnedBuffers

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.lateness import Delays
    from parking_core.sharing import AllocationPolicy, SharedLot

_MEMORY: Final = timedelta(days=180)  # people's habits of half a year
_DAYS_AGAIN: Final = 3  # records of lanes come late


@dataclass(frozen=True, slots=True)
class Learned:
    """What a night has learned."""

    lots: int
    departures: int
    days: int  # of lots whose figures were kept


def learn_buffers(connection: Connection[Any], now: datetime, zone: ZoneInfo) -> Learned:
    """Learns from the last half-year and puts the buffers in force; promises that stand keep theirs."""
    with connection.transaction():
        policy = sharing.policy(connection, now)
        lots = {each.lot.id: each.lot for each in sharing.classes(connection)}
        kept = _keep_days(connection, policy, lots, now, zone)
        since = now - _MEMORY
        left = learning.departures(connection, since, str(zone))
        leaving = LatenessModel(left, overruns=learning.overruns(connection, since))
        coming = LatenessModel(learning.arrivals(connection, since, str(zone)))
        seen = _counts(left)
    for lot in lots.values():
        learned = [_learned((leaving, coming), policy, lot, hour, seen.get((lot.id, hour), 0)) for hour in range(24)]
        with connection.transaction():
            buffers.keep(connection, learned, now)
            roll_agreement(connection, read_offer(connection, now, zone, ""), lot, now)
    return Learned(lots=len(lots), departures=len(left.lot), days=kept)


def _learned(
    models: tuple[LatenessModel, LatenessModel], policy: AllocationPolicy, lot: SharedLot, hour: int, seen: int
) -> LearnedBuffers:
    leaving, coming = models
    limits = buffers_of(policy, lot.terms)
    guest = guest_buffer(leaving, limits, lot.id, hour)
    owner = owner_buffer(leaving, limits, lot.id, hour)
    grace = no_show_grace(coming, policy.no_show, lot.id, hour)
    return LearnedBuffers(
        lot_id=lot.id,
        hour=hour,
        buffers=LotBuffers(guest.minutes, max(owner.minutes, guest.minutes), grace),
        expected_rate=guest.failure_rate,
        departures=seen,
    )


def _counts(delays: Delays) -> dict[tuple[int, int], int]:
    pairs, counts = np.unique(np.stack([delays.lot, delays.hour]), axis=1, return_counts=True)
    return {(int(lot), int(hour)): int(count) for (lot, hour), count in zip(pairs.T, counts, strict=True)}


def _keep_days(
    connection: Connection[Any], policy: AllocationPolicy, lots: dict[int, SharedLot], now: datetime, zone: ZoneInfo
) -> int:
    """Figures of the days that are over, beside the rates that held: before the new buffers are in force."""
    today = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    kept = 0
    for day in learning.days(connection, today - timedelta(days=_DAYS_AGAIN), today, str(zone)):
        lot = lots.get(day.lot_id)
        chosen = policy.buffers.guest_failure_rate if lot is None else lot.terms.failure_rate
        expected = chosen if day.expected_rate is None else day.expected_rate
        learning.keep_day(connection, day, chosen, expected)
        kept += 1
    return kept
