"""Frames of networks in a real database: counted once whatever is re-sent, in whatever order and batches they come."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest

from gateway.validate import Validator
from parking_core.flows.record_batch import Caution, Recorded, record_batch
from parking_core.flows.seed_district import seed_district
from parking_core.readings import moment
from parking_core.store import frames as frames_store
from parking_core.store.devices import load_devices
from tests.builders import NOON_US, WINDOW, a_district, a_message
from tests.network_builders import EUI, chirpstack, loriot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.messages import RawMessage

pytestmark = pytest.mark.services

MINUTE_US = 60_000_000
_EVENTS = (
    "SELECT (extract(epoch FROM occurred_at) * 1000000)::bigint, seq, occupied FROM occupancy_events ORDER BY 1, 2, 3"
)


@pytest.fixture
def street(database_url: str) -> str:
    """`L1-001` is a Bosch sensor behind ChirpStack, `L1-002` one behind LORIOT, `L1-003` a concentrator's bay."""
    seed_district(database_url, a_district(lots=1, spaces=3))
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "UPDATE devices SET family = 'bosch', model = 'tps110', firmware = '0.39', network = 'chirpstack', eui = %s"
            " WHERE code = 'L1-001'",
            (EUI,),
        )
        connection.execute(
            "UPDATE devices SET family = 'bosch', model = 'tps110', firmware = '0.39', network = 'loriot',"
            " eui = '00c0ffee00000008' WHERE code = 'L1-002'"
        )
    return database_url


def record(url: str, *batches: Sequence[RawMessage], caution: Caution = Caution.TRUSTED) -> list[Recorded]:
    """Sorts and records batches, as the gateway does."""

    async def play() -> list[Recorded]:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            validator = Validator(await load_devices(connection), WINDOW)
            recorded = []
            for messages in batches:
                found = validator.sort(messages)
                assert not found.rejections
                batch = found.batch()
                try:
                    recorded.append(await record_batch(connection, batch, caution))
                except psycopg.errors.UniqueViolation:
                    recorded.append(await record_batch(connection, batch, Caution.REPEATING))
            return recorded

    return asyncio.run(play())


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def test_an_uplink_that_is_sent_again_counts_once_whatever_time_it_carries(street: str) -> None:
    first = chirpstack(counter=7, payload=b"\x01", deduplicationId="a")
    again = chirpstack(counter=7, payload=b"\x01", deduplicationId="b", at_us=NOON_US + MINUTE_US)
    _, repeated = record(street, [first], [again, again])
    assert repeated.repeated_frames == 2
    assert not len(repeated.readings)
    assert query(street, _EVENTS) == [(NOON_US, 7, True)]


def test_a_batch_whose_commit_was_not_heard_of_reaches_the_live_state(street: str) -> None:
    message = chirpstack(counter=7)
    _, again = record(street, [message], [message])
    assert again.readings["seq"].tolist() == [7]
    assert query(street, _EVENTS) == [(NOON_US, 7, True)]


def test_a_replay_is_no_sign_of_life(street: str) -> None:
    record(street, [chirpstack(counter=7)])
    heard = query(street, "SELECT last_heard_at FROM device_liveness")
    day_us = 86_400_000_000
    record(street, [chirpstack(counter=7, at_us=NOON_US + day_us, received_us=NOON_US + day_us)])
    assert query(street, "SELECT last_heard_at FROM device_liveness") == heard
    assert heard == [(moment(NOON_US),)]


def test_a_join_begins_a_session_and_what_it_lacks_is_missing(street: str) -> None:
    record(
        street,
        [chirpstack(counter=900, session="0a")],
        [chirpstack("join", session="0b", at_us=NOON_US + MINUTE_US)],
        [chirpstack(counter=2, session="0b", at_us=NOON_US + 2 * MINUTE_US)],
    )
    assert query(street, "SELECT session, highest FROM device_sessions ORDER BY 1") == [("0a", 900), ("0b", 2)]
    assert query(street, "SELECT seq_missing FROM device_liveness") == [(2,)]
    assert query(street, "SELECT joined_at FROM device_vitals") == [(moment(NOON_US + MINUTE_US),)]


