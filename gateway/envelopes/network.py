"""What a LoRaWAN network server says of a device, whichever server it is (facts), and the beginning of every envelope's reading."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from gateway.decoders.native.decoder import MAX_PAYLOAD_BYTES, UNREADABLE, Refusal
from parking_core.readings import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

Measure: TypeAlias = Annotated[float, Meta(ge=-1e6, le=1e6)]  # keeps infinities out of 4-byte floats
Name: TypeAlias = Annotated[str, Meta(max_length=100, pattern=r"^[^\x00]*$")]  # what a column and an index can hold
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """A frame of a device as its network server received it.

    Attributes:
        eui: DevEUI, 16 lower-case hexadecimal digits.
        session: names the device's session in the network; a re-join begins another one, whose counter begins at 0. "": the
            server does not tell.
        counter: frame counter within the session.
        port: FPort; 0 where the frame carries no application payload.
        payload: what the device wrote.
        at_us: receipt by the network server, microseconds since the epoch.
        rssi_dbm, snr_db: of the gateway that heard it best.
        battery_percent: as the device last answered the network.
        application: what a downlink to the device is addressed by.
    """

    eui: str
    session: str
    counter: int
    port: int
    payload: bytes
    at_us: int
    rssi_dbm: float | None = None
    snr_db: float | None = None
    battery_percent: float | None = None
    application: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """The device joined its network: a new session, whose counter begins at 0."""

    eui: str
    session: str
    at_us: int
    application: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The device's answer to the network's question for its state.

    Attributes:
        battery_percent: None: the device does not know, or has external power.
        margin_db: signal to noise ratio of the last question, as the device heard it.
    """

    eui: str
    at_us: int
    battery_percent: float | None = None
    margin_db: float | None = None
    external_power: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of a downlink.

    Attributes:
        command: id of the command, as we gave it to the network; "": the network does not tell, or it was not ours.
        eui: "": the network does not tell; the command does.
        at_us: 0: the network does not tell.
        delivered: True: the device confirmed it; False: it did not, or the network gave it up; None: it is in the air.
        reason: the network's word for why not.
    """

    eui: str
    command: str
    delivered: bool | None
    at_us: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Remark:
    """The network speaks of itself, or of what nothing here needs: a log line, a location."""

    eui: str


Said: TypeAlias = Uplink | Join | Status | Fate | Remark | Refusal


def read_json(payload: bytes, read: Callable[[bytes], Said]) -> Said:
    """Reads a server's JSON with `read`; what cannot be read is a refusal."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        return Refusal(Reason.TOO_LARGE, f"{len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} are read.", payload)
    try:
        return read(payload)
    except msgspec.ValidationError as error:
        reason = Reason.BAD_TIME if _names_a_time(str(error)) else Reason.INVALID
        return Refusal(reason, str(error), payload)
    except UNREADABLE as error:
        return Refusal(Reason.MALFORMED, f"Not JSON: {error}", payload)


def microseconds_of(moment: datetime) -> int:
    """Microseconds since the epoch."""
    return (moment - _EPOCH) // _MICROSECOND


def eui_of(text: str) -> str | None:
    """A DevEUI as the registry holds it, however a server spells it; None: it is none."""
    eui = text.replace("-", "").replace(":", "").lower()
    return eui if len(eui) == 16 and not eui.strip("0123456789abcdef") else None


def _names_a_time(detail: str) -> bool:
    return any(f"$.{name}`" in detail for name in ("time", "ts", "received_at", "uplink_message.received_at"))
