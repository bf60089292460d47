"""A demo settles with simulated counterparts, an installation with its own, and `parking up` with none by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from onebox import counterparts
from onebox.acquirer import AcquirerKeys
from onebox.applications import caller
from onebox.home import Home
from parking_core.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

URLS = {"database_url": "postgresql://x", "redis_url": "redis://x", "mqtt_url": "mqtt://x"}
CENTRE = {"PARKING_CLEARING_URL": "tcp://centre.example:9010"}
ACQUIRER = {"PARKING_ACQUIRER_URL": "https://pay.example"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    tmp_path.chmod(0o755)
    return Home(tmp_path, tmp_path / "runtime", caller())


def test_a_demo_is_given_both_at_the_same_addresses_every_time(home: Home) -> None:
    given = counterparts.simulated_environment(home, {})
    settings = Settings.from_environ(given, **URLS)
    assert settings.clearing_url.startswith("tcp://127.0.0.1:")
    assert settings.clearing_package_s == 10
    assert settings.acquirer.url.startswith("http://127.0.0.1:")
    assert counterparts.simulated_environment(home, {}) == given


def test_who_has_one_of_them_keeps_it(home: Home) -> None:
    assert counterparts.simulated_environment(home, CENTRE | ACQUIRER) == {}
    assert set(counterparts.simulated_environment(home, CENTRE)) == {
        "PARKING_ACQUIRER_URL",
        "PARKING_ACQUIRER_PUBLIC_KEY_FILE",
    }
    given = counterparts.simulated_environment(home, ACQUIRER | {"PARKING_CLEARING_PACKAGE_S": "60"})
    assert set(given) == {"PARKING_CLEARING_URL", "PARKING_CLEARING_PACKAGE_S"}
    assert given["PARKING_CLEARING_PACKAGE_S"] == "60"


def test_both_serve_until_the_block_ends(home: Home) -> None:
    given = counterparts.simulated_environment(home, {})
    AcquirerKeys.of(home).ensure("platform")
    centre = int(given["PARKING_CLEARING_URL"].rpartition(":")[2])

    async def scenario() -> None:
        async with counterparts.serve(home, "http://127.0.0.1:9", given):
            _, writer = await asyncio.open_connection("127.0.0.1", centre)
            writer.close()
            async with httpx.AsyncClient(trust_env=False) as client:
                for _ in range(100):
                    try:
                        answer = await client.get(f"{given['PARKING_ACQUIRER_URL']}/_truth")
                        break
                    except httpx.ConnectError:
                        await asyncio.sleep(0.05)
                assert answer.json()["days"] == {}
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", centre)

    asyncio.run(scenario())
    assert (home.root / "simulated-clearing-centre" / "books.journal").exists()
    assert (home.root / "simulated-acquirer" / "books.journal").exists()


def test_a_platform_that_was_up_is_left_alone(home: Home) -> None:
    async def scenario() -> None:
        async with counterparts.serve(home, "http://127.0.0.1:9", {}):
            pass

    asyncio.run(scenario())
    assert list(home.root.iterdir()) == []
