"""What the payment routes stand on, built once a process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api.rates import Buckets
from parking_core.errors import ServiceUnavailableError

if TYPE_CHECKING:
    from parking_core.store.acquirer import AcquirerClient


class PaymentsOffError(ServiceUnavailableError):
    """No acquirer is set up."""

    code = "payments_off"


@dataclass(frozen=True)
class PaymentDesk:
    """What the routes stand on: the acquirer, and how often who may ask."""

    acquirer: AcquirerClient | None = None
    missing: tuple[str, ...] = ()  # settings, where there is no acquirer
    clients: Buckets = field(default_factory=lambda: Buckets(rate=20, burst=100))
    links: Buckets = field(default_factory=lambda: Buckets(rate=1, burst=10))
    strangers: Buckets = field(default_factory=lambda: Buckets(rate=1, burst=20))

    def open(self) -> AcquirerClient:
        """The acquirer.

        Raises:
            PaymentsOffError: a setting is missing.
        """
        if self.acquirer is None:
            names = ", ".join(self.missing) or "PARKING_ACQUIRER_URL"
            raise PaymentsOffError(f"Nobody can pay by QR code here: {names} is not set.")
        return self.acquirer
