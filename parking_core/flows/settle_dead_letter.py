"""A dead letter that can be used after all: recorded and resolved in one transaction, or its new reason kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parking_core.flows.record_batch import Caution, record_batch
from parking_core.readings import Reason
from parking_core.store import dead_letters

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from parking_core.flows.record_batch import Batch, Recorded

REFUSED_WHEN_RECORDED = {Reason.REFUSED_BY_DATABASE, Reason.FOREIGN_COMMAND}


async def settle_dead_letter(connection: AsyncConnection[Any], letter_id: int, batch: Batch) -> Recorded | None:
    """Records what the letter says now; None when it still says nothing usable.

    A letter of which the database refuses a reading stays open.

    Of an array with good and bad elements the good ones are recorded and each bad one becomes a letter of its own.
    """
    async with connection.transaction():
        told = (batch.signs, batch.acks, batch.lane_reports, batch.frames, batch.joins, batch.vitals)
        if not len(batch.readings) and not any(told):
            if batch.rejections:
                await dead_letters.refuse_again(connection, letter_id, batch.rejections[0])
            return None
        recorded = await record_batch(connection, batch, Caution.POISONED)
        refused = [again for again in recorded.rejections if again.reason in REFUSED_WHEN_RECORDED]
        if refused:
            await dead_letters.refuse_again(connection, letter_id, refused[0])
        else:
            await dead_letters.resolve(connection, letter_id)
    return recorded
