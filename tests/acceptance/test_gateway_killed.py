"""kill -9 of a gateway in the middle of its load: nothing acknowledged is lost, nothing is counted twice."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.load import Load, good_messages

if TYPE_CHECKING:
    from tests.acceptance.stage import Stage

pytestmark = [pytest.mark.services, pytest.mark.acceptance]


def kill_mid_load(stage: Stage, *, kills: int, messages: int, rate: float) -> None:
    gateway, rng = stage.gateway(), random.Random(7)
    gateway.start()
    sent = good_messages(stage.district, messages)
    load = Load(stage.services.mqtt_url, sent, rate).start()
    recoveries = []
    for kill in range(1, kills + 1):
        load.await_acknowledged(int(messages * (kill - rng.uniform(0.0, 0.4)) / (kills + 1)))
        gateway.kill()
        time.sleep(rng.uniform(0.0, 0.3))
        before, died = stage.count(), time.monotonic()
        gateway.start(wait=False)
        stage.await_rows(before + 1)
        recoveries.append(time.monotonic() - died)
    load.join()
    drain_s = stage.await_rows(messages)
    account = stage.account(sent)
    stage.report(
        f"kill -9 of the gateway {kills} times at {rate:.0f} msg/s: {account}; "
        f"recovery max {max(recoveries):.2f} s, mean {sum(recoveries) / kills:.2f} s; rest stored {drain_s:.2f} s after the load"
    )
    assert account.is_exact, account
    stage.settle()


def test_nothing_is_lost_when_the_gateway_is_killed_three_times(stage: Stage) -> None:
    kill_mid_load(stage, kills=3, messages=30_000, rate=3_000)


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_nothing_is_lost_when_the_gateway_is_killed_ten_times(stage: Stage) -> None:
    kill_mid_load(stage, kills=10, messages=200_000, rate=5_000)
