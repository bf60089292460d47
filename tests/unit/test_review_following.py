"""A cancellation that the Redis client loses (asyncio.wait_for of Python 3.11 does) keeps no process from ending."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.following import Follower


class DeafLive:
    """A live state whose calls lose the first cancellation."""

    def __init__(self) -> None:
        self.lost = 0

    async def epoch(self) -> str:
        return "e"

    async def deaf(self) -> None:
        while True:
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                self.lost += 1
                if self.lost > 1:
                    raise


def test_following_ends_although_a_cancellation_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        live = DeafLive()
        nothing: Any = None
        follower = Follower(nothing, nothing, live)  # type: ignore[arg-type]  # only epoch() is asked
        monkeypatch.setattr(follower, "_registry", object())
        monkeypatch.setattr(follower, "_one_round", live.deaf)
        following = asyncio.create_task(follower._follow_live())
        await asyncio.sleep(0.1)
        following.cancel()
        done, _ = await asyncio.wait([following], timeout=4)
        assert done
        assert live.lost == 2

    asyncio.run(scene())


def test_a_task_that_lost_its_cancellation_is_not_begun_again() -> None:
    async def scene() -> None:
        nothing: Any = None
        follower = Follower(nothing, nothing, nothing)
        begun = 0

        async def work() -> None:
            nonlocal begun
            begun += 1
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(10)

        task = asyncio.create_task(follower._supervise("t", work))
        await asyncio.sleep(0.05)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=2)
        assert done
        assert begun == 1

    asyncio.run(scene())
