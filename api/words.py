"""Texts in both languages, as answers carry them."""

from __future__ import annotations

import msgspec


class Words(msgspec.Struct, frozen=True):
    """A text in both languages."""

    zh: str
    en: str
