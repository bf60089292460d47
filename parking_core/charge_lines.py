"""Charge lines as JSON: in the ledger's `charges.lines`, in quotes, on a lane's screen; one form everywhere (pure).

{"rule", "from", "until": RFC 3339, "units", "unit_price_fen", "amount_fen", "text": {"zh", "en"}}
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from parking_core.tariffs import ChargeLine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo


def as_record(line: ChargeLine, zone: ZoneInfo) -> dict[str, Any]:
    """A line as JSON; times with the offset of the tariff's zone, so that the ledger reads like the driver's receipt."""
    return {
        "rule": line.rule,
        "from": line.from_at.astimezone(zone).isoformat(timespec="seconds"),
        "until": line.until_at.astimezone(zone).isoformat(timespec="seconds"),
        "units": line.units,
        "unit_price_fen": line.unit_price_fen,
        "amount_fen": line.amount_fen,
        "text": {"zh": line.text_zh, "en": line.text_en},
    }


def from_record(record: Mapping[str, Any]) -> ChargeLine:
    """The line of a record that `as_record` made.

    Raises:
        KeyError, ValueError: it is none.
    """
    return ChargeLine(
        rule=record["rule"],
        from_at=datetime.fromisoformat(record["from"]),
        until_at=datetime.fromisoformat(record["until"]),
        units=record["units"],
        unit_price_fen=record["unit_price_fen"],
        amount_fen=record["amount_fen"],
        text_zh=record["text"]["zh"],
        text_en=record["text"]["en"],
    )
