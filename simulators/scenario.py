"""Named scenarios: what traffic and which faults the simulated sensors show. One TOML file each in scenarios/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from parking_core.errors import InvalidInputError, NotFoundError

_FOLDER = Path(__file__).parent / "scenarios"

Share = Annotated[float, Meta(ge=0, le=1)]
NotNegative = Annotated[float, Meta(ge=0)]
DayTime = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class Traffic(Struct, frozen=True, forbid_unknown_fields=True):
    """What cars do. `begin` is the local time at which the simulated day starts; absent: the real one."""

    begin: DayTime | None = None
    day_off: bool | None = None  # None: what today is
    turnover: Annotated[float, Meta(gt=0)] = 1.0  # above 1: shorter stays, more events at the same level


class Faults(Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong. Seconds are real ones, shares are of messages or of devices as their names say."""

    loss: Share = 0.0  # of messages
    duplicates: Share = 0.0  # of messages
    late: Share = 0.0  # of messages, each by up to late_s
    late_s: NotNegative = 5.0
    truncated: Share = 0.0  # of messages, cut in the middle
    skew_s: NotNegative = 0.0  # every clock is wrong by a constant within plus or minus this
    drift_ppm: NotNegative = 0.0  # and goes wrong by up to so much
    wrong_clocks: Share = 0.0  # of devices, a month behind
    silent_devices: Share = 0.0  # of devices, which stop within silent_within_s
    silent_within_s: Annotated[float, Meta(gt=0)] = 60.0
    flapping_devices: Share = 0.0  # of devices, which report a change every few seconds
    battery_mv_a_day: NotNegative = 0.4  # decay; below 2.6 V a device falls silent
    weak_batteries: Share = 0.0  # of devices, which begin at 2.7 V


class Storm(Struct, frozen=True, forbid_unknown_fields=True):
    """Many devices lose the network together and come back together with what they kept meanwhile. Real seconds."""

    after_s: NotNegative
    every_s: Annotated[float, Meta(gt=0)]
    share: Share
    outage_s: Annotated[float, Meta(gt=0)]
    spread_s: NotNegative  # within which all come back


class Scenario(Struct, frozen=True, forbid_unknown_fields=True):
    """One named scenario."""

    description: str
    seed: int = 1
    traffic: Traffic = Traffic()
    faults: Faults = Faults()
    storm: Storm | None = None


def scenario_names() -> list[str]:
    """All names, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load_scenario(name: str) -> Scenario:
    """The scenario of that name.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: its file is not what a scenario must be.
    """
    if name not in scenario_names():
        raise NotFoundError(f"There is no scenario {name!r}; choose one of {', '.join(scenario_names())}.")
    try:
        return msgspec.toml.decode((_FOLDER / f"{name}.toml").read_bytes(), type=Scenario)
    except msgspec.DecodeError as error:
        raise InvalidInputError(f"Scenario {name} cannot be read: {error}") from error
