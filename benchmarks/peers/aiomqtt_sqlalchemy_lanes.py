"""Peer: aiomqtt and SQLAlchemy enter lane messages into the same ledger, without checks, repeats or a batch's other parts.

    python -m benchmarks.peers.aiomqtt_sqlalchemy_lanes --mqtt mqtt://... --database postgresql://...

Settings as in the peer for readings: uvloop, a batch of 500 or 100 ms, one executemany a batch, one transaction each.
It takes plates as they are written, acknowledges on receipt, and knows the lanes from one query at its start.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import aiomqtt
import uvloop
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.peers.aiomqtt_sqlalchemy import Batches
from parking_core.store.tables import metadata

INSERT = insert(metadata.tables["lane_events"]).on_conflict_do_nothing()
LANES = "SELECT device.code, device.id, device.lot_id FROM devices AS device JOIN lanes ON lanes.device_id = device.id"


def row_of(payload: bytes, device_id: int, lot_id: int) -> dict[str, Any]:
    """A row of a message."""
    message = json.loads(payload)
    etc = message["etc"]
    return {
        "device_id": device_id,
        "lot_id": lot_id,
        "record_no": message["record_no"],
        "event": message["event"],
        "source": message["source"],
        "occurred_at": datetime.fromtimestamp(message["at"] / 1000, UTC),
        "received_at": datetime.now(UTC),
        "plate": message["plate"]["text"],
        "plate_color": "blue" if message["plate"]["color"] == 0 else "unknown",
        "vehicle_class": message["vehicle_class"],
        "vehicle": etc["card_plate"],
        **etc,
        "flags": [],
        "payload": payload,
        "digest": hashlib.sha256(payload).digest(),
    }


async def main(mqtt_url: str, database_url: str) -> None:
    """Runs until it is ended."""
    parts = urlsplit(mqtt_url)
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    async with engine.connect() as connection:
        lanes = {code: (device, lot) for code, device, lot in (await connection.execute(text(LANES))).all()}
    batches = Batches(engine, INSERT)
    client = aiomqtt.Client(
        parts.hostname or "127.0.0.1",
        parts.port or 1883,
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        identifier="peer-aiomqtt-lanes",
    )
    async with client, asyncio.TaskGroup() as tasks:
        tasks.create_task(batches.write_regularly())
        await client.subscribe("parking/v1/+/+/lane", qos=1)
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            await batches.add(row_of(message.payload, *lanes[message.topic.value.split("/")[3]]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--mqtt", required=True)
    parser.add_argument("--database", required=True)
    asked = parser.parse_args()
    uvloop.run(main(asked.mqtt, asked.database))
