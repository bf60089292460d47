"""Keys of QR payments: generated once a home, as the passwords are; and the simulated acquirer of the demo.

    acquirer/platform.pem           our private key; its public half is what an acquirer is given
    acquirer/platform_public.pem
    acquirer/simulated.pem          the simulated acquirer's, for the demo alone
    acquirer/simulated_public.pem

The platform's processes get our key where the caller names none. They believe the simulated acquirer only in a demo that
starts one: an installation with a real acquirer names his key, or is told that the setting is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onebox import ports
from onebox.home import write_atomically
from parking_core.acquirers import new_key_pair

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from onebox.home import Home, ServiceUser

_URL, _KEY, _THEIR_KEY = "PARKING_ACQUIRER_URL", "PARKING_ACQUIRER_KEY_FILE", "PARKING_ACQUIRER_PUBLIC_KEY_FILE"


@dataclass(frozen=True)
class AcquirerKeys:
    """Where the keys of a home lie."""

    folder: Path

    @classmethod
    def of(cls, home: Home) -> AcquirerKeys:
        """Of this home, made or not."""
        return cls(home.root / "acquirer")

    def private(self, side: str) -> Path:
        """Of `platform` or `simulated`."""
        return self.folder / f"{side}.pem"

    def public(self, side: str) -> Path:
        """The other half."""
        return self.folder / f"{side}_public.pem"

    def ensure(self, side: str, owner: ServiceUser | None = None) -> None:
        """Makes the pair where it is missing; the private half is its owner's alone (None: the caller's)."""
        self.folder.mkdir(mode=0o755, exist_ok=True)
        if self.private(side).exists() and self.public(side).exists():
            return
        private, public = new_key_pair()
        write_atomically(self.public(side), public.decode(), mode=0o644)
        write_atomically(self.private(side), private.decode(), owner=owner)


def process_environment(home: Home, environ: Mapping[str, str], owner: ServiceUser) -> dict[str, str]:
    """What API and worker get beside the caller's settings: the platform's own key."""
    if environ.get(_KEY):
        return {}
    keys = AcquirerKeys.of(home)
    keys.ensure("platform", owner)
    return {_KEY: str(keys.private("platform"))}


def simulated_environment(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """What makes a platform that is about to start believe the simulated acquirer; empty where the caller names one.

    Call only while nothing of the home runs.
    """
    if environ.get(_URL) or environ.get(_KEY):
        return {}
    home.prepare()
    keys = AcquirerKeys.of(home)
    keys.ensure("simulated")
    port = ports.remembered(home, ("acquirer",))["acquirer"]
    return {_URL: f"http://127.0.0.1:{port}", _THEIR_KEY: str(keys.public("simulated"))}
