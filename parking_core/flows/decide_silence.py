"""Makes spaces unknown whose sensors are silent, and known again when they are heard.

    device_liveness ─► sweep: silences that began or ended, dirty buckets ─► commit ─► live state
                                                         (Redis lost something ─► reconcile: all open silences again)

The durable silences are the truth, live state follows them. A reading that a gateway commits while a sweep runs may be
overtaken in Redis: the space then shows as unknown until the next sweep, a second later, never as free. Whatever
is lost between commit and Redis (a kill, Redis away, a rebuild) is found by `reconcile`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from parking_core.store import silences

if TYPE_CHECKING:
    from psycopg import Connection

    from parking_core.store.live_state import LiveImage, LiveState

    Columns = np.ndarray[Any, np.dtype[np.void]]


@dataclass(frozen=True, slots=True)
class Sweep:
    """Spaces (SPACE_IN_LOT) whose silence began, and those that were heard again."""

    begun: Columns
    ended: Columns


@dataclass(frozen=True, slots=True)
class Difference:
    """Spaces (SPACE_IN_LOT) that live state holds to be known but are silent, and the other way round."""

    to_silence: Columns
    to_revive: Columns


def sweep(connection: Connection, now: datetime) -> Sweep:
    """Begins and ends silences by the durable signs of life, in one transaction."""
    with connection.transaction():
        ended = silences.end_silences(connection, now)
        return Sweep(silences.begin_silences(connection, now), ended)


async def apply(live: LiveState, spaces: Sweep | Difference) -> None:
    """Takes the decision to live state.

    Raises:
        LiveStateMissingError: there is no complete live state; a rebuild takes the silences from the store.
        redis.RedisError: Redis is away; `reconcile` later.
    """
    match spaces:
        case Sweep(begun=silent, ended=heard) | Difference(to_silence=silent, to_revive=heard):
            await live.silence(silent)
            await live.revive(heard)


def is_miscounted(connection: Connection, image: LiveImage) -> bool:
    """Whether a lot's counts are not those of its known spaces: a space was moved to another lot, or removed."""
    known = image.spaces[image.spaces["known"] == 1]
    with connection.transaction():
        lots = silences.with_lots(connection, known["space_id"].tolist())
    order = np.argsort(known["space_id"])
    place = order[np.searchsorted(known["space_id"], lots["space_id"].astype(np.int64), sorter=order)]
    size = int(max(image.lots["lot_id"].max(initial=0), lots["lot_id"].max(initial=0))) + 1
    counted = np.zeros((2, size), np.int64)
    counted[:, image.lots["lot_id"]] = image.lots["known"], image.lots["occupied"]
    present = lots["lot_id"].astype(np.int64)
    expected = [np.bincount(present, minlength=size), np.bincount(present, known["occupied"][place], minlength=size)]
    return not np.array_equal(counted, np.array(expected, np.int64))


def compare(connection: Connection, image: LiveImage) -> Difference:
    """What live state must change; `image` is older than the last sweep, so that what was heard by then is no longer silent.

    Spaces that live state holds to be known although nobody watches them any more become silent here.
    """
    known = image.spaces["space_id"][image.spaces["known"] == 1]
    with connection.transaction():
        silences.begin_unwatched(connection, known.tolist(), datetime.now(UTC))
        silent = silences.open_silences(connection)
        unknown = image.spaces["space_id"][image.spaces["known"] == 0]
        revived = np.setdiff1d(unknown, silent["space_id"].astype(np.int64))
        return Difference(
            to_silence=silent[np.isin(silent["space_id"].astype(np.int64), known)],
            to_revive=silences.with_lots(connection, revived.tolist()),
        )
