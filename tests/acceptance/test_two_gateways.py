"""Two gateways share the messages; one is killed and returns, or never does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.load import Load, good_messages

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
    first, second = (stage.gateway(name, PARKING_SHARED_SUBSCRIPTION="1") for name in "12")
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
