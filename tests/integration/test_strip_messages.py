"""Messages that have served are emptied: what is open keeps its content, and what was booked stays as it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg.types.json import Jsonb

from parking_core.commands import CommandKind, CommandOrder
from parking_core.flows.answer_fee_requests import answer_fee_requests
from parking_core.flows.pack_transactions import pack_ready
from parking_core.flows.strip_old_messages import Stripped, strip_old_messages, strip_tokens
from parking_core.payments import LANE_LINK_LIFE
from parking_core.settings import Settings
from parking_core.store import commands
from tests.integration.clearing_rows import NOW, PARTIES, a_lane, add_ready
from tests.integration.money_rows import ZONE
from tests.integration.test_answer_fee_requests import MINUTE, NOON, SECOND, Desk, desk
from tests.tariff_rows import add_visit
from worker import jobs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onebox.services import RunningServices

__all__ = ["desk"]  # a fixture of the lanes' questions

pytestmark = pytest.mark.services
LATER = NOW + timedelta(days=181)
NOTHING = Stripped(0, 0, 0, 0, 0, 0, 0)


@pytest.fixture
def store(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def strip(store: psycopg.Connection[Any], now: datetime = LATER, keep_days: int = 180) -> Stripped:
    return strip_old_messages(store, now, keep_days)


def column(store: psycopg.Connection[Any], query: str) -> list[Any]:
    return [row[0] for row in store.execute(query.encode()).fetchall()]


def test_packages_go_when_they_are_booked_and_nothing_of_them_is_disputed(store: psycopg.Connection[Any]) -> None:
    device = a_lane(store)
    for place in range(3):
        add_ready(store, device, 1, first=place + 1)
        pack_ready(store, NOW, zone=ZONE, parties=PARTIES, everything=True)
    first, second, third = column(store, "SELECT id FROM etc_packages ORDER BY id")
    assert strip(store) == NOTHING, "none is booked yet"
    store.execute("UPDATE etc_packages SET state = 'booked' WHERE id <> %s", (third,))
    store.execute("UPDATE etc_transactions SET state = 'disputed' WHERE package_id = %s", (second,))
    assert strip(store, NOW + timedelta(days=179)).packages == 0
    assert strip(store).packages == 1
    kept = store.execute("SELECT id, length(body) > 0, records, amount_fen FROM etc_packages ORDER BY id").fetchall()
    assert kept == [(first, False, 1, 101), (second, True, 1, 102), (third, True, 1, 103)]
    store.execute("UPDATE etc_transactions SET state = 'booked'")
    assert strip(store).packages == 1


def test_messages_of_the_centre_go_when_they_are_applied(store: psycopg.Connection[Any]) -> None:
    store.execute(
        "INSERT INTO clearing_messages (message_no, kind, body, received_at, applied_at) VALUES"
        " ('1', 'StatusListMessage', 'card', %(now)s, %(now)s), ('2', 'Bookkeeping', 'waits', %(now)s, NULL),"
        " ('3', 'unreadable', 'card', %(now)s, NULL), ('4', 'Response', 'young', %(later)s, %(later)s)",
        {"now": NOW, "later": LATER},
    )
    assert strip(store).clearing_messages == 2
    assert column(store, "SELECT convert_from(body, 'UTF8') FROM clearing_messages ORDER BY message_no") == [
        *("", "waits", "", "young")
    ]
    assert strip(store) == NOTHING


def test_notices_links_and_orders_go_when_they_are_over(store: psycopg.Connection[Any], desk: Desk) -> None:
    visit = add_visit(desk.connection, desk.lane, "苏B12345", NOON - 90 * MINUTE, None)
    store.execute(
        "INSERT INTO payment_notices (acquirer, notice_id, body, received_at, processed_at) VALUES"
        " ('acq', '1', 'a', %(now)s, %(now)s), ('acq', '2', 'b', %(now)s, NULL), ('acq', '3', 'c', %(later)s, %(later)s)",
        {"now": NOW, "later": LATER},
    )
    store.execute(
        "INSERT INTO payment_links (digest, visit_id, amount_fen, lines, created_at, expires_at) VALUES"
        " ('old', %(visit)s, 500, '[1]', %(now)s, %(now)s), ('new', %(visit)s, 500, '[1]', %(now)s, %(later)s)",
        {"visit": visit, "now": NOW, "later": LATER},
    )
    store.execute(
        "INSERT INTO payment_orders (id, acquirer, link_digest, visit_id, amount_fen, state, code_url, created_at,"
        " changed_at, next_ask_at) SELECT gen_random_uuid(), 'acq', digest, %(visit)s, 500, state, 'https://w', %(now)s,"
        " %(now)s, %(now)s FROM (VALUES ('old'::bytea, 'paid'), ('new'::bytea, 'pending')) AS o (digest, state)",
        {"visit": visit, "now": NOW},
    )
    stripped = strip(store)
    assert (stripped.payment_notices, stripped.payment_links, stripped.payment_orders) == (1, 1, 1)
    assert column(store, "SELECT length(body) FROM payment_notices ORDER BY notice_id") == [0, 1, 1]
    assert column(store, "SELECT lines FROM payment_links ORDER BY digest DESC") == [[], [1]]
    assert column(store, "SELECT state FROM payment_orders WHERE code_url IS NOT NULL") == ["pending"]
    assert strip(store) == NOTHING


def test_status_lists_leave_their_commands_as_soon_as_those_have_ended(store: psycopg.Connection[Any]) -> None:
    device = a_lane(store)
    for version in ("V1", "V2"):
        body = {"version": version, "base": None, "entries": [["card", "6217000011112222", 1]]}
        commands.queue(store, [CommandOrder(device, CommandKind.STATUS_LIST, body, f"status_list:{version}")], NOW)
    assert strip(store, NOW).status_lists == 1, "V1 is superseded, V2 is on its way"
    assert column(store, "SELECT payload FROM commands WHERE payload ? 'entries'") == [body]
    assert column(store, "SELECT payload FROM commands WHERE state = 'superseded'") == [{"version": "V1", "base": None}]


def test_a_token_goes_when_its_link_has_expired_and_the_stay_with_the_plates(desk: Desk) -> None:
    add_visit(desk.connection, desk.lane, "苏B12345", NOON - 90 * MINUTE, None)
    desk.ask(desk.request())
    desk.connection.execute("UPDATE commands SET state = 'acknowledged', ended_at = %s", (NOON,))
    (before,) = desk.told()
    assert before["pay_path"].startswith("/v1/payments/")
    assert strip_tokens(desk.connection, NOON + LANE_LINK_LIFE - SECOND) == 0, (
        "a lane that asks again is given it again"
    )
    assert strip_tokens(desk.connection, NOON + LANE_LINK_LIFE + SECOND) == 1
    assert desk.told() == [before | {"pay_path": None}]
    assert strip_tokens(desk.connection, NOON + LANE_LINK_LIFE + SECOND) == 0
    with desk.connection.transaction():
        later = NOON + LANE_LINK_LIFE + MINUTE
        answer_fee_requests(desk.connection, [desk.request(at=later)], later)
    assert desk.told()[1]["pay_path"], "whoever asks after that is given a new one"
    desk.connection.execute("UPDATE commands SET state = 'acknowledged' WHERE state = 'queued'")
    assert strip(desk.connection, NOON + timedelta(days=181)).fee_answers == 2
    assert {"plate", "entered_at", "lines"}.isdisjoint(desk.told()[0])
    assert desk.told()[0]["amount_fen"] == before["amount_fen"]


def test_nothing_younger_than_a_month_is_emptied_whatever_is_set(store: psycopg.Connection[Any]) -> None:
    store.execute(
        "INSERT INTO payment_notices (acquirer, notice_id, body, received_at, processed_at)"
        " VALUES ('acq', '1', 'a', %(now)s, %(now)s)",
        {"now": NOW},
    )
    assert strip(store, NOW + timedelta(days=29), keep_days=0) == NOTHING
    assert strip(store, NOW + timedelta(days=31), keep_days=0).payment_notices == 1


def test_the_nightly_job_empties_by_the_worker_s_own_login(
    store: psycopg.Connection[Any], services: RunningServices, database_url: str
) -> None:
    device = a_lane(store)
    add_ready(store, device, 1)
    pack_ready(store, NOW, zone=ZONE, parties=PARTIES, everything=True)
    store.execute(
        "UPDATE etc_packages SET state = 'booked', created_at = %s", (datetime.now(UTC) - timedelta(days=200),)
    )
    store.execute(
        "INSERT INTO commands (id, device_id, kind, payload, cause, state, created_at, deadline_at, next_try_at)"
        " VALUES (gen_random_uuid(), %(device)s, 'fee_answer', %(body)s, 'c', 'refused', %(at)s, %(at)s, %(at)s)",
        {
            "device": device,
            "body": Jsonb({"plate": "x", "pay_path": "/v1/payments/t"}),
            "at": NOW - timedelta(days=200),
        },
    )
    own = urlunsplit(urlsplit(services.database_urls["worker"])._replace(path=urlsplit(database_url).path))
    jobs.drop(Settings(database_url=own, redis_url="redis://x", mqtt_url="mqtt://x"))
    assert column(store, "SELECT body FROM etc_packages") == [b""]
    with psycopg.connect(own, autocommit=True) as worker:
        assert strip_tokens(worker, NOW) == 1
    assert column(store, "SELECT payload FROM commands") == [{"pay_path": None}]
