"""What people order of devices: checked, queued once, the newest of contradicting ones, and answered through networks, too."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from gateway.validate import Validator
from parking_core.commands import CommandKind, CommandState
from parking_core.errors import InvalidInputError, NotFoundError
from parking_core.flows.command_device import Wish, command_device
from parking_core.flows.record_batch import Caution, record_batch
from parking_core.flows.seed_district import seed_district
from parking_core.store import commands
from parking_core.store.devices import load_devices
from tests.builders import WINDOW, a_district
from tests.network_builders import EUI, chirpstack, things_stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from gateway.messages import RawMessage

pytestmark = pytest.mark.services

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def street(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A lane, a lock, a sign, a sensor behind ChirpStack that can be configured, and one that cannot."""
    seed_district(database_url, a_district(lots=1, spaces=5))
    with psycopg.connect(database_url, autocommit=True) as connection:
        for code, family in (("L1-001", "lane"), ("L1-002", "lock"), ("L1-003", "sign")):
            connection.execute("UPDATE devices SET family = %s WHERE code = %s", (family, code))
        connection.execute(
            "UPDATE devices SET family = 'dingtek', model = 'do202', network = 'chirpstack', eui = %s WHERE code = 'L1-004'",
            (EUI,),
        )
        yield connection


def order(street: psycopg.Connection[Any], device: str, kind: CommandKind, after_s: float = 0, **other: Any) -> UUID:
    wish = Wish(device=device, kind=kind, reason="fire", by="ann", body=other.pop("body", {}), **other)
    command_id = command_device(street, wish, NOW + timedelta(seconds=after_s))
    assert command_id is not None
    return command_id


def state(street: psycopg.Connection[Any], command_id: UUID) -> CommandState:
    row = commands.get(street, command_id)
    assert row is not None
    return row.state


def asynchronously(street: psycopg.Connection[Any], act: Any) -> Any:
    async def play() -> Any:
        url = f"{street.info.dsn} password={street.info.password}"
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            return await act(connection)

    return asyncio.run(play())


def receive(street: psycopg.Connection[Any], *messages: RawMessage) -> None:
    async def act(connection: psycopg.AsyncConnection[Any]) -> None:
        found = Validator(await load_devices(connection), WINDOW).sort(messages)
        assert not found.rejections
        await record_batch(connection, found.batch(), Caution.TRUSTED)

    asynchronously(street, act)


def test_the_row_says_who_and_why(street: psycopg.Connection[Any]) -> None:
    until = (NOW + timedelta(hours=2)).isoformat()
    command_id = order(street, "L1-001", CommandKind.LOCK_GATE_OPEN, body={"until": until})
    (row,) = street.execute("SELECT payload FROM commands WHERE id = %s", (command_id,)).fetchall()
    assert row[0] == {"until": until, "reason": "manual", "why": "fire", "by": "ann"}


def test_of_contradicting_orders_the_newest_is_sent(street: psycopg.Connection[Any]) -> None:
    until = (NOW + timedelta(hours=2)).isoformat()
    opened = order(street, "L1-001", CommandKind.LOCK_GATE_OPEN, body={"until": until})
    once = order(street, "L1-001", CommandKind.OPEN_GATE, 1)
    other = order(street, "L1-002", CommandKind.RAISE_LOCK, 1)
    lowered = order(street, "L1-001", CommandKind.LOWER_GATE, 2)
    assert [state(street, each) for each in (opened, once, other, lowered)] == [
        CommandState.SUPERSEDED,
        CommandState.QUEUED,  # an act of its own
        CommandState.QUEUED,
        CommandState.QUEUED,
    ]


def test_the_same_key_is_the_same_wish(street: psycopg.Connection[Any]) -> None:
    order(street, "L1-002", CommandKind.LOWER_LOCK, key="k1")
    again = Wish(device="L1-002", kind=CommandKind.LOWER_LOCK, reason="fire", by="ann", body={}, key="k1")
    assert command_device(street, again, NOW) is None


@pytest.mark.parametrize(
    ("device", "kind", "error"),
    [
        ("nobody", CommandKind.OPEN_GATE, NotFoundError),
        ("L1-005", CommandKind.OPEN_GATE, InvalidInputError),
        ("L1-001", CommandKind.SHOW_SIGN, InvalidInputError),
        ("L1-003", CommandKind.RAISE_LOCK, InvalidInputError),
        ("L1-001", CommandKind.TARIFF, InvalidInputError),
    ],
)
def test_what_a_device_is_not_made_for_is_not_ordered(
    street: psycopg.Connection[Any], device: str, kind: CommandKind, error: type[Exception]
) -> None:
    with pytest.raises(error):
        order(street, device, kind)
    assert commands.recent(street) == []


def test_nothing_is_ordered_by_nobody_or_without_a_reason(street: psycopg.Connection[Any]) -> None:
    for reason, by in (("", "ann"), ("fire", " "), ("x" * 201, "ann"), ("a\0b", "ann")):
        with pytest.raises(InvalidInputError):
            command_device(
                street, Wish(device="L1-001", kind=CommandKind.OPEN_GATE, reason=reason, by=by, body={}), NOW
            )


def test_a_setting_goes_by_the_network_and_is_answered_by_it(street: psycopg.Connection[Any]) -> None:
    body = {"name": "uploadInterval", "values": {"uploadInterval": 6}}
    command_id = order(street, "L1-004", CommandKind.CONFIGURE, body=body)
    frame = bytes([0x80, 0, 0x32, 1, 23]) + bytes(17) + b"\x81"
    receive(street, chirpstack(counter=1, port=3, payload=frame))
    (due,) = asynchronously(street, lambda connection: commands.claim_due(connection, NOW, 10))
    assert (due.network, due.eui, due.family, due.model) == ("chirpstack", EUI, "dingtek", "do202")
    assert due.application is not None
    receive(street, chirpstack("txack", queueItemId=str(command_id)))
    assert state(street, command_id) is CommandState.QUEUED, "in the air is no answer"
    receive(street, chirpstack("ack", queueItemId=str(command_id), acknowledged=True))
    assert state(street, command_id) is CommandState.ACKNOWLEDGED


def test_a_network_that_gives_a_setting_up_refuses_it(street: psycopg.Connection[Any]) -> None:
    body = {"name": "uploadInterval", "values": {"uploadInterval": 6}}
    command_id = order(street, "L1-004", CommandKind.CONFIGURE, body=body)
    receive(
        street,
        things_stack(
            "down/failed",
            correlation_ids=[f"parking:command:{command_id}"],
            downlink_failed={"error": {"name": "too_long"}},
        ),
    )
    row = commands.get(street, command_id)
    assert row is not None
    assert row.state is CommandState.REFUSED
    assert row.answer is not None
    assert row.answer["reason"] == "too_long"


def test_what_cannot_be_sent_ends_with_its_reason(street: psycopg.Connection[Any]) -> None:
    command_id = order(street, "L1-004", CommandKind.CONFIGURE, body={"name": "volume", "values": {}})
    asynchronously(street, lambda connection: commands.refuse(connection, {command_id: "No such setting."}, NOW))
    row = commands.get(street, command_id)
    assert row is not None
    assert (row.state, row.answer) == (
        CommandState.REFUSED,
        {"result": "refused", "reason": "No such setting.", "at": NOW.isoformat()},
    )
