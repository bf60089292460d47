"""The layers of pyproject.toml hold, and each kind of violation is noticed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conventions.source import IMPORT_ROOTS, REPOSITORY, pyproject

if TYPE_CHECKING:
    from pathlib import Path

TEACHING = """
An import goes against the layers (pyproject.toml, [tool.importlinter]).
- One process needs something of another: move what both need down into parking_core.
- A rule needs the database: let the flow read it and pass the value in.
- A new module of parking_core: give it its place in the list of layers.
"""


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    # The folder itself comes first on the path, so that a copy is checked and not the installed tree.
    program = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as c; c()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache", "--no-logo"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The roots and their configuration, to plant something in."""
    for root in IMPORT_ROOTS:
        shutil.copytree(REPOSITORY / root, tmp_path / root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_layers_hold() -> None:
    result = lint_imports(REPOSITORY)
    assert result.returncode == 0, TEACHING + result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "code", "said"),
    [
        ("gateway/planted.py", "import api\n", "Processes stand on the core"),
        ("parking_core/errors.py", "import parking_core.settings\n", "The core from top to bottom"),
        ("parking_core/planted.py", "", "exhaustive"),
        ("parking_core/errors.py", "import sqlalchemy\n", "Rules know no database"),
        ("simulators/planted.py", "import parking_core.store\n", "A simulator that reads our tables"),
    ],
)
def test_a_planted_import_breaks_its_contract(copy: Path, module: str, code: str, said: str) -> None:
    (copy / module).write_text(code)
    result = lint_imports(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    broken = [line for line in result.stdout.splitlines() if " BROKEN" in line]
    assert any(said in line for line in broken), result.stdout


def test_a_planted_cycle_is_found(copy: Path) -> None:
    for name, other in (("first", "second"), ("second", "first")):
        folder = copy / "gateway" / name
        folder.mkdir()
        (folder / "__init__.py").write_text(f"import gateway.{other}\n")
    result = lint_imports(copy)
    assert result.returncode == 1
    assert "No cycles between sibling packages BROKEN" in result.stdout
    assert "No cycles are allowed in gateway." in result.stdout


def test_every_root_is_under_the_contracts() -> None:
    configured = pyproject()["tool"]["importlinter"]["root_packages"]
    assert sorted(configured) == sorted(IMPORT_ROOTS), "add the new root to root_packages and give it a layer"
