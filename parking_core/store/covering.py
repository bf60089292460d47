"""Permit rows that cover the visit of a promise, under the promise's own code. Nothing here commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

_EXTEND = "UPDATE permits SET valid_until = %(until)s WHERE code = %(code)s AND valid_until < %(until)s"


def extend(connection: Connection[Any], code: str, until: datetime) -> None:
    """Covers until later; what is covered for longer already stays so."""
    connection.execute(_EXTEND, {"code": code, "until": until})
