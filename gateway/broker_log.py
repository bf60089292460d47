"""What the broker tells of those it refuses: its log lines, which it publishes to us, counted by kind."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

LOG_TOPIC: Final = "$SYS/broker/log/N"  # notices


class BrokerRefusal(StrEnum):
    """Why the broker ended a connection."""

    LOGIN = "login"  # a wrong, old or missing secret, or a device that is shut out
    DENIED = "denied"  # it published where it may not, again and again
    MALFORMED = "malformed"  # packets that are none


# Parts of Mosquitto 2.0's lines. A client whose publication was denied has no quota left, because ours is unlimited otherwise: its
# next publication ends it.
_WORDS: Final = (
    (b"not authorised", BrokerRefusal.LOGIN),
    (b"Quota exceeded", BrokerRefusal.DENIED),
    (b"malformed packet", BrokerRefusal.MALFORMED),
    (b"protocol error", BrokerRefusal.MALFORMED),
    (b"oversize packet", BrokerRefusal.MALFORMED),
)


def refusal_in(line: bytes) -> BrokerRefusal | None:
    """What a line tells; None: nothing of interest."""
    return next((refusal for words, refusal in _WORDS if words in line), None)
