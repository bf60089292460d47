"""Messages whose content has served: emptied row by row, so that numbers, amounts and states stay. Nothing here commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

# Plates and cards of transactions. A refused package lives on in others; a dispute may be asked about.
_PACKAGES = """
UPDATE etc_packages AS package SET body = ''
WHERE state IN ('booked', 'refused') AND created_at < %(before)s AND body <> ''
  AND NOT EXISTS (SELECT FROM etc_transactions t WHERE t.package_id = package.id AND t.state = 'disputed')
"""

# Cards and OBUs of status lists; what waits for another message is still needed, what nobody could read is not.
_MESSAGES = """
UPDATE clearing_messages SET body = ''
WHERE received_at < %(before)s AND body <> '' AND (applied_at IS NOT NULL OR kind = 'unreadable')
"""

_NOTICES = """
UPDATE payment_notices SET body = '' WHERE received_at < %(before)s AND processed_at IS NOT NULL AND body <> ''
"""

_LINKS = """
UPDATE payment_links SET lines = '[]' WHERE expires_at < %(before)s AND lines <> '[]'
"""

# What a driver's wallet opened leads to him at the acquirer.
_ORDERS = """
UPDATE payment_orders SET code_url = NULL
WHERE state NOT IN ('created', 'pending') AND changed_at < %(before)s AND code_url IS NOT NULL
"""

# status_entries has the list itself.
_LISTS = """
UPDATE commands SET payload = payload - 'entries'
WHERE kind = 'status_list' AND state NOT IN ('queued', 'sent') AND payload ? 'entries'
"""

# Who was where and when, and by which rule it cost so much; the charge of the visit has that.
_ANSWERS = """
UPDATE commands SET payload = payload - '{plate,entered_at,lines}'::text[]
WHERE kind = 'fee_answer' AND state NOT IN ('queued', 'sent') AND created_at < %(before)s
  AND payload ?| '{plate,entered_at,lines}'::text[]
"""

_TOKENS = """
UPDATE commands SET payload = payload || '{"pay_path": null}'
WHERE kind = 'fee_answer' AND payload ->> 'pay_path' IS NOT NULL AND created_at < %s AND state NOT IN ('queued', 'sent')
"""


def strip_packages(connection: Connection[Any], before: datetime) -> int:
    """Empties packages made before then of which nothing is open; gives their number."""
    return connection.execute(_PACKAGES, {"before": before}).rowcount


def strip_messages(connection: Connection[Any], before: datetime) -> int:
    """Empties messages of the clearing centre that came before then and were applied; gives their number."""
    return connection.execute(_MESSAGES, {"before": before}).rowcount


def strip_payments(connection: Connection[Any], before: datetime) -> tuple[int, int, int]:
    """Empties notices, links and orders that ended before then; gives the number of each."""
    given = {"before": before}
    notices, links, orders = (connection.execute(one, given).rowcount for one in (_NOTICES, _LINKS, _ORDERS))
    return notices, links, orders


def strip_commands(connection: Connection[Any], before: datetime) -> tuple[int, int]:
    """Takes status lists out of commands that have ended, and stays out of old fee answers; gives the number of each."""
    lists = connection.execute(_LISTS).rowcount
    return lists, connection.execute(_ANSWERS, {"before": before}).rowcount


def strip_tokens(connection: Connection[Any], before: datetime) -> int:
    """Takes payment links out of fee answers that were given before then; gives their number."""
    return connection.execute(_TOKENS, (before,)).rowcount
