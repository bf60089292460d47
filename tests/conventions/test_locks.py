"""The lock files cover pyproject.toml, agree with one another, and pin everything by hash."""

from __future__ import annotations

import re
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conventions.source import REPOSITORY, pyproject, report

LOCK_FILES = ("runtime", "dev", "bench", "build", "lock")


class Pin(NamedTuple):
    name: str
    version: str
    marker: str
    hashes: int


def pins(text: str) -> list[Pin]:
    """The pinned packages of a lock file, in its order."""
    joined = text.replace("\\\n", " ")
    found = []
    for line in joined.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        requirement = Requirement(line.split("--hash", 1)[0].strip())
        exact = re.fullmatch(r"==([^,*]+)", str(requirement.specifier))
        marker = str(requirement.marker or "")
        version = exact[1] if exact else ""
        found.append(Pin(canonicalize_name(requirement.name), version, marker, line.count("--hash=sha256:")))
    return found


def loose(locked: list[Pin]) -> list[str]:
    return [
        f"{pin.name} is not pinned to one version with hashes; run `make lock`."
        for pin in locked
        if not pin.version or not pin.hashes
    ]


def uncovered(declared: list[str], locked: list[Pin]) -> list[str]:
    """Declared requirements for which the lock has no version, or one that does not fit."""
    findings = []
    for text in declared:
        wanted = Requirement(text)
        versions = [pin.version for pin in locked if pin.name == canonicalize_name(wanted.name)]
        if not versions or not all(wanted.specifier.contains(version, prereleases=True) for version in versions):
            findings.append(f"pyproject.toml asks for {text!r}, the lock has {versions or 'nothing'}; run `make lock`.")
    return findings


def disagreeing(widest: list[Pin], part: list[Pin]) -> list[str]:
    known = {(pin.name, pin.version) for pin in widest}
    return [
        f"{pin.name} is {pin.version} here and another version in bench.txt, so that we would test one and run the other; "
        "run `make lock`."
        for pin in part
        if (pin.name, pin.version) not in known
    ]


def lock_file(name: str) -> list[Pin]:
    return pins((REPOSITORY / "requirements" / f"{name}.txt").read_text("utf-8"))


def test_everything_is_pinned_by_hash() -> None:
    findings = [f"{name}.txt: {finding}" for name in LOCK_FILES for finding in loose(lock_file(name))]
    assert not findings, report(findings)


def test_the_locks_cover_what_is_declared() -> None:
    project = pyproject()["project"]
    extras = project["optional-dependencies"]
    findings = [
        *uncovered(project["dependencies"], lock_file("runtime")),
        *uncovered(project["dependencies"] + extras["dev"], lock_file("dev")),
        *uncovered(project["dependencies"] + extras["dev"] + extras["bench"], lock_file("bench")),
        *uncovered(pyproject()["build-system"]["requires"], lock_file("build")),
    ]
    assert not findings, report(findings)


def test_the_locks_agree() -> None:
    widest = lock_file("bench")
    findings = [
        f"{name}.txt: {finding}"
        for name in ("runtime", "dev", "build")
        for finding in disagreeing(widest, lock_file(name))
    ]
    assert not findings, report(findings)


def test_a_loose_pin_is_found() -> None:
    assert loose(pins("rich==15.0.0 \\\n    --hash=sha256:00\n")) == []
    assert len(loose(pins("rich==15.0.0\n"))) == 1
    assert len(loose(pins("rich>=15 \\\n    --hash=sha256:00\n"))) == 1


def test_a_package_that_was_not_locked_is_found() -> None:
    locked = pins("psycopg==3.3.9 \\\n    --hash=sha256:00\n")
    assert uncovered(["psycopg[binary]>=3.2"], locked) == []
    assert len(uncovered(["psycopg>=4"], locked)) == 1
    assert len(uncovered(["rich>=13"], locked)) == 1


def test_two_versions_of_one_package_are_found() -> None:
    assert len(disagreeing(pins("rich==15.0.0\n"), pins("rich==14.0.0\n"))) == 1
    assert disagreeing(pins("rich==15.0.0\n"), pins("rich==15.0.0\n")) == []
