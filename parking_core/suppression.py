"""Small counts of people are not told (pure).

A count below K says too much about somebody whom one knows; what is left out must not follow from a sum either (k-anonymity:
Sweeney 2002; complementary suppression: Willenborg and de Waal 2001).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

K: Final = 5
OTHER: Final = "other"


def told(counts: Mapping[str, int], least: int = K) -> dict[str, int]:
    """Counts that may be told: small ones together as `other`, with the smallest of the rest while these are too few.

    Their sum stays as it is; none at all where it is below `least`.
    """
    order = sorted(counts.items(), key=lambda each: (each[1], each[0]))
    if sum(counts.values()) < least:
        return {}
    kept = {name: count for name, count in order if count >= least and name != OTHER}
    rest = sum(counts.values()) - sum(kept.values())
    for name, count in order:
        if not 0 < rest < least:
            break
        if name in kept:
            del kept[name]
            rest += count
    return dict(sorted(kept.items())) | ({OTHER: rest} if rest else {})
