"""Tasks end, also those that lose a cancellation."""

from __future__ import annotations

import asyncio

from parking_core.cancelling import cancel_until_done


async def deaf(times: int) -> str:
    """Loses its first cancellations, as wait_for of Python 3.11 does now and then."""
    for _ in range(times):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue
    await asyncio.Event().wait()
    return "never"


async def fails() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError("while it ended")


def test_lost_cancellations_are_repeated_until_all_have_ended() -> None:
    async def scene() -> None:
        done = asyncio.create_task(asyncio.sleep(0))
        await done
        tasks = [asyncio.create_task(each) for each in (deaf(0), deaf(3), fails())]
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await cancel_until_done([*tasks, done], every_s=0.01)
        assert [task.done() for task in tasks] == [True] * 3
        assert tasks[1].cancelled()

    asyncio.run(scene())


def test_nothing_to_end_is_no_wait() -> None:
    asyncio.run(cancel_until_done([], every_s=60))
