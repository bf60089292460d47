"""The acquirer over HTTPS: requests of ours are signed, answers that are not signed by him do not count.

Every request may be sent again: orders and refunds have numbers of ours, and the same number is the same thing. So a
request that got no answer is repeated here once, at once; later repetitions are the caller's, with pauses that grow.
Never called inside a database transaction: he may take seconds.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar

import httpx
import msgspec
import structlog

from parking_core.acquirers import (
    OrderAnswer,
    RefundAnswer,
    SignatureError,
    Stamp,
    decode,
    load_signing_key,
    load_verifying_keys,
    read_bill,
)
from parking_core.errors import InvalidInputError, ParkingError, ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from types import TracebackType
    from uuid import UUID

    from parking_core.acquirers import BillLine, OrderRequest, RefundRequest, SigningKey, VerifyingKeys
    from parking_core.settings import AcquirerSettings

log = structlog.get_logger()
Message = TypeVar("Message", bound=msgspec.Struct)

_TIMEOUT: Final = httpx.Timeout(5.0, connect=2.0)  # s; a driver waits for the order
_NONCE_BYTES: Final = 18
_ATTEMPTS: Final = 2


class AcquirerAwayError(ServiceUnavailableError):
    """The acquirer does not answer, or with something that is not signed by him."""

    code = "acquirer_away"


class AcquirerRefusedError(ParkingError):
    """The acquirer answers that he does not do it."""

    code = "acquirer_refused"


def load_keys(settings: AcquirerSettings) -> tuple[SigningKey, VerifyingKeys]:
    """Our key and the acquirer's from their files, which are named.

    Raises:
        SettingsError: a file cannot be used.
    """
    return (
        load_signing_key(Path(settings.key_file), "PARKING_ACQUIRER_KEY_FILE"),
        load_verifying_keys(Path(settings.public_key_file), "PARKING_ACQUIRER_PUBLIC_KEY_FILE"),
    )


class AcquirerClient:
    """One process's way to the acquirer.

    Args:
        settings: all of them are set.
        signing: our key.
        verifying: his keys.
        clock: now.
    """

    def __init__(
        self,
        settings: AcquirerSettings,
        signing: SigningKey,
        verifying: VerifyingKeys,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.code = settings.code
        self.verifying = verifying
        self._signing = signing
        self._clock = clock
        self._path = httpx.URL(settings.url).raw_path.decode().rstrip("/")
        self._http = httpx.AsyncClient(base_url=settings.url, timeout=_TIMEOUT, trust_env=False)

    @classmethod
    def of_settings(cls, settings: AcquirerSettings) -> AcquirerClient | None:
        """The client, None where a setting is missing.

        Raises:
            SettingsError: a key file cannot be used.
        """
        if settings.missing():
            return None
        return cls(settings, *load_keys(settings))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def create_order(self, order: OrderRequest) -> OrderAnswer:
        """Orders; the same number again is the same order.

        Raises:
            AcquirerAwayError: no answer that counts.
            AcquirerRefusedError: he does not take it.
        """
        body = await self._ask("POST", "/v1/orders", msgspec.json.encode(order))
        return self._about_order(body, order.order_id)

    async def query(self, order_id: UUID) -> OrderAnswer | None:
        """Where an order stands; None: he does not know it. Errors as in `create_order`."""
        body = await self._ask("GET", f"/v1/orders/{order_id}")
        return None if body is None else self._about_order(body, order_id)

    async def close(self, order_id: UUID) -> OrderAnswer | None:
        """Closes an order nobody needs; one that was paid in the meantime is answered as paid. Otherwise as `query`."""
        body = await self._ask("POST", f"/v1/orders/{order_id}/close")
        return None if body is None else self._about_order(body, order_id)

    async def refund(self, refund: RefundRequest) -> RefundAnswer:
        """Gives money back; the same number again is the same refund. Errors as in `create_order`."""
        body = await self._ask("POST", "/v1/refunds", msgspec.json.encode(refund))
        answer = self._read(RefundAnswer, body)
        if answer.refund_id != refund.refund_id or answer.amount_fen != refund.amount_fen:
            raise AcquirerAwayError("The acquirer answered about another refund.")
        return answer

    async def bill(self, day: date) -> list[BillLine] | None:
        """The bill of a local day; None: it is not ready. Errors as in `create_order`."""
        body = await self._ask("GET", f"/v1/bills/{day.isoformat()}")
        try:
            return None if body is None else read_bill(body.decode())
        except (UnicodeDecodeError, InvalidInputError) as error:
            raise AcquirerAwayError(f"The bill of {day.isoformat()} cannot be read: {error}") from error

    def _about_order(self, body: bytes | None, order_id: UUID) -> OrderAnswer:
        answer = self._read(OrderAnswer, body)
        if answer.order_id != order_id:
            raise AcquirerAwayError("The acquirer answered about another order.")
        return answer

    def _read(self, kind: type[Message], body: bytes | None) -> Message:
        if body is None:
            raise AcquirerRefusedError("The acquirer has no such address; check PARKING_ACQUIRER_URL.")
        try:
            return decode(kind, body)
        except InvalidInputError as error:
            raise AcquirerAwayError(str(error)) from error

    async def _ask(self, method: str, path: str, body: bytes = b"") -> bytes | None:
        """The signed answer's body; None for 404."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._ask_once(method, path, body)
            except AcquirerAwayError as error:
                if attempt == _ATTEMPTS:
                    raise
                log.info("acquirer asked again", error=str(error))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _ask_once(self, method: str, path: str, body: bytes) -> bytes | None:
        nonce = secrets.token_urlsafe(_NONCE_BYTES)
        stamp = self._signing.stamp_request(method, self._path + path, body, nonce=nonce, now=self._clock())
        headers = {**stamp.headers(), "content-type": "application/json"}
        try:
            answer = await self._http.request(method, path, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise AcquirerAwayError(
                f"The acquirer does not answer ({type(error).__name__}); ask again later."
            ) from error
        status = answer.status_code
        if status >= 500 or status == 429:
            raise AcquirerAwayError(f"The acquirer answers {status}; ask again later.")
        try:
            stamp = Stamp.of_headers(answer.headers)
            self.verifying.verify_answer(answer.content, stamp=stamp, now=self._clock())
        except SignatureError as error:
            raise AcquirerAwayError(
                f"An answer in the acquirer's name (status {status}) does not count: {error}"
            ) from error
        if status == 404:
            return None
        if status != 200:
            raise AcquirerRefusedError(f"The acquirer refuses {method} {path.split('/')[2]} with status {status}.")
        return answer.content
