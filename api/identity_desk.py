"""What identification stands on, built once a process: whom it knows at the moment, and how often who may ask."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from api.rates import Buckets

if TYPE_CHECKING:
    from parking_core.people import Person

KNOWN_S: Final = 3.0  # longer saves nothing: who taps twice within it is one account
_MOST_KNOWN: Final = 5_000  # accounts that are remembered: about 5 MB


@dataclass(slots=True)
class IdentityDesk:
    """Whom this process knows at the moment, and how often who may ask."""

    accounts: Buckets = field(default_factory=lambda: Buckets(rate=20, burst=100))
    clients: Buckets = field(default_factory=lambda: Buckets(rate=1000, burst=2000))
    strangers: Buckets = field(default_factory=lambda: Buckets(rate=1, burst=20))
    _known: OrderedDict[bytes, tuple[Person, float]] = field(default_factory=OrderedDict)

    def recall(self, digest: bytes, now_s: float) -> Person | None:
        """Whom the database named for the digest within KNOWN_S."""
        person, at = self._known.get(digest, (None, 0.0))
        return person if now_s - at <= KNOWN_S else None

    def remember(self, digest: bytes, person: Person, now_s: float) -> None:
        """Keeps what the database said; what was said first is forgotten first."""
        self._known.pop(digest, None)
        self._known[digest] = (person, now_s)
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)

    def __len__(self) -> int:
        return len(self._known)
