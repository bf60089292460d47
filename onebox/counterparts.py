"""Whom the platform settles with in a demo: a simulated clearing centre and a simulated acquirer, on loopback.

    simulated_environment     before the platform starts: addresses and keys, so that it believes both
    serve                     beside it: both, as unreliable as real ones; their books outlast the demo

An installation that names a centre or an acquirer of its own is left with that one; `parking up` starts neither.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from onebox import acquirer, ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from onebox.home import Home

CLEARING_URL, ACQUIRER_URL = "PARKING_CLEARING_URL", "PARKING_ACQUIRER_URL"
# Nobody watches a demo for the five minutes that a package may wait, or for the two days that a dispute takes.
_PACKAGE_S: Final = 10
_DAY_S: Final = 30.0
_DISPUTED: Final = 0.02  # of the records
_PORT: Final = "clearing-centre"


def simulated_environment(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """What makes a platform that is about to start believe both; nothing of the one that the caller has himself.

    Call only while nothing of the home runs.
    """
    found = acquirer.simulated_environment(home, environ)
    if not environ.get(CLEARING_URL):
        home.prepare()
        port = ports.remembered(home, (_PORT,))[_PORT]
        found |= {CLEARING_URL: f"tcp://127.0.0.1:{port}"}
        found |= {"PARKING_CLEARING_PACKAGE_S": environ.get("PARKING_CLEARING_PACKAGE_S") or str(_PACKAGE_S)}
    return found


@contextlib.asynccontextmanager
async def serve(home: Home, api_url: str, simulated: Mapping[str, str]) -> AsyncIterator[None]:
    """Both, as far as `simulated` (of `simulated_environment`) names them, until the block ends.

    Raises:
        OSError: another program has taken a port since.
    """
    async with contextlib.AsyncExitStack() as held:
        if url := simulated.get(CLEARING_URL):
            await held.enter_async_context(_clearing_centre(home, url))
        if url := simulated.get(ACQUIRER_URL):
            await held.enter_async_context(_acquirer(home, api_url, url))
        yield


@contextlib.asynccontextmanager
async def _clearing_centre(home: Home, url: str) -> AsyncIterator[None]:
    from simulators.clearing_books import Habits  # noqa: PLC0415  # only a demo loads simulators
    from simulators.clearing_centre import ClearingCentre  # noqa: PLC0415  # loaded when it runs, as above
    from simulators.clearing_memory import CentreMemory  # noqa: PLC0415  # loaded when it runs, as above

    memory = CentreMemory(home.root / "simulated-clearing-centre" / "books.journal")
    habits = Habits(disputed=_DISPUTED, response_s=0.5, bookkeeping_s=2.0)
    centre = ClearingCentre(habits, _DAY_S, calendar=True, memory=memory)
    try:
        await centre.start(urlsplit(url).port or 0)
        yield
    finally:
        await centre.stop()


@contextlib.asynccontextmanager
async def _acquirer(home: Home, api_url: str, url: str) -> AsyncIterator[None]:
    from simulators import acquirer as simulated  # noqa: PLC0415  # only a demo loads simulators
    from simulators.acquirer_callbacks import Faults  # noqa: PLC0415  # loaded when it runs, as above

    keys = acquirer.AcquirerKeys.of(home)
    faults = Faults(lose=0.05, repeat=0.1, reorder=0.1, delay_s=0.5)
    notices = f"{api_url}/v1/payments/notices/acq"
    business = simulated.build(
        notices,
        keys.private("simulated"),
        keys.public("platform"),
        faults=faults,
        journal=home.root / "simulated-acquirer" / "books.journal",
    )
    serving = asyncio.create_task(simulated.serve(business, url), name="acquirer")
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
