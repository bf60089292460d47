"""Credentials of devices at the broker: a secret is shown once, its verifier is kept (facts and rules).

The verifier has the form of Mosquitto's dynamic security: PBKDF2-HMAC-SHA512 over the secret (RFC 8018). A secret has 256 random
bits, so nobody finds it by trying, however few the iterations; many would only cost the broker when a whole district connects
anew: of 21,000 devices in a minute each iteration count is paid 350 times a second.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

_SECRET_BYTES: Final = 32
_SALT_BYTES: Final = 12
_HASH_BYTES: Final = 64
ITERATIONS: Final = 101  # the broker's own number: what it writes when it is told a password has as many


class Action(StrEnum):
    """What is done to a device's credential."""

    ISSUE = "issue"
    ROTATE = "rotate"  # another secret; the old one lets nobody in any more
    REVOKE = "revoke"
    SUSPEND = "suspend"  # for a while
    LIFT = "lift"  # the end of a suspension


@dataclass(frozen=True, slots=True)
class Verifier:
    """What tells whether a secret is the right one, and does not tell the secret."""

    salt: bytes
    hash: bytes
    iterations: int = ITERATIONS

    def accepts(self, secret: str) -> bool:
        """Whether the secret is the one."""
        return secrets.compare_digest(_hash(secret, self.salt, self.iterations), self.hash)


@dataclass(frozen=True, slots=True)
class Credential:
    """A device's credential as it is kept.

    Attributes:
        device: code, which is its user name at the broker.
        revoked_at: it lets nobody in any more.
        suspended_until: it lets nobody in until then; `suspended_for` says why.
    """

    device: str
    verifier: Verifier
    issued_at: datetime
    revoked_at: datetime | None = None
    suspended_until: datetime | None = None
    suspended_for: str | None = None

    def lets_in(self, now: datetime) -> bool:
        """Whether the device may connect now."""
        return self.revoked_at is None and (self.suspended_until is None or self.suspended_until <= now)


def new_secret() -> str:
    """A secret: 43 characters that need no quoting anywhere."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def verifier_of(secret: str) -> Verifier:
    """A new verifier of a secret."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return Verifier(salt, _hash(secret, salt, ITERATIONS))


def _hash(secret: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha512", secret.encode(), salt, iterations, _HASH_BYTES)
