"""What a person has to be told, written in the transaction of its cause. Nothing here commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from psycopg import Connection

_TELL = "INSERT INTO user_notices (user_id, kind, at, detail) VALUES (%s, %s, %s, %s)"


def tell(connection: Connection[Any], user_id: int, kind: str, now: datetime, detail: Mapping[str, Any]) -> None:
    """Leaves a notice for a person. `detail` names codes, never a plate."""
    connection.execute(_TELL, (user_id, kind, now, Jsonb(dict(detail))))
