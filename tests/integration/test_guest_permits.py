"""Cars of permits at the barrier, and what the worker's role may do: everything that guests need, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit
from zoneinfo import ZoneInfo

import psycopg
import pytest

from parking_core.flows.drop_old_history import drop_old_history
from parking_core.flows.learn_buffers import learn_buffers
from parking_core.flows.mask_old_plates import mask_old_plates
from parking_core.flows.reconcile import audit_money
from parking_core.flows.share_permits.money import settle_permit_money
from parking_core.sharing import Terms
from parking_core.store import promises, share_permits
from tests.guest_town import OTHER, GuestTown, at
from tests.permit_town import PermitTown
from tests.shared_town import ZONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onebox.services import RunningServices
    from parking_core.share_permits import SharedPermit

pytestmark = pytest.mark.services

_TUESDAY_19 = 25 * 60
_NIGHT_MIN = 13 * 60
_ALL = Terms(most_permits_permille=1000)


class PermitGuestTown(GuestTown, PermitTown):
    """Lots with permits, and lanes that report their cars."""


@pytest.fixture
def permits(services: RunningServices, database_url: str) -> Iterator[PermitGuestTown]:
    """A town whose connection may become any role."""
    assert services.admin_url is not None
    url = urlunsplit(urlsplit(services.admin_url)._replace(path=urlsplit(database_url).path))
    with psycopg.connect(url, autocommit=True) as connection:
        yield PermitGuestTown(connection)


def _holder(town: PermitGuestTown) -> SharedPermit:
    _, permit = town.holder()
    assert share_permits.find(town.db, permit.code) is not None
    return permit


def _stays(town: PermitGuestTown) -> list[tuple[Any, ...]]:
    return town.rows(
        "SELECT p.code, s.shared_permit_id IS NOT NULL, s.left_at IS NOT NULL FROM space_stays s"
        " JOIN spaces p ON p.id = s.space_id ORDER BY s.id"
    )


def test_a_permits_car_gets_a_space_every_night(permits: PermitGuestTown) -> None:
    permits.nights(1, terms=_ALL)
    permit = _holder(permits)
    permits.enter(_TUESDAY_19, permit.plate)
    assert _stays(permits) == [("A000", True, False)]
    assert permits.told()[-1] == "permit_arrived"
    permits.leave(_TUESDAY_19 + 60, permit.plate)
    assert _stays(permits) == [("A000", True, True)]
    permits.enter(_TUESDAY_19 + 120, permit.plate)  # the same night again: the opening is still drawn
    permits.leave(_TUESDAY_19 + 180, permit.plate)
    permits.enter(_TUESDAY_19 + 24 * 60, permit.plate)
    assert [left for *_, left in _stays(permits)] == [True, True, False]
    assert permits.rows("SELECT count(*) FROM departures") == [(2,)]


def test_a_permits_car_that_came_before_the_window_gets_its_space_when_it_opens(permits: PermitGuestTown) -> None:
    permits.nights(1, terms=_ALL)
    permit = _holder(permits)
    permits.enter(_TUESDAY_19 - 70, permit.plate)
    assert _stays(permits) == []
    assert permits.watch(_TUESDAY_19 - 59).seated == 1
    assert permits.watch(_TUESDAY_19 - 58).seated == 0
    assert _stays(permits) == [("A000", True, False)]


def test_a_guest_leaves_the_space_that_a_permit_will_need(permits: PermitGuestTown) -> None:
    """One space: the permit's opening is drawn, so that nobody else is promised it; with two both stand."""
    permits.nights(2, terms=_ALL)
    permit = _holder(permits)
    guest = permits.granted(permits.person("g", OTHER), begins_h=25, hours=2)
    permits.enter(_TUESDAY_19, OTHER)
    assert permits.state(guest) == "arrived"
    permits.enter(_TUESDAY_19 + 5, permit.plate)
    assert sorted(space for space, *_ in _stays(permits)) == ["A000", "A001"]
    assert promises.audit_capacity(permits.db, at(_TUESDAY_19)) == []


def test_money_of_permits_and_guests_is_audited_together(permits: PermitGuestTown) -> None:
    permits.nights(2, terms=_ALL)
    permit = _holder(permits)
    settle_permit_money(permits.db, at(_TUESDAY_19), zone=ZONE, channel="hold:acq")
    permits.granted(permits.person("g", OTHER), begins_h=25, hours=2)
    permits.enter(_TUESDAY_19, OTHER)
    permits.enter(_TUESDAY_19 + 5, permit.plate)
    permits.leave(_TUESDAY_19 + 50, OTHER)
    assert permits.balances()["preauthorised:acq"] == 20_000 + 400
    audit = audit_money(permits.db, ZoneInfo("Asia/Shanghai"))
    assert [line for line in audit.lines if line.unexplained_fen or line.unexplained_items] == []
    owners = next(line for line in audit.lines if line.subject == "owner_payable:S01")
    assert (owners.balance_fen, owners.items) == (-14_280, 2)


def test_the_worker_may_do_all_that_guests_need(permits: PermitGuestTown) -> None:
    permits.nights(1, terms=_ALL)
    permits.lot([2], days=5)
    permits.lot([2], days=5)
    permits.tariff()
    permit = _holder(permits)
    first = permits.granted(permits.person("g", OTHER), begins_h=1, hours=1, lot="S02")
    second = permits.granted(permits.person("h", "苏B55555"), begins_h=1, hours=1, lot="S02")
    records = [
        permits.event("S02", "entry", 60, OTHER, number=900),
        permits.event("S02", "correction", 61, "苏B66666", refers_to=900),
        permits.event("S02", "entry", 62, OTHER),
    ]
    assert len(records) == 3
    permits.db.execute("SET ROLE worker_role")
    permits.follow(62)
    assert permits.state(first) == "arrived"
    assert permits.watch(120).lapsed == 1
    assert permits.state(second) == "lapsed"
    permits.watch(200)
    permits.db.execute("RESET ROLE")
    permits.event("S02", "exit", 200, OTHER)
    permits.event("S01", "entry", _TUESDAY_19, permit.plate)
    permits.event("S01", "exit", _TUESDAY_19 + _NIGHT_MIN, permit.plate)
    permits.db.execute("SET ROLE worker_role")
    permits.follow(_TUESDAY_19 + _NIGHT_MIN)
    assert permits.state(first) == "completed"
    permits.watch(_TUESDAY_19 + _NIGHT_MIN)
    learn_buffers(permits.db, at(3 * 24 * 60), ZONE)
    mask_old_plates(permits.db, at(300 * 24 * 60), 30)
    drop_old_history(permits.db, at(300 * 24 * 60), 30)
    permits.db.execute("RESET ROLE")
    assert permits.rows("SELECT count(*) FROM space_stays") == [(0,)]
