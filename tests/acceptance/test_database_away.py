"""The database restarts or stays away under load: nothing lost, no busy loop, the backlog drains, figures say their age."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from onebox import services as onebox_services
from tests.acceptance.load import Load, good_messages
from tests.acceptance.processes import until
from tests.builders import now_us

if TYPE_CHECKING:
    from tests.acceptance.stage import Stage

pytestmark = [pytest.mark.services, pytest.mark.acceptance]

BUSY_SHARE = 0.05  # of a core: what a gateway may use while it can only wait


def end_database(stage: Stage, how: signal.Signals) -> None:
    child = stage.services.children["postgres"]
    child.send_signal(how)
    child.wait(30)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["stopped", "killed"])
def test_nothing_is_lost_when_the_database_restarts(stage: Stage, how: signal.Signals) -> None:
    messages = 12_000
    gateway = stage.gateway()
    gateway.start()
    sent = good_messages(stage.district, messages)
    load = Load(stage.services.mqtt_url, sent, rate=3_000).start()
    for part in (0.3, 0.6):
        load.await_acknowledged(int(messages * part))
        end_database(stage, how)
        onebox_services.restart(stage.services, "postgres")
    load.join()
    drain_s = stage.await_rows(messages)
    account = stage.account(sent)
    stage.report(f"database {how.name} twice at 3000 msg/s: {account}; rest stored {drain_s:.2f} s after the load")
    assert account.is_exact, account
    assert gateway.is_running, "the gateway ended instead of waiting"
    stage.settle()


def database_away(stage: Stage, *, away_s: float, rate: float) -> None:
    gateway = stage.gateway()
    gateway.start()
    before = good_messages(stage.district, int(rate))
    Load(stage.services.mqtt_url, before, rate).start().join()
    stage.await_rows(len(before))
    during = good_messages(stage.district, int(rate * away_s), first_seq=len(before))
    end_database(stage, signal.SIGINT)
    load = Load(stage.services.mqtt_url, during, rate).start()
    time.sleep(min(2.0, away_s / 4))
    cpu_s, begins = gateway.cpu_seconds(), time.monotonic()
    load.join(away_s * 2 + 30)
    while time.monotonic() - begins < away_s:
        time.sleep(0.1)
    away_share = (gateway.cpu_seconds() - cpu_s) / (time.monotonic() - begins)
    age_s = (now_us() - stage.pulse_us()) / 1e6
    onebox_services.restart(stage.services, "postgres")
    drain_s = stage.await_rows(len(before) + len(during), patience_s=120)
    fresh_s = until(lambda: now_us() - stage.pulse_us() < 2_000_000, 20, "the pulse stays old")
    account = stage.account(before + during)
    stage.report(
        f"database away {away_s:.0f} s at {rate:.0f} msg/s: {account}; gateway {100 * away_share:.1f} % of a core and "
        f"{gateway.resident_mib():.0f} MiB while waiting; figures were {age_s:.1f} s old, backlog stored "
        f"{drain_s:.2f} s after its return, figures fresh {fresh_s:.2f} s later"
    )
    assert account.is_exact, account
    assert away_share < BUSY_SHARE, f"the waiting gateway uses {100 * away_share:.1f} % of a core"
    assert age_s > away_s * 0.8, "figures look fresh although nothing can be recorded"
    stage.settle()


def test_the_backlog_of_ten_seconds_without_a_database_drains(stage: Stage) -> None:
    database_away(stage, away_s=10, rate=1_500)


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_the_backlog_of_five_minutes_without_a_database_drains(stage: Stage) -> None:
    database_away(stage, away_s=300, rate=1_000)


def test_a_gateway_that_waits_for_its_database_obeys_sigterm(stage: Stage) -> None:
    end_database(stage, signal.SIGINT)
    gateway = stage.gateway()
    gateway.start(wait=False)
    until(lambda: gateway.says("registry cannot be read"), 20, "the gateway does not ask for its registry")
    begins = time.monotonic()
    assert gateway.terminate() == 0
    assert time.monotonic() - begins < 10


def test_a_gateway_without_cache_and_then_without_database_goes_on(stage: Stage) -> None:
    onebox_services.stop_one(stage.services, "redis")
    gateway = stage.gateway()
    gateway.start()
    until(lambda: gateway.says("live state is not there yet"), 20, "the gateway does not miss its live state")
    end_database(stage, signal.SIGINT)
    time.sleep(4)
    assert gateway.is_running, "the gateway ended instead of waiting"
    onebox_services.restart(stage.services, "postgres")
    onebox_services.restart(stage.services, "redis")
    stage.rebuild()
    sent = good_messages(stage.district, 400)
    Load(stage.services.mqtt_url, sent, rate=1e9).start().join()
    stage.await_rows(len(sent))
    stage.settle()
