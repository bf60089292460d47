"""Counts a network's frames once, in the transaction that records their readings.

frames ─► their sessions, locked ─► which session is it ─► listed? ─► fresh: counted, a sign of life, gaps
                                                                   └► repeated: changes nothing
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from parking_core.frames import Session, advanced, is_unnamed, missing_change, session_of, unfolded
from parking_core.readings import Sign
from parking_core.store import frames as store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from psycopg import AsyncConnection

    from parking_core.frames import Frame, Joined
    from parking_core.store.frames import FrameKey, SessionKey


@dataclass(frozen=True, slots=True)
class EnteredFrames:
    """What became of the frames of a batch."""

    repeated: frozenset[int] = frozenset()  # positions
    missing: Mapping[int, int] = field(default_factory=dict)  # device -> change of its missing messages
    signs: Sequence[Sign] = ()  # of devices with fresh frames


async def enter_frames(
    connection: AsyncConnection[Any], frames: Sequence[Frame], joins: Sequence[Joined]
) -> EnteredFrames:
    """Lists fresh frames and tells the repeated ones. The caller's transaction holds it."""
    if not frames and not joins:
        return EnteredFrames()
    devices = {frame.device_id for frame in frames} | {join.device_id for join in joins}
    known = await store.sessions(connection, devices)
    begun = [
        (join.device_id, Session(join.session, join.at_us, join.at_us, -1))
        for join in joins
        if join.session and (join.device_id, join.session) not in known
    ]
    known |= {(device_id, session.name): session for device_id, session in begun}
    keys = _keys(frames, known)
    first: dict[FrameKey, int] = {}
    for position, key in enumerate(keys):
        session = known.get(key[:2])
        if session is None or key[2] >= session.forgotten_below:
            first.setdefault(key, position)
    fresh = (
        await store.insert(connection, {key: frames[at].received_us for key, at in first.items()}) if first else set()
    )
    counted = {position for key, position in first.items() if key in fresh}
    frames = [replace(frame, counter=key[2]) for frame, key in zip(frames, keys, strict=True)]
    missing, changed = _advance(frames, keys, counted, known)
    changed = {(device_id, session.name): session for device_id, session in begun} | changed
    if changed:
        await store.put_sessions(connection, [(key[0], changed[key]) for key in sorted(changed)])
    heard: dict[int, int] = {}
    for position in counted:
        frame = frames[position]
        heard[frame.device_id] = max(frame.received_us, heard.get(frame.device_id, 0))
    return EnteredFrames(
        frozenset(range(len(frames))) - counted, missing, [Sign(device_id, at_us) for device_id, at_us in heard.items()]
    )


def _keys(frames: Sequence[Frame], known: Mapping[SessionKey, Session]) -> list[FrameKey]:
    """What each frame is known by; found in the order of their receipt by the network server."""
    unnamed: dict[int, list[Session]] = defaultdict(list)
    for (device_id, name), session in known.items():
        if is_unnamed(name):
            unnamed[device_id].append(session)
    for sessions in unnamed.values():
        sessions.sort(key=lambda session: session.begun_us)
    named = dict(known)
    keys: dict[int, FrameKey] = {}
    for position in sorted(range(len(frames)), key=lambda at: (frames[at].at_us, frames[at].counter)):
        frame = frames[position]
        if frame.session:
            key = (frame.device_id, frame.session)
            counter = unfolded(frame, named.get(key))
            named[key] = advanced(named.get(key), frame.session, [replace(frame, counter=counter)])
            keys[position] = (*key, counter)
            continue
        sessions = unnamed[frame.device_id]
        name = session_of(frame, sessions)
        keys[position] = (frame.device_id, name, frame.counter)
        before = next((at for at, session in enumerate(sessions) if session.name == name), None)
        if before is None:
            sessions.append(advanced(None, name, [frame]))
        else:
            sessions[before] = advanced(sessions[before], name, [frame])
    return [keys[position] for position in range(len(frames))]


def _advance(
    frames: Sequence[Frame], keys: Sequence[FrameKey], counted: set[int], known: Mapping[SessionKey, Session]
) -> tuple[dict[int, int], dict[SessionKey, Session]]:
    """Gaps a device, and the sessions as they are now."""
    by_session: dict[SessionKey, list[int]] = defaultdict(list)
    for position in counted:
        by_session[keys[position][:2]].append(position)
    missing: dict[int, int] = defaultdict(int)
    changed: dict[SessionKey, Session] = {}
    for key, positions in by_session.items():
        before = known.get(key)
        missing[key[0]] += missing_change(before, [frames[at].counter for at in positions])
        changed[key] = advanced(before, key[1], [frames[at] for at in positions])
    return {device_id: change for device_id, change in missing.items() if change}, changed
