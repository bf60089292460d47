"""What every route of this process stands on, built once and passed down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from api.identity_desk import IdentityDesk
from api.measures import Measures
from api.payment_desk import PaymentDesk
from api.price_list import Prices
from api.sharing_desk import SharingDesk
from api.snapshot import Snapshot
from parking_core.errors import ServiceUnavailableError
from parking_core.flows.offers_in_force import OffersInForce

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from psycopg_pool import AsyncConnectionPool

    from api.board import Board

_RECENT_S = 10.0  # a service that has not answered for this long counts as away


@dataclass(frozen=True, kw_only=True)
class HttpSettings:
    """How this process faces the network."""

    host: str = "127.0.0.1"
    port: int = 8000
    origins: tuple[str, ...] = ()  # web pages of other origins that may read answers; none unless set
    live_clients: int = 500  # event streams at a time
    time_zone: str = "Asia/Shanghai"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, port: int, time_zone: str) -> HttpSettings:
        """`PARKING_HTTP_HOST` and `PARKING_CORS_ORIGINS` (comma-separated) beside what all processes share."""
        origins = tuple(
            origin.strip() for origin in environ.get("PARKING_CORS_ORIGINS", "").split(",") if origin.strip()
        )
        host = environ.get("PARKING_HTTP_HOST") or cls.host
        return cls(host=host, port=port, origins=origins, time_zone=time_zone)


class NotLoadedError(ServiceUnavailableError):
    """This process has not loaded what the answer needs."""

    code = "not_loaded"


@dataclass
class Health:
    """When each service answered last, on the monotonic clock; None: never."""

    database_at: float | None = None
    redis_at: float | None = None

    def missing(self, now: float, snapshot: Snapshot) -> list[str]:
        """What a request would have to do without, one sentence each; empty when ready."""
        sentences = []
        if snapshot.board is None:
            sentences.append("The registry and the live state are not loaded yet.")
        elif not snapshot.complete:
            sentences.append("Redis holds no complete live state; the worker or `parking rebuild` makes one.")
        if self.database_at is None or now - self.database_at > _RECENT_S:
            sentences.append("The database does not answer; check PARKING_DATABASE_URL.")
        if self.redis_at is None or now - self.redis_at > _RECENT_S:
            sentences.append("Redis does not answer; check PARKING_REDIS_URL.")
        return sentences


@dataclass(frozen=True, kw_only=True)
class ApiState:
    """One API process."""

    http: HttpSettings
    clock: Callable[[], int]  # microseconds since the epoch
    snapshot: Snapshot
    measures: Measures
    database: AsyncConnectionPool | None = None  # None: history is not offered
    health: Health = field(default_factory=Health)
    prices: Prices = field(default_factory=Prices)
    payments: PaymentDesk = field(default_factory=PaymentDesk)
    sharing: SharingDesk
    identity: IdentityDesk = field(default_factory=IdentityDesk)
    keeper_url: str = ""  # the broker's user that says who may connect; empty: credentials cannot be changed here

    @classmethod
    def build(
        cls,
        http: HttpSettings,
        clock: Callable[[], int],
        database: AsyncConnectionPool | None = None,
        payments: PaymentDesk | None = None,
        sharing: SharingDesk | None = None,
        *,
        keeper_url: str = "",
    ) -> ApiState:
        """A process that has loaded nothing yet.

        Without `payments` nobody can pay by QR code, without `sharing` shared spaces are not offered.
        """
        snapshot = Snapshot(zone=ZoneInfo(http.time_zone), clock=clock)
        return cls(
            http=http,
            clock=clock,
            snapshot=snapshot,
            measures=Measures(snapshot),
            database=database,
            payments=payments or PaymentDesk(),
            sharing=sharing or SharingDesk(OffersInForce(snapshot.zone, "hold:none")),
            keeper_url=keeper_url,
        )

    def board(self) -> Board:
        """The board of the moment.

        Raises:
            NotLoadedError: nothing was loaded yet.
        """
        if self.snapshot.board is None:
            raise NotLoadedError("Registry and live state are not loaded yet; /readyz says what is missing.")
        return self.snapshot.board
