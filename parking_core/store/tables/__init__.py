"""The tables as SQLAlchemy sees them, a module a topic; tests prove that they equal the sum of the migrations."""

from parking_core.store.tables import (
    clearing,
    commands,
    devices,
    journal,
    lanes,
    payments,
    reconciliation,
    registry_and_history,
    reservations,
    sharing,
    tariffs_and_permits,
    visits_and_charges,
)
from parking_core.store.tables.metadata import metadata

__all__ = [
    "clearing",
    "commands",
    "devices",
    "journal",
    "lanes",
    "metadata",
    "payments",
    "reconciliation",
    "registry_and_history",
    "reservations",
    "sharing",
    "tariffs_and_permits",
    "visits_and_charges",
]
