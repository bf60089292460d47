"""Devices that nobody registered, with what they send, until an operator binds or refuses them (facts)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from parking_core.readings import Source

SAMPLE_BYTES: Final = 1024  # of the newest message: enough to see what it is
MOST_NEW: Final = 5000  # identities waiting for a decision; further ones are dead letters only
MOST_A_BATCH: Final = 500  # of one batch, so that an attacker who makes up identities costs little


class DiscoveryState(StrEnum):
    """What was decided."""

    NEW = "new"
    BOUND = "bound"
    REFUSED = "refused"  # its messages are counted, and nothing else


@dataclass(frozen=True, slots=True)
class Sighting:
    """A message of an unknown device.

    Attributes:
        network: whose server speaks for it; "": it speaks itself.
        identity: DevEUI, or the device code in its topic.
        lot: code in its topic.
    """

    network: str
    identity: str
    lot: str
    received_us: int
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """An unknown device as an operator sees it."""

    id: int
    network: str
    identity: str
    lot: str
    state: DiscoveryState
    first_seen_at: datetime
    last_seen_at: datetime
    messages: int
    topic: str
    sample: bytes
    device: str | None  # what it was bound to
    decided_by: str | None
    reason: str | None


def gathered(sightings: Iterable[Sighting]) -> list[tuple[Sighting, int]]:
    """The newest of each identity with the number of its messages, of MOST_A_BATCH identities."""
    newest: dict[tuple[str, str], Sighting] = {}
    number: dict[tuple[str, str], int] = {}
    for sighting in sightings:
        key = (sighting.network, sighting.identity)
        if key in newest or len(newest) < MOST_A_BATCH:
            newest[key] = sighting
            number[key] = number.get(key, 0) + 1
    return [(newest[key], number[key]) for key in sorted(newest)]
