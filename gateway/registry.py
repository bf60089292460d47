"""The gateway's view of the registry, kept up to date."""

from __future__ import annotations

import asyncio
import math
import random
from time import monotonic
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
import structlog

from gateway.record import CONNECTION_OPTIONS
from gateway.validate import Validator
from parking_core.readings import Sign
from parking_core.store import events, gateways, liveness
from parking_core.store.devices import DeviceRegistry, load_devices, registry_version

if TYPE_CHECKING:
    from gateway.sorting import Sorted
    from parking_core.settings import Settings

log = structlog.get_logger()

WATCH_S = 2.0  # how long a change of the registry may stay unseen; an unknown device is looked up at once
# A reading also leaves an event, so its sign of life needs to be durable only to a tenth of the device's
# rhythm; the worker calls a device silent at 1.1 rhythms, so that it is never called so too early.
LIVENESS_RESOLUTION = 0.1
STEADY_S = 3 * WATCH_S  # a longer pause between two reports is an outage, and others were kept from reporting too


class RegistryView:
    """Validator, liveness and ledger devices of one version of the registry."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.database_url
        self._window = window = settings.clock_window
        self._zone = zone = ZoneInfo(settings.time_zone)
        self._instance = settings.instance
        self._adopt_after_s = settings.adopt_after_s
        self.has_company = False  # another gateway lives: they share the messages
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._version = -1
        self._refreshing = asyncio.Lock()
        self._reported_at, self._reporting_since = -math.inf, math.inf
        self.validator = Validator(DeviceRegistry(0, {}, frozenset()), window, zone)
        self.ledger_devices: frozenset[int] = frozenset()
        self._durable_us = np.zeros(1, "i8")
        self._resolution_us = np.zeros(1, "i8")

    async def run(self) -> None:
        """Watches for changes for ever."""
        while True:
            await asyncio.sleep(WATCH_S * random.uniform(0.75, 1.25))  # noqa: S311  # jitter, not a secret
            await self.refresh()

    async def load(self) -> None:
        """Reads the registry for the first time; waits for the database as long as it takes."""
        while not await self.refresh():  # noqa: ASYNC110  # the database sends no event when it comes back
            await asyncio.sleep(random.uniform(0.3, 0.7))  # noqa: S311  # jitter, not a secret

    async def refresh(self) -> bool:
        """Reads the registry again if it has changed; False when the database cannot be asked."""
        async with self._refreshing:
            try:
                connection = await self._connected()
                if await registry_version(connection) != self._version:
                    await self._read(connection)
                self.ledger_devices |= await events.ledger_devices(connection)
                await gateways.report(connection, self._instance)
                self._has_reported()
                self.has_company = await gateways.others_alive(connection, self._instance, self._adopt_after_s)
            except psycopg.Error as error:
                log.warning("registry cannot be read", error=str(error).strip()[:300])
                await self.close()
                return False
        return True

    def signs_to_record(self, found: Sorted) -> list[Sign]:
        """Those signs that liveness must hold durably before the messages are acknowledged."""
        if not found.heard_us:
            return []
        ids = np.fromiter(found.heard_us, "i8", len(found.heard_us))
        heard = np.fromiter(found.heard_us.values(), "i8", len(ids))
        inside = np.minimum(ids, len(self._durable_us) - 1)  # a device may have been removed meanwhile
        due = heard - self._durable_us[inside] > self._resolution_us[inside]
        chosen = set(ids[due].tolist()) | found.explicit
        return [Sign(device, found.heard_us[device], found.online.get(device)) for device in chosen]

    def recorded(self, signs: list[Sign], ledger_devices: frozenset[int]) -> None:
        """Notes what has become durable."""
        for sign in signs:
            if sign.device_id < len(self._durable_us):
                self._durable_us[sign.device_id] = max(self._durable_us[sign.device_id], sign.heard_us)
        self.ledger_devices |= ledger_devices

    async def claim_orphan(self) -> str | None:
        """A gateway that is gone for good and that nobody else takes over.

        None until this gateway has reported without a break for as long as silence makes an orphan: after an outage
        of the database all look silent, and two living gateways that took over each other's sessions would leave
        moments without any subscriber, in which the broker throws messages away.
        """
        now = monotonic()
        if now - self._reported_at > STEADY_S or now - self._reporting_since < self._adopt_after_s:
            return None
        async with self._refreshing:
            try:
                return await gateways.claim_orphan(await self._connected(), self._instance, self._adopt_after_s)
            except psycopg.Error as error:
                log.warning("orphans cannot be looked for", error=str(error).strip()[:300])
                await self.close()
                return None

    def _has_reported(self) -> None:
        now = monotonic()
        if now - self._reported_at > STEADY_S:
            self._reporting_since = now
        self._reported_at = now

    async def forget(self, instance: str) -> None:
        """An orphan is taken care of. Where the database is away it is found again, empty."""
        async with self._refreshing:
            try:
                await gateways.forget(await self._connected(), instance)
            except psycopg.Error as error:
                log.warning("orphan cannot be forgotten", instance=instance, error=str(error).strip()[:300])
                await self.close()

    async def close(self) -> None:
        """Closes the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _read(self, connection: psycopg.AsyncConnection[Any]) -> None:
        registry = await load_devices(connection)
        heard = await liveness.last_heard(connection)
        size = max((device.id for device in registry.devices.values()), default=0) + 1
        durable_us, resolution_us = np.zeros(size, "i8"), np.zeros(size, "i8")
        for device in registry.devices.values():
            durable_us[device.id] = heard.get(device.id, 0)
            resolution_us[device.id] = int(device.expected_interval_s * 1_000_000 * LIVENESS_RESOLUTION)
        # Of what this process knows to be durable, the database may have been asked just before the commit.
        shared = min(size, len(self._durable_us))
        durable_us[:shared] = np.maximum(durable_us[:shared], self._durable_us[:shared])
        self.validator = Validator(registry, self._window, self._zone)
        self._durable_us, self._resolution_us = durable_us, resolution_us
        self._version = registry.version
        log.info("registry read", version=registry.version, devices=len(registry.devices))

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True, **CONNECTION_OPTIONS)  # type: ignore[arg-type]  # psycopg takes libpq's options as text
        return self._connection