def test_frames_of_a_server_without_sessions_go_on_after_a_reboot(street: str) -> None:
    eui = "00c0ffee00000008"
    messages = [
        loriot(eui=eui, counter=counter, payload=payload, at_us=NOON_US + minute * MINUTE_US)
        for minute, counter, payload in ((0, 65_535, b"\x01"), (1, 0, b"\x00"), (2, 1, b"\x01"), (2, 1, b"\x01"))
    ]
    record(street, messages)
    assert [(seq, occupied) for _, seq, occupied in query(street, _EVENTS)] == [(65_535, True), (0, False), (1, True)]
    assert query(street, "SELECT count(*) FROM device_sessions") == [(2,)]


def test_what_is_forgotten_does_not_count_again(street: str) -> None:
    record(street, [chirpstack(counter=counter, at_us=NOON_US + counter * MINUTE_US) for counter in range(5)])
    with psycopg.connect(street) as connection:
        assert frames_store.forget(connection, moment(NOON_US + 5 * MINUTE_US)) == 5
    (again,) = record(street, [chirpstack(counter=3, at_us=NOON_US + 9 * MINUTE_US)])
    assert again.repeated_frames == 1
    assert query(street, "SELECT count(*) FROM occupancy_events") == [(5,)]


@pytest.mark.parametrize("seed", range(6))
def test_any_order_and_repetition_gives_the_same_history(street: str, seed: int) -> None:
    """Sessions of a device, every frame up to three times with other times, shuffled into batches of any size."""
    chance = random.Random(seed)
    true = [
        (session, counter, NOON_US + (40 * number + counter) * MINUTE_US, chance.random() < 0.5)
        for number, session in enumerate(("0a", "0b", "0c"))
        for counter in range(chance.randint(1, 30))
    ]
    sent = []
    for session, counter, at_us, occupied in true:
        payload = bytes([occupied])
        sent += [chirpstack(session=session, counter=counter, at_us=at_us, payload=payload)]
        sent += [
            chirpstack(
                session=session, counter=counter, at_us=at_us, payload=payload, deduplicationId=str(chance.random())
            )
            for _ in range(chance.randint(0, 2))
        ]
    chance.shuffle(sent)
    batches = []
    while sent:
        size = chance.randint(1, 12)
        batches.append(sent[:size])
        del sent[:size]
    recorded = record(street, *batches)
    assert query(street, _EVENTS) == sorted((at_us, counter, occupied) for _, counter, at_us, occupied in true)
    assert query(street, "SELECT count(*) FROM device_frames") == [(len(true),)]
    assert query(street, "SELECT coalesce(sum(seq_missing), 0) FROM device_liveness") == [(0,)]
    assert sum(one.repeated_frames for one in recorded) == sum(map(len, batches)) - len(true)


def test_vitals_keep_the_newest_of_each_value(street: str) -> None:
    record(
        street,
        [chirpstack(counter=2, port=2, payload=b"\x00\x12", at_us=NOON_US + MINUTE_US)],
        [chirpstack(counter=1, port=2, payload=b"\x00\x30")],
        [chirpstack("status", batteryLevel=61.5, at_us=NOON_US + 2 * MINUTE_US)],
        [chirpstack(counter=3, port=3, payload=bytes(12) + b"\x00\x27\x02\x01\x01", at_us=NOON_US + 3 * MINUTE_US)],
    )
    (vitals,) = query(street, "SELECT temperature_c, battery_percent, firmware, restarts, snr_db FROM device_vitals")
    assert vitals == (18.0, 61.5, "0.39.2", 1, 8.25)


