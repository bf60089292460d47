"""Messages that could not be used: kept whole, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from parking_core.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import AsyncConnection

    from parking_core.readings import Rejection

# A letter that the broker delivers again after a crash is the same letter.
_INSERT = """
INSERT INTO dead_letters (received_at, topic, payload, reason, detail, digest)
SELECT timestamptz 'epoch' + r.received_us * interval '1 microsecond', r.topic, r.payload, r.reason, r.detail, r.digest
FROM unnest(%s::bigint[], %s::text[], %s::bytea[], %s::text[], %s::text[], %s::bytea[], %s::bool[])
    AS r (received_us, topic, payload, reason, detail, digest, redelivered)
WHERE NOT (r.redelivered AND EXISTS (SELECT FROM dead_letters d WHERE d.digest = r.digest))
"""

_LIST = """
SELECT id, received_at, topic, payload, reason, detail, resolved_at FROM dead_letters
WHERE (%(reason)s::text IS NULL OR reason = %(reason)s) AND (%(all)s OR resolved_at IS NULL)
ORDER BY id DESC LIMIT %(limit)s
"""

_SHOW = "SELECT id, received_at, topic, payload, reason, detail, resolved_at FROM dead_letters WHERE id = %s"

_COUNT = "SELECT reason, count(*) FROM dead_letters WHERE resolved_at IS NULL GROUP BY reason ORDER BY count(*) DESC"

_RESOLVE = "UPDATE dead_letters SET resolved_at = now() WHERE id = %s"

_REFUSE_AGAIN = "UPDATE dead_letters SET reason = %s, detail = %s WHERE id = %s"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One kept message."""

    id: int
    received_at: datetime
    topic: str
    payload: bytes
    reason: str
    detail: str
    resolved_at: datetime | None

    @property
    def received_us(self) -> int:
        """First receipt in microseconds since the epoch."""
        since = self.received_at - datetime.fromtimestamp(0, UTC)
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


async def insert(connection: AsyncConnection[Any], rejections: Sequence[Rejection]) -> None:
    """Keeps rejected messages; one that was delivered again, by earlier batches or within this one, is kept once."""
    rejections = _without_repeats(rejections)
    columns = (
        [rejection.received_us for rejection in rejections],
        [_storable(rejection.topic) for rejection in rejections],
        [rejection.payload for rejection in rejections],
        [rejection.reason.value for rejection in rejections],
        [_storable(rejection.detail) for rejection in rejections],
        [rejection.digest for rejection in rejections],
        [rejection.redelivered for rejection in rejections],
    )
    await connection.execute(_INSERT, columns)


async def newest(
    connection: AsyncConnection[Any], limit: int, *, reason: str | None = None, resolved_too: bool = False
) -> list[DeadLetter]:
    """The newest letters first, of one reason if given."""
    cursor = await connection.execute(_LIST, {"reason": reason, "all": resolved_too, "limit": limit})
    return [DeadLetter(*row) for row in await cursor.fetchall()]


async def count_by_reason(connection: AsyncConnection[Any]) -> dict[str, int]:
    """Open letters a reason, most first."""
    return dict(await (await connection.execute(_COUNT)).fetchall())


async def get(connection: AsyncConnection[Any], letter_id: int) -> DeadLetter:
    """One letter.

    Raises:
        NotFoundError: there is none of that number.
    """
    row = await (await connection.execute(_SHOW, (letter_id,))).fetchone()
    if row is None:
        raise NotFoundError(f"There is no dead letter {letter_id}; `parking dead-letters list` shows those there are.")
    return DeadLetter(*row)


async def resolve(connection: AsyncConnection[Any], letter_id: int) -> None:
    """Marks a letter as used after all."""
    await connection.execute(_RESOLVE, (letter_id,))


async def refuse_again(connection: AsyncConnection[Any], letter_id: int, rejection: Rejection) -> None:
    """Keeps the reason of the latest try."""
    await connection.execute(_REFUSE_AGAIN, (rejection.reason.value, _storable(rejection.detail), letter_id))


def _without_repeats(rejections: Sequence[Rejection]) -> list[Rejection]:
    kept, seen = [], set()
    for rejection in rejections:
        if not (rejection.redelivered and rejection.digest in seen):
            kept.append(rejection)
            seen.add(rejection.digest)
    return kept


def _storable(text: str) -> str:
    """PostgreSQL text holds neither NUL nor lone surrogates."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
