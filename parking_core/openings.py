"""What a class of spaces offers, slot by slot: its openings without what the owner took back (pure).

A promise takes [arrive, depart + guest buffer). The owner's return needs more: whoever is promised to leave at d must have
left by d + owner buffer. So an opening is cut before it closes, at close - owner buffer + guest buffer, and every promise
that fits what is left keeps the owner's buffer as well. Buffers belong to the local hour of the promised end; near a full
hour the shorter cut counts.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from parking_core.slots import SLOT_MIN, SLOTS, begins_of, slot_of
from parking_core.tariffs import Interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date
    from zoneinfo import ZoneInfo

_SLOT = timedelta(minutes=SLOT_MIN)
Spaces = np.ndarray[Any, np.dtype[np.int16]]


class HourBuffers(NamedTuple):
    """Minutes that are kept free after a promise that ends in an hour."""

    guest_min: int
    owner_min: int


def without(openings: Iterable[Interval], closed: Iterable[Interval]) -> tuple[Interval, ...]:
    """Stretches with others taken out of them, in order."""
    left = list(openings)
    for each in closed:
        parts = []
        for one in left:
            if each.ends_at <= one.begins_at or one.ends_at <= each.begins_at:
                parts.append(one)
                continue
            if one.begins_at < each.begins_at:
                parts.append(Interval(one.begins_at, each.begins_at))
            if each.ends_at < one.ends_at:
                parts.append(Interval(each.ends_at, one.ends_at))
        left = parts
    return tuple(left)


def last_slot_end(close: datetime, hours: Sequence[HourBuffers], zone: ZoneInfo) -> int:
    """Until which slot (number since the epoch, not included) spaces are offered that close at a moment.

    Args:
        close: when the owner's people return.
        hours: 24, by local hour of a promised end.
        zone: of the lot.
    """
    until = slot_of(close)
    first = slot_of(close - timedelta(minutes=max(each.owner_min for each in hours)))
    for slot in range(first, until + 1):
        begins = datetime.fromtimestamp(slot * SLOT_MIN * 60, UTC)
        ends = begins + _SLOT
        near = [hours[at.astimezone(zone).hour] for at in (begins, ends)]
        # A promise that ends in (begins, ends] would not leave the owner his buffer: it must not fit.
        if ends + timedelta(minutes=max(each.owner_min for each in near)) > close:
            until = min(until, slot + min(each.guest_min for each in near) // SLOT_MIN)
    return until


def offered_slots(
    openings: Iterable[Interval],
    spaces: int,
    hours: Sequence[HourBuffers],
    zone: ZoneInfo,
    days: tuple[date, int],
) -> dict[date, Spaces]:
    """int16[288] spaces that are offered in each slot of `days`, the first one and how many.

    A slot that an opening covers in part is not offered. Openings must be given as far as a day beyond the last day: one
    that ends there closes there.
    """
    first_day, count = days
    begin = slot_of(begins_of(first_day))
    offered = np.zeros(count * SLOTS, np.int16)
    for each in openings:
        first = -(-int(each.begins_at.timestamp()) // (SLOT_MIN * 60)) - begin
        until = last_slot_end(each.ends_at, hours, zone) - begin
        offered[max(first, 0) : max(until, 0)] = spaces
    return {first_day + timedelta(days=day): offered[day * SLOTS : (day + 1) * SLOTS] for day in range(count)}
