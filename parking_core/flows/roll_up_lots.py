"""Computes dirty buckets again: one bite, one transaction.

    dirty buckets ─┐
    unfinished ────┴► plan: one stretch a lot ─► history ─► roll_up ─► rows that changed ─► 5 min, 1 h
                              ▲                                └► the states at the end changed: on with the next bucket
                              └──────────────────────────────────────────┘        (until they do not, or the bite is full)

A late event flows forward until it changes nothing any more. Every bucket of a followed lot has a row, a quiet night is
data; a lot without any event for QUIET_US is no longer followed until the next one, so that the gap between a replayed
year and now costs a week of rows and not years: a missing row says that nothing happened. What has rows follows from the events alone, not from their order of
arrival. The deletion of what was dirty and the rows commit together, and only one bite runs at a time: a kill at any
moment, or a second worker, changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from parking_core.calendar import parse_opening
from parking_core.occupancy import BUCKET_US, CLOSURE, STRETCH, History, bucket_of, closing_bays, roll_up
from parking_core.store import rollup_sources, rollups
from parking_core.store.binary_rows import moment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.places import OpeningWindow

    Columns = np.ndarray[Any, np.dtype[np.void]]
    Integers = np.ndarray[Any, np.dtype[np.int64]]

QUIET_US = 7 * 86_400_000_000  # a lot without an event for a week is not followed (its devices are replayed or dead)
CLOSINGS_KEPT_US = 2 * 86_400_000_000  # older states are read from history: late events are rarely later than a day

_DIRTY_ROWS = 200_000  # a bite: rows of dirty_buckets, which hold many duplicates
_BITE_BUCKETS = 40_000  # a bite: buckets computed
_ROUND_LOTS = 125  # lots computed together: what is in memory at once
_STRETCH_BUCKETS = 8_064  # a stretch: four weeks
_MERGE_BUCKETS = 288  # a day between two dirty buckets of a lot is computed rather than planned around
_FIRST_REACH = 12  # buckets looked at beyond the last dirty one, growing while the change flows on
_REACH_GROWTH = 4


@dataclass(frozen=True, slots=True)
class Bite:
    """What one bite did."""

    busy: bool = False  # another worker was at it
    waiting: int = 0  # rows of dirty_buckets before it, counted up to a bite's limit
    dirty: int = 0  # distinct (lot, bucket) taken
    computed: int = 0  # five-minute buckets
    written: int = 0  # rows that were new or different
    more: bool = False  # the bite was full


@dataclass(frozen=True, slots=True)
class _Plan:
    stretches: Columns  # STRETCH
    left: Integers  # keys for a later round


def roll_up_lots(connection: Connection, now_us: int, *, running: bool, zone: ZoneInfo) -> Bite:
    """Takes one bite; `running` also computes the buckets that are not over yet, up to now.

    Raises:
        psycopg.Error: the database failed; nothing has changed.
    """
    with connection.transaction():
        if not rollups.claim(connection):
            return Bite(busy=True)
        limit_us = now_us if running else bucket_of(now_us)
        dirty, waiting = rollups.take_dirty(connection, limit_us, _DIRTY_ROWS)
        keys = np.union1d(dirty, rollups.unfinished(connection, now_us))
        taken, computed, written, budget = len(dirty), 0, 0, _BITE_BUCKETS
        reach: dict[int, int] = {}
        while len(keys) and budget > 0:
            plan = _plan(keys, reach, budget, limit_us)
            rows_written, flowing = _compute(connection, plan.stretches, keys, limit_us, zone)
            keys = np.union1d(plan.left, flowing)
            count = int(plan.stretches["buckets"].sum())
            computed, written, budget = computed + count, written + rows_written, budget - count
        rollups.put_back(connection, keys)
        more = waiting > _DIRTY_ROWS or len(keys) > 0
        return Bite(waiting=waiting, dirty=taken, computed=computed, written=written, more=more)


def _plan(keys: Integers, reach: dict[int, int], budget: int, limit_us: int) -> _Plan:
    """The oldest stretch of each lot, oldest first, as far as the budget allows; `reach` grows for lots planned again."""
    lots, buckets = rollups.lots_of(keys), rollups.buckets_of(keys) // BUCKET_US
    begins = np.ones(len(keys), bool)
    begins[1:] = (lots[1:] != lots[:-1]) | (np.diff(buckets) > _MERGE_BUCKETS)
    leads = np.flatnonzero(begins)
    ends = np.append(leads[1:], len(keys)) - 1
    first_of_lot = np.ones(len(leads), bool)
    first_of_lot[1:] = lots[leads[1:]] != lots[leads[:-1]]
    newest = bucket_of(limit_us - 1) // BUCKET_US + 1
    stretches: list[tuple[int, int, int]] = []
    covered = np.zeros(len(keys), bool)
    for lead, end in sorted(
        zip(leads[first_of_lot], ends[first_of_lot], strict=True), key=lambda edges: int(buckets[edges[0]])
    ):
        lot, start = int(lots[lead]), int(buckets[lead])
        reach[lot] = min(reach.get(lot, _FIRST_REACH // _REACH_GROWTH) * _REACH_GROWTH, _STRETCH_BUCKETS)
        stop = min(int(buckets[end]) + 1 + reach[lot], start + _STRETCH_BUCKETS, newest)
        if stretches and (stop - start > budget or len(stretches) == _ROUND_LOTS):
            break
        budget -= stop - start
        stretches.append((lot, start * BUCKET_US, stop - start))
        span = np.searchsorted(keys, rollups.bucket_keys([lot, lot], [start * BUCKET_US, stop * BUCKET_US]))
        covered[span[0] : span[1]] = True
    return _Plan(np.array(stretches, STRETCH), keys[~covered])


def _compute(
    connection: Connection, stretches: Columns, dirty: Integers, limit_us: int, zone: ZoneInfo
) -> tuple[int, Integers]:
    """Computes the stretches as of `limit_us` and writes what changed; gives the number of rows, and where it flows on."""
    order = np.argsort(stretches["lot_id"])
    stretches = stretches[order]
    history = _read_history(connection, stretches, limit_us, zone)
    rows = roll_up(history, limit_us)
    keys = rollups.bucket_keys(rows["lot_id"], rows["bucket_us"])
    exists, complete, digests = rollups.read_stored(connection, stretches, keys)
    over = rows["elapsed_us"] == BUCKET_US
    alive = rows["last_us"] >= rows["bucket_us"] + BUCKET_US - QUIET_US
    moved = ~over | ~complete | (digests != rows["digest"])  # the next bucket starts from other states than it did
    after_moved = np.zeros(len(rows), bool)
    after_moved[1:] = moved[:-1] & (rows["lot_id"][1:] == rows["lot_id"][:-1])
    write = alive & (np.isin(keys, dirty) | ~exists | moved | after_moved)
    rollups.write_rollups(connection, rows[write])
    last = np.cumsum(stretches["buckets"]) - 1
    _keep_states(connection, history, rows, alive & over, limit_us)
    # A bucket that is not over is computed again when it is, also for events that lie ahead of our clock.
    started = ~over & (alive | np.isin(keys, dirty))
    rollups.move_frontiers(connection, rows["lot_id"][started], rows["bucket_us"][started])
    following = last[moved[last] & alive[last] & (rows["bucket_us"][last] + BUCKET_US < limit_us)]
    resting = last[moved[last] & ~alive[last]]
    until = rows["bucket_us"][resting] + np.where(over[resting], BUCKET_US, 0)
    later = rollups.rest(connection, rows["lot_id"][resting], until)
    return int(write.sum()), np.union1d(keys[following] + 1, later)


def _read_history(connection: Connection, stretches: Columns, now_us: int, zone: ZoneInfo) -> History:
    bays = rollup_sources.read_bays(connection, stretches)
    hours = rollup_sources.read_opening_hours(connection, stretches["lot_id"].tolist())
    closures = [
        (place, began, ended)
        for place, stretch in enumerate(stretches)
        if (opening := parse_opening(hours.get(int(stretch["lot_id"])))) is not None
        for began, ended in closed_times(
            opening, int(stretch["start_us"]), int(stretch["start_us"] + int(stretch["buckets"]) * BUCKET_US), zone
        )
    ]
    return History(
        stretches,
        bays,
        rollup_sources.read_events(connection, stretches, bays),
        rollup_sources.read_silences(connection, stretches, bays, now_us),
        np.array(closures, CLOSURE),
    )


def _keep_states(
    connection: Connection, history: History, rows: Columns, complete: np.ndarray[Any, Any], now_us: int
) -> None:
    """Moves the frontiers to the last complete bucket of each stretch, and keeps the states there where it is recent."""
    stretches = history.stretches
    stretch = np.repeat(np.arange(len(stretches)), stretches["buckets"])
    until = stretches["start_us"].astype(np.int64).copy()
    np.maximum.at(until, stretch[complete], rows["bucket_us"][complete] + BUCKET_US)
    reached = until > stretches["start_us"]
    rollups.move_frontiers(connection, stretches["lot_id"][reached], until[reached])
    recent = reached & (until > now_us - CLOSINGS_KEPT_US)
    if recent.any():
        bays = closing_bays(history, until)
        kept = np.flatnonzero(recent)
        mine = bays[recent[bays["stretch"]]]
        mine["stretch"] = np.searchsorted(kept, mine["stretch"])
        rollup_sources.keep_closings(connection, stretches[kept], mine, until[kept])


def closed_times(
    opening: tuple[OpeningWindow, ...], start_us: int, end_us: int, zone: ZoneInfo
) -> Iterator[tuple[int, int]]:
    """Times outside the opening hours between two moments, in order; hours are wall-clock time in `zone`."""
    closed_from = start_us
    for opens, closes in sorted(_open_times(opening, start_us, end_us, zone)):
        if opens > closed_from:
            yield closed_from, min(opens, end_us)
        closed_from = max(closed_from, closes)
        if closed_from >= end_us:
            return
    if closed_from < end_us:
        yield closed_from, end_us


def _open_times(
    opening: tuple[OpeningWindow, ...], start_us: int, end_us: int, zone: ZoneInfo
) -> Iterator[tuple[int, int]]:
    day = moment(start_us).astimezone(zone).date() - timedelta(days=1)  # a window may reach past midnight
    last = moment(end_us).astimezone(zone).date()
    while day <= last:
        midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001  # wall-clock time: the zone is added last
        for window in opening:
            if day.isoweekday() in window.days:
                ends = window.until_minute + (1440 if window.until_minute <= window.from_minute else 0)
                opens, closes = _wall_us(midnight, window.from_minute, zone), _wall_us(midnight, ends, zone)
                if closes > start_us and opens < end_us:
                    yield opens, closes
        day += timedelta(days=1)


def _wall_us(midnight: datetime, minute: int, zone: ZoneInfo) -> int:
    return round((midnight + timedelta(minutes=minute)).replace(tzinfo=zone).timestamp()) * 1_000_000
