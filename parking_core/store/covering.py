"""Permit rows that cover the visit of a promise, under the promise's own code. Nothing here commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

_COVER = """
WITH added AS (
    INSERT INTO permits (code, lot_id, kind, valid_from, valid_until, slots) VALUES (%s, %s, 'reservation', %s, %s, 1)
    RETURNING id
)
INSERT INTO permit_plates (permit_id, plate) SELECT id, %s FROM added
"""

_EXTEND = "UPDATE permits SET valid_until = %(until)s WHERE code = %(code)s AND valid_until < %(until)s"


def cover(connection: Connection[Any], code: str, lot_id: int, plate: str, span: tuple[datetime, datetime]) -> None:
    """Covers a vehicle's visit within a span of time."""
    connection.execute(_COVER, (code, lot_id, *span, plate))


def extend(connection: Connection[Any], code: str, until: datetime) -> None:
    """Covers until later; what is covered for longer already stays so."""
    connection.execute(_EXTEND, {"code": code, "until": until})
