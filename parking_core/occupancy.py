"""What a lot did in each five minutes, derived from its events alone (pure).

    events, silences, opening states ─► how each bay stands at each moment ─► sums a bucket
                                    └─► states at the end, from which the next buckets start

What counts
    order       one bay's events by (occurred_at, seq, free before occupied): a departure and the next arrival of the
                same instant are both seen
    arrival     free → occupied. The first event of a bay is none: nobody saw the bay free before it
    departure   occupied → free. Its dwell counts when the arrival was seen
    unknown     before a bay's first event, and while its sensor is silent: from the beginning of the silence to the
                bay's next event (a buffering device delivers it late) or, without one, to the end of the silence.
                Silence hides a state, it does not change it: arrivals, departures and dwell follow the events
    occupied    space-minutes known to be occupied; an unknown bay is neither occupied nor free
    full        minutes in which some bay is known and no known bay is free
    closed      minutes outside the opening hours
    a bucket that is not over yet counts up to now

Work comes as stretches: consecutive buckets of one lot, at most one stretch a lot. Times are microseconds (UTC).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Columns = np.ndarray[Any, np.dtype[np.void]]
    Integers = np.ndarray[Any, np.dtype[np.int64]]
    Hashes = np.ndarray[Any, np.dtype[np.uint64]]

BUCKET_US = 300_000_000
HOUR_US = 12 * BUCKET_US

# Upper ends of the classes of stays, seconds; a last class takes the rest. Most tariffs turn at 15 and 30 minutes and
# at the full hours, 8 h is a working day, 24 h the longest a daily cap covers.
DWELL_CLASSES_S = (900, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400)
DWELL_CLASSES = len(DWELL_CLASSES_S) + 1

NEVER = -(1 << 62)  # no event yet; or the beginning of a stay that nobody saw
UNKNOWN, FREE, OCCUPIED = -1, 0, 1

STRETCH = np.dtype([("lot_id", "i4"), ("start_us", "i8"), ("buckets", "i4")])
BAY = np.dtype([("stretch", "i4"), ("space_id", "i4"), ("state", "i1"), ("since_us", "i8"), ("last_us", "i8")])
EVENT = np.dtype([("bay", "i4"), ("at_us", "i8"), ("seq", "i8"), ("occupied", "?")])
SILENCE = np.dtype([("bay", "i4"), ("began_us", "i8"), ("ended_us", "i8")])
CLOSURE = np.dtype([("stretch", "i4"), ("began_us", "i8"), ("ended_us", "i8")])
ROLLUP = np.dtype(
    [("lot_id", "i4"), ("bucket_us", "i8"), ("spaces", "i4"), ("elapsed_us", "i8")]
    + [(name, "i8") for name in ("occupied_us", "unknown_us", "closed_us", "full_us")]
    + [(name, "i4") for name in ("arrivals", "departures", "dwell_count")]
    + [("dwell_sum_us", "i8"), ("dwell_histogram", "i4", (DWELL_CLASSES,))]
    + [("last_us", "i8"), ("digest", "i8")]
)


@dataclass(frozen=True, slots=True)
class History:
    """Everything that the rollups of some stretches follow from.

    `bays` is ordered by (stretch, space_id) and holds each bay's state before its stretch: `since_us` is when the
    present stay was seen to begin, else NEVER; `last_us` the bay's last event of any kind, else NEVER. `events` lie
    within their bay's stretch, in any order; silences and closures may reach beyond it. Closures of one stretch do not
    overlap, nor do silences of one bay.
    """

    stretches: Columns  # STRETCH
    bays: Columns  # BAY
    events: Columns  # EVENT
    silences: Columns  # SILENCE
    closures: Columns  # CLOSURE


@dataclass(frozen=True, slots=True)
class _Grid:
    """Buckets of all stretches in one row: bucket `first[stretch] + (at - start) // BUCKET_US`."""

    start_us: Integers  # a stretch
    limit_us: Integers  # a stretch: its end, or now
    first: Integers  # a stretch: index of its first bucket
    bucket_stretch: Integers  # a bucket
    bucket_us: Integers  # a bucket: its start
    elapsed_us: Integers  # a bucket

    def index(self, stretch: Integers, at_us: Integers) -> Integers:
        """Bucket of each moment."""
        return self.first[stretch] + (at_us - self.start_us[stretch]) // BUCKET_US


@dataclass(frozen=True, slots=True)
class _Course:
    """Events in order with what each one changed."""

    events: Columns  # EVENT
    stretch: Integers
    changed: np.ndarray[Any, np.dtype[np.bool_]]
    before: np.ndarray[Any, np.dtype[np.int8]]
    since_before: Integers
    since: Integers


def bucket_of(at_us: int) -> int:
    """Start of the bucket that holds a moment."""
    return at_us - at_us % BUCKET_US


def roll_up(history: History, now_us: int) -> Columns:
    """ROLLUP rows of all buckets, stretch by stretch in order of time.

    `last_us` is the lot's last event up to the end of the bucket (NEVER: none), `digest` identifies the states of all
    bays at its end: equal digests mean that the next bucket starts from the same states.

    Raises:
        ValueError: a stretch has no bucket, or one that has not begun at `now_us`.
    """
    grid = _grid(history.stretches, now_us)
    course = _course(history, grid.limit_us)
    rows = np.zeros(len(grid.bucket_us), ROLLUP)
    rows["lot_id"] = history.stretches["lot_id"][grid.bucket_stretch]
    rows["bucket_us"] = grid.bucket_us
    rows["elapsed_us"] = grid.elapsed_us
    rows["spaces"] = np.bincount(history.bays["stretch"], minlength=len(history.stretches))[grid.bucket_stretch]
    _count_turnover(rows, course, grid)
    _measure_minutes(rows, history, course, grid)
    _measure_closures(rows, history.closures, grid)
    rows["last_us"] = _last_events(history, course, grid)
    rows["digest"] = _digests(history, course, grid)
    return rows


def closing_bays(history: History, until_us: Integers) -> Columns:
    """States of all bays (BAY) just before `until_us`, a moment for each stretch within it."""
    course = _course(history, until_us)
    bays, events = history.bays.copy(), course.events
    final = np.ones(len(events), bool)  # the bay's last event
    final[:-1] = events["bay"][1:] != events["bay"][:-1]
    bay = events["bay"][final]
    bays["state"][bay] = events["occupied"][final]
    bays["since_us"][bay] = course.since[final]
    bays["last_us"][bay] = events["at_us"][final]
    return bays


def state_digest(bays: Columns, stretches: int) -> Integers:
    """Digest of the states (BAY) of each stretch; unknown bays do not count, so that adding one changes nothing."""
    sums = np.zeros(stretches, np.uint64)
    hashes = _hash(bays["space_id"], bays["state"], bays["since_us"], bays["last_us"])
    np.add.at(sums, bays["stretch"], hashes)
    return sums.view(np.int64)


def _grid(stretches: Columns, now_us: int) -> _Grid:
    start, count = stretches["start_us"].astype(np.int64), stretches["buckets"].astype(np.int64)
    end = start + count * BUCKET_US
    if np.any(count < 1) or np.any(end - BUCKET_US >= now_us):
        raise ValueError("Each stretch needs at least one bucket, and none that has not begun.")
    first = np.cumsum(count) - count
    stretch = np.repeat(np.arange(len(stretches)), count)
    bucket = start[stretch] + (np.arange(len(stretch)) - first[stretch]) * BUCKET_US
    elapsed = np.minimum(bucket + BUCKET_US, now_us) - bucket
    return _Grid(start, np.minimum(end, now_us), first, stretch, bucket, elapsed)


def _course(history: History, limit_us: Integers) -> _Course:
    bays = history.bays
    stretch = bays["stretch"][history.events["bay"]]
    events = history.events[history.events["at_us"] < limit_us[stretch]]
    events = events[np.lexsort((events["occupied"], events["seq"], events["at_us"], events["bay"]))]
    bay, at, occupied = events["bay"], events["at_us"], events["occupied"]
    leads = np.ones(len(events), bool)  # the bay's first event in its stretch
    leads[1:] = bay[1:] != bay[:-1]
    before = np.empty(len(events), np.int8)
    before[1:] = occupied[:-1]
    before[leads] = bays["state"][bay[leads]]
    changed = before != occupied
    position = np.arange(len(events))
    lead = np.maximum.accumulate(np.where(leads, position, 0))
    change = np.maximum.accumulate(np.where(changed, position, -1))  # the last change up to here, of any bay
    seen_arrival = np.where((before == FREE) & occupied, at, NEVER)
    since = np.where(change >= lead, seen_arrival[change], bays["since_us"][bay])
    since_before = np.empty(len(events), np.int64)
    since_before[1:] = since[:-1]
    since_before[leads] = bays["since_us"][bay[leads]]
    return _Course(events, bays["stretch"][bay].astype(np.int64), changed, before, since_before, since)


def _count_turnover(rows: Columns, course: _Course, grid: _Grid) -> None:
    at, occupied = course.events["at_us"], course.events["occupied"]
    bucket = grid.index(course.stretch, at)
    departed = (course.before == OCCUPIED) & ~occupied
    rows["arrivals"] = np.bincount(bucket[(course.before == FREE) & occupied], minlength=len(rows))
    rows["departures"] = np.bincount(bucket[departed], minlength=len(rows))
    measured = departed & (course.since_before != NEVER)
    dwell, where = at[measured] - course.since_before[measured], bucket[measured]
    dwell_class = np.searchsorted(np.array(DWELL_CLASSES_S) * 1_000_000, dwell, side="left")
    np.add.at(rows["dwell_sum_us"], where, dwell)
    np.add.at(rows["dwell_histogram"], (where, dwell_class), 1)
    rows["dwell_count"] = np.bincount(where, minlength=len(rows))


def _heard_silences(history: History, course: _Course, grid: _Grid) -> Columns:
    """Silences cut to their stretch, and ended by the bay's first event after they began."""
    silences = history.silences
    silences = silences[history.bays["last_us"][silences["bay"]] < silences["began_us"]]
    bay = silences["bay"].astype(np.int64)
    stretch = history.bays["stretch"][bay]
    began = np.clip(silences["began_us"], grid.start_us[stretch], grid.limit_us[stretch])
    ended = np.clip(silences["ended_us"], began, grid.limit_us[stretch])
    # One sorted key of (bay, moment in the stretch): a stretch is shorter than 2**43 us (100 days).
    wide = 43
    events = course.events
    key = (events["bay"].astype(np.int64) << wide) + events["at_us"] - grid.start_us[course.stretch]
    place = np.searchsorted(key, (bay << wide) + began - grid.start_us[stretch])
    inside = np.flatnonzero(place < len(events))
    inside = inside[events["bay"][place[inside]] == bay[inside]]
    ended[inside] = np.minimum(ended[inside], events["at_us"][place[inside]])
    heard = np.empty(len(silences), SILENCE)
    heard["bay"], heard["began_us"], heard["ended_us"] = bay, began, ended
    lasting: Columns = heard[ended > began]
    return lasting


