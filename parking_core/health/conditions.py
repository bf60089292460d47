"""What can be wrong with a device (facts)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Condition(StrEnum):
    """Stable codes: people filter by them."""

    SILENT = "silent"  # not heard for longer than it ever was
    STUCK = "stuck"  # the bay does not change, though its neighbours do, for longer than its past makes plausible
    FROZEN = "frozen"  # the same measurements to the last digit, again and again
    FLAPPING = "flapping"  # stays of seconds
    CLOCK = "clock"  # its time is not the time
    BATTERY = "battery"  # empty, or empty soon
    SIGNAL = "signal"  # hardly received
    MISSING = "missing"  # it numbers messages that nobody received
    MEASUREMENT = "measurement"  # says what cannot be (a temperature of -117 °C), and the field was set aside
    IMPLAUSIBLE = "implausible"  # occupied while lanes counted everybody out
    CONTRADICTED = "contradicted"  # another device of the same bay says otherwise
    FLOODING = "flooding"  # sends more than anybody reads


# With one of these nobody can say how the bay stands; the others are work to do, while the bay is seen.
DOUBTFUL: Final = frozenset(
    {
        Condition.SILENT,
        Condition.STUCK,
        Condition.FROZEN,
        Condition.FLAPPING,
        Condition.IMPLAUSIBLE,
        Condition.CONTRADICTED,
    }
)

NEVER: Final = -(1 << 62)  # a moment that has not been


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition that a device is in.

    Attributes:
        since_us: when what is wrong began, microseconds since the epoch; never later than when it was found.
        evidence: what was seen beside what was expected, named by unit (`_s`, `_v`, ...).
    """

    device_id: int
    condition: Condition
    since_us: int
    evidence: Mapping[str, Any]
