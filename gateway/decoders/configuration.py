"""Which downlinks the models of families have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.decoders.dingtek import downlinks as dingtek
from gateway.decoders.netvox import downlinks as netvox
from gateway.decoders.tekzitel import downlinks as tekzitel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.decoders.downlinks import Downlink

_DOWNLINKS: Final[Mapping[tuple[str, str], tuple[Downlink, ...]]] = {
    ("dingtek", "do200"): dingtek.DO200,
    ("dingtek", "do201"): dingtek.DO201,
    ("dingtek", "do202"): dingtek.DO202,
    ("netvox", "r719a"): netvox.DOWNLINKS,
    ("tekzitel", "tekzipark"): tekzitel.DOWNLINKS,
}


def downlinks_of(family: str, model: str) -> tuple[Downlink, ...]:
    """What a model can be told; nothing for most."""
    return _DOWNLINKS.get((family, model), ())
