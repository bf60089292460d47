"""The tail of a transaction: what is written is read again, and the real records read as they are known to."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parking_core.lane_tail import LaneTail, decode_tail, encode_tail, fits
from tests.conventions.source import REPOSITORY

VECTORS = "etc/customized_data_vector.json"

TAIL = LaneTail(
    tac="0a1b2c3d",
    amount_fen=1_000,
    trade_type="09",
    terminal_no="013200000001",
    terminal_serial="0000002a",
    local_time=datetime(2026, 6, 1, 8, 30, 5),  # noqa: DTZ001  # the tail knows no zone
    balance_after_fen=1_999_920_000,
    balance_before_fen=1_999_921_000,
    card_counter=7,
)
DIGITS = "0a1b2c3d000003e8090132000000010000002a20260601083005000077345b8077345f680007"

_fen = st.integers(0, 2**32 - 1)
_tails = st.builds(
    LaneTail,
    tac=st.integers(0, 2**32 - 1).map("{:08x}".format),
    amount_fen=_fen,
    trade_type=st.sampled_from(["06", "09"]),
    terminal_no=st.integers(0, 2**48 - 1).map("{:012x}".format),
    terminal_serial=st.integers(0, 2**32 - 1).map("{:08x}".format),
    local_time=st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(lambda at: at.replace(microsecond=0)),  # noqa: DTZ001  # the tail knows no zone
    balance_after_fen=_fen,
    balance_before_fen=_fen,
    card_counter=st.integers(0, 65_535),
)


def test_a_tail_is_written_digit_by_digit() -> None:
    assert encode_tail(TAIL) == DIGITS
    assert decode_tail(DIGITS.upper()) == TAIL
    assert TAIL.is_balanced
    assert not replace(TAIL, amount_fen=999).is_balanced


@given(_tails)
def test_what_is_written_is_read_again(tail: LaneTail) -> None:
    digits = encode_tail(tail)
    assert len(digits) == 76
    assert decode_tail(digits) == tail


@pytest.mark.parametrize(
    "digits", ["", DIGITS[:-1], DIGITS + "0", "g" + DIGITS[1:], DIGITS.replace("20260601", "20261301")]
)
def test_what_is_no_tail_is_refused(digits: str) -> None:
    with pytest.raises(ValueError, match=r"76 hexadecimal|time data|unconverted"):
        decode_tail(digits)


@pytest.mark.parametrize(
    "tail",
    [
        replace(TAIL, tac="0a1b2c3d4e"),
        replace(TAIL, tac="xyz"),
        replace(TAIL, amount_fen=-1),
        replace(TAIL, card_counter=65_536),
    ],
)
def test_what_does_not_fit_is_refused(tail: LaneTail) -> None:
    with pytest.raises(ValueError, match=r"hexadecimal"):
        encode_tail(tail)


@given(st.text("0123456789aFg-号", max_size=14), st.integers(-1, 2**32))
def test_a_value_fits_just_when_it_can_be_written(text: str, fen: int) -> None:
    written: list[tuple[str, str | int, LaneTail]] = [
        ("terminal_no", text, replace(TAIL, terminal_no=text)),
        ("terminal_serial", text, replace(TAIL, terminal_serial=text)),
        ("trade_type", text, replace(TAIL, trade_type=text)),
        ("tac", text, replace(TAIL, tac=text)),
        ("before", fen, replace(TAIL, balance_before_fen=fen)),
        ("after", fen, replace(TAIL, balance_after_fen=fen)),
        ("amount", fen, replace(TAIL, amount_fen=fen)),
    ]
    for name, value, tail in written:
        if fits(name, value):
            assert len(encode_tail(tail)) == 76, name
        else:
            with pytest.raises(ValueError, match="hexadecimal"):
                encode_tail(tail)
    assert fits("tac", None)


def test_real_records_read_as_they_are_known_to() -> None:
    """Records of a real lane, which are not part of this repository."""
    path = Path(os.environ.get("PARKING_SHARED_DATA") or REPOSITORY.parent / "shared" / "data") / VECTORS
    if not path.is_file():
        pytest.skip(f"{path} is not there; set PARKING_SHARED_DATA to the folder that holds {VECTORS}")
    for vector in json.loads(path.read_text("utf-8"))["vectors"]:
        tail, known = decode_tail(vector["customized_data"]), vector["expected"]
        assert (tail.tac, tail.amount_fen, tail.trade_type) == (known["tac"], known["amount_fen"], known["trans_type"])
        assert (tail.terminal_no, tail.terminal_serial) == (known["terminal_no"], known["terminal_trans_no"])
        assert f"{tail.local_time:%Y%m%d%H%M%S}" == known["trans_time"]
        assert (tail.balance_after_fen, tail.balance_before_fen) == (
            known["post_balance_fen"],
            known["pre_balance_fen"],
        )
        assert tail.card_counter == int(known["card_counter"], 16)
        assert tail.is_balanced
        assert encode_tail(tail) == vector["customized_data"].lower()
