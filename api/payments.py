"""`/v1/payments`: the driver's page of a payment link, the order behind it, and the notices of acquirers.

A token in the address is all that a driver has: 192 random bits, of which only the digest is stored. It is personal, so
no log, metric or error says it, and what the page shows of the vehicle is a masked plate.

Limits: 20 requests a second and client (100 at once: mobile networks put many phones behind one address), 1 a second and
link (10 at once), and of notices that are not signed by the acquirer 1 a second and client (20 at once).
"""

from __future__ import annotations

import hashlib
import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import psycopg
from fastapi import APIRouter, Path, Request, Response
from msgspec import Meta

from api.board import encode
from api.openapi import operation
from api.problems import problem
from api.quotes import QuoteLine
from api.rates import client_key
from parking_core.acquirers import SignatureError
from parking_core.errors import NotFoundError, ServiceUnavailableError
from parking_core.flows.order_payment import look_up, order_payment, require_open
from parking_core.flows.take_notice import check_notice, take_notice
from parking_core.payments import LinkState
from parking_core.plates import masked

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool

    from api.payment_desk import PaymentDesk
    from api.state import ApiState
    from parking_core.store.payments import Link

LONGEST_NOTICE = 8_192  # bytes; an acquirer's notice has a few hundred
_UNPLATED = "unplated:"
_FRESH = {"Cache-Control": "no-store"}
_SENTENCES = {
    401: "The notice is not signed by the acquirer, or not within five minutes.",
    404: "There is no such payment link, or no such acquirer.",
    409: "It is paid already.",
    410: "The link's time is over, or another amount is due by now.",
    413: "The body is too long.",
    422: "The notice is signed and cannot be read.",
    429: "Too many requests; `Retry-After` says when to ask again.",
    502: "The acquirer refuses the order.",
    503: "Not ready, or no acquirer is set up; `detail` says which.",
}

TokenPath = Annotated[str, Path(description="The token of the payment link.")]  # only the document reads it
AcquirerPath = Annotated[str, Path(description="PARKING_ACQUIRER of this installation.")]


class PaymentPage(msgspec.Struct, frozen=True):
    """What a driver sees of a payment link."""

    lot: str
    lot_name: str
    plate: Annotated[str, Meta(description="Masked; null for a vehicle without one.")] | None
    entered_at: str | None
    amount_fen: int
    currency: str
    lines: Annotated[list[QuoteLine], Meta(description="Why it costs so much; they sum to what the stay costs.")]
    paid: bool
    expires_at: str


class PaymentOrder(msgspec.Struct, frozen=True):
    """An order that the driver's wallet can pay."""

    order: str
    amount_fen: int
    currency: str
    code_url: Annotated[str, Meta(description="What the wallet opens, as a link or a QR code.")]
    expires_at: str


class NoticeTaken(msgspec.Struct, frozen=True):
    """The notice is kept; it need not be sent again."""

    result: str


def _client(request: Request) -> str:
    return client_key(request.client.host if request.client else "")


def _too_many(desk: PaymentDesk, request: Request, token: str) -> Response | None:
    """The refusal of a client or a link that asks too often."""
    now = time.monotonic()
    # Of the token only a digest stays in memory.
    wait = max(
        desk.clients.take(_client(request), now), desk.links.take(hashlib.sha256(token.encode()).hexdigest(), now)
    )
    return _slow_down(wait) if wait > 0 else None


def _slow_down(wait_s: float) -> Response:
    headers = {"Retry-After": str(math.ceil(wait_s))}
    return problem(429, "Too many requests; wait a moment.", code="too_many_requests", headers=headers)


def _database(api: ApiState) -> AsyncConnectionPool:
    if api.database is None:
        raise ServiceUnavailableError("This process has no database; payments are not offered.")
    return api.database


def _now(api: ApiState) -> datetime:
    return datetime.fromtimestamp(api.clock() / 1e6, UTC)


def _text(api: ApiState, moment: datetime) -> str:
    return moment.astimezone(api.snapshot.zone).isoformat(timespec="seconds")


