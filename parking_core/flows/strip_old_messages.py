"""Empties messages that have served: what went to the clearing centre, to lanes and to drivers, and what came back.

Amounts, states, numbers and what was booked stay. A token that lets somebody see and pay a stay goes as soon as its link
has expired: until then a lane that asks again is given the same link (parking_core.flows.answer_fee_requests).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from parking_core.flows.mask_old_plates import LEAST_KEPT
from parking_core.payments import LANE_LINK_LIFE
from parking_core.store import message_stripping

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection


@dataclass(frozen=True, slots=True)
class Stripped:
    """Numbers of rows."""

    packages: int
    clearing_messages: int
    payment_notices: int
    payment_links: int
    payment_orders: int
    status_lists: int  # commands
    fee_answers: int


def strip_old_messages(connection: Connection[Any], now: datetime, keep_days: int) -> Stripped:
    """Empties what is older than `keep_days`, and 30 days at least; of status lists, every command that has ended.

    What is still open keeps its content: packages that are not booked or whose records are disputed, messages that wait.
    """
    before = now - max(timedelta(days=keep_days), LEAST_KEPT)
    with connection.transaction():
        packages = message_stripping.strip_packages(connection, before)
    with connection.transaction():
        messages = message_stripping.strip_messages(connection, before)
    with connection.transaction():
        notices, links, orders = message_stripping.strip_payments(connection, before)
    with connection.transaction():
        lists, answers = message_stripping.strip_commands(connection, before)
    return Stripped(packages, messages, notices, links, orders, lists, answers)


def strip_tokens(connection: Connection[Any], now: datetime) -> int:
    """Takes the payment links that have expired out of fee answers; gives their number."""
    with connection.transaction():
        return message_stripping.strip_tokens(connection, now - LANE_LINK_LIFE)
