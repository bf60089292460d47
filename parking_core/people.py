"""People who use shared parking: their roles, and how a token becomes a digest (facts and rules).

Accounts with a role and one bearer token; passwords, sessions and scopes belong to the full identity of the API.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_TOKEN_BYTES: Final = 32
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


class Role(StrEnum):
    """What an account may do."""

    DRIVER = "driver"
    OPERATOR = "operator"  # staff of a lot's operator: that operator's lots only
    PLANNER = "planner"
    DISTRICT = "district"  # decides policies, sees everything


ANYONE: Final = "any"  # the group that everybody belongs to


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """An account. Plates are personal data: masked in logs and in answers to others."""

    id: int
    code: str
    role: Role
    operator_id: int | None = None
    groups: frozenset[str] = frozenset()
    plates: frozenset[str] = frozenset()

    def belongs_to(self, group: str) -> bool:
        """Whether the person may ask as a member of a group."""
        return group == ANYONE or group in self.groups


def new_token() -> str:
    """A bearer token, 256 random bits; only its digest is stored."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def digest_of(token: str) -> bytes | None:
    """SHA-256 of a token; None: it has not the form of one, so nobody has it."""
    return hashlib.sha256(token.encode()).digest() if _TOKEN.fullmatch(token) else None
