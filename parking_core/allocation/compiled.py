"""Typed door to Numba: the compiled kernels of this package keep their signatures for the type checker.

Kernels are compiled once per machine and kept on disk (cache=True), release the interpreter lock while they run, and
never use fastmath: sums are the same whichever thread calls them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """`function` compiled on its first call (all of the package: 11 s), or read from the disk cache (0.3 s)."""
    return cast("Callable[P, R]", njit(cache=True, nogil=True)(function))
