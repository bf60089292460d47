"""A person tells a device something: a command that says who and why, checked, queued and kept."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from parking_core.commands import CommandKind, CommandOrder
from parking_core.errors import InvalidInputError, NotFoundError
from parking_core.flows.open_gate import LONGEST_TEXT
from parking_core.store import commands, device_pages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

LANE, LOCK, SIGN = "lane", "lock", "sign"  # families
FAMILY_OF: Final[Mapping[CommandKind, str | None]] = {
    CommandKind.OPEN_GATE: LANE,
    CommandKind.LOWER_GATE: LANE,
    CommandKind.LOCK_GATE_OPEN: LANE,
    CommandKind.UNLOCK_GATE: LANE,
    CommandKind.RAISE_LOCK: LOCK,
    CommandKind.LOWER_LOCK: LOCK,
    CommandKind.SHOW_SIGN: SIGN,
    CommandKind.CONFIGURE: None,  # of makes that can be told something; the gateway knows them
}
LONGEST_OPEN: Final = timedelta(hours=24)  # a gate that is locked open; longer is a decision to be made again
_MOST_LINES, _LONGEST_LINE, _MOST_COUNTS, _MOST_FREE = 8, 64, 16, 99_999


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants a device to do."""

    device: str  # code
    kind: CommandKind
    reason: str
    by: str
    body: Mapping[str, Any]
    key: str = ""  # the same key again is the same wish


def command_device(connection: Connection[Any], wish: Wish, now: datetime) -> uuid.UUID | None:
    """Queues the command and gives its id; None: a wish with this key is known.

    The row of `commands` is the record of who ordered it: body {"reason": "manual", "why", "by", ...}.

    Raises:
        NotFoundError: there is no such device.
        InvalidInputError: the device is of another family, the body is not what the kind needs, or nobody or no reason is named.
    """
    if wish.kind not in FAMILY_OF:
        raise InvalidInputError(f"{wish.kind.value} is the platform's own; people order {', '.join(FAMILY_OF)}.")
    for name, text in (("reason", wish.reason), ("name of who orders it", wish.by)):
        if not text.strip() or len(text) > LONGEST_TEXT or "\0" in text:
            raise InvalidInputError(f"The {name} must be given, in at most {LONGEST_TEXT} characters.")
    body = checked_body(wish.kind, wish.body, now)
    with connection.transaction():
        device = device_pages.identity(connection, wish.device)
        if device is None:
            raise NotFoundError(f"There is no device {wish.device!r}.")
        device_id, family = device
        needed = FAMILY_OF[wish.kind]
        if needed is not None and family != needed:
            raise InvalidInputError(
                f"{wish.kind.value} is for a {needed}; device {wish.device!r} is of the family {family!r}."
            )
        said = {**body, "reason": "manual", "why": wish.reason.strip(), "by": wish.by.strip()}
        order = CommandOrder(device_id, wish.kind, said, f"manual:{wish.key or uuid.uuid4()}")
        queued = commands.queue(connection, [order], now)
    return queued[0] if queued else None


def checked_body(kind: CommandKind, body: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The body as the device reads it.

    Raises:
        InvalidInputError: it is not what the kind needs.
    """
    match kind:
        case CommandKind.LOCK_GATE_OPEN:
            _only(kind, body, "until")
            return {"until": _until(body.get("until"), now).isoformat()}
        case CommandKind.SHOW_SIGN:
            _only(kind, body, "lines", "counts")
            return {"lines": _lines(body.get("lines", [])), "counts": _counts(body.get("counts", {}))}
        case CommandKind.CONFIGURE:
            _only(kind, body, "name", "values")
            if not isinstance(body.get("name"), str) or not isinstance(body.get("values", {}), dict):
                raise InvalidInputError(
                    "configure needs `name`, a text, and `values`, an object of the setting's parameters."
                )
            return {"name": body["name"], "values": body.get("values", {})}
        case _:
            _only(kind, body)
            return {}


def _only(kind: CommandKind, body: Mapping[str, Any], *known: str) -> None:
    for name in body:
        if name not in known:
            raise InvalidInputError(f"{kind.value} knows no {name!r}; it takes {', '.join(known) or 'nothing'}.")


def _until(text: object, now: datetime) -> datetime:
    try:
        until = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        until = None
    if until is None or until.tzinfo is None:
        raise InvalidInputError(f"lock_gate_open needs `until`, an RFC 3339 time with its offset, not {text!r}.")
    if not now < until <= now + LONGEST_OPEN:
        raise InvalidInputError(
            f"`until` is {text}; a gate is locked open until a time in the next {LONGEST_OPEN.days * 24} hours."
        )
    return until


def _lines(lines: object) -> list[str]:
    if (
        not isinstance(lines, list)
        or len(lines) > _MOST_LINES
        or not all(isinstance(line, str) and len(line) <= _LONGEST_LINE and line.isprintable() for line in lines)
    ):
        raise InvalidInputError(
            f"`lines` are at most {_MOST_LINES} texts of at most {_LONGEST_LINE} printable characters."
        )
    return lines


def _counts(counts: object) -> dict[str, int]:
    if (
        not isinstance(counts, dict)
        or len(counts) > _MOST_COUNTS
        or not all(
            isinstance(name, str) and type(free) is int and 0 <= free <= _MOST_FREE for name, free in counts.items()
        )
    ):
        raise InvalidInputError(f"`counts` are at most {_MOST_COUNTS} whole numbers by name, 0 to {_MOST_FREE}.")
    return counts
