"""Live state in Redis: a cache of what history says, shared by gateways, worker and API.

Keys, all under `parking:`:
    spaces                  hash   space id -> SPACE_RECORD (occurred_us, seq, occupied, known), compare-and-set
    lots:occupied           hash   lot id -> number of known, occupied spaces
    lots:known              hash   lot id -> number of spaces whose state is known
    changes                 stream one entry a batch: n (counter), s (spaces), l (lots) | p (pulse) | e (new epoch)
    epoch                   present only while the state is complete; without it nothing is applied
    rebuild                 the epoch that the rebuild begun last will have
    sequences               hash   device id -> highest number seen and the numbers missing below it
    pulse                   hash   gateway instance -> us up to which everything received is applied, us of saying so
"""

from __future__ import annotations

import hashlib
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from redis.exceptions import ResponseError

from parking_core.errors import ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from redis.asyncio import Redis

    Columns = np.ndarray[Any, np.dtype[np.void]]

UPDATE = np.dtype([("space_id", ">u4"), ("lot_id", ">u4"), ("occurred_us", ">u8"), ("seq", ">u4"), ("occupied", "u1")])
SPACE_RECORD = np.dtype([("occurred_us", ">u8"), ("seq", ">u4"), ("occupied", "u1"), ("known", "u1")])
SPACE = np.dtype([("space_id", "i4"), ("occurred_us", "i8"), ("seq", "i8"), ("occupied", "u1"), ("known", "u1")])
SPACE_CHANGE = np.dtype([("space_id", ">u4"), ("occupied", "u1"), ("known", "u1")])
SPACE_IN_LOT = np.dtype([("space_id", ">u4"), ("lot_id", ">u4")])
OBSERVED_SEQ = np.dtype([("device_id", ">u4"), ("seq", ">u4")])
_MISSING = np.dtype([("device_id", ">u4"), ("missing", ">i4")])
LOT = np.dtype([("lot_id", ">u4"), ("occupied", ">u4"), ("known", ">u4")])

_LIBRARY = (Path(__file__).parent / "live_state.lua").read_text("utf-8")
_VERSION = hashlib.sha256(_LIBRARY.encode()).hexdigest()[:12]
_PAIRS_A_CALL = 5000  # keeps one HSET of a rebuild near a millisecond
_PREPARED_S = 600  # what a rebuild leaves behind when it is killed goes away by itself
_BLOCK_MS = 1000  # how long follow() waits for a change before it looks again
_CHANGES_A_READ = 500
_MISSING_STATE = "Redis holds no complete live state; the worker or `parking rebuild` makes one."


class LiveStateMissingError(ServiceUnavailableError):
    """Redis holds no complete live state; it must be rebuilt from history first."""

    code = "live_state_missing"


@dataclass(frozen=True, slots=True)
class LiveImage:
    """The whole live state at one moment of the change stream."""

    epoch: str | None
    last_id: bytes
    last_count: int
    spaces: Columns  # SPACE
    lots: Columns  # LOT
    pulse_us: int  # 0: no gateway ever said


@dataclass(frozen=True, slots=True)
class LiveChange:
    """One entry of the change stream; counts are absolute, so applying one twice is harmless."""

    id: bytes
    spaces: Columns  # SPACE_CHANGE
    lots: Columns  # LOT
    pulse_us: int | None
    reset: bool  # the state was rebuilt or entries were missed: load() again


