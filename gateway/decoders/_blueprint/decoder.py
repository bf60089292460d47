"""Blueprint of a family: copy the folder, and replace everything in it. How: docs/new-device-family.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.decoders.sensors import Family, Layout, Model, Said, SaidKind, refused, signed

if TYPE_CHECKING:
    from gateway.decoders.native.decoder import Refusal

_BYTES: Final = 3


def _decode(port: int, payload: bytes) -> Said | Refusal:
    # Everything that is not laid out as the field table says is refused, with a sentence; nothing is guessed.
    if port != 1:
        return refused(payload, f"Port {port} is not 1.")
    if len(payload) != _BYTES:
        return refused(payload, f"A report has {_BYTES} bytes, not {len(payload)}.")
    if payload[0] > 1:
        return refused(payload, f"Byte 0 is 0x{payload[0]:02x}; the occupancy is 00 or 01.")
    occupied, tenths, celsius = payload[0] == 1, payload[1], signed(payload, 2)
    return Said(
        kind=SaidKind.CHANGE,
        occupied=occupied,
        battery_v=tenths / 10,
        temperature_c=celsius,
        # The family's own names and values, so that whoever knows its document finds them again.
        fields={"occupied": occupied, "battery": tenths / 10, "temperature": celsius},
    )


FAMILY: Final = Family(
    "blueprint",
    "Example maker",
    # One model a line; where firmware differs, its layouts by the beginning of the version: {"": NEW, "1.2": OLD}.
    (Model("example", "Example sensor", {"": Layout("three bytes", _decode)}),),
)
