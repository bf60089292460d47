"""Each process may do with permits what it has to, under its own role of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from parking_core.flows.share_permits import (
    approve,
    draw,
    end_for_owner,
    give_back,
    resolve_draws,
    watch_permits,
    withdraw,
)
from parking_core.reservations import PermitState
from parking_core.sharing import Terms
from tests.permit_town import DAY, PermitTown
from tests.shared_town import EVENING, HOUR, ZONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onebox.services import RunningServices

_ALL = Terms(most_permits_permille=1000)


@pytest.fixture
def permits(services: RunningServices, database_url: str) -> Iterator[PermitTown]:
    """A town whose connection may become any role."""
    assert services.admin_url is not None
    url = urlunsplit(urlsplit(services.admin_url)._replace(path=urlsplit(database_url).path))
    with psycopg.connect(url, autocommit=True) as connection:
        yield PermitTown(connection)


def _as(town: PermitTown, role: str) -> None:
    town.db.execute(f"SET ROLE {role}")


def test_the_api_may_promise_move_and_let_go(permits: PermitTown) -> None:
    permits.nights(3, terms=_ALL)
    permits.nights(3, terms=Terms(permit_fen_per_month=None))
    permits.nights(2, terms=Terms(approve_permits=True))
    people = [permits.driver(number) for number in (1, 2, 3)]
    staff = permits.operator()
    _as(permits, "api_role")
    permit = permits.apply(people[0])
    assert permit.state is PermitState.ACTIVE
    give_back(permits.db, people[0].id, permit.code, EVENING + DAY, EVENING)
    span = EVENING + 2 * DAY, EVENING + 3 * DAY
    found = resolve_draws(permits.db, permits.offers, [permits.classes["S01-A"]], *span, now=EVENING, by="o")
    assert found.moved == 1
    asked = permits.apply(people[1], lot="S03")
    assert approve(permits.db, permits.offers, staff, asked.code, EVENING).state is PermitState.ACTIVE
    assert withdraw(permits.db, people[1].id, asked.code, EVENING, zone=ZONE).state is PermitState.WITHDRAWN
    classes = [permits.classes["S01-A"]]
    assert end_for_owner(permits.db, classes, EVENING, by="o", cause="termination", zone=ZONE) == 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege):  # only the worker books
        permits.db.execute("INSERT INTO journal (key, kind, occurred_at) VALUES ('k', 'charge', now())")


def test_the_worker_may_draw_charge_and_end(permits: PermitTown) -> None:
    permits.nights(2, days=3)
    permits.nights(2, terms=Terms(permit_fen_per_month=None), days=8)
    _, permit = permits.holder(months=2)
    permits.roll("S01-A", 2, 3, 5)
    _as(permits, "worker_role")
    classes = [permits.classes["S01-A"]]
    with permits.db.transaction():
        assert draw(permits.db, classes, EVENING, zone=ZONE).drawn == 5
    span = EVENING + 5 * DAY, EVENING + 6 * DAY
    at = EVENING + 8 * HOUR
    found = resolve_draws(permits.db, permits.offers, classes, *span, now=at, by="worker")
    assert found.moved + found.refunded == 2
    assert watch_permits(permits.db, permits.offers, at).charged_fen > 0
    assert end_for_owner(permits.db, classes, at, by="worker", cause="termination", zone=ZONE) == 1
    assert watch_permits(permits.db, permits.offers, at).refunded_fen > 0
    assert permits.now(permit).state is PermitState.ENDED_BY_OWNER
