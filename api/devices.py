"""`/v1/operator/devices` and `/v1/operator/discoveries`: one's own devices, and those that nobody registered.

An operator sees and tells devices of his own lots; the others do not exist for him. Unknown devices are the district's to decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path, Request, Response
from msgspec import Meta

from api.board import encode
from api.bodies import idempotency_key, read_body
from api.cursors import Cursor, decode_cursor, encode_cursor
from api.device_views import (
    BindingWish,
    CommandList,
    CommandView,
    CommandWish,
    CredentialView,
    Decided,
    DevicePage,
    DiscoveryList,
    RefusalWish,
    RevocationWish,
    command_view,
    device_view,
    discovery_view,
)
from api.identity import identify
from api.openapi import operation
from api.query import parse_query
from api.reservations import now_of
from parking_core.commands import CommandKind
from parking_core.discoveries import DiscoveryState
from parking_core.errors import ConflictError, NotFoundError, ServiceUnavailableError
from parking_core.flows import keep_credentials
from parking_core.flows.command_device import Wish, command_device
from parking_core.flows.decide_discovery import Binding, bind, refuse
from parking_core.people import Role
from parking_core.store import commands, device_pages, discoveries
from parking_core.store.keeper import Keeper

if TYPE_CHECKING:
    from psycopg import Connection

    from api.state import ApiState
    from parking_core.people import Person

DevicePath = Annotated[str, Path(description="The device's code.")]  # only the document reads it
IdentityPath = Annotated[str, Path(description="DevEUI, or the code in the device's topic.")]  # same
_FRESH: Final = {"Cache-Control": "no-store"}
_MOST: Final = 200
_KEY: Final = {"Idempotency-Key": "Up to 128 characters, new for every new order: the same key, the same order."}
_SENTENCES: Final = {
    401: "No token, or one that nobody has.",
    403: "The account is neither an operator's nor the district's, or only the district may that.",
    404: "You have no such device, or nobody has seen it.",
    409: "The key was used before, or it was decided before.",
    415: "The body is not JSON.",
    422: "Fields or parameters cannot be used; `errors` or `detail` says why.",
    429: "Too many requests; `Retry-After` says when to ask again.",
    503: "Not ready, or the broker cannot be told; `Retry-After` says when to ask again.",
}


class DevicesQuery(msgspec.Struct, frozen=True):
    """Which devices, by pages."""

    cursor: Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=200, description="Devices a page.")] = 50
    lot: Annotated[str, Meta(max_length=64)] | None = None


def _who(person: Person) -> str:
    return f"{person.role.value}:{person.code}"


def _operator(person: Person) -> int | None:
    """Whose lots he sees; None: all."""
    return None if person.role is Role.DISTRICT else person.operator_id or -1


def _own(connection: Connection[Any], person: Person, code: str) -> int:
    """Id of a device of his.

    Raises:
        NotFoundError: there is none, or it is another operator's.
    """
    found = device_pages.owned(connection, code, _operator(person))
    if found is None:
        raise NotFoundError(f"You have no device {code!r}; GET /v1/operator/devices lists yours.")
    return found


def _keeper(api: ApiState) -> Keeper:
    if not api.keeper_url:
        raise ServiceUnavailableError("This installation has no keeper of credentials; set PARKING_MQTT_KEEPER_URL.")
    return Keeper(api.keeper_url)


def _answer(view: msgspec.Struct, status: int = 200) -> Response:
    return Response(encode(view), status, _FRESH, media_type="application/json")


async def _list(api: ApiState, request: Request) -> Response:
    person = await identify(api, request, Role.OPERATOR, Role.DISTRICT)
    query = parse_query(DevicesQuery, request.scope["query_string"])
    after = decode_cursor(query.cursor) if query.cursor else ""
    found = await api.sharing.run(
        lambda connection: device_pages.page(
            connection, after=str(after or ""), most=query.limit + 1, lot=query.lot, operator_id=_operator(person)
        )
    )
    shown = found[: query.limit]
    more = encode_cursor(shown[-1].code) if len(found) > query.limit else None
    return _answer(DevicePage([device_view(row, api.snapshot.zone) for row in shown], more))


async def _issue(api: ApiState, request: Request, code: str) -> Response:
    person = await identify(api, request, Role.OPERATOR, Role.DISTRICT)
    keeper, now = _keeper(api), now_of(api)

    def flow(connection: Connection[Any]) -> str:
        _own(connection, person, code)
        return keep_credentials.issue(connection, keeper, code, by=_who(person), now=now)

    return _answer(CredentialView(code, await api.sharing.run(flow)), 201)


async def _revoke(api: ApiState, request: Request, code: str) -> Response:
    person = await identify(api, request, Role.OPERATOR, Role.DISTRICT)
    body = await read_body(RevocationWish, request)
    keeper, now = _keeper(api), now_of(api)

    def flow(connection: Connection[Any]) -> None:
        _own(connection, person, code)
        keep_credentials.revoke(connection, keeper, code, by=_who(person), reason=body.reason, now=now)

    await api.sharing.run(flow)
    return _answer(Decided("revoked", code))


async def _tell(api: ApiState, request: Request, code: str) -> Response:
    person = await identify(api, request, Role.OPERATOR, Role.DISTRICT)
    key = f"{_who(person)}:{idempotency_key(request)}"
    body, now = await read_body(CommandWish, request), now_of(api)

    def flow(connection: Connection[Any]) -> CommandView:
        _own(connection, person, code)
        wish = Wish(
            device=code, kind=CommandKind(body.kind), reason=body.reason, by=_who(person), body=body.body, key=key
        )
        command_id = command_device(connection, wish, now)
        row = None if command_id is None else commands.get(connection, command_id)
        if row is None:
            raise ConflictError("This Idempotency-Key was used for an order to this device before.")
        return command_view(row, api.snapshot.zone)

    return _answer(await api.sharing.run(flow), 202)


async def _told(api: ApiState, request: Request, code: str) -> Response:
    person = await identify(api, request, Role.OPERATOR, Role.DISTRICT)
    rows = await api.sharing.run(
        lambda connection: commands.recent(connection, device_id=_own(connection, person, code), most=_MOST)
    )
    return _answer(CommandList([command_view(row, api.snapshot.zone) for row in rows]))


async def _unknown(api: ApiState, request: Request) -> Response:
    await identify(api, request, Role.DISTRICT)
    found = await api.sharing.run(lambda connection: discoveries.listed(connection, DiscoveryState.NEW, None, _MOST))
    return _answer(DiscoveryList([discovery_view(one, api.snapshot.zone) for one in found]))


async def _bind(api: ApiState, request: Request, identity: str) -> Response:
    person = await identify(api, request, Role.DISTRICT)
    body, now = await read_body(BindingWish, request), now_of(api)
    binding = Binding(
        lot=body.lot, space=body.space, family=body.family, model=body.model, firmware=body.firmware, code=body.code
    )
    code = await api.sharing.run(lambda connection: bind(connection, identity, binding, by=_who(person), now=now))
    return _answer(Decided(DiscoveryState.BOUND, code), 201)


async def _refuse(api: ApiState, request: Request, identity: str) -> Response:
    person = await identify(api, request, Role.DISTRICT)
    body, now = await read_body(RefusalWish, request), now_of(api)
    await api.sharing.run(lambda connection: refuse(connection, identity, reason=body.reason, by=_who(person), now=now))
    return _answer(Decided(DiscoveryState.REFUSED))


def device_routes(router: APIRouter, api: ApiState) -> None:
    """Adds the routes of this file."""
    place = "/v1/operator/devices"
    known: dict[str, Any] = {"sentences": _SENTENCES, "conditional": False, "personal": True}
    reading, taking = (401, 403, 404, 422, 429, 503), (401, 403, 404, 409, 415, 422, 429, 503)

    @router.get(
        place,
        tags=["devices"],
        **operation(DevicePage, query=DevicesQuery, errors=(401, 403, 422, 429, 503), **known),
        summary="Devices of your lots",
    )
    async def listed(request: Request) -> Response:
        """By code, with what they say of themselves; the district sees all."""
        return await _list(api, request)

    @router.post(
        place + "/{device}/credential",
        tags=["devices"],
        **operation(CredentialView, errors=reading, statuses={201: "Issued; the one before lets nobody in."}, **known),
        summary="Issue a credential, or another one",
    )
    async def issue(request: Request, device: DevicePath) -> Response:
        """The secret is shown this once; a connection with the old one ends."""
        return await _issue(api, request, device)

    @router.post(
        place + "/{device}/credential/revocation",
        tags=["devices"],
        **operation(Decided, body=RevocationWish, errors=taking, **known),
        summary="Take a credential away",
    )
    async def revoke(request: Request, device: DevicePath) -> Response:
        """The device is disconnected and cannot come back."""
        return await _revoke(api, request, device)

    _command_routes(router, api, place, known, (reading, taking))
    _discovery_routes(router, api, known, taking)


def _command_routes(
    router: APIRouter, api: ApiState, place: str, known: dict[str, Any], errors: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    @router.post(
        place + "/{device}/commands",
        tags=["devices"],
        **operation(
            CommandView,
            body=CommandWish,
            errors=errors[1],
            headers=_KEY,
            statuses={202: "It waits for the device."},
            **known,
        ),
        summary="Tell a device something",
    )
    async def tell(request: Request, device: DevicePath) -> Response:
        """A gate, a parking lock, a sign, or a sensor's setting; who and why are kept."""
        return await _tell(api, request, device)

    @router.get(
        place + "/{device}/commands",
        tags=["devices"],
        **operation(CommandList, errors=errors[0], **known),
        summary="What a device was told, and what became of it",
    )
    async def told(request: Request, device: DevicePath) -> Response:
        """The newest first."""
        return await _told(api, request, device)


def _discovery_routes(router: APIRouter, api: ApiState, known: dict[str, Any], taking: tuple[int, ...]) -> None:
    place = "/v1/operator/discoveries"

    @router.get(
        place,
        tags=["devices"],
        **operation(DiscoveryList, errors=(401, 403, 429, 503), **known),
        summary="Devices that nobody registered",
    )
    async def unknown(request: Request) -> Response:
        """With what they sent last; for the district."""
        return await _unknown(api, request)

    @router.post(
        place + "/{identity}/binding",
        tags=["devices"],
        **operation(
            Decided, body=BindingWish, errors=taking, statuses={201: "Registered; its next message counts."}, **known
        ),
        summary="Bind an unknown device to a space",
    )
    async def bind_(request: Request, identity: IdentityPath) -> Response:
        """Its make says how its bytes are read."""
        return await _bind(api, request, identity)

    @router.post(
        place + "/{identity}/refusal",
        tags=["devices"],
        **operation(Decided, body=RefusalWish, errors=taking, **known),
        summary="Refuse an unknown device",
    )
    async def refuse_(request: Request, identity: IdentityPath) -> Response:
        """What it sends is counted from now on, and nothing else."""
        return await _refuse(api, request, identity)
