"""The tail of a transaction as a package to the clearing centre carries it: 76 hexadecimal digits (rules).

Layout of Jiangsu's `CustomizedData`: TAC 8, amount 8 (hexadecimal fen), trade type 2, terminal number 12, terminal
serial 8, local time 14 (yyyyMMddHHmmss), reserved 4, balance after 8, balance before 8 (hexadecimal fen), the card's own
transaction counter 4. Of a credit card the balances are counters near 2,000,000,000.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

WIDTH: Final = 76
_FEN_MAX: Final = 2**32 - 1
_COUNTER_MAX: Final = 2**16 - 1
_HEX = re.compile(r"[0-9A-Fa-f]*")
_LAYOUT: Final = (
    ("tac", 8),
    ("amount", 8),
    ("trade_type", 2),
    ("terminal_no", 12),
    ("terminal_serial", 8),
    ("time", 14),
    ("reserved", 4),
    ("after", 8),
    ("before", 8),
    ("counter", 4),
)
_WIDTHS: Final = dict(_LAYOUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneTail:
    """What the tail says. Hexadecimal texts are lower case; the time is local and knows no zone."""

    tac: str
    amount_fen: int
    trade_type: str
    terminal_no: str
    terminal_serial: str
    local_time: datetime
    balance_after_fen: int
    balance_before_fen: int
    card_counter: int = 0

    @property
    def is_balanced(self) -> bool:
        """Whether the balance before minus the amount is the balance after."""
        return self.balance_before_fen - self.amount_fen == self.balance_after_fen


def encode_tail(tail: LaneTail) -> str:
    """The 76 digits, lower case.

    Raises:
        ValueError: a text is not hexadecimal or too long for its place, or a number does not fit.
    """
    texts = {
        "tac": tail.tac,
        "amount": _number(tail.amount_fen, 8, _FEN_MAX, "amount"),
        "trade_type": tail.trade_type,
        "terminal_no": tail.terminal_no,
        "terminal_serial": tail.terminal_serial,
        "time": tail.local_time.strftime("%Y%m%d%H%M%S").zfill(14),
        "reserved": "",
        "after": _number(tail.balance_after_fen, 8, _FEN_MAX, "balance after"),
        "before": _number(tail.balance_before_fen, 8, _FEN_MAX, "balance before"),
        "counter": _number(tail.card_counter, 4, _COUNTER_MAX, "card counter"),
    }
    parts = []
    for name, width in _LAYOUT:
        text = texts[name]
        if len(text) > width or not _HEX.fullmatch(text):
            raise ValueError(f"{name} is not hexadecimal, or longer than its {width} digits.")
        parts.append(text.rjust(width, "0"))
    return "".join(parts).lower()


def fits(name: str, value: str | int | None) -> bool:
    """Whether a text or an amount of fen fits its place in the tail; what is absent is written as zeros.

    Raises:
        KeyError: the tail has no such place.
    """
    if isinstance(value, int):
        return 0 <= value <= _FEN_MAX
    return value is None or (len(value) <= _WIDTHS[name] and _HEX.fullmatch(value) is not None)


def decode_tail(digits: str) -> LaneTail:
    """What the 76 digits say.

    Raises:
        ValueError: another length, no hexadecimal digits, or a time that no calendar has.
    """
    if len(digits) != WIDTH or not _HEX.fullmatch(digits):
        raise ValueError(f"A tail has {WIDTH} hexadecimal digits; this text has {len(digits)} characters.")
    texts, start = {}, 0
    for name, width in _LAYOUT:
        texts[name] = digits[start : start + width].lower()
        start += width
    return LaneTail(
        tac=texts["tac"],
        amount_fen=int(texts["amount"], 16),
        trade_type=texts["trade_type"],
        terminal_no=texts["terminal_no"],
        terminal_serial=texts["terminal_serial"],
        local_time=datetime.strptime(texts["time"], "%Y%m%d%H%M%S"),  # noqa: DTZ007  # the tail has no zone; the caller knows it
        balance_after_fen=int(texts["after"], 16),
        balance_before_fen=int(texts["before"], 16),
        card_counter=int(texts["counter"], 16),
    )


def _number(value: int, width: int, most: int, name: str) -> str:
    if not 0 <= value <= most:
        raise ValueError(f"The {name} {value} does not fit into {width} hexadecimal digits.")
    return f"{value:0{width}x}"
