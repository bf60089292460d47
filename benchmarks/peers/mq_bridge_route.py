"""Peer (b): PyPI mq-bridge, MQTT to PostgreSQL in Rust, in its ON CONFLICT mode or its bulk_copy mode.

    python -m benchmarks.peers.mq_bridge_route --mode on_conflict --mqtt mqtt://... --database postgresql://...

Its guarantee is ours: persistent session, the message is acknowledged after the sink has it. `on_conflict` writes to
our hypertable with its unique index. COPY refuses ON CONFLICT and converts nothing, so `bulk_copy` writes the payload's
own columns to a plain table without any index: no deduplication, no partitions.
"""

from __future__ import annotations

import argparse
import json
from typing import Any
from urllib.parse import unquote, urlsplit

from mq_bridge import Route

CLIENT_ID = "peer-mq-bridge"
PLAIN_TABLE = "peer_readings"

CREATE_PLAIN = f"""
CREATE TABLE {PLAIN_TABLE} (
    space text NOT NULL, occupied boolean NOT NULL, at bigint NOT NULL, seq bigint NOT NULL,
    battery_v real, rssi_dbm real, temperature_c real, recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""

INSERTS = {
    "on_conflict": """
        INSERT INTO occupancy_events
            (space_id, device_id, occurred_at, received_at, seq, occupied, clock_suspect,
             battery_v, rssi_dbm, temperature_c)
        VALUES (${payload:space}::int, ${payload:space}::int, to_timestamp(${payload:at}::float8 / 1000), now(),
                ${payload:seq}::bigint, ${payload:occupied}::bool, false,
                ${payload:battery_v}::real, ${payload:rssi_dbm}::real, ${payload:temperature_c}::real)
        ON CONFLICT DO NOTHING
    """,
    "bulk_copy": f"""
        INSERT INTO {PLAIN_TABLE} (space, occupied, at, seq, battery_v, rssi_dbm, temperature_c)
        VALUES (${{payload:space}}, ${{payload:occupied}}, ${{payload:at}}, ${{payload:seq}},
                ${{payload:battery_v}}, ${{payload:rssi_dbm}}, ${{payload:temperature_c}})
    """,
}


def route(mode: str, mqtt_url: str, database_url: str, options: dict[str, Any]) -> dict[str, Any]:
    """The route's configuration; `options` override those of the route and the MQTT window."""
    parts = urlsplit(mqtt_url)
    return {
        "input": {
            "mqtt": {
                "url": f"tcp://{parts.hostname}:{parts.port}",
                "username": unquote(parts.username or ""),
                "password": unquote(parts.password or ""),
                "topic": "parking/v1/+/+/occupancy",
                "client_id": CLIENT_ID,
                "qos": 1,
                "clean_session": False,
                "session_expiry_interval": 3600,
                "max_inflight": options.get("max_inflight", 8192),
                "queue_capacity": options.get("queue_capacity", 8192),
            }
        },
        "output": {
            "sqlx": {
                "url": database_url,
                "table": "occupancy_events" if mode == "on_conflict" else PLAIN_TABLE,
                "insert_query": " ".join(INSERTS[mode].split()),
                "bulk_copy": mode == "bulk_copy",
                "max_connections": 8,
            }
        },
        "batch_size": options.get("batch_size", 4096),
        "concurrency": options.get("concurrency", 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=sorted(INSERTS), required=True)
    parser.add_argument("--mqtt", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--options", type=json.loads, default={}, help="JSON: batch_size, concurrency, max_inflight")
    asked = parser.parse_args()
    Route.from_config(route(asked.mode, asked.mqtt, asked.database, asked.options)).run()
