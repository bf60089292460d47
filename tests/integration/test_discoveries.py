"""Devices that nobody registered: listed with what they send, bound, refused, and bounded whoever makes identities up."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from gateway.validate import Validator
from parking_core import discoveries as facts
from parking_core.discoveries import DiscoveryState
from parking_core.errors import ConflictError, InvalidInputError, NotFoundError
from parking_core.flows.decide_discovery import Binding, bind, refuse
from parking_core.flows.record_batch import Caution, record_batch
from parking_core.flows.seed_district import seed_district
from parking_core.store import discoveries
from parking_core.store.devices import load_devices
from tests.builders import NOON_US, WINDOW, a_district, a_message
from tests.network_builders import EUI, chirpstack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.messages import RawMessage
    from gateway.sorting import Sorted

pytestmark = pytest.mark.services

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def town(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    seed_district(database_url, a_district(lots=1, spaces=2))
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE devices SET space_id = NULL WHERE code = 'L1-002'")
        yield connection


def receive(town: psycopg.Connection[Any], *messages: RawMessage) -> Sorted:
    """As a gateway that has just read the registry."""

    async def play() -> Sorted:
        url = town.info.dsn + f" password={town.info.password}"
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            found = Validator(await load_devices(connection), WINDOW).sort(messages)
            await record_batch(connection, found.batch(), Caution.TRUSTED)
            return found

    return asyncio.run(play())


def listed(
    town: psycopg.Connection[Any], state: DiscoveryState | None = DiscoveryState.NEW
) -> Sequence[facts.Discovery]:
    return discoveries.listed(town, state, None, 100)


def native(device: str, payload: bytes = b'{"occupied":true,"at":1780000000000}') -> RawMessage:
    return a_message(payload, topic=f"parking/v1/L1/{device}/occupancy")


def test_an_unknown_device_is_listed_with_what_it_sends(town: psycopg.Connection[Any]) -> None:
    receive(town, native("new"), native("new", b'{"occupied":false,"at":1780000000001}'), chirpstack())
    receive(town, native("new"))
    by_identity = {one.identity: one for one in listed(town)}
    assert set(by_identity) == {"new", EUI}
    assert (by_identity["new"].messages, by_identity["new"].network, by_identity["new"].lot) == (3, "", "L1")
    assert by_identity["new"].sample == b'{"occupied":true,"at":1780000000000}'
    assert by_identity[EUI].network == "chirpstack"


def test_a_bound_device_is_read_and_its_waiting_letters_can_be_tried_again(town: psycopg.Connection[Any]) -> None:
    receive(town, chirpstack(counter=1))
    binding = Binding(lot="L1", space="002", family="bosch", model="tps110", code="L1-B2")
    assert bind(town, EUI, binding, by="ann", now=NOW) == "L1-B2"
    found = receive(town, chirpstack(counter=2, at_us=NOON_US + 1))
    assert not found.rejections
    assert found.readings["seq"].tolist() == [2]
    assert listed(town) == []
    (bound,) = listed(town, DiscoveryState.BOUND)
    assert (bound.device, bound.decided_by) == ("L1-B2", "ann")
    with pytest.raises(ConflictError):
        bind(town, EUI, binding, by="ann", now=NOW)


def test_what_was_refused_leaves_no_letters_any_more(town: psycopg.Connection[Any]) -> None:
    receive(town, native("neighbour"))
    refuse(town, "neighbour", reason="not ours", by="ann", now=NOW)
    found = receive(town, native("neighbour"), native("neighbour"))
    assert (found.passed_over, list(found.rejections)) == (2, [])
    assert listed(town) == []
    assert bind(town, "neighbour", Binding(lot="L1", space="002"), by="bob", now=NOW) == "neighbour"
    assert not receive(town, native("neighbour")).rejections


@pytest.mark.parametrize(
    ("identity", "binding", "error"),
    [
        ("nobody", Binding(lot="L1", space="002"), NotFoundError),
        ("new", Binding(lot="L1", space="999"), NotFoundError),
        ("new", Binding(lot="L9", space="002"), NotFoundError),
        ("new", Binding(lot="L1", space="002", code="other"), InvalidInputError),
        ("new2", Binding(lot="L1", space="002", serial="taken"), ConflictError),
    ],
)
def test_a_binding_that_cannot_be_changes_nothing(
    town: psycopg.Connection[Any], identity: str, binding: Binding, error: type[Exception]
) -> None:
    town.execute("UPDATE devices SET serial = 'taken' WHERE code = 'L1-001'")
    receive(town, native("new"), native("new2"))
    with pytest.raises(error):
        bind(town, identity, binding, by="ann", now=NOW)
    assert len(listed(town)) == 2


def test_made_up_identities_fill_the_list_to_its_bound_only(
    town: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discoveries, "MOST_NEW", 20)
    monkeypatch.setattr(facts, "MOST_A_BATCH", 15)
    for start in (0, 100, 200):
        receive(town, *(native(f"made-up-{start + number}") for number in range(40)))
    assert 20 <= len(listed(town)) <= 34, "a batch may end above the bound, the next adds nothing"
    known = listed(town)[0].identity
    before = {one.identity: one.messages for one in listed(town)}
    receive(town, native(known))
    assert {one.identity: one.messages for one in listed(town)}[known] == before[known] + 1


def test_a_sample_is_cut_and_a_topic_may_hold_anything(town: psycopg.Connection[Any]) -> None:
    receive(town, native("half\udce4", b"x" * 5000))
    (one,) = listed(town)
    assert len(one.sample) == facts.SAMPLE_BYTES
    assert one.identity == "half\\udce4"