def _bay_steps(history: History, course: _Course, grid: _Grid) -> tuple[Integers, Integers, Integers, Integers]:
    """Moments at which a bay's counting changes: (stretch, at_us, change of known, change of known and occupied)."""
    bays, silences = history.bays, _heard_silences(history, course, grid)
    changes = course.events[course.changed]
    quiet = np.zeros(len(silences), np.int64)
    bay = np.concatenate([np.arange(len(bays)), changes["bay"], silences["bay"], silences["bay"]])
    at = np.concatenate([grid.start_us[bays["stretch"]], changes["at_us"], silences["began_us"], silences["ended_us"]])
    state = np.concatenate([bays["state"], changes["occupied"].astype(np.int64), quiet, quiet])
    states_it = np.arange(len(bay)) < len(bays) + len(changes)
    muted = np.concatenate([np.zeros(len(bays) + len(changes), np.int64), quiet + 1, quiet - 1])
    order = np.lexsort((at, bay))  # stable: events of one instant keep their order
    bay, at, state, states_it, muted = bay[order], at[order], state[order], states_it[order], muted[order]
    state = state[np.maximum.accumulate(np.where(states_it, np.arange(len(bay)), 0))]
    heard = (np.cumsum(muted) == 0) & (state != UNKNOWN)
    known, occupied = heard.astype(np.int64), (heard & (state == OCCUPIED)).astype(np.int64)
    known_step, occupied_step = known.copy(), occupied.copy()
    same = np.flatnonzero(bay[1:] == bay[:-1])
    known_step[same + 1] -= known[same]
    occupied_step[same + 1] -= occupied[same]
    return bays["stretch"][bay].astype(np.int64), at, known_step, occupied_step


