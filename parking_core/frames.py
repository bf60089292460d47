"""Frames of LoRaWAN networks and what devices say of themselves (facts), and which frame comes after which (rules).

A frame is known by (device, session, counter), whatever time a repetition of it carries. Order, of the frames of a device:

    by receipt at the network server, then by counter      the counter never orders frames of different sessions
    re-join                                                 a new session: its counter begins at 0, and nothing is missing
    wrap of a 16-bit counter                                goes on at 65,536: a small counter that is received after one
                                                            near the end of the 16 bits, in the same session
    a server that names no session                          a frame received later with a lower counter begins a new one,
                                                            unless it is one of the last few, sent again within minutes
    reboot without a join (keys set by hand)                the same session: what was counted is a repetition, until the
                                                            counter has passed; give such a device new keys when it restarts
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

GAP_MOST: Final = (
    16_384  # a counter that jumps farther counts anew (MAX_FCNT_GAP of LoRaWAN 1.0.x, regional parameters)
)
TURN: Final = 65_536  # where a 16-bit counter begins again
NEAR_TURN: Final = 4096  # frames before and after it: months of a sensor, so that losses do not hide a wrap
RESENT_MOST: Final = 8  # frames that a server or device may send again out of order
RESENT_US: Final = 600_000_000  # and how long after the newest
_UNNAMED: Final = "~"  # begins the names of sessions that we name ourselves, by their first receipt


@dataclass(frozen=True, slots=True)
class Frame:
    """A numbered frame of a device. Times in microseconds since the epoch.

    Attributes:
        session: as the network names it; "": it names none.
        at_us: receipt by the network server.
        received_us: receipt by the gateway.
    """

    device_id: int
    session: str
    counter: int
    at_us: int
    received_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """The device joined its network: `session` begins, and its first frame has counter 0."""

    device_id: int
    session: str
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What a device said of itself at a time; None: it did not say."""

    device_id: int
    at_us: int
    battery_v: float | None = None
    battery_percent: float | None = None
    battery_state: str | None = None
    temperature_c: float | None = None
    rssi_dbm: float | None = None
    snr_db: float | None = None
    firmware: str | None = None
    clock_offset_s: float | None = None  # device time less receipt
    restarted: bool = False
    application: str | None = None  # what a downlink to it is addressed by
    quarantined: Mapping[str, str] | None = None  # field -> why its value was set aside


@dataclass(frozen=True, slots=True)
class Session:
    """A session of a device as far as it is known.

    Attributes:
        begun_us, newest_us: first and latest receipt at the network server.
        highest: counter; -1: joined, and nothing heard yet.
        forgotten_below: frames below it are no longer listed one by one; they were counted or are lost.
    """

    name: str
    begun_us: int
    newest_us: int
    highest: int
    forgotten_below: int = 0


def session_of(frame: Frame, known: Sequence[Session]) -> str:
    """The session a frame belongs to, where its server names none.

    Args:
        frame: with an empty session.
        known: the device's sessions that we named, by their beginning.
    """
    fitting = [session for session in known if session.begun_us <= frame.at_us]
    if not known:
        return f"{_UNNAMED}{frame.at_us}"
    if not fitting:
        return known[0].name  # before all that is known: late, and not the beginning of anything
    session = fitting[-1]
    is_new = session is known[-1] and frame.at_us > session.newest_us and frame.counter < session.highest
    is_resent = session.highest - frame.counter < RESENT_MOST and frame.at_us - session.newest_us <= RESENT_US
    return f"{_UNNAMED}{frame.at_us}" if is_new and not is_resent else session.name


def unfolded(frame: Frame, session: Session | None) -> int:
    """The frame's counter in a session that a server names, counted on beyond 16 bits where the server sends no more.

    Args:
        frame: of a named session.
        session: as it was before the frame; None: not heard of.
    """
    counter = frame.counter
    if session is None or session.highest < 0 or counter >= TURN:
        return counter
    place = session.highest % TURN
    turns = session.highest - place
    if place >= TURN - NEAR_TURN and counter < NEAR_TURN and frame.at_us > session.newest_us:
        return turns + TURN + counter
    if turns and place < NEAR_TURN and counter >= TURN - NEAR_TURN:
        return turns - TURN + counter
    return turns + counter


def is_unnamed(session: str) -> bool:
    """Whether we named the session, because its server does not."""
    return session.startswith(_UNNAMED)


def advanced(session: Session | None, name: str, frames: Iterable[Frame]) -> Session:
    """A session after further frames of it, of which there is at least one."""
    frames = list(frames)
    times = [frame.at_us for frame in frames]
    highest = max(frame.counter for frame in frames)
    if session is None:
        return Session(name, min(times), max(times), highest)
    return Session(
        name,
        min(session.begun_us, *times),
        max(session.newest_us, *times),
        max(session.highest, highest),
        session.forgotten_below,
    )


def missing_change(session: Session | None, fresh: Iterable[int]) -> int:
    """By how much the count of a session's missing frames changes with frames that were not known.

    Args:
        session: before them; None: not heard of, so that what came before its first frame is no gap.
        fresh: counters, each once.
    """
    counters = sorted(fresh)
    highest = counters[0] - 1 if session is None else session.highest
    change = 0
    for counter in counters:
        if counter < highest:
            change -= 1  # a late one fills its gap
        elif counter - highest <= GAP_MOST:
            change += counter - highest - 1
        highest = max(highest, counter)
    return change


def newest(told: Iterable[Vitals]) -> list[Vitals]:
    """One a device, of each value the newest."""
    merged: dict[int, Vitals] = {}
    for vitals in sorted(told, key=lambda one: one.at_us):
        before = merged.get(vitals.device_id)
        if before is None:
            merged[vitals.device_id] = vitals
            continue
        said = {name: value for name in _VALUES if (value := getattr(vitals, name)) is not None}
        restarted = before.restarted or vitals.restarted
        merged[vitals.device_id] = replace(before, at_us=vitals.at_us, restarted=restarted, **said)
    return list(merged.values())


_VALUES: Final = tuple(each.name for each in fields(Vitals) if each.name not in {"device_id", "at_us", "restarted"})
