"""Commands to devices: what the platform tells them, until when, and what becomes of it (facts and rules).

    queued ──► sent ──► acknowledged | refused       the device's answer
      │          │ └──► sent                          no answer yet: told again, under the same id
      ├──────────┴────► timed_out                     its deadline passed
      ├──────────┴────► superseded                    a newer one of its kind makes it needless
      └───────────────► acknowledged | refused        the answer overtook our note that it was sent

Delivered at least once, executed once: the device keeps the ids it has executed, and answers a repeated one again.

Wire, to `parking/v1/{lot}/{device}/command`:  {"id", "kind", "at", "deadline", "body": {...}}   times RFC 3339
       from `.../command/ack`:                 {"id", "result": "done" | "refused" | "unknown", "reason"?, "at"}
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from parking_core.readings import Source


class CommandKind(StrEnum):
    """What a device is told to do."""

    FEE_ANSWER = "fee_answer"  # what the vehicle in front of the lane has to pay
    OPEN_GATE = "open_gate"  # raise the barrier once
    STATUS_LIST = "status_list"  # cards and OBUs that may not pay, with its version
    TARIFF = "tariff"  # what the lane computes by while it is offline
    EXPECT_VEHICLE = "expect_vehicle"  # a promised space: raise for this plate within these times
    FORGET_VEHICLE = "forget_vehicle"  # the promise is over
    LOWER_GATE = "lower_gate"  # once, and only when nothing stands below
    LOCK_GATE_OPEN = "lock_gate_open"  # up, until a time at the latest
    UNLOCK_GATE = "unlock_gate"  # back to what it does by itself
    RAISE_LOCK = "raise_lock"  # a parking lock: nobody drives onto the space
    LOWER_LOCK = "lower_lock"
    SHOW_SIGN = "show_sign"  # lines of text and free counts
    CONFIGURE = "configure"  # a sensor's setting, by the name that its family has for it


class CommandState(StrEnum):
    """Where a command stands."""

    QUEUED = "queued"
    SENT = "sent"  # the broker has it
    ACKNOWLEDGED = "acknowledged"  # the device has executed it
    REFUSED = "refused"  # the device will not, or does not know how
    TIMED_OUT = "timed_out"
    SUPERSEDED = "superseded"


CHANGES: Final[Mapping[CommandState, frozenset[CommandState]]] = {
    CommandState.QUEUED: frozenset(CommandState) - {CommandState.QUEUED},
    CommandState.SENT: frozenset(CommandState) - {CommandState.QUEUED},
    CommandState.ACKNOWLEDGED: frozenset(),
    CommandState.REFUSED: frozenset(),
    CommandState.TIMED_OUT: frozenset(),
    CommandState.SUPERSEDED: frozenset(),
}

UNFINISHED: Final = frozenset(state for state, after in CHANGES.items() if after)


def may_become(before: CommandState, after: CommandState) -> bool:
    """Whether the life cycle allows the change."""
    return after in CHANGES[before]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How long and how often a kind is tried."""

    deadline: timedelta  # from the order on; afterwards executing it would do harm or no good
    retry: timedelta  # without an answer it is sent again after this
    most_tries: int  # then only the deadline is waited for
    supersedes: bool  # a newer one says all that an unfinished older one of the same device says
    position: str = ""  # kinds that move the same thing: a newer one ends unfinished older ones of any of them


def _moving(deadline: timedelta, retry: timedelta, position: str) -> Policy:
    """Of what moves something."""
    return Policy(
        deadline=deadline, retry=retry, most_tries=math.ceil(deadline / retry), supersedes=True, position=position
    )


