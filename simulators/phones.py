"""Drivers' phones: they order the payment of a link at the platform and pay what the wallet opens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx
import msgspec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_PATIENCE_S: Final = 10.0


@dataclass(slots=True)
class PhoneCounts:
    """What all phones did."""

    paid: int = 0
    refused: int = 0  # the platform or the acquirer would not, or could not be reached


class _Order(msgspec.Struct):
    code_url: str


def phone_payer(api_url: str, counts: PhoneCounts) -> Callable[[str], Awaitable[bool]]:
    """Pays links of this platform: given the path of a link, True when the wallet has paid.

    The money is known to the platform when the acquirer tells it, which may be later or never.
    """

    async def pay(path: str) -> bool:
        try:
            async with httpx.AsyncClient(timeout=_PATIENCE_S) as client:
                ordered = await client.post(f"{api_url}{path}")
                ordered.raise_for_status()
                paid = await client.post(msgspec.json.decode(ordered.content, type=_Order).code_url)
                paid.raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError):
            counts.refused += 1
            return False
        counts.paid += 1
        return True

    return pay
