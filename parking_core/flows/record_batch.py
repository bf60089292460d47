"""Records a batch: history, ledgers, liveness, dirty buckets, vitals, answers to commands and dead letters in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg

from parking_core.discoveries import gathered
from parking_core.flows.enter_frames import enter_frames
from parking_core.frames import newest
from parking_core.readings import Reason, Rejection
from parking_core.store import commands, dead_letters, discoveries, events, floods, lane_events, liveness
from parking_core.store import vitals as vitals_store
from parking_core.store.commands import AcksRecorded
from parking_core.store.lane_events import Entered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from psycopg import AsyncConnection

    from parking_core.commands import CommandAck
    from parking_core.discoveries import Sighting
    from parking_core.floods import Flood
    from parking_core.flows.enter_frames import EnteredFrames
    from parking_core.frames import Frame, Joined, Vitals
    from parking_core.lanes import LaneReport
    from parking_core.readings import Readings, Sign, Source

# SQLSTATE classes that blame a row, not the database: 22 data exception, 23 integrity constraint violation.
_ROW_AT_FAULT = ("22", "23")


class Caution(Enum):
    """How much a batch is trusted."""

    TRUSTED = auto()  # every row is new: COPY straight into the hypertable
    REPEATING = auto()  # some rows may be there already: by way of the staging table
    POISONED = auto()  # the database refuses a row: halve until it is alone


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction takes, in order of arrival."""

    readings: Readings  # READING
    sources: Sequence[Source]  # the message of each reading, for the dead letter of a refused one
    signs: Sequence[Sign] = ()
    rejections: Sequence[Rejection] = ()
    ledger_devices: frozenset[int] = frozenset()  # devices that clock_ledger may know
    missing: Mapping[int, int] = field(default_factory=dict)  # device -> change of its missing messages
    acks: Sequence[CommandAck] = ()  # answers to commands
    lane_reports: Sequence[LaneReport] = ()
    frames: Sequence[Frame] = ()
    frame_rows: Mapping[int, int] = field(default_factory=dict)  # position of a reading -> of its frame
    state_rows: frozenset[int] = frozenset()  # positions of readings that tell a state, and neither time nor number
    outdated_rows: frozenset[int] = frozenset()  # of these, delivered again together with a later one of their space
    vitals: Sequence[Vitals] = ()
    frame_vitals: Mapping[int, Vitals] = field(default_factory=dict)  # position of a frame -> what it told
    joins: Sequence[Joined] = ()
    floods: Sequence[Flood] = ()  # what was left out of devices' messages
    unknown: Sequence[Sighting] = ()  # messages of devices that nobody registered; their letters are rejections


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became durable."""

    readings: Readings  # with the occurred_us that history holds
    rejections: Sequence[Rejection]  # those of the batch among them
    acks: AcksRecorded = field(default_factory=AcksRecorded)
    lanes: Entered = field(default_factory=Entered)
    repeated_frames: int = 0


def is_row_at_fault(error: psycopg.Error) -> bool:
    """Whether an error blames the rows rather than the database or the connection."""
    return error.sqlstate is not None and error.sqlstate[:2] in _ROW_AT_FAULT


async def record_batch(connection: AsyncConnection[Any], batch: Batch, caution: Caution) -> Recorded:
    """Makes a batch durable, or nothing of it.

    Raises:
        psycopg.errors.UniqueViolation: TRUSTED, but a row is there already.
        psycopg.Error: nothing was recorded; `is_row_at_fault` says whether POISONED helps.
    """
    async with connection.transaction():
        entered = await enter_frames(connection, batch.frames, batch.joins)
        readings = batch.readings[await _counting(connection, batch, entered)]
        readings = await _settle_clocks(connection, readings, batch.ledger_devices)
        readings, refused = await _insert(connection, batch, readings, caution)
        acks = await commands.record_acks(connection, batch.acks)
        lanes, refused_reports = await _enter_lanes(connection, batch.lane_reports, caution)
        refused += refused_reports
        rejections = [*batch.rejections, *refused, *(_foreign(batch.acks[position]) for position in acks.foreign)]
        if len(readings):
            await events.mark_dirty(connection, readings)
        if signs := _of_each(batch.signs, entered.signs):
            await liveness.hear(connection, signs)
            if back := {sign.device_id: sign.heard_us for sign in batch.signs if sign.online}:
                await commands.hasten(connection, list(back), _moment(max(back.values())))
        for missing in (batch.missing, entered.missing):
            if missing:
                await liveness.add_missing(connection, missing)
        await _keep_vitals(connection, batch, entered)
        if batch.floods:
            await floods.report(connection, batch.floods)
        if batch.unknown:
            await discoveries.see(connection, gathered(batch.unknown))
        if rejections:
            await dead_letters.insert(connection, rejections)
    return Recorded(readings, rejections, acks, lanes, len(entered.repeated))


async def _counting(connection: AsyncConnection[Any], batch: Batch, entered: EnteredFrames) -> np.ndarray[Any, Any]:
    """Which readings count: not those of repeated frames, nor states that a space is in already.

    What history holds exactly so stays, too: its batch may be here again because the answer to the commit was lost, and
    then the live state needs it. Inserting it changes nothing.
    """
    keep = np.ones(len(batch.readings), bool)
    rows = [row for row, frame in batch.frame_rows.items() if frame in entered.repeated]
    if rows:
        keep[rows] = await events.are_known(connection, batch.readings[rows])
    if batch.state_rows:
        rows = sorted(batch.state_rows)
        state = await events.newest_states(connection, {int(space) for space in batch.readings["space_id"][rows]})
        for row in rows:
            space, occupied = int(batch.readings["space_id"][row]), bool(batch.readings["occupied"][row])
            keep[row] = row not in batch.outdated_rows and state.get(space) is not occupied
            if keep[row]:
                state[space] = occupied
    return keep


def _of_each(signs: Sequence[Sign], others: Sequence[Sign]) -> Sequence[Sign]:
    """Signs of both, one a device."""
    if not others:
        return signs
    newest = {sign.device_id: sign for sign in others}
    for sign in signs:
        other = newest.get(sign.device_id)
        heard_us = sign.heard_us if other is None else max(sign.heard_us, other.heard_us)
        newest[sign.device_id] = replace(sign, heard_us=heard_us)
    return list(newest.values())


async def _keep_vitals(connection: AsyncConnection[Any], batch: Batch, entered: EnteredFrames) -> None:
    counted = [vitals for frame, vitals in batch.frame_vitals.items() if frame not in entered.repeated]
    if told := newest([*batch.vitals, *counted]):
        await vitals_store.put(connection, told)
    if batch.joins:
        await vitals_store.join(connection, batch.joins)


async def _settle_clocks(
    connection: AsyncConnection[Any], readings: Readings, known_devices: frozenset[int]
) -> Readings:
    """Puts readings with an unbelievable time at their first receipt, and drops what was settled so before.

    A device time can leave or enter the window between two receipts of the same message, so both sides look
    whether the other has it.
    """
    suspect = readings["clock_suspect"]
    ledger_devices = list(known_devices.union(readings["device_id"][suspect].tolist()))
    if suspect.any():
        fresh = await events.enter_ledger(connection, readings[suspect])
        keep = ~suspect
        for row in np.flatnonzero(suspect):
            key = events.ledger_keys(readings[row : row + 1])[0]
            keep[row] = key in fresh
            fresh.discard(key)
        settled = readings.copy()
        settled["occurred_us"][suspect] = settled["received_us"][suspect]
        readings = settled[keep]
        suspect = readings["clock_suspect"]
    listed = ~suspect & np.isin(readings["device_id"], ledger_devices) if ledger_devices else None
    if listed is None or not listed.any():
        return readings
    known = await events.keys_in_ledger(connection, readings[listed])
    again = np.fromiter((key in known for key in events.ledger_keys(readings)), bool, len(readings))
    return readings[~(again & listed)]


async def _insert(
    connection: AsyncConnection[Any], batch: Batch, readings: Readings, caution: Caution
) -> tuple[Readings, list[Rejection]]:
    if not len(readings):
        return readings, []
    match caution:
        case Caution.TRUSTED:
            await events.insert_new(connection, readings)
        case Caution.REPEATING:
            await events.insert_missing(connection, readings)
        case Caution.POISONED:
            bad = await _insert_halves(connection, readings)
            kept = np.setdiff1d(np.arange(len(readings)), [row for row, _ in bad])
            return readings[kept], [_refused(batch, readings[row], error) for row, error in bad]
    return readings, []


async def _insert_halves(
    connection: AsyncConnection[Any], readings: Readings, first: int = 0
) -> list[tuple[int, psycopg.Error]]:
    """Inserts what the database takes; gives the rows that it refuses, each with its error."""
    try:
        async with connection.transaction():  # a savepoint: the outer transaction is the flow's
            await events.insert_missing(connection, readings)
    except psycopg.Error as error:
        if not is_row_at_fault(error):
            raise
        if len(readings) == 1:
            return [(first, error)]
        middle = len(readings) // 2
        left = await _insert_halves(connection, readings[:middle], first)
        return left + await _insert_halves(connection, readings[middle:], first + middle)
    return []


async def _enter_lanes(
    connection: AsyncConnection[Any], reports: Sequence[LaneReport], caution: Caution
) -> tuple[Entered, list[Rejection]]:
    """Enters lane reports; repeats are told apart by the ledger itself, so that only a poisoned batch needs more care."""
    if not reports:
        return Entered(), []
    if caution is not Caution.POISONED:
        return await lane_events.enter(connection, reports), []
    try:
        async with connection.transaction():  # a savepoint: the outer transaction is the flow's
            return await lane_events.enter(connection, reports), []
    except psycopg.Error as error:
        if not is_row_at_fault(error):
            raise
        if len(reports) == 1:
            return Entered(), [_refused_report(reports[0], error)]
    middle = len(reports) // 2
    left, left_refused = await _enter_lanes(connection, reports[:middle], caution)
    right, right_refused = await _enter_lanes(connection, reports[middle:], caution)
    return left + right, left_refused + right_refused


def _refused_report(report: LaneReport, error: psycopg.Error) -> Rejection:
    return Rejection(
        topic=report.source.topic,
        payload=report.source.payload,
        received_us=round(report.event.received_at.timestamp() * 1e6),
        redelivered=True,  # as for readings: the letter itself tells a repetition
        reason=Reason.REFUSED_BY_DATABASE,
        detail=str(error.diag.message_primary or error).strip(),  # the error's detail line shows the row, plate and all
    )


def _refused(batch: Batch, reading: np.void, error: psycopg.Error) -> Rejection:
    # Settling clocks may have dropped rows before this one: find the message by what it said.
    same = (
        (batch.readings["space_id"] == reading["space_id"])
        & (batch.readings["device_id"] == reading["device_id"])
        & (batch.readings["received_us"] == reading["received_us"])
        & (batch.readings["seq"] == reading["seq"])
        & (batch.readings["occupied"] == reading["occupied"])
    )
    row = int(np.flatnonzero(same)[0])
    return Rejection(
        topic=batch.sources[row].topic,
        payload=batch.sources[row].payload,
        received_us=int(reading["received_us"]),
        redelivered=True,  # what is refused leaves no row that would tell a repetition: the letter itself does
        reason=Reason.REFUSED_BY_DATABASE,
        detail=str(error).strip(),
    )


def _moment(us: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=us)


def _foreign(ack: CommandAck) -> Rejection:
    return Rejection(
        topic=ack.source.topic,
        payload=ack.source.payload,
        received_us=ack.received_us,
        redelivered=ack.redelivered,
        reason=Reason.FOREIGN_COMMAND,
        detail=f"Command {ack.command_id} was given to another device.",
    )