class LiveState:
    """Reads and writes the live state. `redis` must not decode responses."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def apply(self, updates: Columns) -> int:
        """Applies readings (UPDATE) that are newer than what is held; gives how many were.

        Raises:
            LiveStateMissingError: there is no complete state to apply them to.
        """
        return await self._call("parking_apply", _wire(updates, UPDATE)) if len(updates) else 0

    async def silence(self, spaces: Columns) -> int:
        """Makes spaces (SPACE_IN_LOT) unknown; gives how many were known before."""
        return await self._call("parking_set_known", b"0", _wire(spaces, SPACE_IN_LOT)) if len(spaces) else 0

    async def revive(self, spaces: Columns) -> int:
        """Makes spaces (SPACE_IN_LOT) known again with the state they had."""
        return await self._call("parking_set_known", b"1", _wire(spaces, SPACE_IN_LOT)) if len(spaces) else 0

    async def observe_sequences(self, observed: Columns) -> dict[int, int]:
        """Takes message numbers (OBSERVED_SEQ, in order of arrival) of any gateway.

        Gives, a device, by how much its count of missing messages changed: up at a gap, down when a late one fills it.
        """
        answer = cast("bytes", await self._answer("parking_observe_seq", _wire(observed, OBSERVED_SEQ)))
        return {int(row["device_id"]): int(row["missing"]) for row in np.frombuffer(answer, _MISSING)}

    async def pulse(self, instance: str, at_us: int) -> None:
        """Says that everything this gateway received up to `at_us` is applied."""
        await self._call("parking_pulse", instance.encode(), b"%d" % at_us, b"%d" % (time.time_ns() // 1000))

    async def epoch(self) -> str | None:
        """Name of the present complete state, None where there is none."""
        epoch = cast("bytes | None", await self._redis.get("parking:epoch"))
        return epoch.decode() if epoch is not None else None

    async def require(self) -> None:
        """Returns when there is a complete state.

        Raises:
            LiveStateMissingError: there is none.
        """
        if await self.epoch() is None:
            raise LiveStateMissingError(_MISSING_STATE)

    async def server(self) -> str:
        """Name of the Redis process: another one may have come up with an older copy of the state."""
        return str((await self._redis.info("server"))["run_id"])

    async def begin_rebuild(self) -> str:
        """From here on nothing is applied until `finish_rebuild`; gateways keep what they have pending.

        Gives the epoch of the state to come. History must be read after this.
        """
        epoch = uuid.uuid4().hex
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set("parking:rebuild", epoch)
            pipe.delete("parking:epoch")
            await pipe.execute()
        return epoch

    async def finish_rebuild(self, epoch: str, spaces: Columns, lot_ids: np.ndarray[Any, np.dtype[np.int32]]) -> bool:
        """Installs `spaces` (SPACE), whose lots are `lot_ids` row by row, as the live state of `epoch`.

        False where another rebuild was begun later, or Redis was emptied meanwhile: nothing is installed.
        """
        records = np.zeros(len(spaces), SPACE_RECORD)
        for name in ("occurred_us", "seq", "occupied", "known"):
            records[name] = spaces[name]
        packed = records.tobytes()
        size = SPACE_RECORD.itemsize
        fields = {int(space): packed[i * size : (i + 1) * size] for i, space in enumerate(spaces["space_id"])}
        known = spaces["known"] == 1
        await self._write(f"parking:spaces:{epoch}", fields)
        await self._write(f"parking:lots:known:{epoch}", _count(lot_ids[known]))
        await self._write(f"parking:lots:occupied:{epoch}", _count(lot_ids[known & (spaces["occupied"] == 1)]))
        return await self._call("parking_install", epoch.encode()) == 1

    async def load(self) -> LiveImage:
        """The whole state. Changes after `last_id` come from `follow(image)`."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.get("parking:epoch")
            pipe.xrevrange("parking:changes", count=1)
            pipe.hgetall("parking:spaces")
            pipe.hgetall("parking:lots:occupied")
            pipe.hgetall("parking:lots:known")
            pipe.hgetall("parking:pulse")
            epoch, newest, spaces, occupied, known, pulses = await pipe.execute()
        lots = np.zeros(len(known), LOT)
        lots["lot_id"] = [int(lot) for lot in known]
        lots["known"] = [max(0, int(count)) for count in known.values()]
        lots["occupied"] = [max(0, int(occupied.get(lot, 0))) for lot in known]
        return LiveImage(
            epoch=epoch.decode() if epoch is not None else None,
            last_id=newest[0][0] if newest else b"0-0",
            last_count=int(newest[0][1][b"n"]) if newest else 0,
            spaces=_space_columns(spaces),
            lots=lots,
            pulse_us=min((int(pulse.split()[0]) for pulse in pulses.values()), default=0),
        )

    async def occupied_by_lot(self) -> dict[int, int]:
        """Occupied spaces of the lots of which any space is known."""
        return {lot: occupied for lot, (_, occupied) in (await self.counts_by_lot()).items()}

    async def counts_by_lot(self) -> dict[int, tuple[int, int]]:
        """Known spaces, and occupied ones of them, of the lots of which any space is known."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hgetall("parking:lots:occupied")
            pipe.hgetall("parking:lots:known")
            occupied, known = await pipe.execute()
        return {
            int(lot): (int(count), max(0, int(occupied.get(lot, 0)))) for lot, count in known.items() if int(count) > 0
        }

    async def follow(self, image: LiveImage) -> AsyncIterator[LiveChange]:
        """Changes after `image`, for ever. After a change with `reset` the caller loads again and follows anew."""
        last_id, count = image.last_id, image.last_count
        while True:
            entries = await self._read_changes(last_id)
            if not entries and await self.epoch() != image.epoch:
                yield _change(last_id, {}, reset=True)
                return
            for last_id, entry in entries:
                count += 1
                reset = int(entry[b"n"]) != count or b"e" in entry
                yield _change(last_id, entry, reset=reset)
                if reset:
                    return

    async def _read_changes(self, last_id: bytes) -> list[tuple[bytes, dict[bytes, bytes]]]:
        answer = await self._redis.xread({"parking:changes": last_id}, count=_CHANGES_A_READ, block=_BLOCK_MS)
        streams = cast("list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]", answer)
        return streams[0][1] if streams else []

    async def _write(self, key: str, fields: Mapping[int, bytes | int]) -> None:
        pairs = list(fields.items())
        for first in range(0, len(pairs), _PAIRS_A_CALL):
            await self._redis.hset(key, mapping=dict(pairs[first : first + _PAIRS_A_CALL]))
        await self._redis.expire(key, _PREPARED_S)

    async def _call(self, function: str, *arguments: bytes) -> int:
        answer = int(await self._answer(function, *arguments))
        if answer < 0:
            raise LiveStateMissingError(_MISSING_STATE)
        return answer

    async def _answer(self, function: str, *arguments: bytes) -> bytes | int:
        """Calls a function of the library, which is loaded where Redis does not have this version."""
        name = f"{function}_{_VERSION}"
        try:
            return cast("bytes | int", await self._redis.fcall(name, 0, *arguments))
        except ResponseError as error:
            if "Function not found" not in str(error):
                raise
        await self._redis.function_load(_versioned_library(), replace=True)
        return cast("bytes | int", await self._redis.fcall(name, 0, *arguments))


def _versioned_library() -> str:
    """Names carry the version of the text, so that two releases can run side by side during an update."""
    library = _LIBRARY.replace("name=parking\n", f"name=parking_{_VERSION}\n", 1)
    return library.replace("', function(keys", f"_{_VERSION}', function(keys")


def _wire(columns: Columns, layout: np.dtype[np.void]) -> bytes:
    """Packed in the layout's byte order, which NumPy silently drops when it joins arrays."""
    return columns.astype(layout, copy=False).tobytes()


def _count(lot_ids: np.ndarray[Any, np.dtype[np.int32]]) -> dict[int, int]:
    lots, counts = np.unique(lot_ids, return_counts=True)
    return dict(zip(lots.tolist(), counts.tolist(), strict=True))


def _space_columns(fields: Mapping[bytes, bytes]) -> Columns:
    records = np.frombuffer(b"".join(fields.values()), SPACE_RECORD)
    spaces = np.zeros(len(records), SPACE)
    spaces["space_id"] = [int(space) for space in fields]
    for name in ("occurred_us", "seq", "occupied", "known"):
        spaces[name] = records[name]
    return spaces


def _change(entry_id: bytes, entry: Mapping[bytes, bytes], *, reset: bool) -> LiveChange:
    pulse = entry.get(b"p")
    return LiveChange(
        id=entry_id,
        spaces=np.frombuffer(entry.get(b"s", b""), SPACE_CHANGE),
        lots=np.frombuffer(entry.get(b"l", b""), LOT),
        pulse_us=int(pulse) if pulse is not None else None,
        reset=reset,
    )
