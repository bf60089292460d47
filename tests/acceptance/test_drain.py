"""SIGTERM: what was taken is finished, what is stored is acknowledged, and the process says goodbye with 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.load import Load, good_messages
from tests.acceptance.processes import until

if TYPE_CHECKING:
    from tests.acceptance.stage import Stage

pytestmark = [pytest.mark.services, pytest.mark.acceptance]


def test_a_drained_gateway_leaves_nothing_half_done(stage: Stage) -> None:
    messages = 9_000
    gateway = stage.gateway()
    gateway.start()
    sent = good_messages(stage.district, messages)
    load = Load(stage.services.mqtt_url, sent, rate=3_000).start()
    for part in (0.25, 0.5, 0.75):
        load.await_acknowledged(int(messages * part))
        assert gateway.terminate() == 0, "SIGTERM does not end in 0"
        stored = stage.count()
        gateway.start()
        until(lambda before=stored: stage.count() > before, 10, "the next gateway stores nothing")  # type: ignore[misc]  # bound per round
    load.join()
    stage.await_rows(messages)
    account = stage.account(sent)
    stage.report(f"SIGTERM three times at 3000 msg/s: {account}")
    assert account.is_exact, account
    stage.settle()


def test_a_gateway_that_has_just_begun_to_serve_stops_at_once(stage: Stage) -> None:
    """Its connections are being made: a cancellation may come at any step of that."""
    gateway = stage.gateway()
    for _ in range(12):
        gateway.start()
        assert gateway.terminate() == 0


def test_what_was_stored_before_a_drain_is_not_delivered_again(stage: Stage) -> None:
    """The next gateway would take repeated rows through its staging table, and says so in its log."""
    messages = 6_000
    gateway = stage.gateway()
    gateway.start()
    sent = good_messages(stage.district, messages)
    load = Load(stage.services.mqtt_url, sent, rate=3_000).start()
    load.await_acknowledged(messages // 2)
    assert gateway.terminate() == 0
    offset = gateway.log.stat().st_size
    gateway.start()
    load.join()
    stage.await_rows(messages)
    assert stage.account(sent).is_exact
    assert not gateway.says("repeated rows", offset), "stored messages were not acknowledged by the drained gateway"


def test_gaps_of_the_last_batch_are_durable_after_a_drain(stage: Stage) -> None:
    gateway = stage.gateway()
    gateway.start()
    first, after_a_gap = (good_messages(stage.district, 1, first_seq=seq) for seq in (1, 5))
    for sent in (first, after_a_gap):
        Load(stage.services.mqtt_url, sent, rate=100).start().join()
        stage.await_rows(len(stage.stored()) or 1)
    stage.await_rows(2)
    assert gateway.terminate() == 0
    assert stage.query("SELECT sum(seq_missing)::int FROM device_liveness") == [(3,)]
