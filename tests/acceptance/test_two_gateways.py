"""Two gateways share the messages; one is killed and returns, or never does."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

from tests.acceptance.load import Load, good_messages
from tests.acceptance.processes import until

if TYPE_CHECKING:
    from tests.acceptance.stage import Stage

pytestmark = [pytest.mark.services, pytest.mark.acceptance]

ADOPTION_S = 90.0  # silence of the absent one, its claim and its queue


@pytest.mark.parametrize(
    "returns",
    [pytest.param(True, id="returns"), pytest.param(False, id="never-returns", marks=pytest.mark.heavy)],
)
def test_nothing_is_lost_when_one_of_two_gateways_is_killed(stage: Stage, *, returns: bool) -> None:
    messages = 12_000
    first, second = (stage.gateway(name) for name in "12")
    first.start()
    second.start()
    sent = good_messages(stage.district, messages)
    load = Load(stage.services.mqtt_url, sent, rate=3_000).start()
    load.await_acknowledged(messages // 3)
    first.kill()
    load.await_acknowledged(2 * messages // 3)
    if returns:
        first.start()
    load.join()
    drain_s = stage.await_rows(messages, patience_s=ADOPTION_S)
    account = stage.account(sent)
    stage.report(
        f"two gateways at 3000 msg/s, one killed, {'returns' if returns else 'never returns'}: {account}; "
        f"rest stored {drain_s:.2f} s after the load"
    )
    assert account.is_exact, account
    stage.settle()


def test_gateways_share_while_both_live_and_the_survivor_takes_all(stage: Stage) -> None:
    messages = 4_000
    ports = [free_port(), free_port()]
    first, second = (
        stage.gateway(name, PARKING_ADOPT_AFTER_S="3", PARKING_METRICS_PORT=str(port))
        for name, port in zip("12", ports, strict=True)
    )
    first.start()
    assert first.says('"shared": false'), "alone it subscribes plainly: the broker keeps that over its own restart"
    second.start()
    until(lambda: first.says('"shared": true') and second.says('"shared": true'), 15, "they do not share")
    sent = good_messages(stage.district, messages)
    Load(stage.services.mqtt_url, sent[: messages // 2], rate=3_000).start().join()
    stage.await_rows(messages // 2)
    taken = [recorded_messages(port) for port in ports]
    assert sum(taken) == messages // 2, f"each message goes to one of them, not {taken}"
    assert min(taken) > messages // 8, f"both take their share, not {taken}"
    seen = first.log.stat().st_size
    second.kill()
    until(lambda: first.says("orphaned session emptied"), 40, "the absent one's session is not taken over")
    until(lambda: first.says('"shared": false', seen), 15, "the survivor goes on sharing with nobody")
    Load(stage.services.mqtt_url, sent[messages // 2 :], rate=3_000).start().join()
    stage.await_rows(messages)
    account = stage.account(sent)
    assert account.is_exact, account
    stage.settle()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def recorded_messages(port: int) -> int:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return next(int(float(line.split()[1])) for line in lines if line.startswith("gateway_messages_total "))
