"""What a promise was wrongly charged is given back by a person: never more than was taken, the owner's part with it."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from typer.testing import CliRunner

from onebox.__main__ import application
from parking_core.errors import InvalidInputError, NotFoundError
from parking_core.flows.correct_money import Decision, order_refund
from parking_core.flows.give_back_promise import give_back
from parking_core.flows.reconcile import audit_money
from parking_core.flows.share_permits import settle_permit_money
from parking_core.sharing import Terms
from parking_core.store import holds, permit_months
from tests.guest_town import GuestTown, at
from tests.permit_town import PermitTown
from tests.shared_town import ZONE

if TYPE_CHECKING:
    import psycopg

    from onebox.services import RunningServices
    from parking_core.flows.correct_money import Corrected

pytestmark = pytest.mark.services

WHO = Decision(key="1", by="Chen", reason="the exit was seen late")
_MIDNIGHT = datetime(2026, 11, 23, 16, tzinfo=UTC)


def _guest(db: psycopg.Connection[Any], *, price: int = 200, permille: int = 700) -> tuple[GuestTown, str]:
    """A completed reservation of two hours."""
    town = GuestTown(db)
    town.lot([2], terms=Terms(price_fen_per_hour=price, owner_permille=permille))
    town.tariff()
    found = town.granted(town.person())
    town.enter(62)
    town.leave(150)
    return town, found.code


def _back(town: GuestTown | PermitTown, promise: str, fen: int, number: int = 1) -> Corrected:
    return give_back(town.db, promise, fen, WHO, at(300), number=number, zone=ZONE)


def _is_explained(db: psycopg.Connection[Any]) -> bool:
    lines = audit_money(db, ZONE).lines
    odd = [line for line in lines if line.unexplained_fen or line.unexplained_items]
    return not [line for line in odd if not line.subject.startswith("receivable")]


def test_it_is_given_back_once_with_the_part_of_the_owner(db: psycopg.Connection[Any]) -> None:
    town, code = _guest(db)
    done = _back(town, code, 100)
    assert (done.new, done.amount_fen, done.entry) == (True, 100, f"promise_refund:{code}:1")
    assert done.channel == "hold:acq"
    assert town.balances() == {"owner_payable:S01": -210, "preauthorised:acq": 300, "revenue:S01": -90}
    assert not _back(town, code, 100).new
    with pytest.raises(InvalidInputError, match="were given back as number 1"):
        _back(town, code, 50)
    assert town.told().count("promise_refunded") == 1
    [(detail,)] = town.rows("SELECT detail FROM journal WHERE key = %s", done.entry)
    assert (detail["by"], detail["reason"]) == ("Chen", "the exit was seen late")
    assert _is_explained(db)


def test_never_more_than_was_taken(db: psycopg.Connection[Any]) -> None:
    town, code = _guest(db)
    with pytest.raises(InvalidInputError, match="has 400 fen that can be given back; 401"):
        _back(town, code, 401)
    with pytest.raises(InvalidInputError, match="count from 1 without a gap"):
        _back(town, code, 10, number=2)
    _back(town, code, 300)
    with pytest.raises(InvalidInputError, match="has 100 fen"):
        _back(town, code, 101, number=2)
    with pytest.raises(InvalidInputError, match="cannot"):
        _back(town, code, -1, number=2)
    for promise in ("R-NOBODY", "P-NOBODY:2026-11"):
        with pytest.raises(NotFoundError, match="Nothing was taken"):
            _back(town, promise, 1)


@pytest.mark.parametrize("seed", range(4))
def test_given_back_in_pieces_nobody_keeps_a_fen(db: psycopg.Connection[Any], seed: int) -> None:
    pieces = random.Random(seed)
    town, code = _guest(db, price=pieces.randrange(1, 40), permille=pieces.choice([500, 655, 333]))
    left, number = town.balances()["preauthorised:acq"], 0
    while left:
        fen, number = pieces.randint(1, left), number + 1
        _back(town, code, fen, number)
        left -= fen
        assert _is_explained(db)
    assert town.balances() == {}


def test_of_a_month_of_a_permit_less_is_left_for_lost_openings(db: psycopg.Connection[Any]) -> None:
    town = PermitTown(db)
    town.nights(1, terms=Terms(most_permits_permille=1000))
    person, permit = town.holder()
    settle_permit_money(db, _MIDNIGHT, zone=ZONE, channel="hold:acq")
    promise = f"{permit.code}:2026-11"
    _back(town, promise, 19_900)
    [month] = permit_months.of_permit(db, permit.id)
    assert month.charged_fen == 100
    db.execute("UPDATE permit_months SET lost_fen = 1000")  # more than is left
    assert settle_permit_money(db, at(400), zone=ZONE, channel="hold:acq").refunded_fen == 100
    assert town.money() == {}
    assert town.notices(person)[-1] == "promise_refunded"
    with pytest.raises(InvalidInputError, match="has 0 fen"):
        _back(town, promise, 1, number=2)
    assert _is_explained(db)


def test_a_promise_that_gave_back_too_much_is_found(db: psycopg.Connection[Any]) -> None:
    town, code = _guest(db)
    _back(town, code, 400)
    assert _is_explained(db)
    db.execute("UPDATE holds SET captured_fen = 300")
    assert holds.lock(db, f"reservation:{code}").captured_fen == 300
    assert not _is_explained(db)


def test_a_refund_of_a_visit_does_not_take_the_money_of_promises(db: psycopg.Connection[Any]) -> None:
    town, _ = _guest(db)
    [(visit,)] = town.rows("SELECT id FROM visits")
    with pytest.raises(InvalidInputError, match="0 fen that can be given back"):
        order_refund(db, visit, 100, WHO, at(300), zone=ZONE)


def test_the_command_gives_back_and_shows_it(
    db: psycopg.Connection[Any], database_url: str, services: RunningServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = urlsplit(services.database_urls["worker"])._replace(path=urlsplit(database_url).path)
    monkeypatch.setenv("PARKING_DATABASE_URL", urlunsplit(worker))
    monkeypatch.setenv("PARKING_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("PARKING_MQTT_URL", "mqtt://127.0.0.1:1")

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(application(), ["money", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    _, code = _guest(db)
    order = ("give-back", code, "--amount", "150", "--by", "Chen", "--reason", "late")
    assert run(*order).startswith(f"150 fen of promise {code} is given back by hold:acq. Journal entry promise_refund")
    assert "booked before: nothing changed" in run(*order)
    page = run("promise", code)
    assert "Taken 4.00, given back 1.50, left 2.50." in page
    assert "Chen late" in page
    assert json.loads(run("promise", code, "--json"))["given_back_fen"] == 150
    with pytest.raises(NotFoundError, match="Nothing was taken"):
        run("promise", "R-NOBODY")
