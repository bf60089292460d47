"""Offers a visit's amount for payment by QR code, in the transaction of whoever asks (a fee answer)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.payments import FREE_LINK_LIFE, LANE_LINK_LIFE, TOKEN_BYTES, link_digest
from parking_core.store import payment_links

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from psycopg import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a driver may pay: `amount_fen` > 0 for a visit; `device_id` is the lane whose barrier opens, None: no lane."""

    visit_id: int
    device_id: int | None
    amount_fen: int
    lines: Sequence[Mapping[str, Any]] = ()  # parking_core.tariffs.ChargeLine as JSON: shown to the driver


def offer_all(connection: Connection[Any], offers: Sequence[Offer], now: datetime) -> list[str]:
    """Makes a link for each offer and gives their tokens, in the same order; two statements whatever their number.

    A token is 192 random bits and stands nowhere but in what is returned. Of several offers for one visit the last is
    stored; the others' tokens lead nowhere. Older links of the visits are superseded.
    """
    if not offers:
        return []
    tokens = [secrets.token_urlsafe(TOKEN_BYTES) for _ in offers]
    links = {
        one.visit_id: payment_links.NewLink(
            digest=link_digest(token),
            visit_id=one.visit_id,
            device_id=one.device_id,
            amount_fen=one.amount_fen,
            lines=one.lines,
            expires_at=now + (FREE_LINK_LIFE if one.device_id is None else LANE_LINK_LIFE),
        )
        for one, token in zip(offers, tokens, strict=True)
    }
    with connection.transaction():
        payment_links.add(connection, list(links.values()), now)
    return tokens


def offer(connection: Connection[Any], visit_id: int, device_id: int | None, amount_fen: int, now: datetime) -> str:
    """One offer without lines; gives the token."""
    return offer_all(connection, [Offer(visit_id=visit_id, device_id=device_id, amount_fen=amount_fen)], now)[0]
