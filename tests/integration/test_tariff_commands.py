"""`parking tariff`, `parking permit` and `parking coupon` as a person runs them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from typer.testing import CliRunner

from onebox.__main__ import application
from parking_core.errors import InvalidInputError, NotFoundError, ParkingError
from tests.tariff_rows import add_lane, add_lot, add_visit, hourly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from typer.testing import Result

pytestmark = pytest.mark.services

CAR, OTHER = "苏B12345", "苏BD23456"


def run(*words: str) -> Result:
    return CliRunner().invoke(application(), list(words), env={"COLUMNS": "250"})


def done(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return str(result.output)


def refused(kind: type[ParkingError], *words: str) -> str:
    result = run(*words)
    assert isinstance(result.exception, kind), (result.output, result.exception)
    return str(result.exception)


@pytest.fixture
def db(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection[Any]]:
    monkeypatch.setenv("PARKING_DATABASE_URL", database_url)
    monkeypatch.setenv("PARKING_REDIS_URL", "redis://127.0.0.1:9")
    monkeypatch.setenv("PARKING_MQTT_URL", "mqtt://127.0.0.1:9")
    with psycopg.connect(database_url, autocommit=True) as connection:
        add_lane(connection, add_lot(connection, "L1"), "L1-OUT")
        add_lot(connection, "S1", "on_street")
        yield connection


@pytest.fixture
def file(tmp_path: Path) -> Callable[[dict[str, Any]], str]:
    def write(document: dict[str, Any]) -> str:
        path = tmp_path / "tariff.json"
        path.write_text(json.dumps(document, ensure_ascii=False), "utf-8")
        return str(path)

    return write


def test_a_document_is_checked_without_a_database(file: Callable[[dict[str, Any]], str]) -> None:
    assert "is a valid tariff: hourly, 每小时 (by the hour)" in done("tariff", "check", file(hourly()))
    said = refused(InvalidInputError, "tariff", "check", file(hourly(typo=1)))
    assert "1 problem" in said
    assert "typo" in said


def test_every_shipped_document_is_shown_and_valid(tmp_path: Path) -> None:
    from parking_core.tariffs import documents

    for name in documents.names():
        path = tmp_path / "shipped.json"
        path.write_text(done("tariff", "show", name, "--shipped"), "utf-8")
        assert name in done("tariff", "check", str(path))
    assert "wuxi-off-street" in refused(NotFoundError, "tariff", "show", "nonsense", "--shipped")


@pytest.mark.usefixtures("db")
def test_publish_list_show_and_quote(file: Callable[[dict[str, Any]], str]) -> None:
    said = done("tariff", "publish", file(hourly()), "--lot", "L1", "--from", "2026-01-01T00:00")
    assert "hourly version 1 is published." in said
    assert "1 lots charge by it for entries from 2026-01-01T00:00+08:00 on; 1 lanes are told." in said
    assert "was published before" in done("tariff", "publish", file(hourly()))
    listed = done("tariff", "list")
    assert "hourly" in listed
    assert "wuxi-hospital-2023" in listed
    assert json.loads(done("tariff", "show", "hourly", "--version", "1"))["rates"] == hourly()["rates"]
    stay = ("tariff", "quote", "L1", "--entry", "2026-03-02T08:00", "--exit", "2026-03-02T10:30")
    table = done(*stay)
    assert "rate.hour.0" in table
    assert "每1小时5元" in table
    assert "5 yuan per 1 h" in table
    assert "L1 by hourly version 1: 15.00 yuan." in table
    record = json.loads(done(*stay, "--json"))
    assert (record["amount_fen"], record["lines"][0]["from"]) == (1500, "2026-03-02T08:00:00+08:00")


@pytest.mark.usefixtures("db")
def test_every_lot_off_the_street_at_once(file: Callable[[dict[str, Any]], str]) -> None:
    assert "1 lots charge by it" in done("tariff", "publish", file(hourly()), "--all-off-street")
    stay = ("--entry", "2090-03-02T08:00", "--exit", "2090-03-02T08:30", "--plate-color", "绿", "--vehicle-class", "1")
    assert "5.00 yuan" in done("tariff", "quote", "L1", *stay)
    assert "Lot S1 has no tariff" in refused(NotFoundError, "tariff", "quote", "S1", *stay)


@pytest.mark.usefixtures("db")
def test_what_cannot_be_done_is_said(file: Callable[[dict[str, Any]], str]) -> None:
    path = file(hourly())
    assert "L9" in refused(NotFoundError, "tariff", "publish", path, "--lot", "L9")
    assert "tomorrow" in refused(InvalidInputError, "tariff", "publish", path, "--lot", "L1", "--from", "tomorrow")
    assert run("tariff", "publish", path, "--lot", "L1", "--all-off-street").exit_code == 2
    assert run("tariff", "publish", path, "--from", "2026-01-01").exit_code == 2
    assert "hourly version 7" in refused(NotFoundError, "tariff", "show", "hourly", "--version", "7")
    quote = ("tariff", "quote", "L1", "--entry", "2026-03-02T08:00", "--exit")
    assert "before it begins" in refused(InvalidInputError, *quote, "2026-03-02T07:00")
    assert "mauve" in refused(InvalidInputError, *quote, "2026-03-02T09:00", "--plate-color", "mauve")


def test_a_permit_and_a_coupon_reach_the_quote(
    db: psycopg.Connection[Any], file: Callable[[dict[str, Any]], str]
) -> None:
    done("tariff", "publish", file(hourly()), "--lot", "L1", "--from", "2026-01-01")
    quote = ("tariff", "quote", "L1", "--entry", "2026-03-31T20:00", "--exit", "2026-04-01T02:00", "--json", "--plate")
    days = ("--from", "2026-03-01", "--until", "2026-03-31")
    said = done("permit", "add", "M-1", "--lot", "L1", "--plate", "苏B·12345", "--plate", OTHER, *days)
    assert "M-1 covers 2 plates in L1 from 2026-03-01 to 2026-03-31, 1 at a time" in said
    assert json.loads(done(*quote, CAR))["amount_fen"] == 1000, "two hours after the permit's last day"
    lane = db.execute("SELECT device_id FROM lanes").fetchone()
    assert lane is not None
    entered = datetime(2026, 3, 31, 11, tzinfo=UTC)
    add_visit(db, lane[0], OTHER, entered, entered + timedelta(hours=3))
    assert json.loads(done(*quote, CAR))["amount_fen"] == 2000, "the other vehicle holds the slot until 22:00"
    done("coupon", "add", "C-1", "--plate", CAR, "--amount-fen", "300", "--until", "2026-12-31", "--lot", "L1")
    assert json.loads(done(*quote, CAR))["amount_fen"] == 1700


@pytest.mark.usefixtures("db")
def test_permits_are_listed_masked_and_ended() -> None:
    days = ("--from", "2020-01-01", "--until", "2090-12-31")
    done("permit", "add", "M-1", "--lot", "L1", "--plate", CAR, *days)
    listed = done("permit", "list", "--lot", "L1")
    assert "苏B·**345" in listed
    assert CAR not in listed
    assert CAR in done("permit", "list", "--plates")
    assert "ends at 2" in done("permit", "end", "M-1")
    assert "M-1" not in done("permit", "list")
    assert "M-1" in done("permit", "list", "--ended")
    ended = done("permit", "end", "M-1")
    assert ended == done("permit", "end", "M-1"), "ending it again moves nothing"


@pytest.mark.usefixtures("db")
def test_a_permit_with_windows_covers_their_hours_and_is_listed_with_its_sentence(
    file: Callable[[dict[str, Any]], str], tmp_path: Path
) -> None:
    done("tariff", "publish", file(hourly()), "--lot", "L1", "--from", "2026-01-01")
    nights = tmp_path / "nights.json"
    nights.write_text('{"windows": [{"days": ["workday"], "from": "18:00", "until": "08:00"}]}', "utf-8")
    days = ("--from", "2026-01-01", "--until", "2090-12-31")
    add = ("permit", "add", "N-1", "--lot", "L1", "--plate", CAR, *days, "--windows")
    assert "Covered: Workdays 18:00 to 08:00 the next day." in done(*add, str(nights))
    assert "Workdays 18:00 to 08:00 the next day." in done("permit", "list")
    quote = ("tariff", "quote", "L1", "--entry", "2026-03-03T16:00", "--exit", "2026-03-04T09:00", "--json", "--plate")
    assert json.loads(done(*quote, CAR))["amount_fen"] == 1500, "two hours before the night, one after it"
    nights.write_text('{"windows": [{"days": ["feast"], "from": "18:00", "until": "25:00"}]}', "utf-8")
    said = refused(InvalidInputError, *add, str(nights))
    assert "2 problems" in said
    assert "nights.json" in said
    nights.write_text("{", "utf-8")
    assert "is no JSON" in refused(InvalidInputError, *add, str(nights))


@pytest.mark.usefixtures("db")
def test_permits_and_coupons_that_cannot_be_are_refused() -> None:
    days = ("--from", "2026-03-01", "--until", "2026-03-31")
    permit = ("permit", "add", "M-1", "--lot", "L1", "--plate")
    assert "苏B77" not in refused(InvalidInputError, *permit, "苏B77", *days)
    assert "exchange" in refused(InvalidInputError, *permit, CAR, "--from", "2026-03-31", "--until", "2026-03-01")
    assert "31.03" in refused(InvalidInputError, *permit, CAR, "--from", "31.03.2026", "--until", "2026-04-01")
    assert "L9" in refused(NotFoundError, "permit", "add", "M-1", "--lot", "L9", "--plate", CAR, *days)
    done(*permit, CAR, *days)
    assert "already" in refused(InvalidInputError, *permit, CAR, *days)
    assert "M-9" in refused(NotFoundError, "permit", "end", "M-9")
    coupon = ("coupon", "add", "C-1", "--plate", CAR, "--until", "2026-12-31")
    assert run(*coupon).exit_code == 2
    assert run(*coupon, "--percent", "50", "--minutes", "30").exit_code == 2
    done(*coupon, "--percent", "50")
    assert "already" in refused(InvalidInputError, *coupon, "--percent", "50")


@pytest.mark.usefixtures("db")
def test_seed_gives_every_lot_a_tariff_and_changes_nothing_the_second_time(db: psycopg.Connection[Any]) -> None:
    assert "tariffs of lots" in done("seed", "--lots", "10")
    without = "SELECT count(*) FROM lots WHERE NOT EXISTS (SELECT FROM lot_tariffs WHERE lot_id = lots.id)"
    assert db.execute(without.encode()).fetchone() == (0,)
    assert "Nothing was new" in done("seed", "--lots", "10")
