"""What a lane controller must not forget when its power fails: a journal of lines, read again at the start.

Record numbers without gaps, records that the broker has not taken yet, ids of executed commands with their answers,
the tariffs and the status list it has, the vehicles it is to let in, the serial of its terminal, what it counted in
hours that it has not told yet.
Without a path the memory lasts as long as the process.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

HOUR: Final = timedelta(hours=1)
MOST_HOURS: Final = 200  # told at once by a lane that was off for long
KEPT_COMMANDS: Final = 1_000  # a platform repeats a command within its deadline, a week at most
_COMPACT_AFTER: Final = 5_000  # lines of a journal that is read at the start and written anew
_KEPT_FORGOTTEN: Final = timedelta(days=40)  # so late the platform may repeat what it had said before


@dataclass(frozen=True, slots=True)
class Expected:
    """A vehicle that was promised a space here: the barrier rises for it from `begins_at` up to `until_at`."""

    reservation: str
    plate: str
    begins_at: datetime
    until_at: datetime
    came: bool = False  # it has driven in


class LaneMemory:
    """State of one lane.

    Args:
        path: its journal; a line that a power cut left half written is passed over.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.last_record_no = 0
        self.terminal_serial = 0
        self.tariffs: dict[str, Any] | None = None  # body of the newest tariff command
        self.list_version: str | None = None  # of the status list in force here
        self._listed: dict[str, int] = {}  # "card:<number>" or "obu:<number>" -> reason
        self.unsent: dict[int, dict[str, Any]] = {}  # record_no -> record, in order
        self._hours: dict[datetime, list[int]] = {}  # not told yet: records, fen that exits charged
        self._told_until: datetime | None = None  # end of the newest hour that was told
        self._expected: dict[str, tuple[datetime, Expected | None]] = {}  # by reservation: said when; None: forget it
        self.open_until: datetime | None = None  # locked open; None: it does what it does by itself
        self.moved_at: datetime | None = None  # when the newest command that moved the gate was given
        self._answers: dict[str, dict[str, Any] | None] = {}  # command id -> its answer; None: begun, not ended
        self._file: TextIO | None = None
        if path is not None:
            self._open(path)

    def new_record(self, record: dict[str, Any]) -> dict[str, Any]:
        """Gives the record its number; it is kept until the broker has it."""
        numbered = {**record, "record_no": self.last_record_no + 1}
        self._note({"record": numbered})
        return numbered

    def sent(self, record_no: int) -> None:
        """The broker has the record."""
        self._note({"sent": record_no})

    def next_serial(self) -> str:
        """Serial of the terminal's next transaction, eight hexadecimal digits, never given twice."""
        self._note({"serial": self.terminal_serial + 1})
        return f"{self.terminal_serial:08X}"

    def answer_of(self, command_id: str) -> dict[str, Any] | None:
        """The answer that a command had, or None where it is new.

        One that was begun and not ended (the power failed over it) is refused: it may have been executed.
        """
        if command_id not in self._answers:
            return None
        return self._answers[command_id] or {"result": "refused", "reason": "interrupted"}

    def begin(self, command_id: str) -> None:
        """A command is about to be executed."""
        self._note({"begin": command_id})

    def end(self, command_id: str, answer: dict[str, Any]) -> None:
        """A command was executed or refused."""
        self._note({"end": command_id, "answer": answer})

    def keep_tariffs(self, body: dict[str, Any]) -> None:
        """Tariffs to compute by while offline."""
        self._note({"tariffs": body})

    def keep_status_list(self, body: dict[str, Any]) -> bool:
        """Cards and OBUs that may not pay; False: it is an increment to a list that is not in force here.

        Versions sort by time. One that is not newer than the list in force says nothing new, and is done already.
        """
        if self.list_version is not None and body["version"] <= self.list_version:
            return True
        if body["base"] is not None and body["base"] != self.list_version:
            return False
        self._note({"status_list": body})
        return True

    def is_listed(self, medium: str, number: str) -> bool:
        """Whether a `card` or an `obu` may not pay."""
        return f"{medium}:{number}" in self._listed

    def expect(self, body: dict[str, Any], said_at: str) -> None:
        """A vehicle is to be let in. What was said of the reservation later counts: a repeated word may come last."""
        self._note({"expect": body, "said": said_at})

    def forget(self, reservation: str, said_at: str) -> None:
        """The promise is over."""
        self._note({"forget": reservation, "said": said_at})

    def came(self, reservation: str) -> None:
        """The vehicle of a reservation has driven in."""
        self._note({"came": reservation})

    def expected(self, now: datetime) -> list[Expected]:
        """Vehicles that may come now or later, by reservation; those whose time is over are dropped."""
        for reservation, (said_at, one) in list(self._expected.items()):
            if (said_at + _KEPT_FORGOTTEN if one is None else one.until_at) <= now:
                del self._expected[reservation]
        return [one for _, (_, one) in sorted(self._expected.items()) if one is not None]

    def reservation_of(self, plate: str, now: datetime) -> str | None:
        """The promise by which a vehicle may drive in now."""
        here = (one for one in self.expected(now) if one.plate == plate and one.begins_at <= now)
        return next((one.reservation for one in here), None)

    def hours_to_tell(self, now: datetime) -> list[tuple[datetime, int, int]]:
        """Full hours that were not told yet, with their records and fen; hours without a record among them."""
        first = self._told_until or min(self._hours, default=None)
        if first is None:
            return []
        last = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        hours = {first + place * HOUR for place in range(min(int((last - first) / HOUR), MOST_HOURS))}
        hours |= {hour for hour in self._hours if hour < last}
        return [(hour, *self._hours.get(hour, (0, 0))) for hour in sorted(hours)]

    def moved(self, said_at: str, until: str | None) -> bool:
        """A command moves the gate; False: it was given before one that has been executed, and comes too late."""
        if self.moved_at is not None and datetime.fromisoformat(said_at) < self.moved_at:
            return False
        self._note({"moved": said_at, "open_until": until})
        return True

    def close(self) -> None:
        """Closes the journal."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _note(self, entry: dict[str, Any]) -> None:
        """Durable first, then true."""
        if self._file is not None:
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._file.flush()
        self._take(entry)

    def _take(self, entry: dict[str, Any]) -> None:
        match entry:
            case {"record": record}:
                self.last_record_no = record["record_no"]
                self.unsent[record["record_no"]] = record
                self._count(record)
            case {"told_until": told, "hours": hours}:
                self._told_until = None if told is None else datetime.fromisoformat(told)
                self._hours = {datetime.fromisoformat(hour): counted for hour, counted in hours.items()}
            case {"head": record_no}:
                self.last_record_no = record_no
            case {"sent": record_no}:
                self.unsent.pop(record_no, None)
            case {"serial": serial}:
                self.terminal_serial = serial
            case _:
                self._take_told(entry)

    def _take_told(self, entry: dict[str, Any]) -> None:
        """What the platform told the lane."""
        match entry:
            case {"begin": command_id}:
                self._answers[command_id] = None
            case {"end": command_id, "answer": answer}:
                self._answers[command_id] = answer
                while len(self._answers) > KEPT_COMMANDS:
                    del self._answers[next(iter(self._answers))]
            case {"tariffs": body}:
                self.tariffs = body
            case {"moved": said_at, "open_until": until}:
                self.moved_at = datetime.fromisoformat(said_at)
                self.open_until = None if until is None else datetime.fromisoformat(until)
            case {"status_list": body}:
                self._take_list(body)
            case {"came": reservation}:
                said_at, one = self._expected.get(reservation, (None, None))
                if said_at is not None and one is not None:
                    self._expected[reservation] = said_at, replace(one, came=True)
            case {"said": said}:
                self._take_promise(entry, datetime.fromisoformat(said))

    def _take_promise(self, entry: dict[str, Any], said_at: datetime) -> None:
        body = entry.get("expect")
        reservation = entry["forget"] if body is None else body["reservation"]
        before, known = self._expected.get(reservation, (said_at, None))
        if before > said_at:
            return  # a newer word was here first
        one = None
        if body is not None:
            begins_at, until_at = (datetime.fromisoformat(body[key]) for key in ("from", "until"))
            one = Expected(reservation, body["plate"], begins_at, until_at, known is not None and known.came)
        self._expected[reservation] = said_at, one

    def _take_list(self, body: dict[str, Any]) -> None:
        self.list_version = body["version"]
        if body["base"] is None:
            self._listed.clear()
        for medium, number, reason in body["entries"]:
            self._listed.pop(f"{medium}:{number}", None)
            if reason is not None:
                self._listed[f"{medium}:{number}"] = reason

    def _count(self, record: dict[str, Any]) -> None:
        if record["event"] == "hour_total":
            hour = datetime.fromisoformat(record["hour"])
            self._hours.pop(hour, None)
            self._told_until = max(self._told_until or hour, hour + HOUR)
            return
        hour = datetime.fromisoformat(record["at"]).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        counted = self._hours.setdefault(hour, [0, 0])
        counted[0] += 1
        if record["event"] == "exit":
            counted[1] += record.get("etc", {}).get("amount_fen", 0)

    def _open(self, path: Path) -> None:
        lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        for line in whole:
            self._take(json.loads(line))
        if len(whole) != len(lines) or len(whole) > _COMPACT_AFTER:
            anew = path.with_suffix(".new")
            anew.write_text("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in self._entries()), "utf-8")
            anew.replace(path)
        self._file = path.open("a", encoding="utf-8")

    def _entries(self) -> list[dict[str, Any]]:
        """The fewest entries that say the same."""
        entries: list[dict[str, Any]] = [{"serial": self.terminal_serial}]
        for command_id, answer in self._answers.items():
            entries.append({"begin": command_id} if answer is None else {"end": command_id, "answer": answer})
        if self.tariffs is not None:
            entries.append({"tariffs": self.tariffs})
        if self.moved_at is not None:
            until = None if self.open_until is None else self.open_until.isoformat()
            entries.append({"moved": self.moved_at.isoformat(), "open_until": until})
        if self.list_version is not None:
            listed = [[*name.split(":", 1), reason] for name, reason in self._listed.items()]
            entries.append({"status_list": {"version": self.list_version, "base": None, "entries": listed}})
        for reservation, (said_at, one) in self._expected.items():
            entries += _promise(reservation, said_at.isoformat(), one)
        entries += [{"record": record} for record in self.unsent.values()]
        hours = {hour.isoformat(): counted for hour, counted in self._hours.items()}
        told = None if self._told_until is None else self._told_until.isoformat()
        return [*entries, {"head": self.last_record_no}, {"told_until": told, "hours": hours}]


def _promise(reservation: str, said: str, one: Expected | None) -> list[dict[str, Any]]:
    """Entries that say what is known of a reservation."""
    if one is None:
        return [{"forget": reservation, "said": said}]
    times = {"from": one.begins_at.isoformat(), "until": one.until_at.isoformat()}
    entries: list[dict[str, Any]] = [
        {"expect": {"plate": one.plate, **times, "reservation": reservation}, "said": said}
    ]
    return [*entries, {"came": reservation}] if one.came else entries
