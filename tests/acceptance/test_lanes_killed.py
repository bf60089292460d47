"""kill -9 of gateway and database while lanes send, repeat and lose their order: the ledger is the one of a calm day."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import pytest

from onebox import services as onebox_services
from parking_core.errors import InstallationError
from parking_core.flows.seed_district import seed_district
from parking_core.topics import Kind, device_topic
from tests.acceptance.load import Load, Message
from tests.builders import now_us
from tests.lane_builders import lane_district, lane_payload

if TYPE_CHECKING:
    from tests.acceptance.stage import Stage

pytestmark = [pytest.mark.services, pytest.mark.acceptance]

LOTS = 2


def lane_messages(records: int, rng: random.Random) -> list[Message]:
    """Exits of two lanes, numbered from 1; a tenth of them sent again, neighbours swapped, all by ETC."""
    begins_ms, sent = now_us() // 1000, []
    for number in range(records):
        lot, record_no = number % LOTS + 1, number // LOTS + 1
        etc = {"terminal_no": f"01320000000{lot}", "terminal_serial": f"{record_no:08X}"}
        payload = lane_payload(record_no=record_no, at=begins_ms + number, etc=etc)
        sent.append(Message(device_topic(f"L{lot}", f"L{lot}-X1", Kind.LANE), payload))
    for place in rng.sample(range(len(sent)), records // 10):
        sent.insert(min(len(sent), place + rng.randrange(1, 200)), sent[place])
    for place in rng.sample(range(len(sent) - 1), records // 10):
        sent[place], sent[place + 1] = sent[place + 1], sent[place]
    return sent


def kill_database(stage: Stage) -> None:
    """kill -9, and a start as soon as the sessions of the dead server have let go of its memory."""
    database = stage.services.children["postgres"]
    database.send_signal(signal.SIGKILL)
    database.wait(30)
    deadline = time.monotonic() + 30
    while True:
        try:
            onebox_services.restart(stage.services, "postgres")
        except InstallationError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def kill_while_lanes_send(stage: Stage, *, kills: int, records: int, rate: float) -> None:
    seed_district(stage.database_url, lane_district(lots=LOTS))
    rng = random.Random(3)
    sent = lane_messages(records, rng)
    gateway = stage.gateway()
    gateway.start()
    load = Load(stage.services.mqtt_url, sent, rate).start()
    for kill in range(1, kills + 1):
        load.await_acknowledged(int(len(sent) * (kill - rng.uniform(0.0, 0.4)) / (kills + 1)))
        if kill % 3:
            gateway.kill()
            gateway.start(wait=False)
        else:
            kill_database(stage)
    load.join()
    drain_s = stage.await_rows(records, "lane_events")
    rows = stage.query(
        "SELECT l.code, e.record_no, e.amount_fen, e.payload FROM lane_events e JOIN lots l ON l.id = e.lot_id"
    )
    expected = {(message.topic.split("/")[2], message.payload) for message in sent}
    assert Counter((lot, bytes(payload)) for lot, _, _, payload in rows) == Counter(expected)
    assert all(msgspec.json.decode(payload)["record_no"] == record_no for _, record_no, _, payload in rows)
    assert sum(fen for _, _, fen, _ in rows) == 1_000 * records, "every fen once"
    assert stage.count("lane_repeats") == 0, "the same bytes are a redelivery and nothing else"
    assert stage.count("dead_letters") == 0
    stage.report(
        f"kill -9 of gateway and database {kills} times under lanes at {rate:.0f} msg/s: {records} records sent as "
        f"{len(sent)} messages, {len(rows)} in the ledger; rest stored {drain_s:.2f} s after the load"
    )


def test_the_ledger_is_the_same_when_gateway_and_database_are_killed_three_times(stage: Stage) -> None:
    kill_while_lanes_send(stage, kills=3, records=8_000, rate=1_000)


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_the_ledger_is_the_same_when_gateway_and_database_are_killed_ten_times(stage: Stage) -> None:
    kill_while_lanes_send(stage, kills=10, records=60_000, rate=1_500)
