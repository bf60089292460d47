"""Replaces plates, card numbers and OBU ids that are older than their time by forms that tell nobody who it was.

Visits, events and transactions stay, joined by their numbers as before, so that every fen can still be explained. Within
one run a vehicle keeps one pseudonym; its salt is thrown away with the run.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from parking_core.store import plate_masking

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

# A visit pairs with records that come late: 15 days of the longest stay, and the worker's look back beside it.
LEAST_KEPT: Final = timedelta(days=30)
BATCH: Final = 5_000  # rows of one transaction: the gateway's inserts do not wait


@dataclass(frozen=True, slots=True)
class Masked:
    """Numbers of rows."""

    events: int
    repeats: int
    visits: int
    letters: int
    promises: int = 0  # reservations, permits, and what gates were told of them


def mask_old_plates(connection: Connection[Any], now: datetime, keep_days: int) -> Masked:
    """Masks what is older than `keep_days`, and 30 days at least. What is still open keeps its plates."""
    before = now - max(timedelta(days=keep_days), LEAST_KEPT)
    salt = secrets.token_bytes(32)
    with connection.transaction():
        repeats = plate_masking.mask_repeats(connection, before, salt)
        letters = plate_masking.mask_letters(connection, before, salt)
    events = 0
    while True:
        with connection.transaction():
            done = plate_masking.mask_events(connection, before, now, salt, BATCH)
        events += done
        if done < BATCH:
            break
    with connection.transaction():
        visits = plate_masking.mask_visits(connection, before, salt)
    with connection.transaction():
        promises = plate_masking.mask_promises(connection, before, salt)
    return Masked(events, repeats, visits, letters, promises)
