"""Setting up says what is missing, starts again after an interruption, and touches nothing when nothing changed.

A real installation takes half a minute; here a scripted `python` stands in, so that only the script's own steps run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conventions.source import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

TOOLS = ("sh", "dirname", "grep", "cat", "sed", "rm", "mkdir", "cp", "chmod")
# A stand-in for Python {version}: knows its version, has the module ensurepip or not, and writes down what it runs.
PYTHON = """#!/bin/sh
case "$*" in
    *'print("%d.%d"'*) echo {version} ;;
    *'sys.exit(sys.version_info < (3, 11))'*) exit {too_old} ;;
    *'import ensurepip'*) exit {lacks_venv} ;;
    '-m venv --clear '*) rm -rf "$4"; mkdir -p "$4/bin"; cp "$0" "$4/bin/python" ;;
esac
echo "$*" >>"{log}"
"""


class Host:
    """A machine with only the programs that were put on its PATH."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.log = folder / "log"
        self.project = folder / "project"
        (self.project / ".ci").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(REPOSITORY / ".ci" / "setup", self.project / ".ci")
        (self.project / "some.txt").write_text("rich==15.0.0\n")
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or tool)

    def add_python(self, name: str, version: str, *, lacks_venv: bool = False) -> None:
        too_old = int(tuple(map(int, version.split("."))) < (3, 11))
        text = PYTHON.format(version=version, too_old=too_old, lacks_venv=int(lacks_venv), log=self.log)
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def setup(self, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [".ci/setup", ".venv", ".venv/.stamp", "some.txt"],
            cwd=self.project,
            env={"PATH": os.fspath(self.bin), **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def commands(self) -> list[str]:
        """What the stand-ins were asked to do, questions about themselves left out."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if line.startswith("-m ")]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_without_python_it_says_what_to_install(host: Host) -> None:
    result = host.setup()
    assert result.returncode == 1
    assert "no Python >= 3.11 was found; install one" in result.stderr


def test_an_old_python_is_named(host: Host) -> None:
    host.add_python("python3", "3.9")
    result = host.setup()
    assert result.returncode == 1
    assert "(python3 is 3.9)" in result.stderr


def test_a_python_without_venv_is_named_with_the_remedy(host: Host) -> None:
    host.add_python("python3", "3.13", lacks_venv=True)
    result = host.setup()
    assert result.returncode == 1
    assert "python3 (3.13) cannot make a virtual environment" in result.stderr
    assert "python3-venv" in result.stderr


def test_a_placeholder_that_does_not_run_is_passed_over(host: Host) -> None:
    (host.bin / "python3.13").write_text("#!/bin/sh\nexit 127\n")
    (host.bin / "python3.13").chmod(0o755)
    host.add_python("python3.12", "3.12")
    result = host.setup()
    assert result.returncode == 0, result.stderr
    assert "with python3.12" in result.stdout


def test_a_named_python_wins(host: Host) -> None:
    host.add_python("python3.13", "3.13")
    host.add_python("mine", "3.11")
    assert "with mine (3.11)" in host.setup(PYTHON="mine").stdout


def test_it_installs_by_hash_and_then_the_project_itself(host: Host) -> None:
    host.add_python("python3", "3.11")
    assert host.setup().returncode == 0
    made, packages, project = host.commands()
    assert made == "-m venv --clear .venv"
    assert packages.endswith("--require-hashes --requirement some.txt")
    assert project.endswith("--no-deps --no-build-isolation --editable .")
    assert (host.project / ".venv" / ".stamp").exists()
    assert not (host.project / ".venv" / ".installing").exists()


def test_a_finished_environment_is_kept_and_an_interrupted_one_is_made_again(host: Host) -> None:
    host.add_python("python3", "3.11")
    host.setup()
    host.log.unlink()
    host.setup()
    assert not any("venv --clear" in command for command in host.commands())

    (host.project / ".venv" / ".installing").touch()
    host.setup()
    assert "-m venv --clear .venv" in host.commands()


def test_continuous_integration_may_run_the_scripts() -> None:
    for name in ("run", "setup", "lock"):
        assert os.access(REPOSITORY / ".ci" / name, os.X_OK), f".ci/{name} must be executable: chmod +x"
