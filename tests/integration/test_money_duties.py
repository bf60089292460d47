"""What the worker's hourly job does about money, with the worker's own login."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from parking_core.flows.hold_money import place_hold
from parking_core.flows.settle_transactions import attach_visits, settle_transactions
from parking_core.settings import Settings
from parking_core.settlement import Hold
from tests.integration.money_rows import ZONE, add_event, add_visit, paid, seed
from worker import jobs

if TYPE_CHECKING:
    from onebox.services import RunningServices

pytestmark = pytest.mark.services


def test_the_hourly_job_finds_lost_tacs_and_expires_holds(database_url: str, services: RunningServices) -> None:
    now = datetime.now(UTC)
    long_ago = now - timedelta(days=8)
    with psycopg.connect(database_url, autocommit=True) as store:
        lane = seed(store)["P01"]
        left = add_event(store, lane, at=long_ago, etc=paid("0001", tac=None))
        visit = add_visit(store, left)
        with store.transaction():
            settle_transactions(store, [left], long_ago, zone=ZONE)
            attach_visits(store, [(left.id, visit)])
        for key, hours in (("old", 1), ("running", 24 * 9)):
            expires = long_ago + timedelta(hours=hours)
            place_hold(store, Hold(key=key, channel="qr:x", amount_fen=1, placed_at=long_ago, expires_at=expires))
        own = urlsplit(services.database_urls["worker"])._replace(path=urlsplit(database_url).path)
        environ = {
            "PARKING_DATABASE_URL": urlunsplit(own),
            "PARKING_REDIS_URL": "redis://127.0.0.1:1/0",
            "PARKING_MQTT_URL": "mqtt://127.0.0.1:1",
        }
        for _ in range(2):
            jobs.reconcile(Settings.from_environ(environ))
        found = store.execute("SELECT key, visit_id FROM differences WHERE name = 'tac_missing'").fetchall()
        assert found == [("tac_missing:320100000001:0001", visit)]
        holds: dict[str, str] = dict(store.execute("SELECT key, state FROM holds").fetchall())
        assert holds == {"old": "expired", "running": "placed"}
