"""Where messages wait between the socket and the next batch; bounded by bytes."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.messages import RawMessage

HOLD_BYTES = 32 * 2**20  # bytes waiting at which reading pauses: large messages must not fill the memory
TAKE_BYTES = 4 * 2**20  # bytes of one batch: what it decodes to takes many times as much
MESSAGE_BYTES = 512  # what a message takes beside its topic and payload


class Inbox:
    """Messages received and not yet taken; tells when there are any and when to stop reading."""

    def __init__(self) -> None:
        self._messages: list[RawMessage] = []
        self._bytes = 0
        self._arrived = asyncio.Event()
        self.overfull = False

    def put(self, message: RawMessage) -> None:
        """Adds a message."""
        self._messages.append(message)
        self._bytes += _size(message)

    def announce(self) -> None:
        """Wakes the taker, once a chunk of bytes rather than once a message."""
        self.overfull = self._bytes > HOLD_BYTES
        if self._messages:
            self._arrived.set()

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def oldest_us(self) -> int | None:
        """Receipt of the oldest waiting message."""
        return self._messages[0].received_us if self._messages else None

    async def wait(self) -> None:
        """Returns when there is a message."""
        await self._arrived.wait()

    def take(self, most: int) -> list[RawMessage]:
        """Up to `most` messages and TAKE_BYTES in order of arrival; one at least, where there is one."""
        sizes = itertools.accumulate(map(_size, itertools.islice(self._messages, most)))
        fitting = max(1, sum(size <= TAKE_BYTES for size in sizes))
        taken = self._messages[:fitting]
        del self._messages[:fitting]
        self._bytes -= sum(map(_size, taken))
        self.overfull = self._bytes > HOLD_BYTES
        if not self._messages:
            self._arrived.clear()
        return taken


def _size(message: RawMessage) -> int:
    return len(message.payload) + len(message.topic) + MESSAGE_BYTES
