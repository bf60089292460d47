"""Waiting: between passes, and longer after each failure."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass

_FIRST_S, _LONGEST_S = 0.5, 30.0


@dataclass(slots=True)
class Pauses:
    """Growing pauses with jitter: many workers that lost one database do not come back in step."""

    failures: int = 0

    def reset(self) -> None:
        """The last attempt succeeded."""
        self.failures = 0

    def following(self) -> float:
        """Seconds to wait after one more failure."""
        self.failures += 1
        longest = min(_LONGEST_S, _FIRST_S * 2 ** min(self.failures - 1, 10))
        return random.uniform(longest / 2, longest)  # noqa: S311  # jitter, not a secret


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Waits so long, or until the worker is to stop."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
