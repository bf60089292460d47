"""What a sensor of any make says: the one shape that all families' decoders give, and the table that a family is."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from gateway.decoders.native.decoder import Refusal
from parking_core.readings import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class SaidKind(StrEnum):
    """Why the sensor spoke."""

    CHANGE = "change"  # a vehicle came or left
    HEARTBEAT = "heartbeat"  # it lives; most say whether a vehicle is there, too
    STARTUP = "startup"  # it began anew: after a reset, or a change of its battery
    COUNT = "count"  # vehicles that passed, of a counter
    INFORMATION = "information"  # of itself: configuration, health, an answer to a downlink


class BatteryState(StrEnum):
    """What a device says of its battery when it gives no volts, or beside them."""

    GOOD = "good"
    LOW = "low"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one payload of a sensor says; what it does not say is None.

    Attributes:
        kind: why it spoke.
        occupied: whether a vehicle stands in the space.
        battery_v: volts.
        battery_state: as the device judges.
        temperature_c: degrees Celsius.
        rssi_dbm: dBm, as the device heard its network.
        seq: the device's own count of changes or messages; a frame counter of the network is none.
        at_us: when, by the device's own clock: microseconds since the epoch.
        bay: which bay a concentrator speaks of, as it calls it.
        identity: who the payload says it is from (a serial number); it must be the registered one.
        firmware: as the device spells it.
        fields: the family's own names and values, whole.
        quarantined: of the above, what cannot be true and was set aside, each with its reason.
    """

    kind: SaidKind
    occupied: bool | None = None
    battery_v: float | None = None
    battery_state: BatteryState | None = None
    temperature_c: float | None = None
    rssi_dbm: float | None = None
    seq: int | None = None
    at_us: int | None = None
    bay: str | None = None
    identity: str | None = None
    firmware: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    quarantined: Mapping[str, str] = field(default_factory=dict)


SAID_NAMES: Final = tuple(each.name for each in fields(Said) if each.name not in {"fields", "quarantined"})


def as_json(said: Said) -> dict[str, Any]:
    """What was said as JSON values, as samples and `parking decode` show it; what was not said is left out."""
    shown = {name: getattr(said, name) for name in SAID_NAMES}
    said_names = {name: value for name, value in shown.items() if value is not None}
    quarantined = {"quarantined": dict(said.quarantined)} if said.quarantined else {}
    return {**said_names, "kind": said.kind.value, "fields": dict(said.fields), **quarantined}


Decode: TypeAlias = "Callable[[int, bytes], Said | Refusal]"  # (port, payload); total: it never raises


@dataclass(frozen=True, slots=True)
class Layout:
    """How the payloads of some firmware of a model are laid out."""

    name: str
    decode: Decode


@dataclass(frozen=True, slots=True)
class Model:
    """A device type of a family.

    Attributes:
        slug: how the registry and `parking decode` name it.
        title: the maker's name of it.
        layouts: by the beginning of the firmware's version, the longest that fits; "" is every other firmware.
    """

    slug: str
    title: str
    layouts: Mapping[str, Layout]

    def layout(self, firmware: str) -> Layout | None:
        """The layout of a firmware; None: nobody has said how that one is laid out."""
        fitting = [begin for begin in self.layouts if _begins(firmware, begin)]
        return self.layouts[max(fitting, key=len)] if fitting else None


@dataclass(frozen=True, slots=True)
class Family:
    """Sensors of one maker that are read alike."""

    slug: str
    title: str
    models: tuple[Model, ...]

    def model(self, slug: str) -> Model | None:
        """A model by its slug."""
        return next((each for each in self.models if each.slug == slug), None)


# What no sensor in a street can truly say. Within them a value may still be wrong; that is for health to find out.
PLAUSIBLE: Final[Mapping[str, tuple[float, float, str]]] = {
    "temperature_c": (-60.0, 100.0, "°C"),
    "battery_v": (0.5, 48.0, "V"),
    "rssi_dbm": (-160.0, 20.0, "dBm"),
}


def set_aside(said: Said) -> Said:
    """What cannot be true is quarantined; the rest, the occupancy above all, is used."""
    impossible = {
        name: f"{value:g} {unit} is not within {least:g} and {most:g} {unit}."
        for name, (least, most, unit) in PLAUSIBLE.items()
        if (value := getattr(said, name)) is not None and not least <= value <= most
    }
    if not impossible:
        return said
    nothing: dict[str, Any] = dict.fromkeys(impossible)
    return replace(said, quarantined={**said.quarantined, **impossible}, **nothing)


def refused(payload: bytes, detail: str) -> Refusal:
    """A payload that is laid out otherwise than its registration says; the detail is a sentence."""
    return Refusal(Reason.INVALID, detail, payload)


def signed(payload: bytes, at: int, size: int = 1) -> int:
    """A big-endian two's complement number."""
    return int.from_bytes(payload[at : at + size], signed=True)


def unsigned(payload: bytes, at: int, size: int = 1) -> int:
    """A big-endian number without a sign."""
    return int.from_bytes(payload[at : at + size])


def _begins(firmware: str, begin: str) -> bool:
    """Whether a version begins with another, part by part: 0.3 begins 0.3.9, and does not begin 0.39."""
    if not begin:
        return True
    parts, wanted = firmware.split("."), begin.split(".")
    return parts[: len(wanted)] == wanted
