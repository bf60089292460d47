"""Ending tasks of asyncio for certain."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection


async def cancel_until_done(tasks: Collection[asyncio.Task[Any]], every_s: float = 1.0) -> None:
    """Cancels tasks and waits until all have ended, with whatever result.

    Once is not always enough: wait_for of Python 3.11, which aiomqtt and the Redis client use, loses a cancellation that
    meets what it waits for (python/cpython#86296). `every_s` is longer than what a task does to say goodbye.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=every_s)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen: nobody else asks for it
