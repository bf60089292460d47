"""How often one client may ask: token buckets in this process's memory.

A bucket fills at `rate` a second up to `burst`; a request takes one. Several API processes each have their own buckets,
so that N of them allow N times as much: the limit keeps guessing and hammering off, it does not meter. The longest
unused buckets are forgotten first; a forgotten one is full again, which costs a client that floods with many addresses
nothing and this process no memory.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass, field

from parking_core.errors import ParkingError

_IPV6_NETWORK = 64  # bits: what one household or phone has


class TooManyRequestsError(ParkingError):
    """Somebody asks too often."""

    code = "too_many_requests"

    def __init__(self, sentence: str, wait_s: float) -> None:
        super().__init__(sentence)
        self.wait_s = wait_s


@dataclass(slots=True)
class Buckets:
    """Buckets by key."""

    rate: float  # requests a second in the long run
    burst: float  # at once
    most: int = 10_000  # buckets that are kept: about 2 MB
    _levels: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def take(self, key: str, now_s: float) -> float:
        """Takes one; gives 0, or how many seconds to wait until there is one again (and takes nothing)."""
        level, at = self._levels.pop(key, (self.burst, now_s))
        level = min(self.burst, level + max(0.0, now_s - at) * self.rate)
        wait = 0.0 if level >= 1 else (1 - level) / self.rate
        self._levels[key] = (level - 1 if wait == 0 else level, now_s)
        if len(self._levels) > self.most:
            self._levels.popitem(last=False)
        return wait

    def is_empty(self, key: str, now_s: float) -> bool:
        """Whether nothing could be taken now."""
        level, at = self._levels.get(key, (self.burst, now_s))
        return level + max(0.0, now_s - at) * self.rate < 1

    def __len__(self) -> int:
        return len(self._levels)


def client_key(host: str) -> str:
    """Who is counted as one client: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(ipaddress.ip_network((int(address), _IPV6_NETWORK), strict=False))
