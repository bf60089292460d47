"""Commands as rows: queued in the transaction of their cause, claimed and answered by any gateway."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from psycopg.types.json import Jsonb

from parking_core.commands import (
    CHANGES,
    POLICIES,
    STATE_AFTER,
    CommandKind,
    CommandState,
    DueCommand,
    moving_the_same,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from psycopg import AsyncConnection, Connection

    from parking_core.commands import CommandAck, CommandOrder

CHANNEL: Final = "commands"  # pg_notify: something is queued

# Unfinished states stand in the statements as words, so that the partial indexes serve them; a test compares the words
# with parking_core.commands.UNFINISHED.

# A cause that is processed again commands nothing twice.
_QUEUE = """
INSERT INTO commands (id, device_id, kind, payload, cause, state, created_at, deadline_at, next_try_at)
SELECT o.id, o.device_id, o.kind, o.payload, o.cause, 'queued', %(now)s, o.deadline_at, %(now)s
FROM unnest(%(ids)s::uuid[], %(devices)s::integer[], %(kinds)s::text[], %(payloads)s::jsonb[], %(causes)s::text[],
            %(deadlines)s::timestamptz[]) AS o (id, device_id, kind, payload, cause, deadline_at)
ON CONFLICT (cause, device_id, kind) DO NOTHING
RETURNING id
"""

# What a newer command of the same kind, or one that moves the same thing, makes needless. Locked in the order of ids, as everywhere: no deadlocks.
_SUPERSEDE = """
WITH newest AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(devices)s::integer[], %(kinds)s::text[]) AS n (id, device_id, kind)
), needless AS (
    SELECT c.id, n.id AS newer FROM commands c JOIN newest n USING (device_id, kind)
    WHERE c.id <> n.id AND c.state IN ('queued', 'sent') ORDER BY c.id FOR UPDATE OF c
)
UPDATE commands c SET state = 'superseded', ended_at = %(now)s, superseded_by = needless.newer
FROM needless WHERE c.id = needless.id
"""

_LISTEN = "LISTEN commands"

_NOTIFY = "SELECT pg_notify(%s, '')"

# Of several gateways each takes other rows. The next try is set before the broker has it: whoever claims and dies loses
# a retry interval, not the command.
_CLAIM = """
WITH due AS (
    SELECT c.id FROM commands c
    WHERE c.state IN ('queued', 'sent') AND c.next_try_at <= %(now)s AND c.deadline_at > %(now)s
    ORDER BY c.next_try_at LIMIT %(most)s FOR UPDATE SKIP LOCKED
), policy AS (
    SELECT * FROM unnest(%(kinds)s::text[], %(retries)s::interval[], %(most_tries)s::integer[])
        AS p (kind, retry, most_tries)
)
UPDATE commands c SET
    tries = c.tries + 1,
    next_try_at = CASE WHEN c.tries + 1 < p.most_tries THEN least(%(now)s + p.retry, c.deadline_at) ELSE c.deadline_at END
FROM due, policy p, lots l, devices d LEFT JOIN device_vitals v ON v.device_id = d.id
WHERE c.id = due.id AND p.kind = c.kind AND d.id = c.device_id AND l.id = d.lot_id
RETURNING c.id, c.kind, l.code, d.code, c.created_at, c.deadline_at, c.payload, c.tries,
          d.network, d.eui, v.application, d.family, d.model
"""

# The device may have answered already: then its answer stands.
_MARK_SENT = """
UPDATE commands SET state = 'sent', sent_at = %(now)s
WHERE id IN (SELECT id FROM commands WHERE id = ANY(%(ids)s) AND state = ANY(%(from)s) ORDER BY id FOR UPDATE)
"""

# next_try_at is never after deadline_at, so the index of due rows finds these too.
_TIME_OUT = """
WITH late AS (
    SELECT id FROM commands
    WHERE state IN ('queued', 'sent') AND next_try_at <= %(now)s AND deadline_at <= %(now)s
    ORDER BY id LIMIT %(most)s FOR UPDATE SKIP LOCKED
)
UPDATE commands c SET state = 'timed_out', ended_at = %(now)s FROM late WHERE c.id = late.id
RETURNING c.kind
"""

# What was sent to a device that was not there went to nobody: it is due at once, not after its retry interval.
_HASTEN = """
WITH waiting AS (
    SELECT id FROM commands
    WHERE device_id = ANY(%(devices)s) AND state IN ('queued', 'sent') AND sent_at < %(now)s AND next_try_at > %(now)s
      AND deadline_at > %(now)s
    ORDER BY id FOR UPDATE
)
UPDATE commands c SET next_try_at = %(now)s FROM waiting WHERE c.id = waiting.id
"""

# What cannot be put into the device's language ends here, with the reason as its answer.
_REFUSE = """
UPDATE commands c SET state = 'refused', ended_at = %(now)s,
    answer = jsonb_build_object('result', 'refused', 'reason', r.reason, 'at', %(at)s::text)
