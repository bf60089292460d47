"""The import roots of this one application come from this repository, and every list of them agrees.

`api` and `gateway` are names that another distribution may use too: then the wrong one would answer.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path

from tests.conventions.source import ALL_ROOTS, IMPORT_ROOTS, REPOSITORY, pyproject, report, tracked_files

DISTRIBUTION = "binhu-parking"


def misplaced(locations: dict[str, str | None], repository: Path) -> list[str]:
    """Roots whose `__init__.py` is not in the repository."""
    return [
        f"`import {root}` gives {location or 'a folder without __init__.py'}, not {repository / root}; "
        "give the folder its __init__.py, or uninstall the distribution that brings the same name."
        for root, location in locations.items()
        if location is None or Path(location).resolve() != (repository / root / "__init__.py").resolve()
    ]


def shared_names(owners: dict[str, list[str]]) -> list[str]:
    """Roots that another installed distribution brings as well."""
    return [
        f"{root} is also brought by {', '.join(sorted(others))}; uninstall it from this environment or rename our root."
        for root in ALL_ROOTS
        if (others := {name.lower() for name in owners.get(root, [])} - {DISTRIBUTION})
    ]


def test_roots_resolve_inside_the_repository() -> None:
    findings = misplaced({root: importlib.import_module(root).__file__ for root in ALL_ROOTS}, REPOSITORY)
    assert not findings, report(findings)


def test_no_other_distribution_brings_our_roots() -> None:
    findings = shared_names(dict(importlib.metadata.packages_distributions()))
    assert not findings, report(findings)


def test_the_lists_of_roots_agree() -> None:
    tool = pyproject()["tool"]
    assert tool["hatch"]["build"]["targets"]["wheel"]["packages"] == list(IMPORT_ROOTS), "the wheel needs every root"
    assert sorted(tool["mypy"]["packages"]) == sorted(ALL_ROOTS), "mypy checks every root"
    folders = {name.split("/", 1)[0] for name in tracked_files() if name.endswith(".py") and "/" in name}
    assert folders == set(ALL_ROOTS), "a new top-level folder of code: add it to pyproject.toml and to this test"


def test_a_misplaced_root_is_found() -> None:
    locations = {"api": "/usr/lib/python3/dist-packages/api/__init__.py", "gateway": None}
    findings = misplaced(locations, REPOSITORY)
    assert "dist-packages" in findings[0]
    assert "__init__.py" in findings[1]
    assert misplaced({"api": str(REPOSITORY / "api" / "__init__.py")}, REPOSITORY) == []


def test_a_shared_name_is_found() -> None:
    assert shared_names({"gateway": ["binhu-parking", "other-gateway"]}) != []
    assert shared_names({"gateway": ["Binhu-Parking"]}) == []