POLICIES: Final[Mapping[CommandKind, Policy]] = {
    # A lane waits a second and then computes offline; an answer that comes later would be for the next vehicle.
    CommandKind.FEE_ANSWER: Policy(
        deadline=timedelta(seconds=5), retry=timedelta(seconds=1), most_tries=5, supersedes=False
    ),
    # A barrier that opens a minute later lets somebody else through.
    CommandKind.OPEN_GATE: Policy(
        deadline=timedelta(seconds=15), retry=timedelta(seconds=2), most_tries=8, supersedes=False
    ),
    # The centre issues a list a day and increments in between: a lane that was away gets the newest only.
    CommandKind.STATUS_LIST: Policy(
        deadline=timedelta(hours=24), retry=timedelta(seconds=60), most_tries=1440, supersedes=True
    ),
    # The body names every version that holds now or later, so the newest is enough.
    CommandKind.TARIFF: Policy(
        deadline=timedelta(days=7), retry=timedelta(seconds=60), most_tries=10_080, supersedes=True
    ),
    # A promise may be made weeks ahead, and a lane be away for days; each promise stands for itself.
    CommandKind.EXPECT_VEHICLE: Policy(
        deadline=timedelta(days=40), retry=timedelta(seconds=60), most_tries=57_600, supersedes=False
    ),
    CommandKind.FORGET_VEHICLE: Policy(
        deadline=timedelta(days=40), retry=timedelta(seconds=60), most_tries=57_600, supersedes=False
    ),
    # A barrier that moves a minute later moves for somebody else.
    CommandKind.LOWER_GATE: _moving(timedelta(seconds=15), timedelta(seconds=2), "gate"),
    # An evacuation is still one when the lane comes back; whoever locked it open has given it an end.
    CommandKind.LOCK_GATE_OPEN: _moving(timedelta(hours=1), timedelta(seconds=10), "gate"),
    CommandKind.UNLOCK_GATE: _moving(timedelta(hours=24), timedelta(minutes=1), "gate"),
    # The driver stands before it.
    CommandKind.LOWER_LOCK: _moving(timedelta(minutes=2), timedelta(seconds=2), "lock"),
    CommandKind.RAISE_LOCK: _moving(timedelta(minutes=10), timedelta(seconds=5), "lock"),
    # What a sign shows is old by then.
    CommandKind.SHOW_SIGN: Policy(
        deadline=timedelta(minutes=5), retry=timedelta(seconds=15), most_tries=20, supersedes=True, position="sign"
    ),
    # A battery device listens after it has spoken: once a day at worst.
    CommandKind.CONFIGURE: Policy(
        deadline=timedelta(days=3), retry=timedelta(hours=26), most_tries=3, supersedes=False
    ),
}

# Where kinds that move the same thing arrive in another order than they were given (one was lost, and is repeated), the device keeps to
# `at`: it refuses one that was given before the newest that it has executed, with this word.
OUTDATED: Final = "outdated"


def moving_the_same(kind: CommandKind) -> tuple[CommandKind, ...]:
    """The kinds that a newer command of this kind makes needless."""
    policy = POLICIES[kind]
    if not policy.supersedes:
        return ()
    return tuple(
        other
        for other, its in POLICIES.items()
        if other is kind or (policy.position and its.position == policy.position)
    )


class AckResult(StrEnum):
    """What a device answers."""

    DONE = "done"  # executed now or, for a repeated id, before
    REFUSED = "refused"
    UNKNOWN = "unknown"  # it does not know this kind of command


STATE_AFTER: Final[Mapping[AckResult, CommandState]] = {
    AckResult.DONE: CommandState.ACKNOWLEDGED,
    AckResult.REFUSED: CommandState.REFUSED,
    AckResult.UNKNOWN: CommandState.REFUSED,
}


@dataclass(frozen=True, slots=True)
class CommandOrder:
    """What a flow wants a device to do. `cause` makes it one: 'lane_event:17', 'status_list:2026112301', ...

    `payload` is the wire's `body`. `deadline` overrides the kind's policy: a fee answer is due from the request on.
    """

    device_id: int
    kind: CommandKind
    payload: Mapping[str, Any]
    cause: str
    deadline: datetime | None = None


@dataclass(frozen=True, slots=True)
class DueCommand:
    """A command to be published now."""

    id: UUID
    kind: CommandKind
    lot: str  # code
    device: str  # code
    created_at: datetime
    deadline_at: datetime
    payload: Mapping[str, Any]
    tries: int  # this one included
    network: str = ""  # whose server hands it on; "": the device is told itself
    eui: str | None = None
    application: str | None = None  # how the network's server calls the device's application, or the device
    family: str = ""
    model: str = ""

    def wire(self) -> bytes:
        """What the device reads."""
        return json.dumps(
            {
                "id": str(self.id),
                "kind": self.kind.value,
                "at": self.created_at.astimezone(UTC).isoformat(),
                "deadline": self.deadline_at.astimezone(UTC).isoformat(),
                "body": self.payload,
            },
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode()

    def expires_in_s(self, now: datetime) -> int:
        """Whole seconds, at least one, that the broker may keep it for an absent device; MQTT knows no shorter ones.

        The rounding up harms nothing: the device looks at `deadline` itself.
        """
        return max(1, math.ceil((self.deadline_at - now).total_seconds()))


@dataclass(frozen=True, slots=True)
class CommandAck:
    """A device's answer, understood."""

    command_id: UUID
    device_id: int  # 0: a network's server, which does not tell
    result: AckResult
    reason: str | None  # the device's word for why not
    acked_us: int  # device time, microseconds since the epoch
    received_us: int
    redelivered: bool
    source: Source  # its message, for the dead letter of a foreign one
