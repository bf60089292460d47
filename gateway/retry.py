"""Tries dead letters again, the way the pipeline would have taken them at their first receipt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
from redis.asyncio import Redis

from gateway.messages import RawMessage
from gateway.validate import Validator
from parking_core.errors import NotFoundError
from parking_core.flows.settle_dead_letter import REFUSED_WHEN_RECORDED, settle_dead_letter
from parking_core.readings import Sign
from parking_core.store import dead_letters, events
from parking_core.store.devices import load_devices
from parking_core.store.live_state import UPDATE, LiveState, LiveStateMissingError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.sorting import Sorted
    from parking_core.flows.record_batch import Batch
    from parking_core.readings import Readings
    from parking_core.settings import Settings


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one letter."""

    letter_id: int
    readings: int  # it held, or one lane event
    refusal: str  # why it still cannot be used; empty when it could
    before: bool = False  # an earlier retry had used it
    unknown: str = ""  # there is no such letter, and what to do


async def retry_letters(settings: Settings, letter_ids: Sequence[int]) -> AsyncIterator[Outcome]:
    """Tries letters again, each in its own transaction, and gives each outcome before it tries the next."""
    redis = Redis.from_url(settings.redis_url, socket_timeout=5.0)
    live = LiveState(redis)
    try:
        async with await psycopg.AsyncConnection.connect(settings.database_url, autocommit=True) as connection:
            zone = ZoneInfo(settings.time_zone)
            validator = Validator(await load_devices(connection), settings.clock_window, zone)
            listed = frozenset(await events.ledger_devices(connection))
            for letter_id in letter_ids:
                yield await _retry(connection, live, validator, listed, letter_id)
    finally:
        await redis.aclose()


async def _retry(
    connection: psycopg.AsyncConnection[tuple[object, ...]],
    live: LiveState,
    validator: Validator,
    listed: frozenset[int],
    letter_id: int,
) -> Outcome:
    try:
        letter = await dead_letters.get(connection, letter_id)
    except NotFoundError as error:
        return Outcome(letter_id, 0, "", unknown=str(error))
    if letter.resolved_at is not None:
        return Outcome(letter_id, 0, "", before=True)
    message = RawMessage(letter.topic, letter.payload, 0, False, letter.received_us, 0)  # noqa: FBT003  # a record's field
    found = validator.sort([message])
    recorded = await settle_dead_letter(connection, letter_id, _batch(found, listed))
    if recorded is None:
        return Outcome(letter_id, 0, found.rejections[0].detail if found.rejections else "It says nothing.")
    await _show(live, recorded.readings)
    refused = [again.detail for again in recorded.rejections if again.reason in REFUSED_WHEN_RECORDED]
    return Outcome(letter_id, len(recorded.readings) + recorded.lanes.new, refused[0] if refused else "")


def _batch(found: Sorted, listed: frozenset[int]) -> Batch:
    return found.batch(
        signs=[Sign(device, heard_us, found.online.get(device)) for device, heard_us in found.heard_us.items()],
        ledger_devices=listed,
        unknown=(),  # it was seen when it came
        acks=[replace(ack, redelivered=True) for ack in found.acks],  # a foreign one stays this letter
    )


async def _show(live: LiveState, readings: Readings) -> None:
    updates = np.zeros(len(readings), UPDATE)
    for name in ("space_id", "lot_id", "occurred_us", "seq", "occupied"):
        updates[name] = readings[name]
    try:
        await live.apply(updates)
    except LiveStateMissingError:
        return  # the rebuild that is due finds them in history
