"""A registry connection that broke unnoticed: the message of a device that was just registered is no dead letter."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest

from gateway.metrics import Metrics
from gateway.pipeline import Gateway
from parking_core.flows.seed_district import seed_district
from parking_core.settings import Settings
from parking_core.topics import Kind, device_topic
from tests.builders import a_district, a_message, a_payload, now_us

if TYPE_CHECKING:
    from gateway.sorting import Sorted

pytestmark = pytest.mark.services

_END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'parking-gateway'"
)


def test_an_unknown_device_is_looked_up_over_a_new_connection_where_the_old_one_broke(database_url: str) -> None:
    seed_district(database_url, a_district(lots=1, spaces=1))
    settings = Settings(database_url=database_url, redis_url="redis://127.0.0.1:1", mqtt_url="mqtt://127.0.0.1:1")
    received = now_us()
    message = a_message(
        a_payload(at=received // 1000), topic=device_topic("L2", "L2-001", Kind.OCCUPANCY), received_us=received
    )

    async def scene() -> Sorted:
        gateway = Gateway(settings, Metrics())
        await gateway._registry.load()
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(_END_OTHERS)
        seed_district(database_url, a_district(lots=2, spaces=1))
        try:
            return await gateway._sort([message])
        finally:
            await gateway._registry.close()

    found = asyncio.run(scene())
    assert [letter.detail for letter in found.rejections] == []
    assert len(found.readings) == 1