def _page(api: ApiState, link: Link, state: LinkState) -> PaymentPage:
    return PaymentPage(
        lot=link.lot,
        lot_name=link.lot_name,
        plate=None if link.vehicle.startswith(_UNPLATED) else masked(link.vehicle),
        entered_at=_text(api, link.entered_at) if link.entered_at else None,
        amount_fen=link.amount_fen,
        currency="CNY",
        lines=[msgspec.convert(line, QuoteLine) for line in link.lines],
        paid=state is LinkState.PAID,
        expires_at=_text(api, link.expires_at),
    )


async def _show(api: ApiState, token: str) -> Response:
    api.payments.open()
    now = _now(api)
    try:
        link = await look_up(_database(api), token)
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError("The database does not answer; ask again in a moment.") from error
    state = link.state(now)
    if state is not LinkState.PAID:
        require_open(link, now)
    return Response(encode(_page(api, link, state)), headers=_FRESH, media_type="application/json")


async def _order(api: ApiState, token: str) -> Response:
    acquirer = api.payments.open()
    try:
        payable = await order_payment(_database(api), acquirer, token, _now(api))
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError("The database does not answer; ask again in a moment.") from error
    order = PaymentOrder(
        order=str(payable.order.id),
        amount_fen=payable.order.amount_fen,
        currency="CNY",
        code_url=payable.code_url,
        expires_at=_text(api, payable.link.expires_at),
    )
    return Response(encode(order), headers=_FRESH, media_type="application/json")


async def _notice(api: ApiState, request: Request, name: str) -> Response:
    desk = api.payments
    acquirer = desk.open()
    if name != acquirer.code:
        raise NotFoundError("No acquirer of this installation is called so.")
    client, instant = _client(request), time.monotonic()
    if desk.strangers.is_empty(client, instant):
        return _slow_down(1 / desk.strangers.rate)
    body = await request.body()
    if len(body) > LONGEST_NOTICE:
        return problem(413, f"The notice is longer than {LONGEST_NOTICE} bytes.", code="body_too_large")
    try:
        notice = check_notice(request.headers, body, acquirer.verifying, _now(api))
    except SignatureError as error:
        desk.strangers.take(client, instant)
        headers = {"WWW-Authenticate": "Acquirer-Signature"}
        return problem(401, str(error), code=error.code, headers=headers)
    try:
        async with _database(api).connection() as connection:
            await take_notice(connection, acquirer.code, notice, body)
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError("The database does not answer; send the notice again.") from error
    return Response(encode(NoticeTaken("taken")), headers=_FRESH, media_type="application/json")


def payment_routes(router: APIRouter, api: ApiState) -> None:
    """Adds the routes of this file."""

    @router.get(
        "/v1/payments/{token}",
        tags=["payments"],
        **operation(PaymentPage, errors=(404, 410, 429, 503), sentences=_SENTENCES, conditional=False),
        summary="What a payment link asks for",
    )
    async def show(request: Request, token: TokenPath) -> Response:
        """Lot, entry, amount with its lines, and whether it is paid; the plate is masked."""
        return _too_many(api.payments, request, token) or await _show(api, token)

    @router.post(
        "/v1/payments/{token}",
        tags=["payments"],
        **operation(PaymentOrder, errors=(404, 409, 410, 413, 429, 502, 503), sentences=_SENTENCES, conditional=False),
        summary="Order the payment",
    )
    async def order(request: Request, token: TokenPath) -> Response:
        """An order at the acquirer, or the one that lives; takes no body."""
        return _too_many(api.payments, request, token) or await _order(api, token)

    @router.post(
        "/v1/payments/notices/{acquirer}",
        tags=["payments"],
        **operation(NoticeTaken, errors=(401, 404, 413, 422, 429, 503), sentences=_SENTENCES, conditional=False),
        summary="An acquirer tells of a payment",
    )
    async def notice(request: Request, acquirer: AcquirerPath) -> Response:
        """Signed (Acquirer-Timestamp, Acquirer-Nonce, Acquirer-Signature); 200 only when it is kept, repetitions too."""
        return await _notice(api, request, acquirer)
