"""`parking reconcile explain`: a person ends what he knows the cause of, and nothing that still needs money."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from typer.testing import CliRunner

from onebox.__main__ import application
from parking_core.errors import InvalidInputError, NotFoundError
from parking_core.reconciliation import Difference, DifferenceName, DifferenceState
from parking_core.store import differences
from tests.integration.money_rows import NOON

if TYPE_CHECKING:
    import psycopg

    from onebox.services import RunningServices

pytestmark = pytest.mark.services


@pytest.fixture
def store(
    db: psycopg.Connection[Any], database_url: str, services: RunningServices, monkeypatch: pytest.MonkeyPatch
) -> psycopg.Connection[Any]:
    worker = urlsplit(services.database_urls["worker"])._replace(path=urlsplit(database_url).path)
    monkeypatch.setenv("PARKING_DATABASE_URL", urlunsplit(worker))
    monkeypatch.setenv("PARKING_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("PARKING_MQTT_URL", "mqtt://127.0.0.1:1")
    return db


def found(store: psycopg.Connection[Any], name: DifferenceName, amount_fen: int = 0) -> int:
    differences.open_all(store, [Difference(key=name.value, name=name, day=NOON.date(), amount_fen=amount_fen)])
    row = store.execute("SELECT id FROM differences WHERE key = %s", (name.value,)).fetchone()
    assert row is not None
    return int(row[0])


def explain(number: int, **said: str) -> str:
    words = {"by": "Chen", "reason": "lane exchanged"} | said
    options = [part for name, text in words.items() for part in (f"--{name}", text)]
    result = CliRunner().invoke(application(), ["reconcile", "explain", str(number), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    ("name", "amount_fen"),
    [
        (DifferenceName.RECORD_MISSING, 0),
        (DifferenceName.REFERENCE_MISSING, 0),
        (DifferenceName.CHECK_FAILED, 0),  # told, not held
        (DifferenceName.AMOUNT_DIFFERS, 400),
    ],
)
def test_what_is_known_is_explained_once(store: psycopg.Connection[Any], name: DifferenceName, amount_fen: int) -> None:
    number = found(store, name, amount_fen)
    assert "is explained" in explain(number)
    assert "was explained before" in explain(number, reason="another word")
    rows = store.execute("SELECT state, explanation, amount_fen FROM differences").fetchall()
    assert rows == [("explained", "Explained by Chen: lane exchanged", amount_fen)]


@pytest.mark.parametrize(
    "name",
    [DifferenceName.ARREARS, DifferenceName.CHECK_FAILED, DifferenceName.DISPUTED, DifferenceName.TAC_MISSING],
)
def test_money_that_is_owed_is_not_explained_away(store: psycopg.Connection[Any], name: DifferenceName) -> None:
    number = found(store, name, 500)
    with pytest.raises(InvalidInputError, match=r"500 fen .* `parking money`"):
        explain(number)
    assert store.execute("SELECT state FROM differences").fetchall() == [("open",)]


def test_what_is_unknown_ended_or_said_by_nobody_is_refused(store: psycopg.Connection[Any]) -> None:
    number = found(store, DifferenceName.HOUR_RECORDS)
    with pytest.raises(NotFoundError, match="no difference 99"):
        explain(99)
    with pytest.raises(InvalidInputError, match="needs its by"):
        explain(number, by=" ")
    differences.end(store, [DifferenceName.HOUR_RECORDS.value], DifferenceState.SETTLED, "late records")
    with pytest.raises(InvalidInputError, match="is settled"):
        explain(number)
