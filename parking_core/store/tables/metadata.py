"""What all table modules stand on."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, MetaData

metadata = MetaData()


def moment(name: str, *, nullable: bool = False, server_default: object = None) -> Column[object]:
    """A column that holds an instant."""
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=server_default)  # type: ignore[arg-type]  # SQL expressions and None both
