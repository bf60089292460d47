"""Malformed payloads beside good traffic: each becomes a dead letter with a reason, and good traffic never stalls."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from parking_core.readings import Reason
from parking_core.topics import Kind, device_topic
from tests.acceptance.load import Load, Message, good_messages
from tests.acceptance.malformed import bad_messages

if TYPE_CHECKING:
    from tests.acceptance.stage import Stage

pytestmark = [pytest.mark.services, pytest.mark.acceptance]

STALL_S = 2.0  # a good message beside bad ones waits no longer than this for its row

_LATENCY = """
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY s), percentile_cont(0.99) WITHIN GROUP (ORDER BY s), max(s)
FROM (SELECT extract(epoch FROM recorded_at - received_at)::float AS s FROM occupancy_events) AS waits
"""


def bad_beside_good(stage: Stage, *, bad: int, good: int, rate: float) -> None:
    wrong, right = bad_messages(bad), good_messages(stage.district, good)
    both = wrong + right
    random.Random(3).shuffle(both)
    gateway = stage.gateway()
    gateway.start()
    Load(stage.services.mqtt_url, both, rate).start().join(300)
    stage.await_rows(good)
    stage.await_rows(bad, "dead_letters")
    account, reasons = stage.account(right), dict(stage.query("SELECT reason, count(*) FROM dead_letters GROUP BY 1"))
    median_s, p99_s, most_s = stage.query(_LATENCY)[0]
    stage.report(
        f"{bad} malformed payloads beside good ones at {rate:.0f} msg/s: good {account}; dead letters "
        f"{sum(reasons.values())} {reasons}; good traffic from receipt to row p50 {1000 * median_s:.0f} ms, "
        f"p99 {1000 * p99_s:.0f} ms, max {1000 * most_s:.0f} ms"
    )
    assert account.is_exact, account
    kept = Counter(stage.query("SELECT topic, payload FROM dead_letters"))
    assert kept == Counter((message.topic, message.payload) for message in wrong), "a letter differs from its message"
    assert set(reasons) <= set(Reason) - {Reason.DECODER_FAILED}, reasons
    assert stage.query("SELECT count(*) FROM dead_letters WHERE detail = ''") == [(0,)]
    assert most_s < STALL_S, f"good traffic stalled for {most_s:.1f} s"
    assert gateway.is_running
    stage.settle()


def test_every_malformed_payload_is_a_dead_letter(stage: Stage) -> None:
    bad_beside_good(stage, bad=1_500, good=6_000, rate=3_000)


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_ten_thousand_malformed_payloads_are_dead_letters(stage: Stage) -> None:
    bad_beside_good(stage, bad=10_000, good=20_000, rate=3_000)


def test_a_row_that_the_database_refuses_never_takes_its_batch_with_it(stage: Stage) -> None:
    refused = stage.query("SELECT min(id) FROM spaces WHERE code = '007'")[0][0]
    stage.execute(f"ALTER TABLE occupancy_events ADD CONSTRAINT refuses CHECK (space_id <> {refused})")
    gateway = stage.gateway()
    gateway.start()
    sent = good_messages(stage.district, 4_000)
    its = [message for message in sent if message.topic == device_topic("L1", "L1-007", Kind.OCCUPANCY)]
    others = [message for message in sent if message not in its]
    Load(stage.services.mqtt_url, sent, rate=2_000).start().join()
    stage.await_rows(len(others))
    stage.await_rows(len(its), "dead_letters")
    account = stage.account(others)
    letters = stage.query("SELECT topic, payload, reason FROM dead_letters")
    stage.report(f"a space that the database refuses among 200: good {account}; dead letters {len(letters)}")
    assert account.is_exact, account
    assert sorted(letters) == sorted((message.topic, message.payload, "refused_by_database") for message in its)
    stage.settle()


def test_a_dead_letter_that_is_delivered_again_is_one_letter(stage: Stage) -> None:
    """The gateway dies between its commit and its acknowledgement, again and again."""
    stage.execute("ALTER TABLE occupancy_events ADD CONSTRAINT refuses CHECK (seq <> 13)")
    gateway = stage.gateway()
    gateway.start()
    wrong = [Message(device_topic("L1", f"nobody-{number}", Kind.OCCUPANCY), b"{}") for number in range(3_000)]
    right = good_messages(stage.district, 6_000)  # 30 of each device: number 13 is refused
    both = wrong + right
    random.Random(5).shuffle(both)
    load = Load(stage.services.mqtt_url, both, rate=2_000).start()
    for part in (0.2, 0.6):
        load.await_acknowledged(int(len(both) * part))
        gateway.kill()
        gateway.start()
    load.join()
    refused = len(right) // 30
    stage.await_rows(len(right) - refused)
    stage.await_rows(len(wrong) + refused, "dead_letters")
    reasons = dict(stage.query("SELECT reason, count(*) FROM dead_letters GROUP BY 1"))
    stage.report(f"dead letters through two kills: {reasons}")
    assert reasons == {"unknown_device": len(wrong), "refused_by_database": refused}


def test_a_bad_status_is_one_letter_although_two_subscriptions_bring_it(stage: Stage) -> None:
    gateway = stage.gateway()
    gateway.start()
    bad = [Message(device_topic("L1", "L1-001", Kind.STATUS), b"asleep")]
    good = good_messages(stage.district, 200)
    Load(stage.services.mqtt_url, bad + good, rate=1e9).start().join()
    stage.await_rows(len(good))
    assert stage.count("dead_letters") == 1
