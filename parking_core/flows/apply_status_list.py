"""Status lists: taken over version by version, told to lanes as commands, confirmed by their acknowledgements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from parking_core.clearing.status_lists import Fit, StatusEntry, command_body, fit
from parking_core.commands import UNFINISHED, CommandKind, CommandOrder, CommandState
from parking_core.store import commands, status_lists

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import Connection

    from parking_core.clearing.status_lists import StatusList
    from parking_core.store.status_lists import LaneList

_MOST_ATTEMPTS: Final = 30  # a lane that never answers gets a command a day for a month; then a person looks


MOST_ENTRIES: Final = 40_000  # of one command: 1.4 MB of the 2 MB that the broker takes


@dataclass(frozen=True, slots=True)
class Told:
    """What `tell_lanes` did: commands queued, and lanes that keep their version because the list fits no command."""

    queued: int = 0
    too_large: int = 0


def apply_status_list(connection: Connection[Any], content: StatusList, now: datetime) -> Fit:
    """One list in a transaction of its own; see `take_over`."""
    with connection.transaction():
        return take_over(connection, content, now)


def take_over(connection: Connection[Any], content: StatusList, now: datetime) -> Fit:
    """In the caller's transaction: takes the list over if it fits. On a gap nothing changes: ask for the full list."""
    known = status_lists.current(connection)
    how = fit(content, known)
    if how is Fit.APPLIES:
        status_lists.add(connection, content, now)
    return how


def tell_lanes(connection: Connection[Any], now: datetime) -> Told:
    """Notes what lanes have confirmed, and queues a command for each lane that was not told the newest version.

    A lane gets what changed since the version it confirmed; one that confirmed none, refused, or let a command time out
    gets the full list.
    """
    with connection.transaction():
        status_lists.confirm(connection)
        version = status_lists.current(connection)
        if version is None:
            return Told()
        behind = [lane for lane in status_lists.lanes(connection) if _is_to_be_told(lane, version)]
        return _queue(connection, behind, version, now) if behind else Told()


def _is_to_be_told(lane: LaneList, version: str) -> bool:
    if lane.confirmed is not None and lane.confirmed >= version:
        return False
    if lane.told != version:
        return True
    return (
        lane.command is not CommandState.ACKNOWLEDGED
        and lane.command not in UNFINISHED
        and lane.attempts < _MOST_ATTEMPTS
    )


def _queue(connection: Connection[Any], behind: Sequence[LaneList], version: str, now: datetime) -> Told:
    since = dict[str | None, list[StatusEntry]]()
    told = []
    too_large = 0
    for lane in behind:
        attempt = lane.attempts + 1 if lane.told == version else 1
        base = lane.confirmed if attempt == 1 else None
        if base not in since:
            since[base] = status_lists.entries(connection, version, base)
        if len(since[base]) > MOST_ENTRIES:
            too_large += 1
            continue
        order = CommandOrder(
            lane.device_id,
            CommandKind.STATUS_LIST,
            command_body(version, base, since[base]),
            f"status_list:{version}" if attempt == 1 else f"status_list:{version}:{attempt}",
        )
        told += [(lane.device_id, version, command, attempt) for command in commands.queue(connection, [order], now)]
    status_lists.tell(connection, told)
    return Told(len(told), too_large)
