"""Reading recorded sessions: formats, zones, bad rows."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from parking_core.errors import InvalidInputError
from simulators.sessions import BadRow, Columns, Dialect, Session, SessionFile, read_sessions

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = Columns("in", "out", "bay")


def _us(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1_000_000


def _read(tmp_path: Path, text: str, *, columns: Columns = COLUMNS, **dialect: Any) -> SessionFile:
    file = tmp_path / "sessions.csv"
    file.write_bytes(text.encode(str(dialect.get("encoding", "utf-8"))))
    return read_sessions(file, columns, Dialect(**dialect))


@pytest.mark.parametrize(
    ("arrival", "departure", "dialect"),
    [
        ("1609459200", "1609462800", {}),
        ("1609459200", "1609462800", {"time_format": "epoch"}),
        ("1609459200000", "1609462800000", {"time_format": "epoch_ms"}),
        ("2021-01-01T00:00:00Z", "2021-01-01T01:00:00+00:00", {}),
        ("2021-01-01 00:00", "2021-01-01 01:00", {}),
        ("2021-01-01 08:00:00", "2021-01-01 09:00:00", {"timezone": "Asia/Shanghai"}),
        ("2021/1/1 8:00", "2021/1/1 9:00", {"timezone": "+08:00"}),
        ("31.12.2020 19:00:00", "31.12.2020 20:00:00", {"timezone": "-05:00"}),
        ("31.12.2020 24h", "", {"time_format": "nothing"}),
        ("01-01-21 00.00", "01-01-21 01.00", {"time_format": "%d-%m-%y %H.%M"}),
    ],
)
def test_times_are_read_in_many_forms(tmp_path: Path, arrival: str, departure: str, dialect: dict[str, Any]) -> None:
    found = _read(tmp_path, f"bay,in,out\nA,{arrival},{departure}\n", **dialect)
    if dialect.get("time_format") == "nothing":
        assert [bad.column for bad in found.bad_rows] == ["in"]
        return
    expected = Session("A", _us("2021-01-01T00:00:00Z"), _us("2021-01-01T01:00:00Z"), 2)
    assert (found.sessions, found.bad_rows) == ([expected], [])


def test_bad_rows_are_named_and_left_out(tmp_path: Path) -> None:
    text = (
        "bay,in,out\nA,100,200\n,100,200\nB,noon,200\nB,100,later\nB,200,100\n\nC,100\nB,nan,1\nB,9e99,1\nD,300,400\n"
    )
    found = _read(tmp_path, text, time_format="epoch")
    assert [session.space for session in found.sessions] == ["A", "C", "D"]
    assert found.sessions[1].departure_us is None  # the car is still there
    assert [(bad.row, bad.column) for bad in found.bad_rows] == [
        (3, "bay"),
        (4, "in"),
        (5, "out"),
        (6, "out"),
        (9, "in"),
        (10, "in"),
    ]
    assert "before the arrival" in str(found.bad_rows[3])
    assert str(BadRow(7, "x", "is odd")) == "row 7, column 'x': is odd"


def test_delimiter_quotes_byte_order_mark_and_blanks(tmp_path: Path) -> None:
    found = _read(tmp_path, '\ufeffbay; in ;out\n"A;1";"100" ; 200\n', delimiter=";")
    assert found.sessions == [Session("A;1", 100_000_000, 200_000_000, 2)]


def test_other_encodings(tmp_path: Path) -> None:
    found = _read(
        tmp_path, "车位,到达,离开\n甲一,100,200\n", columns=Columns("到达", "离开", "车位"), encoding="gb18030"
    )
    assert found.sessions[0].space == "甲一"


def test_without_a_space_column_sessions_have_no_bay(tmp_path: Path) -> None:
    found = _read(tmp_path, "in,out\n100,200\n", columns=Columns("in", "out"))
    assert found.sessions == [Session(None, 100_000_000, 200_000_000, 2)]


@pytest.mark.parametrize(
    ("text", "dialect", "message"),
    [
        ("bay,from,out\nA,1,2\n", {}, "no column 'in'"),
        ("bay,in,out,in\nA,1,2,3\n", {}, "more than one column 'in'"),
        ("", {}, "no column"),
        ("bay,in,out\nA,soon,later\n", {}, "--time-format"),
        ("bay,in,out\nA,01/02/2021 10:00,02/02/2021 10:00\n", {}, "choose by --time-format"),
        ("bay,in,out\nA,1,2\n", {"timezone": "Moon/Sea"}, "no time zone"),
        ("bay,in,out\nA,1,2\n", {"delimiter": "::"}, "one character"),
    ],
)
def test_what_was_told_wrongly_is_said(tmp_path: Path, text: str, dialect: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        _read(tmp_path, text, **dialect)


def test_a_wrong_encoding_is_said(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(b"bay,in,out\n\xa3,1,2\n")
    with pytest.raises(InvalidInputError, match="--encoding latin-1"):
        read_sessions(file, COLUMNS, Dialect())
    with pytest.raises(InvalidInputError, match="does not know"):
        read_sessions(file, COLUMNS, Dialect(encoding="klingon"))
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_sessions(tmp_path / "absent.csv", COLUMNS, Dialect())


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("space=bay,arrival=in,departure=out", COLUMNS),
        ("departure=out, arrival=in , space=bay", COLUMNS),
        ("arrival=Lockdown Time,departure=Lockup Time", Columns("Lockdown Time", "Lockup Time")),
        ("arrival=in, local,departure=out", Columns("in, local", "out")),
    ],
)
def test_columns_are_read(text: str, columns: Columns) -> None:
    assert Columns.parse(text) == columns


@pytest.mark.parametrize(
    "text", ["", "arrival=a", "arrival=a,departure=", "arrival=a,departure=b,bay=c", "a,b", "arrival=a,arrival=b"]
)
def test_wrong_columns_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="arrival=NAME"):
        Columns.parse(text)
