"""The families of sensors that the gateway reads: one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.decoders.bay_frames import decoder as bay_frames
from gateway.decoders.bosch import decoder as bosch
from gateway.decoders.ctwing import decoder as ctwing
from gateway.decoders.dingtek import decoder as dingtek
from gateway.decoders.libelium import decoder as libelium
from gateway.decoders.movebroad import decoder as movebroad
from gateway.decoders.native.decoder import Refusal
from gateway.decoders.netvox import decoder as netvox
from gateway.decoders.nwave import decoder as nwave
from gateway.decoders.pni import decoder as pni
from gateway.decoders.sensors import Family, Layout, Said, set_aside
from gateway.decoders.tekzitel import decoder as tekzitel
from parking_core.readings import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

FAMILIES: Final[Mapping[str, Family]] = {
    family.slug: family
    for family in (
        bay_frames.FAMILY,
        bosch.FAMILY,
        ctwing.FAMILY,
        dingtek.FAMILY,
        libelium.FAMILY,
        movebroad.FAMILY,
        netvox.FAMILY,
        nwave.FAMILY,
        pni.FAMILY,
        tekzitel.FAMILY,
    )
}  # fmt: skip


def layout_of(vendor: str, model: str, firmware: str) -> Layout | str:
    """The layout that a device's registration is bound to, or what is not known about it: no layout is guessed."""
    family = FAMILIES.get(vendor)
    if family is None:
        return f"No family {vendor!r} is known; known are {', '.join(sorted(FAMILIES))}."
    known = family.model(model)
    if known is None:
        models = ", ".join(each.slug for each in family.models)
        return f"The family {vendor!r} has no model {model!r}; known are {models}."
    layout = known.layout(firmware)
    if layout is None:
        begins = ", ".join(sorted(known.layouts))
        return f"The layout of firmware {firmware!r} of {vendor} {model} is not known; known are those of {begins}."
    return layout


def decode(vendor: str, model: str, firmware: str, port: int, payload: bytes) -> Said | Refusal:
    """What a payload says, by the registration of its device."""
    layout = layout_of(vendor, model, firmware)
    if isinstance(layout, str):
        return Refusal(Reason.UNKNOWN_LAYOUT, layout, payload)
    said = layout.decode(port, payload)
    return said if isinstance(said, Refusal) else set_aside(said)