def _measure_minutes(rows: Columns, history: History, course: _Course, grid: _Grid) -> None:
    stretch, at, known, occupied = _bay_steps(history, course, grid)
    ends = np.arange(len(grid.start_us))
    none = np.zeros(len(rows), np.int64)
    # Every bucket's start, so that no piece crosses it; and each stretch's end, which takes back what it added.
    total_known = -np.bincount(stretch, known, minlength=len(ends)).astype(np.int64)
    total_occupied = -np.bincount(stretch, occupied, minlength=len(ends)).astype(np.int64)
    known = np.concatenate([known, none, total_known])
    occupied = np.concatenate([occupied, none, total_occupied])
    at = np.concatenate([at, grid.bucket_us, grid.limit_us])
    stretch = np.concatenate([stretch, grid.bucket_stretch, ends])
    order = np.lexsort((at, stretch))
    at, stretch = at[order], stretch[order]
    known, occupied = np.cumsum(known[order]), np.cumsum(occupied[order])
    lasts = np.zeros(len(at), np.int64)
    lasts[:-1] = np.where(stretch[1:] == stretch[:-1], at[1:] - at[:-1], 0)
    pieces = np.flatnonzero(lasts)
    lasts, known, occupied = lasts[pieces], known[pieces], occupied[pieces]
    bucket = grid.index(stretch[pieces], at[pieces])

    def total(amount: Integers) -> Integers:
        return np.bincount(bucket, amount, minlength=len(rows)).astype(np.int64)  # exact below 2**53

    rows["occupied_us"] = total(lasts * occupied)
    rows["unknown_us"] = rows["spaces"] * grid.elapsed_us - total(lasts * known)
    rows["full_us"] = total(lasts * ((known > 0) & (occupied == known)))


