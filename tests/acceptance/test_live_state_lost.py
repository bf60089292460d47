"""Redis is flushed or killed under load: nothing lost, and the live state equals history again by itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from onebox import services as onebox_services
from tests.acceptance.load import Load, good_messages

if TYPE_CHECKING:
    from tests.acceptance.stage import Stage

pytestmark = [pytest.mark.services, pytest.mark.acceptance]


def flush(stage: Stage) -> None:
    with Redis.from_url(stage.services.redis_url) as redis:
        redis.flushall()


def kill(stage: Stage) -> None:
    child = stage.services.children["redis"]
    child.kill()
    child.wait(30)
    time.sleep(1.0)
    onebox_services.restart(stage.services, "redis")


@pytest.mark.parametrize("lose", [flush, kill], ids=["flushed", "killed"])
def test_live_state_comes_back_from_history(stage: Stage, lose: object) -> None:
    assert callable(lose)
    messages = 9_000
    stage.worker().start()
    stage.gateway().start()
    sent = good_messages(stage.district, messages)
    load = Load(stage.services.mqtt_url, sent, rate=3_000).start()
    for part in (0.3, 0.6):
        load.await_acknowledged(int(messages * part))
        lose(stage)
    load.join()
    stage.await_rows(messages)
    account, begins = stage.account(sent), time.monotonic()
    stage.settle(patience_s=30)
    stage.report(
        f"Redis {getattr(lose, '__name__', '')} twice at 3000 msg/s: {account}; "
        f"live state equals history {time.monotonic() - begins:.2f} s after the load"
    )
    assert account.is_exact, account


def test_rebuilding_under_load_loses_no_reading(stage: Stage) -> None:
    messages = 12_000
    stage.gateway().start()
    sent = good_messages(stage.district, messages)
    load = Load(stage.services.mqtt_url, sent, rate=4_000).start()
    rebuilds = 0
    while not load.is_over:
        stage.rebuild()
        rebuilds += 1
    load.join()
    stage.await_rows(messages)
    stage.report(f"{rebuilds} rebuilds under load: {stage.account(sent)}")
    stage.settle(patience_s=5)
