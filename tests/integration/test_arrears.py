from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from typer.testing import CliRunner

from onebox.__main__ import application
from parking_core.errors import InvalidInputError
from parking_core.flows.charge_visits import review_visits
from parking_core.flows.recover_arrears import list_arrears, offer_arrears
from parking_core.payments import link_digest
from tests.integration.money_rows import ZONE
from tests.integration.payment_stage import Lot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.services

NOW = datetime.now(UTC)


@pytest.fixture
def lot(database_url: str) -> Iterator[Lot]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield Lot(connection)


def left_owing(lot: Lot, vehicle: str, fen: int) -> int:
    visit = lot.enter(vehicle)
    lot.leave(visit)
    lot.charge(visit, fen)
    with lot.connection.transaction():
        review_visits(lot.connection, [visit], ZONE)
    return visit


def later(**ahead: Any) -> datetime:
    """After every exit of these tests."""
    return NOW + timedelta(hours=3, **ahead)


def test_every_visit_that_owes_gets_one_link_for_what_it_owes(lot: Lot) -> None:
    first, second = left_owing(lot, "苏B12345", 1000), left_owing(lot, "苏BD12345", 700)
    offered = offer_arrears(lot.connection, later(), age=timedelta())
    assert {one.owing.visit_id: one.owing.owed_fen for one in offered} == {first: 1000, second: 700}
    links = lot.rows("SELECT digest, visit_id, amount_fen, device_id FROM payment_links")
    paths = {one.owing.visit_id: one.pay_path.removeprefix("/v1/payments/") for one in offered}
    assert {bytes(digest): (visit, fen, device) for digest, visit, fen, device in links} == {
        link_digest(paths[first]): (first, 1000, None),
        link_digest(paths[second]): (second, 700, None),
    }
    assert [line["amount_fen"] for line in offered[0].owing.lines] == [1000]


def test_who_was_asked_is_asked_again_only_on_demand_or_when_the_link_has_expired(lot: Lot) -> None:
    left_owing(lot, "苏B12345", 1000)
    assert len(offer_arrears(lot.connection, later(), age=timedelta())) == 1
    assert offer_arrears(lot.connection, later(minutes=1), age=timedelta()) == []
    assert len(offer_arrears(lot.connection, later(minutes=1), age=timedelta(), again=True)) == 1
    assert len(offer_arrears(lot.connection, later(days=31), age=timedelta())) == 1


def test_young_arrears_other_lots_and_paid_visits_are_left_out(lot: Lot) -> None:
    visit = left_owing(lot, "苏B12345", 1000)
    assert not list_arrears(lot.connection, later(), age=timedelta(days=3650))
    assert not list_arrears(lot.connection, later(), lot="P02", age=timedelta())
    assert [one.visit_id for one in list_arrears(lot.connection, later(), lot="P01", age=timedelta())] == [visit]
    lot.charge(visit, 0)
    assert not list_arrears(lot.connection, later(), age=timedelta())


def run(monkeypatch: pytest.MonkeyPatch, database_url: str, *arguments: str) -> Any:
    monkeypatch.setenv("PARKING_DATABASE_URL", database_url)
    monkeypatch.setenv("PARKING_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("PARKING_MQTT_URL", "mqtt://127.0.0.1:1")
    return CliRunner().invoke(application(), ["arrears", *arguments])


def test_the_command_lists_masked_plates_and_writes_links_for_its_owner_only(
    lot: Lot, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    visit = left_owing(lot, "苏B12345", 1000)
    lot.connection.execute("UPDATE visits SET exited_at = now() - interval '2 days' WHERE id = %s", (visit,))
    listed = run(monkeypatch, database_url, "list")
    assert listed.exit_code == 0, listed.output
    assert "1 visits owe 10.00 yuan." in listed.output
    assert "12345" not in listed.output
    target = tmp_path / "links.csv"
    offered = run(monkeypatch, database_url, "offer", "--to", str(target))
    assert offered.exit_code == 0, offered.output
    assert target.stat().st_mode & 0o777 == 0o600
    (row,) = csv.DictReader(target.read_text("utf-8").splitlines())
    assert (row["plate"], row["lot"], row["amount_fen"]) == ("苏B12345", "P01", "1000")
    assert row["pay_path"].startswith("/v1/payments/")
    again = run(monkeypatch, database_url, "offer", "--to", str(target))
    assert isinstance(again.exception, InvalidInputError)  # an older list is never overwritten
