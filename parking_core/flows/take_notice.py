"""A signed notice of an acquirer: kept in one transaction, before he hears that we have it. Nothing is booked here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parking_core.acquirers import read_notice
from parking_core.store import payments

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from psycopg import AsyncConnection

    from parking_core.acquirers import Notice, VerifyingKeys

from parking_core.acquirers import Stamp


def check_notice(headers: Mapping[str, str], body: bytes, keys: VerifyingKeys, now: datetime) -> Notice:
    """The notice of a request.

    Raises:
        SignatureError: it is not signed by the acquirer, or not within 5 minutes of `now`.
        InvalidInputError: it is signed and no notice.
    """
    keys.verify_answer(body, stamp=Stamp.of_headers(headers), now=now)
    return read_notice(body)


async def take_notice(connection: AsyncConnection[Any], acquirer: str, notice: Notice, body: bytes) -> int:
    """Keeps it; the worker hears of it on commit. Gives how often it had come before."""
    async with connection.transaction():
        return await payments.add_notice(connection, acquirer, notice.notice_id, body)
