"""What time does to permits: they end, their money moves, cars that stay are noted. Several transactions.

over ─► openings that were lost elsewhere, too ─► months held, charged, given back ─► cars outside their openings
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from parking_core.flows.share_permits.ending import cars_outside_window, expire_permits, note_violation
from parking_core.flows.share_permits.money import Settled, settle_permit_money
from parking_core.flows.share_permits.suspension import refund_lost_elsewhere

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

    from parking_core.flows.offers_in_force import OffersInForce


@dataclass(frozen=True, slots=True)
class Watched:
    """What a pass did; money in fen."""

    ended: int = 0
    lost_elsewhere: int = 0
    months_held: int = 0
    charged_fen: int = 0
    refunded_fen: int = 0
    violations: int = 0

    @property
    def anything(self) -> bool:
        """Whether it did something."""
        return self != Watched()


def watch_permits(connection: Connection[Any], offers: OffersInForce, now: datetime) -> Watched:
    """Does what is due. Doing it again changes nothing.

    A car is noted when it stands outside its openings for as long as an overstay takes to be a violation.
    """
    zone = offers.zone
    offer = offers.of(connection, now)
    ended = expire_permits(connection, now, zone=zone)
    elsewhere = refund_lost_elsewhere(connection, offers, now)
    money: Settled = settle_permit_money(connection, now, zone=zone, channel=offer.channel)
    grace = timedelta(minutes=offer.policy.overstay.violation_from_min)
    noted = 0
    for found in cars_outside_window(connection, now, zone=zone, grace=grace):
        with connection.transaction():
            noted += note_violation(connection, found, now, zone=zone)
    return Watched(ended, elsewhere, money.held, money.charged_fen, money.refunded_fen, noted)
