"""Which downlink of a family a published example means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.decoders.configuration import downlinks_of
from gateway.decoders.downlinks import encode

if TYPE_CHECKING:
    from collections.abc import Mapping


def encoded(family: str, model: str, values: Mapping[str, Any]) -> tuple[int, bytes] | str:
    """Port and bytes of the downlink that has exactly these parameters."""
    for downlink in downlinks_of(family, model):
        if {parameter.name for parameter in downlink.parameters} == set(values):
            return encode(downlink, values)
    return f"{family} {model} has no downlink with {', '.join(sorted(values))}."
