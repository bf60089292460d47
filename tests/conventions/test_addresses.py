"""No tracked file names a package registry's host or a place on somebody's machine.

A registry is chosen by the host's own configuration (pip, npm, apt); a path of one machine works on no other.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.conventions.source import REPOSITORY, report, tracked_files

if TYPE_CHECKING:
    from collections.abc import Iterable

# Written in pieces, so that this file does not hold what it looks for.
HOSTS = (
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("registry.npmjs", "org"),
    ("npmmirror", "com"),
    ("deb.debian", "org"),
    ("ftp.debian", "org"),
    ("security.debian", "org"),
    ("archive.ubuntu", "com"),
    ("proxy.golang", "org"),
    ("registry-1.docker", "io"),
    ("mirrors.aliyun", "com"),
    ("tuna.tsinghua", "edu"),
)
REGISTRY = re.compile("|".join(re.escape(".".join(host)) for host in HOSTS), re.IGNORECASE)
FOLDERS = ("work", "farm", "root", "Users")
MACHINE_PATH = re.compile(r"(?<![\w.$}~/-])/(?:" + "|".join(FOLDERS) + r")/[\w.-]+")
LOCK_FILE = re.compile(r"^requirements/.*\.(txt|in)$")
LOCK_ADDRESS = re.compile(r"://|^\s*(?:-i|-f|--index-url|--extra-index-url|--find-links|--trusted-host)\b")


def addresses(files: Iterable[tuple[str, str]]) -> list[str]:
    """Findings in files given as path and text."""
    findings = []
    for path, text in files:
        for number, line in enumerate(text.splitlines(), start=1):
            if found := REGISTRY.search(line):
                findings.append(
                    f"{path}:{number}: names the registry {found[0]}; leave it to the host's own configuration "
                    "and read that where an address is needed."
                )
            if found := MACHINE_PATH.search(line):
                findings.append(
                    f"{path}:{number}: names the machine's path {found[0]}; derive it from the repository, from "
                    "PARKING_HOME or from an argument (tests: tmp_path)."
                )
            if LOCK_FILE.match(path) and LOCK_ADDRESS.search(line):
                findings.append(f"{path}:{number}: a lock file holds an address; write it with `make lock`.")
    return findings


def test_no_tracked_file_names_a_registry_or_a_machine() -> None:
    texts = []
    for path in tracked_files():
        content = (REPOSITORY / path).read_bytes()
        if b"\0" not in content[:8192]:  # the same rule by which git calls a file binary
            texts.append((path, content.decode("utf-8", "replace")))
    findings = addresses(texts)
    assert not findings, report(findings)


@pytest.mark.parametrize("host", HOSTS, ids=" ".join)
def test_a_registry_is_found(host: tuple[str, str]) -> None:
    line = "https:" + "//" + ".".join(host) + "/simple"
    assert len(addresses([("docs/install.md", line)])) == 1


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_machine_path_is_found(folder: str) -> None:
    assert len(addresses([("docs/install.md", f"see /{folder}/someone/notes.md")])) == 1
    assert len(addresses([("api/app.py", f'open("/{folder}/data.json")')])) == 1


@pytest.mark.parametrize("text", ["a frame/work/flow", "$HOME/work/x", "GET /v1/lots", "`/healthz`", "~/parking"])
def test_an_ordinary_path_is_not(text: str) -> None:
    assert addresses([("docs/install.md", text)]) == []


@pytest.mark.parametrize("line", ["--find-links wheels", "mqtt5 @ file:" + "//wheels/mqtt5.whl", "-i somewhere"])
def test_a_lock_file_with_an_address_is_found(line: str) -> None:
    assert len(addresses([("requirements/dev.txt", line)])) == 1
    assert addresses([("requirements/dev.txt", "mqtt5==0.8.0 \\")]) == []
