"""What a clearing centre must not forget when it is started again: a journal of lines, read again at the start.

    {"package", "result", "day", "sent"}   judged; `sent` null: refused
    {"day_ends"}                          its new date, null: the next one
    {"changes"} | {"full": true}          a status list given out
    {"send", "message", "times"}          into the outbox
    {"taken"}                             once off the outbox

Without a path the memory lasts as long as the process. A line that a power cut left half written is passed over.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO


class CentreMemory:
    """The journal of one centre.

    Args:
        path: its file; None: nothing is kept.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._file: TextIO | None = None

    def read(self) -> list[dict[str, Any]]:
        """What was noted before, oldest first; from now on notes are added to it."""
        if self._path is None:
            return []
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = self._path.read_text("utf-8") if self._path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if len(whole) != len(text):
            self._path.write_text(whole, "utf-8")
        self._file = self._path.open("a", encoding="utf-8")
        return [json.loads(line) for line in whole.splitlines()]

    def note(self, **entry: object) -> None:
        """One more line; what it says is done after it is written."""
        if self._file is not None:
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Closes the journal."""
        if self._file is not None:
            self._file.close()
            self._file = None
