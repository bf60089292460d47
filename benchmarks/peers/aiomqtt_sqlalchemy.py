"""Peer (a): aiomqtt and SQLAlchemy as most projects write it, batched and without a registry, live state or rollups.

    python -m benchmarks.peers.aiomqtt_sqlalchemy --mqtt mqtt://... --database postgresql://...

Its best fair setting: uvloop, a batch of 500 or 100 ms, one executemany a batch (psycopg pipelines it), one transaction
each. MQTT 3.1.1 is aiomqtt's default; the broker of the run does not limit its window. It acknowledges on receipt.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import aiomqtt
import uvloop
from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, MetaData, Table
from sqlalchemy.dialects.postgresql import REAL, Insert, insert
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

BATCH = 500
AGE_S = 0.1

EVENTS = Table(
    "occupancy_events",
    MetaData(),
    Column("space_id", Integer),
    Column("device_id", Integer),
    Column("occurred_at", DateTime(timezone=True)),
    Column("received_at", DateTime(timezone=True)),
    Column("seq", BigInteger),
    Column("occupied", Boolean),
    Column("clock_suspect", Boolean),
    Column("battery_v", REAL),
    Column("rssi_dbm", REAL),
    Column("temperature_c", REAL),
)
INSERT = insert(EVENTS).on_conflict_do_nothing()


def row_of(payload: bytes) -> dict[str, Any]:
    """A row of a message."""
    reading = json.loads(payload)
    space = int(reading["space"])
    return {
        "space_id": space,
        "device_id": space,
        "occurred_at": datetime.fromtimestamp(reading["at"] / 1000, UTC),
        "received_at": datetime.now(UTC),
        "seq": reading["seq"],
        "occupied": reading["occupied"],
        "clock_suspect": False,
        "battery_v": reading["battery_v"],
        "rssi_dbm": reading["rssi_dbm"],
        "temperature_c": reading["temperature_c"],
    }


class Batches:
    """Rows until there are enough of them or the first is old enough."""

    def __init__(self, engine: AsyncEngine, statement: Insert) -> None:
        self._engine = engine
        self._statement = statement
        self._rows: list[dict[str, Any]] = []
        self._writing = asyncio.Lock()

    async def add(self, row: dict[str, Any]) -> None:
        """Takes a row."""
        self._rows.append(row)
        if len(self._rows) >= BATCH:
            await self.write()

    async def write(self) -> None:
        """Inserts what there is, in one transaction."""
        async with self._writing:
            rows, self._rows = self._rows, []
            if rows:
                async with self._engine.begin() as connection:
                    await connection.execute(self._statement, rows)

    async def write_regularly(self) -> None:
        """Rows do not wait for company for longer than AGE_S."""
        while True:
            await asyncio.sleep(AGE_S)
            await self.write()


async def main(mqtt_url: str, database_url: str) -> None:
    """Runs until it is ended."""
    parts = urlsplit(mqtt_url)
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    batches = Batches(engine, INSERT)
    client = aiomqtt.Client(
        parts.hostname or "127.0.0.1",
        parts.port or 1883,
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        identifier="peer-aiomqtt",
    )
    async with client, asyncio.TaskGroup() as tasks:
        tasks.create_task(batches.write_regularly())
        await client.subscribe("parking/v1/+/+/occupancy", qos=1)
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            await batches.add(row_of(message.payload))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--mqtt", required=True)
    parser.add_argument("--database", required=True)
    asked = parser.parse_args()
    uvloop.run(main(asked.mqtt, asked.database))
