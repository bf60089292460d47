"""Quotes of an API process over the real database: found soon after a publication, answered without it afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from parking_core.flows.price_visits import ToPrice, price_visits
from parking_core.flows.publish_tariff import Binding, publish_tariff
from tests.conftest import REPOSITORY
from tests.integration import test_api_process as api_process
from tests.tariff_rows import add_lot, hourly

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import psycopg

pytestmark = pytest.mark.services

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)


@pytest.fixture
def http(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    """An API process; Redis holds no live state, which quotes do not need."""
    port = api_process._free_port()
    log = tmp_path / "api.log"
    with log.open("wb") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "api"],
            env={**os.environ, **api_process._environment(database_url, redis_url, port)},
            cwd=REPOSITORY,
            stderr=lines,
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        try:
            api_process.eventually(lambda: api_process._status(client, "/healthz") == 200, 20)
            yield client
        finally:
            process.terminate()
            assert process.wait(15) == 0, log.read_text()
    assert "Traceback" not in log.read_text()


def quote(http: httpx.Client, lot: str, begins: datetime, ends: datetime) -> dict[str, Any]:
    times = {"entry": begins.isoformat(), "exit": ends.isoformat()}
    answer = http.get(f"/v1/lots/{lot}/quote", params=times)
    return {"status": answer.status_code, **answer.json()}


def test_a_publication_reaches_quotes_within_seconds_and_then_needs_no_database(
    db: psycopg.Connection[Any], http: httpx.Client
) -> None:
    lot = add_lot(db, "L1")
    api_process.eventually(lambda: quote(http, "L1", NOW, NOW + HOUR).get("code") == "no_tariff")
    publish_tariff(db, hourly(), Binding(NOW - HOUR, ["L1"]), NOW)
    seconds = api_process.eventually(lambda: quote(http, "L1", NOW, NOW + HOUR).get("amount_fen") == 500)
    assert seconds < 5
    publish_tariff(db, hourly(price_fen=800), Binding(NOW + HOUR, ["L1"]), NOW)
    api_process.eventually(lambda: quote(http, "L1", NOW + HOUR, NOW + 3 * HOUR)["amount_fen"] == 1600)
    assert quote(http, "L1", NOW, NOW + 3 * HOUR)["amount_fen"] == 1500, "its tariff is the one of its entry"

    stay = ToPrice(lot_id=lot, vehicle="苏B12345", entered_at=NOW + HOUR, exited_at=NOW + 3.5 * HOUR)
    (charged,) = price_visits(db, [stay], NOW)
    quoted = quote(http, "L1", NOW + HOUR, NOW + 3.5 * HOUR)
    assert (quoted["amount_fen"], quoted["lines"]) == (charged.bill.total_fen, charged.lines()), "one engine"

    db.execute("ALTER TABLE tariffs_version RENAME TO away")
    db.execute("ALTER TABLE tariffs RENAME TO away_too")
    assert quote(http, "L1", NOW, NOW + HOUR)["amount_fen"] == 500