def _measure_closures(rows: Columns, closures: Columns, grid: _Grid) -> None:
    for closure in closures:  # two a day and lot at most: a loop is clear and cheap
        stretch = closure["stretch"]
        began = max(closure["began_us"], grid.start_us[stretch])
        ended = min(closure["ended_us"], grid.limit_us[stretch])
        if began >= ended:
            continue
        touched = slice(grid.index(stretch, began), grid.index(stretch, ended - 1) + 1)
        start = grid.bucket_us[touched]
        rows["closed_us"][touched] += np.minimum(start + BUCKET_US, ended) - np.maximum(start, began)


def _last_events(history: History, course: _Course, grid: _Grid) -> Integers:
    """A bucket's last event of the lot so far: the largest of its own, the earlier ones and the opening one."""
    last = np.full(len(grid.bucket_us), NEVER, np.int64)
    np.maximum.at(last, grid.index(course.stretch, course.events["at_us"]), course.events["at_us"])
    np.maximum.at(last, grid.first[history.bays["stretch"]], history.bays["last_us"])
    for first, end in zip(grid.first, np.append(grid.first[1:], len(last)), strict=True):
        last[first:end] = np.maximum.accumulate(last[first:end])
    return last


def _digests(history: History, course: _Course, grid: _Grid) -> Integers:
    """Digest at the end of each bucket: the opening one plus what each event changed, modulo 2**64."""
    bays, events = history.bays, course.events
    space = bays["space_id"][events["bay"]]
    after = _hash(space, events["occupied"].astype(np.int8), course.since, events["at_us"])
    opening = _hash(bays["space_id"], bays["state"], bays["since_us"], bays["last_us"])
    earlier = np.empty(len(events), np.uint64)
    earlier[1:] = after[:-1]
    leads = np.ones(len(events), bool)
    leads[1:] = events["bay"][1:] != events["bay"][:-1]
    earlier[leads] = opening[events["bay"][leads]]
    sums = np.zeros(len(grid.bucket_us), np.uint64)
    np.add.at(sums, grid.index(course.stretch, events["at_us"]), after - earlier)
    np.add.at(sums, grid.first[bays["stretch"]], opening)
    running = np.cumsum(sums)
    base = running[grid.first] - sums[grid.first]  # what earlier stretches added
    return (running - base[grid.bucket_stretch]).view(np.int64)


def _hash(space: Any, state: Any, since_us: Any, last_us: Any) -> Hashes:  # noqa: ANN401  # columns of several integer types
    """64 well mixed bits for a bay's state, 0 for an unknown one."""
    mixed = _mix(space.astype(np.int64).view(np.uint64) * np.uint64(4) + (state + 1).astype(np.uint64))
    mixed = _mix(mixed ^ since_us.astype(np.int64).view(np.uint64))
    mixed = _mix(mixed + last_us.astype(np.int64).view(np.uint64))
    return np.where(state == UNKNOWN, np.uint64(0), mixed)


def _mix(value: Hashes) -> Hashes:
    """The finaliser of splitmix64."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
