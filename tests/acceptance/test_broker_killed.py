"""kill -9 of the broker under load: what the gateway received is stored; what its persistence can cost is measured.

A device's PUBACK comes from the broker, which Mosquitto 2.0 gives before its snapshot is on disk. So a kill -9 can
lose what was acknowledged and not yet delivered: at most the messages of one autosave interval, and none of those
that a connected gateway had already been sent. A gateway's very first session is itself part of that promise: before
a snapshot holds it, a restarted broker has nobody to keep messages for until the gateway is back. A shared
subscription, which Mosquitto 2.0 writes into no snapshot, never has that promise; one gateway subscribes plainly.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from onebox import services as onebox_services
from tests.acceptance.load import Load, good_messages
from tests.acceptance.stage import save_broker_state

if TYPE_CHECKING:
    from tests.acceptance.stage import Stage

pytestmark = [pytest.mark.services, pytest.mark.acceptance]

AUTOSAVE_S = 5.0


def kill_broker(stage: Stage) -> None:
    child = stage.services.children["mosquitto"]
    child.kill()
    child.wait(30)
    onebox_services.restart(stage.services, "mosquitto")


def kill_broker_mid_load(stage: Stage, *, kills: int, messages: int, rate: float) -> None:
    gateway = stage.gateway()
    gateway.start()
    save_broker_state(stage.services)
    sent = good_messages(stage.district, messages)
    load = Load(stage.services.mqtt_url, sent, rate).start()
    recoveries = []
    for kill in range(1, kills + 1):
        load.await_acknowledged(messages * kill // (kills + 1))
        died = time.monotonic()
        kill_broker(stage)
        before = stage.count()
        stage.await_rows(before + 1)
        recoveries.append(time.monotonic() - died)
    load.join()
    time.sleep(2.0)
    account = stage.account(sent)
    assert load.publisher is not None
    stage.report(
        f"kill -9 of the broker {kills} times at {rate:.0f} msg/s: {account} (acknowledged to the publisher and lost "
        f"by the broker), sent again {load.publisher.sent_again}, recovery max {max(recoveries):.2f} s"
    )
    assert account.duplicates == account.strangers == 0
    assert account.lost <= kills * AUTOSAVE_S * rate, "more than an autosave interval is lost"
    assert gateway.is_running, "the gateway ended instead of waiting"
    stage.settle()


def test_what_the_gateway_received_survives_the_broker(stage: Stage) -> None:
    kill_broker_mid_load(stage, kills=2, messages=12_000, rate=3_000)


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_the_loss_window_of_the_broker_under_many_kills(stage: Stage) -> None:
    kill_broker_mid_load(stage, kills=10, messages=300_000, rate=5_000)


def test_an_orderly_restart_of_the_broker_loses_nothing(stage: Stage) -> None:
    messages = 9_000
    stage.gateway().start()
    sent = good_messages(stage.district, messages)
    load = Load(stage.services.mqtt_url, sent, rate=3_000).start()
    for part in (0.3, 0.6):
        load.await_acknowledged(int(messages * part))
        onebox_services.restart(stage.services, "mosquitto")
    load.join()
    time.sleep(2.0)
    account = stage.account(sent)
    stage.report(f"orderly restart of the broker twice at 3000 msg/s: {account}")
    assert account.is_exact, account
    stage.settle()


def test_messages_wait_for_a_gateway_that_comes_back_after_the_broker(stage: Stage) -> None:
    """A host that boots: the broker is there first, devices publish at once, the gateway follows seconds later."""
    messages = 2_000
    gateway = stage.gateway()
    gateway.start()
    assert gateway.terminate() == 0
    onebox_services.restart(stage.services, "mosquitto")
    sent = good_messages(stage.district, messages)
    Load(stage.services.mqtt_url, sent, rate=1e9).start().join()
    gateway.start()
    time.sleep(2.0)
    account = stage.account(sent)
    stage.report(f"published after a restart of the broker and before the gateway's: {account}")
    assert account.is_exact, account


def test_the_broker_keeps_what_is_older_than_its_snapshot(stage: Stage) -> None:
    """The gateway is away, so that every message waits in the broker when it dies."""
    gateway = stage.gateway()
    gateway.start()
    assert gateway.terminate() == 0
    rate, old, young = 2_000, 4_000, 2_000
    sent = good_messages(stage.district, old + young)
    Load(stage.services.mqtt_url, sent[:old], rate).start().join()
    save_broker_state(stage.services)
    Load(stage.services.mqtt_url, sent[old:], rate).start().join()
    kill_broker(stage)
    gateway.start()
    stage.await_rows(old)
    time.sleep(2.0)
    account, kept = stage.account(sent), stage.account(sent[:old])
    stage.report(
        f"kill -9 of the broker with {old} messages older than its snapshot and {young} younger: {account}; "
        f"loss window {account.lost / rate:.2f} s of {AUTOSAVE_S:.0f} s"
    )
    assert kept.lost == 0, "messages that a snapshot held are lost"
    assert account.duplicates == account.strangers == 0
