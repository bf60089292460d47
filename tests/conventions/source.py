"""The tree under test: every Python file of the roots and every tracked file.

A check is a function of sources that gives findings: sentences that name the place and teach the alternative.
Each check runs twice: over the repository, where it must find nothing, and over a planted violation, which it must find.
"""

from __future__ import annotations

import ast
import subprocess
import textwrap
import tomllib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
IMPORT_ROOTS = ("parking_core", "gateway", "api", "worker", "simulators", "onebox")
ALL_ROOTS = (*IMPORT_ROOTS, "tests", "benchmarks")


@dataclass(frozen=True)
class Source:
    """One Python file; `path` is relative to the repository, with forward slashes."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text, self.path)

    @property
    def root(self) -> str:
        """The folder at the top: `gateway` of `gateway/pipeline.py`."""
        return self.path.split("/", 1)[0]

    def line(self, number: int) -> str:
        """A line of the text, counted from one."""
        return self.text.splitlines()[number - 1]


def planted(path: str, code: str) -> list[Source]:
    """A source that violates something, for the test of a check."""
    return [Source(path, textwrap.dedent(code))]


@cache
def sources(*roots: str) -> tuple[Source, ...]:
    """All Python files below these roots."""
    return tuple(
        Source(path.relative_to(REPOSITORY).as_posix(), path.read_text("utf-8"))
        for root in roots
        for path in sorted((REPOSITORY / root).rglob("*.py"))
    )


@cache
def tracked_files() -> tuple[str, ...]:
    """What git knows or would add: relative paths, ignored files left out."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    )
    return tuple(sorted(name for name in listing.stdout.split("\0") if name and (REPOSITORY / name).is_file()))


@cache
def pyproject() -> dict[str, Any]:
    """The project file."""
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))


def report(findings: list[str]) -> str:
    """The findings as the message of a failed assertion."""
    return "\n" + "\n".join(findings)
