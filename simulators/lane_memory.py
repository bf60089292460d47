"""What a lane controller must not forget when its power fails: a journal of lines, read again at the start.

Record numbers without gaps, records that the broker has not taken yet, ids of executed commands with their answers,
the tariffs and the status list it has, the serial of its terminal. Without a path the memory lasts as long as the
process.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

KEPT_COMMANDS: Final = 1_000  # a platform repeats a command within its deadline, a week at most
_COMPACT_AFTER: Final = 5_000  # lines of a journal that is read at the start and written anew


class LaneMemory:
    """State of one lane.

    Args:
        path: its journal; a line that a power cut left half written is passed over.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.last_record_no = 0
        self.terminal_serial = 0
        self.tariffs: dict[str, Any] | None = None  # body of the newest tariff command
        self.status_list: dict[str, Any] | None = None  # body of the newest status list command
        self.unsent: dict[int, dict[str, Any]] = {}  # record_no -> record, in order
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

    def keep_status_list(self, body: dict[str, Any]) -> None:
        """Cards and OBUs that may not pay."""
        self._note({"status_list": body})

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
            case {"head": record_no}:
                self.last_record_no = record_no
            case {"sent": record_no}:
                self.unsent.pop(record_no, None)
            case {"serial": serial}:
                self.terminal_serial = serial
            case {"begin": command_id}:
                self._answers[command_id] = None
            case {"end": command_id, "answer": answer}:
                self._answers[command_id] = answer
                while len(self._answers) > KEPT_COMMANDS:
                    del self._answers[next(iter(self._answers))]
            case {"tariffs": body}:
                self.tariffs = body
            case {"status_list": body}:
                self.status_list = body

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
        if self.status_list is not None:
            entries.append({"status_list": self.status_list})
        entries += [{"record": record} for record in self.unsent.values()]
        return [*entries, {"head": self.last_record_no}]
