"""Devices that send more than anybody reads (facts and rules)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

SUSPEND_AFTER: Final = timedelta(seconds=5)  # of a flood that goes on: what a restart brings is over by then
SUSPEND_FOR: Final = timedelta(minutes=15)  # long enough for others to be at rest, short enough to heal by itself
FRESH: Final = timedelta(seconds=10)  # a flood that was not heard of for so long is over


@dataclass(frozen=True, slots=True)
class Flood:
    """Messages of a sender that were left out.

    Attributes:
        sender: device code, or how its network's topics name it.
        left_out: since the last report.
    """

    sender: str
    left_out: int
    at_us: int
