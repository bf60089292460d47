"""Tariffs that come with the platform, as documents: `names()` lists them, `read(name)` gives one as JSON bytes.

The Wuxi documents are typed anew from the published rules; each names its sources and says in its note where the rules
can be read in two ways. `wuxi-off-street` is a form to be filled in: off street the operator sets the prices.
"""

from __future__ import annotations

from importlib.resources import files

from parking_core.errors import NotFoundError

_SUFFIX = ".json"


def names() -> list[str]:
    """The codes of the shipped documents, sorted."""
    return sorted(file.name.removesuffix(_SUFFIX) for file in files(__name__).iterdir() if file.name.endswith(_SUFFIX))


def read(name: str) -> bytes:
    """A shipped document.

    Raises:
        NotFoundError: there is none of this name.
    """
    if name not in names():
        raise NotFoundError(f"No tariff document {name!r} comes with the platform; there are {', '.join(names())}.")
    return files(__name__).joinpath(name + _SUFFIX).read_bytes()