FROM unnest(%(ids)s::uuid[], %(reasons)s::text[]) AS r (id, reason)
WHERE c.id = r.id AND c.state IN ('queued', 'sent')
"""

_NEXT_DUE = "SELECT min(next_try_at) FROM commands WHERE state IN ('queued', 'sent')"

_ADDRESSEES = "SELECT id, device_id, state FROM commands WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE"

# A finished command stays what it was; the first late answer is kept beside it, because it says what the device did.
_ANSWER = """
UPDATE commands c SET
    state = CASE WHEN a.changes THEN a.state ELSE c.state END,
    ended_at = CASE WHEN a.changes THEN timestamptz 'epoch' + a.received_us * interval '1 microsecond' ELSE c.ended_at END,
    answer = coalesce(c.answer, a.answer)
FROM unnest(%(ids)s::uuid[], %(states)s::text[], %(changes)s::boolean[], %(received)s::bigint[],
            %(answers)s::jsonb[]) AS a (id, state, changes, received_us, answer)
WHERE c.id = a.id
"""

_LIST = """
SELECT c.id, l.code, d.code, c.kind, c.state, c.cause, c.created_at, c.deadline_at, c.tries, c.sent_at, c.ended_at,
       c.answer
FROM commands c JOIN devices d ON d.id = c.device_id JOIN lots l ON l.id = d.lot_id
WHERE (%(device_id)s::integer IS NULL OR c.device_id = %(device_id)s)
  AND (%(kind)s::text IS NULL OR c.kind = %(kind)s)
ORDER BY c.created_at DESC, c.id LIMIT %(most)s
"""

_GET = """
SELECT c.id, l.code, d.code, c.kind, c.state, c.cause, c.created_at, c.deadline_at, c.tries, c.sent_at, c.ended_at,
       c.answer
