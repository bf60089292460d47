"""Tables: commands."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, Table, Text, UniqueConstraint, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB

from parking_core.store.tables.metadata import metadata, moment

commands = Table(
    "commands",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("device_id", Integer, ForeignKey("devices.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("cause", Text, nullable=False),
    Column("state", Text, nullable=False),
    moment("created_at", server_default=func.clock_timestamp()),
    moment("deadline_at"),
    moment("next_try_at"),
    Column("tries", Integer, nullable=False, server_default="0"),
    moment("sent_at", nullable=True),
    moment("ended_at", nullable=True),
    Column("answer", JSONB),
    Column("superseded_by", Uuid, ForeignKey("commands.id", deferrable=True, initially="DEFERRED")),
    UniqueConstraint("cause", "device_id", "kind"),
    Index(
        "commands_device",
        "device_id",
        "kind",
        postgresql_where=text("(state = ANY (ARRAY['queued'::text, 'sent'::text]))"),
    ),
    Index("commands_device_time", "device_id", "created_at"),
    Index("commands_due", "next_try_at", postgresql_where=text("(state = ANY (ARRAY['queued'::text, 'sent'::text]))")),
    Index(
        "commands_token",
        "created_at",
        postgresql_where=text("((kind = 'fee_answer'::text) AND ((payload ->> 'pay_path'::text) IS NOT NULL))"),
    ),
)
