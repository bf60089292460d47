"""Keeps a device that floods from hurting others: what is more than its measure is acknowledged, counted and not read.

    messages ─► counted by sender, a window of a second ─► more than the measure? its reserve shrinks ─► empty: limited
                                                                                                        │
                                     one letter a sender and minute, a row for the worker ◄─ what is left out

Reserve and measure are generous: a day's backlog, a replay of years or a camera over hundreds of bays pass unnoticed. The state is
this process's own, and bounded: only senders that exceeded their measure lately are remembered.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from parking_core.floods import Flood
from parking_core.readings import Reason, Rejection, moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.messages import RawMessage
    from parking_core.store.devices import DeviceRegistry

MEASURE: Final = 20.0  # messages a second and space: a bay changes some forty times a day
RESERVE: Final = 20_000.0  # messages beyond that at once: a year of a bay, a day of a camera that was cut off
WINDOW_US: Final = 1_000_000
LETTER_US: Final = 60_000_000
REPORT_US: Final = 2_000_000  # how often the worker hears of what is left out
_MOST_TOPICS: Final = 200_000  # remembered with their senders; a district has fewer


@dataclass(slots=True)
class _Limited:
    """A sender above its measure."""

    reserve: float
    allowed: float = 0.0  # of this window
    left_out: int = 0  # since the last letter
    reported: int = 0  # of these
    since_us: int = 0  # the first of them
    newest: RawMessage | None = None


class FloodGate:
    """Decides, batch by batch, what is read."""

    def __init__(self) -> None:
        self._senders: dict[str, str] = {}  # topic -> sender
        self._counts: Counter[str] = Counter()  # of this window
        self._window_us = 0
        self._above: dict[str, _Limited] = {}
        self._letters_us = self._reports_us = 0
        self.left_out = 0  # of the last batch

    def sieve(self, messages: Sequence[RawMessage], registry: DeviceRegistry) -> Sequence[RawMessage]:
        """The messages that are read; all of them, nearly always."""
        senders = [self._sender(message.topic) for message in messages]
        self._counts.update(senders)
        self.left_out = 0
        now_us = messages[-1].received_us
        if now_us - self._window_us >= WINDOW_US:
            self._settle(now_us, registry)
        if not any(limited.reserve <= 0 for limited in self._above.values()):
            return messages
        kept = []
        for message, sender in zip(messages, senders, strict=True):
            limited = self._above.get(sender)
            if limited is None or limited.reserve > 0 or self._is_allowed(limited):
                kept.append(message)
                continue
            self.left_out += 1
            limited.left_out += 1
            limited.since_us = limited.since_us or message.received_us
            limited.newest = message
        return kept

    def letters(self, now_us: int, *, is_last: bool = False) -> list[Rejection]:
        """One letter a sender and minute about what was left out."""
        if now_us - self._letters_us < LETTER_US and not is_last:
            return []
        self._letters_us = now_us
        written = []
        for sender, limited in self._above.items():
            if (message := limited.newest) is None:
                continue
            detail = (
                f"{limited.left_out} messages of {sender!r} between {moment(limited.since_us):%Y-%m-%d %H:%M:%S} and "
                f"{moment(message.received_us):%H:%M:%S} UTC were more than its measure and were not read; this is the last."
            )
            written.append(
                Rejection(message.topic, message.payload, message.received_us, False, Reason.FLOODING, detail)  # noqa: FBT003  # a record's field
            )
            limited.left_out, limited.reported, limited.since_us, limited.newest = 0, 0, 0, None
        return written

    def reports(self, now_us: int) -> list[Flood]:
        """What was left out since the last report, a sender each."""
        if now_us - self._reports_us < REPORT_US:
            return []
        self._reports_us = now_us
        found = [
            Flood(sender, limited.left_out - limited.reported, now_us)
            for sender, limited in self._above.items()
            if limited.left_out > limited.reported
        ]
        for limited in self._above.values():
            limited.reported = limited.left_out
        return found

    def _sender(self, topic: str) -> str:
        """Whose message it is: the fourth level of all topics that are subscribed."""
        sender = self._senders.get(topic)
        if sender is None:
            if len(self._senders) >= _MOST_TOPICS:  # somebody makes topics up
                self._senders.clear()
            levels = topic.split("/", 4)
            sender = self._senders[topic] = levels[3] if len(levels) > 3 else topic
        return sender

    def _settle(self, now_us: int, registry: DeviceRegistry) -> None:
        """The end of a window: reserves shrink and grow."""
        seconds = min(60.0, (now_us - self._window_us) / 1e6)
        self._window_us = now_us
        busy = {sender: number for sender, number in self._counts.items() if number > MEASURE * seconds}
        self._counts.clear()
        for sender in busy.keys() - self._above.keys():
            self._above[sender] = _Limited(RESERVE)
        for sender, limited in list(self._above.items()):
            measure = MEASURE * _spaces(sender, registry)
            limited.reserve = min(RESERVE, limited.reserve + measure * seconds - busy.get(sender, 0))
            limited.reserve = max(limited.reserve, -measure)  # it is read again a second after it has stopped
            limited.allowed = measure
            if limited.reserve >= RESERVE and limited.newest is None:
                del self._above[sender]

    @staticmethod
    def _is_allowed(limited: _Limited) -> bool:
        limited.allowed -= 1
        return limited.allowed >= 0


def _spaces(sender: str, registry: DeviceRegistry) -> int:
    device = registry.devices.get(sender) or registry.by_eui.get(sender)
    return 1 if device is None else max(1, len(device.spaces))