def test_a_counter_that_wraps_goes_on(street: str) -> None:
    """A server that sends 16 bits, its frames in pieces and twice: each counts once, and nothing is missing."""
    numbers = [65_533, 65_534, 65_535, 0, 1, 2]
    sent = [
        chirpstack(counter=number, at_us=NOON_US + minute * MINUTE_US, payload=bytes([minute & 1]))
        for minute, number in enumerate(numbers)
    ]
    again = [
        chirpstack(counter=number, at_us=NOON_US + 9 * MINUTE_US, payload=bytes([minute & 1]))
        for minute, number in enumerate(numbers)
    ]
    record(street, [sent[0], sent[4]], [sent[2], sent[3], sent[1]], sent, [sent[5]], again)
    assert [seq for _, seq, _ in query(street, _EVENTS)] == numbers
    assert query(street, "SELECT highest FROM device_sessions") == [(65_538,)]
    assert query(street, "SELECT seq_missing FROM device_liveness") == [(0,)]


def test_a_state_is_an_event_when_the_space_was_in_the_other(street: str) -> None:
    with psycopg.connect(street) as connection:
        connection.execute(
            "UPDATE devices SET family = 'bay_frames', model = 'concentrator', serial = '0' WHERE code = 'L1-003'"
        )
        connection.execute(
            "INSERT INTO device_spaces (device_id, space_id, address)"
            " SELECT id, space_id, '7' FROM devices WHERE code = 'L1-003'"
        )
        connection.execute("UPDATE devices SET space_id = NULL WHERE code = 'L1-003'")

    def say(state: str, minute: int, *, redelivered: bool = False) -> RawMessage:
        return a_message(
            f"(00007{state}00)".encode(),
            topic="parking/v1/L1/L1-003/raw",
            received_us=NOON_US + minute * MINUTE_US,
            redelivered=redelivered,
        )

    killed = [say("A", 5), say("@", 6)]
    again = [say("A", 7, redelivered=True), say("@", 8, redelivered=True)]
    record(street, [say("A", 0), say("A", 1)], [say("A", 2)], [say("C", 3), say("@", 4)], killed, again)
    minutes = [((at_us - NOON_US) // MINUTE_US, occupied) for at_us, _, occupied in query(street, _EVENTS)]
    assert minutes == [(0, True), (4, False), (5, True), (6, False)]
    (vitals,) = query(street, "SELECT battery_state FROM device_vitals")
    assert vitals == ("good",)


def test_gateways_that_get_the_same_frames_count_them_once(street: str) -> None:
    """Four at once, each in an order of its own: nobody waits for ever, and nothing is there twice."""
    true = [
        chirpstack(counter=number, session=session, at_us=NOON_US + (minute + number) * MINUTE_US)
        for session, minute in (("0a", 0), ("0b", 25))
        for number in range(25)
    ]

    async def one(seed: int) -> int:
        messages = random.Random(seed).sample(true, len(true))
        async with await psycopg.AsyncConnection.connect(street, autocommit=True) as connection:
            found = Validator(await load_devices(connection), WINDOW).sort(messages)
            recorded = await record_batch(connection, found.batch(), Caution.REPEATING)
            return len(true) - recorded.repeated_frames

    async def play() -> list[int]:
        return await asyncio.gather(*(one(seed) for seed in range(4)))

    assert sum(asyncio.run(play())) == len(true)
    assert query(street, "SELECT count(*) FROM occupancy_events") == [(len(true),)]
    assert query(street, "SELECT highest FROM device_sessions ORDER BY session") == [(24,), (24,)]


def test_a_device_that_was_removed_meanwhile_stops_nobody(street: str) -> None:
    async def play() -> None:
        async with await psycopg.AsyncConnection.connect(street, autocommit=True) as connection:
            found = Validator(await load_devices(connection), WINDOW).sort([chirpstack()])
            await connection.execute("DELETE FROM devices WHERE eui = %s", (EUI,))
            await record_batch(connection, found.batch(), Caution.TRUSTED)

    asyncio.run(play())
    assert query(street, "SELECT count(*) FROM device_sessions") == [(0,)]


def test_native_messages_are_as_they_were(street: str) -> None:
    (recorded,) = record(street, [a_message(topic="parking/v1/L1/L1-003/occupancy")])
    assert recorded.repeated_frames == 0
    assert np.count_nonzero(recorded.readings["occupied"]) == 1
