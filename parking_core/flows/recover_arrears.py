"""Recovers arrears: drivers who left without paying are given a link to pay by, as often as it takes.

    open arrears ─► one link a visit, good for thirty days ─► whoever sends messages to drivers
    driver pays ─► notice ─► journal: the visit owes nothing ─► the difference is settled

The platform knows plates and no phones: what it gives out is a list of plates and links, and the operator's message
service knows whom to tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.flows.offer_payment import Offer, offer_all
from parking_core.store.arrears import OwingVisit, owing_visits

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from psycopg import Connection


@dataclass(frozen=True, slots=True)
class OfferedArrear:
    """A visit that owes, and the secret path where its driver can pay."""

    owing: OwingVisit
    pay_path: str


def list_arrears(
    connection: Connection[Any], now: datetime, *, lot: str | None = None, age: timedelta
) -> list[OwingVisit]:
    """Visits that left at least `age` ago and still owe, the oldest first; of one lot if given (code)."""
    with connection.transaction():
        return owing_visits(connection, lot=lot, left_before=now - age, now=now)


def offer_arrears(
    connection: Connection[Any], now: datetime, *, lot: str | None = None, age: timedelta, again: bool = False
) -> list[OfferedArrear]:
    """Makes a link for each of them; one that has a link that still holds only where `again` is set.

    Asked again, the newest link counts; the one before leads nowhere when the amount has changed.
    """
    with connection.transaction():
        owing = [
            visit
            for visit in owing_visits(connection, lot=lot, left_before=now - age, now=now)
            if again or visit.asked_at is None
        ]
        offers = [
            Offer(visit_id=visit.visit_id, device_id=None, amount_fen=visit.owed_fen, lines=visit.lines)
            for visit in owing
        ]
        tokens = offer_all(connection, offers, now)
    return [OfferedArrear(visit, f"/v1/payments/{token}") for visit, token in zip(owing, tokens, strict=True)]