FROM commands c JOIN devices d ON d.id = c.device_id JOIN lots l ON l.id = d.lot_id
WHERE c.id = %s
"""


@dataclass(frozen=True, slots=True)
class CommandRow:
    """A command as an operator sees it."""

    id: uuid.UUID
    lot: str
    device: str
    kind: CommandKind
    state: CommandState
    cause: str
    created_at: datetime
    deadline_at: datetime
    tries: int
    sent_at: datetime | None
    ended_at: datetime | None
    answer: Mapping[str, Any] | None  # {"result", "reason", "at"}


@dataclass(frozen=True, slots=True)
class AcksRecorded:
    """What became of a batch of answers, by their positions in it."""

    finished: tuple[int, ...] = ()  # ended their command
    late: tuple[int, ...] = ()  # repeated, or after the deadline, or after a newer command: the command is as it was
    unknown: tuple[int, ...] = ()  # nobody gave this id
    foreign: tuple[int, ...] = ()  # the id was given to another device


def queue(connection: Connection[Any], orders: Sequence[CommandOrder], now: datetime) -> list[uuid.UUID]:
    """Queues commands in the caller's transaction; gateways hear of them when it commits.

    Of one kind that supersedes, a later order for the same device replaces an earlier one, in this call too. One writer
    (the worker) keeps that order; two that queue at once may leave two unfinished ones, of which both are delivered.

    Returns:
        Ids of the commands that are new; an order whose (cause, device, kind) is known queues nothing.
    """
    if not orders:
        return []
    ids = [uuid.uuid4() for _ in orders]
    columns = _order_columns(orders, ids, now)
    new = {row[0] for row in connection.execute(_QUEUE, columns).fetchall()}
    if not new:
        return []
    newest = {
        (order.device_id, kind.value): command_id
        for order, command_id in zip(orders, ids, strict=True)
        if command_id in new
        for kind in moving_the_same(order.kind)
    }
    if newest:
        connection.execute(
            _SUPERSEDE,
            {
                "ids": list(newest.values()),
                "devices": [device_id for device_id, _ in newest],
                "kinds": [kind for _, kind in newest],
                "now": now,
            },
        )
    connection.execute(_NOTIFY, (CHANNEL,))
    return [command_id for command_id in ids if command_id in new]


def queue_each(connection: Connection[Any], orders: Sequence[CommandOrder], now: datetime) -> None:
    """As `queue`, of kinds of which none supersedes another; in a pipeline it waits for no answer."""
    if orders:
        connection.execute(_QUEUE, _order_columns(orders, [uuid.uuid4() for _ in orders], now))
        connection.execute(_NOTIFY, (CHANNEL,))


def _order_columns(orders: Sequence[CommandOrder], ids: Sequence[uuid.UUID], now: datetime) -> dict[str, Any]:
    return {
        "ids": list(ids),
        "devices": [order.device_id for order in orders],
        "kinds": [order.kind.value for order in orders],
        "payloads": [Jsonb(dict(order.payload)) for order in orders],
        "causes": [order.cause for order in orders],
        "deadlines": [order.deadline or now + POLICIES[order.kind].deadline for order in orders],
        "now": now,
    }


async def listen(connection: AsyncConnection[Any]) -> None:
    """Asks to be notified when something is queued."""
    await connection.execute(_LISTEN)


async def claim_due(connection: AsyncConnection[Any], now: datetime, most: int) -> list[DueCommand]:
    """Takes up to `most` commands that are due for this gateway to send, oldest order first."""
    cursor = await connection.execute(
        _CLAIM,
        {
            "now": now,
            "most": most,
            "kinds": [kind.value for kind in POLICIES],
            "retries": [policy.retry for policy in POLICIES.values()],
            "most_tries": [policy.most_tries for policy in POLICIES.values()],
        },
    )
    due = [DueCommand(row[0], CommandKind(row[1]), *row[2:]) for row in await cursor.fetchall()]
    return sorted(due, key=lambda command: command.created_at)


async def mark_sent(connection: AsyncConnection[Any], ids: Sequence[uuid.UUID], now: datetime) -> int:
    """Notes that the broker has them; gives how many were still waiting for that."""
    if not ids:
        return 0
    parameters = {"ids": list(ids), "from": _states_before(CommandState.SENT), "now": now}
    return (await connection.execute(_MARK_SENT, parameters)).rowcount


async def refuse(connection: AsyncConnection[Any], problems: Mapping[uuid.UUID, str], now: datetime) -> None:
    """Ends commands that cannot be sent, each with the reason."""
    if problems:
        parameters = {"ids": list(problems), "reasons": list(problems.values()), "now": now, "at": now.isoformat()}
        await connection.execute(_REFUSE, parameters)


async def time_out(connection: AsyncConnection[Any], now: datetime, most: int) -> list[CommandKind]:
    """Ends commands whose deadline has passed; gives their kinds."""
    parameters = {"now": now, "most": most}
    rows = await (await connection.execute(_TIME_OUT, parameters)).fetchall()
    return [CommandKind(kind) for (kind,) in rows]


async def hasten(connection: AsyncConnection[Any], device_ids: Sequence[int], now: datetime) -> int:
    """Devices have come back at `now`: what was sent before and not answered is due. Gives how many commands that are."""
    hastened = (await connection.execute(_HASTEN, {"devices": list(device_ids), "now": now})).rowcount
    if hastened:
        await connection.execute(_NOTIFY, (CHANNEL,))
    return hastened


async def next_due(connection: AsyncConnection[Any]) -> datetime | None:
    """When the next command must be sent or ended; None: none is unfinished."""
    row = await (await connection.execute(_NEXT_DUE)).fetchone()
    return None if row is None else row[0]


async def record_acks(connection: AsyncConnection[Any], acks: Sequence[CommandAck]) -> AcksRecorded:
    """Ends commands by their devices' answers, in the caller's transaction; of two answers to one command the first counts."""
    if not acks:
        return AcksRecorded()
    rows = await (await connection.execute(_ADDRESSEES, {"ids": [ack.command_id for ack in acks]})).fetchall()
    known = {row[0]: (row[1], CommandState(row[2])) for row in rows}
    finished, late, unknown, foreign = list[int](), list[int](), list[int](), list[int]()
    first: dict[uuid.UUID, tuple[CommandAck, bool]] = {}
    for position, ack in enumerate(acks):
        if ack.command_id not in known:
            unknown.append(position)
            continue
        device_id, state = known[ack.command_id]
        if ack.device_id and device_id != ack.device_id:
            foreign.append(position)
            continue
        changes = STATE_AFTER[ack.result] in CHANGES[state] and ack.command_id not in first
        (finished if changes else late).append(position)
        first.setdefault(ack.command_id, (ack, changes))
    if first:
        await connection.execute(_ANSWER, _answer_columns(list(first.values())))
    return AcksRecorded(tuple(finished), tuple(late), tuple(unknown), tuple(foreign))


def recent(
    connection: Connection[Any], *, device_id: int | None = None, kind: CommandKind | None = None, most: int = 50
) -> list[CommandRow]:
    """The newest commands first, of one device or kind or all."""
    parameters = {"device_id": device_id, "kind": None if kind is None else kind.value, "most": most}
    return [_row(row) for row in connection.execute(_LIST, parameters).fetchall()]


def get(connection: Connection[Any], command_id: uuid.UUID) -> CommandRow | None:
    """One command."""
    row = connection.execute(_GET, (command_id,)).fetchone()
    return None if row is None else _row(row)


def _row(row: tuple[Any, ...]) -> CommandRow:
    command_id, lot, device, kind, state, *rest = row
    return CommandRow(command_id, lot, device, CommandKind(kind), CommandState(state), *rest)


def _answer_columns(answers: Sequence[tuple[CommandAck, bool]]) -> dict[str, Any]:
    return {
        "ids": [ack.command_id for ack, _ in answers],
        "states": [STATE_AFTER[ack.result].value for ack, _ in answers],
        "changes": [changes for _, changes in answers],
        "received": [ack.received_us for ack, _ in answers],
        "answers": [
            Jsonb({"result": ack.result.value, "reason": ack.reason, "at": _moment(ack.acked_us).isoformat()})
            for ack, _ in answers
        ],
    }


def _moment(us: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=us)


def _states_before(after: CommandState) -> list[str]:
    """From which states the life cycle allows this one."""
    return sorted(before.value for before, allowed in CHANGES.items() if after in allowed)
