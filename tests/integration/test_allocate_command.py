"""`parking allocate` as a person or a machine runs it; it needs no services."""

from __future__ import annotations

import copy
import json
import os
import pty
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from onebox import __main__ as parking
from parking_core.allocation import solve
from parking_core.allocation.colouring import Claim, violations
from parking_core.allocation.generator import NightSpec, draw_night
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NIGHT = draw_night(NightSpec(200, 500)).document()
KEYS = ["value", "upper_bound", "gap", "seconds", "group_of_request", "space_of_request"]


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def ran(*words: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["parking", "allocate", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            parking.main()
        shown = capsys.readouterr()
        return Ran(int(left.value.code or 0), shown.out, shown.err)

    return ran


@pytest.fixture
def night(tmp_path: Path) -> Path:
    return written(tmp_path, NIGHT)


def written(folder: Path, document: object) -> Path:
    path = folder / "night.json"
    path.write_text(json.dumps(document), "utf-8")
    return path


def checked(document: dict[str, Any], result: dict[str, Any]) -> None:
    assert list(result) == KEYS
    claim = Claim(result["value"], result["upper_bound"], result["gap"])
    assert violations(document, result["group_of_request"], result["space_of_request"], claim) == []
    assert result["seconds"] >= 0


@pytest.mark.parametrize("own", [False, True])
def test_a_night_is_allocated_checked_and_written(*, own: bool, tmp_path: Path, run: Callable[..., Ran]) -> None:
    document = draw_night(NightSpec(200, 500, own_windows=own)).document()
    output = tmp_path / "result.json"
    began = time.monotonic()
    ran = run(written(tmp_path, document), "-o", output)
    took = time.monotonic() - began
    assert (ran.code, ran.err) == (0, "")
    result = json.loads(output.read_text("utf-8"))
    checked(document, result)
    assert result["gap"] <= 5e-4
    assert result["seconds"] <= took
    assert f"Value {result['value']:,} of at most {result['upper_bound']:,}" in ran.out
    assert "of 500 requests served" in ran.out


def test_without_a_file_the_result_and_nothing_else_goes_to_standard_output(
    night: Path, run: Callable[..., Ran]
) -> None:
    ran = run(night)
    assert ran.code == 0
    checked(NIGHT, json.loads(ran.out))
    assert "requests served" in ran.err


def test_the_same_seed_gives_the_same_result(night: Path, run: Callable[..., Ran]) -> None:
    one, other = (json.loads(run(night, "--seed", 7, "--gap", 0.001).out) for _ in range(2))
    assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_a_time_limit_ends_with_a_feasible_result_and_its_true_gap(night: Path, run: Callable[..., Ran]) -> None:
    ran = run(night, "--time-limit", 0.01, "--gap", 0)
    assert ran.code == 0
    checked(NIGHT, json.loads(ran.out))


def test_a_night_that_nobody_asks_for_is_worth_nothing(tmp_path: Path, run: Callable[..., Ran]) -> None:
    document = draw_night(NightSpec(50, 0)).document()
    result = json.loads(run(written(tmp_path, document)).out)
    checked(document, result)
    assert (result["value"], result["upper_bound"], result["gap"]) == (0, 0, 0.0)


def changed(path: str, to: object) -> dict[str, Any]:
    """The night with one thing changed; `to` None removes it."""
    document = copy.deepcopy(NIGHT)
    *way, last = [int(word) if word.isdigit() else word for word in path.split(".")]
    place: Any = document
    for word in way:
        place = place[word]
    if to is None:
        del place[last]
    else:
        place[last] = to
    return document


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (["a", "list"], "not of the format"),
        (7, "not of the format"),
        (changed("format", "shared-parking-alloc-2"), "not of the format"),
        (changed("format", None), "not of the format"),
        (changed("groups", None), "groups"),
        (changed("groups", [1, 2]), "groups"),
        (changed("groups.cap", None), "cap"),
        (changed("requests.a", None), "a"),
        (changed("requests.k_nearest", None), "k_nearest"),
        (changed("walk_m", None), "walk_m"),
        (changed("lot_price_cents_h", None), "lot_price_cents_h"),
        (changed("buffer_min", None), "buffer_min"),
        (changed("buffer_min", "15"), "buffer_min"),
        (changed("requests.d.0", None), "d"),  # one entry less
        (changed("groups.end.3", None), "end"),
        (changed("walk_m.2.5", None), "walk_m"),
        (changed("groups.cap.1", -1), "negative"),
        (changed("groups.lot.0", 43), "lot"),
        (changed("groups.lot.0", -1), "lot"),
        (changed("requests.dest.9", 30), "destination"),
        (changed("requests.dest.9", -1), "destination"),
        (changed("requests.a.9", float("nan")), "JSON"),
        (changed("requests.base.9", float("inf")), "JSON"),
        (changed("requests.base.9", 10.5), "whole numbers"),
        (changed("requests.base.9", "10"), "numbers"),
        (changed("requests.base.9", 10**19), "base"),
        (changed("requests.base.9", 10**16), "add up"),
        (changed("requests.a.9", [1, 2]), "numbers"),
        (changed("requests.d.9", 0), "departure"),
    ],
)
def test_a_document_that_is_no_night_is_refused_in_one_sentence(
    *, document: object, words: str, tmp_path: Path, run: Callable[..., Ran]
) -> None:
    output = tmp_path / "result.json"
    ran = run(written(tmp_path, document), "-o", output)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("\n") == 1
    assert words in ran.err
    assert not output.exists()


@pytest.mark.parametrize("text", ["", "{", "\x00", '{"format": "shared-parking-alloc-1",}', "[" * 100_000])
def test_what_is_no_json_is_refused(text: str, tmp_path: Path, run: Callable[..., Ran]) -> None:
    path = tmp_path / "night.json"
    path.write_text(text, "utf-8")
    ran = run(path)
    assert (ran.code, ran.out) == (1, "")
    assert f"{path} is no JSON" in ran.err
    assert ran.err.count("\n") == 1


def test_files_that_cannot_be_read_or_written_are_refused_before_any_work(
    night: Path, tmp_path: Path, run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solve, "allocate", lambda *_, **__: pytest.fail("work was done"))
    for words in (
        ("missing.json",),
        (tmp_path,),
        (night, "-o", tmp_path / "none" / "result.json"),
        (night, "-o", tmp_path),
    ):
        ran = run(*words)
        assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1), words


@pytest.mark.parametrize(
    "words",
    [(), ("a.json", "b.json"), *(("a.json", *more) for more in (("--gap", "2"), ("--gap", "nan"), ("--gap", "x")))],
)
def test_wrong_usage_ends_with_2(words: tuple[str, ...], run: Callable[..., Ran]) -> None:
    assert run(*words).code == 2


@pytest.mark.parametrize("words", [("--time-limit", "0"), ("--time-limit", "inf"), ("--seed", "-1"), ("--speed", "9")])
def test_wrong_options_end_with_2(words: tuple[str, ...], night: Path, run: Callable[..., Ran]) -> None:
    assert run(night, *words).code == 2


def test_a_result_that_breaks_a_rule_is_not_written(
    night: Path, tmp_path: Path, run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = solve.allocate

    def boasting(*arguments: Any, **options: Any) -> solve.Allocation:
        found = right(*arguments, **options)
        return replace(found, value=found.value + 1)

    monkeypatch.setattr(solve, "allocate", boasting)
    output = tmp_path / "result.json"
    ran = run(night, "-o", output)
    assert ran.code == 1
    assert "was not written; this is a defect" in ran.err
    assert "claims a value of" in ran.err
    assert not output.exists()


def test_a_terminal_is_shown_a_bar(night: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "onebox", "allocate", str(night), "-o", str(tmp_path / "result.json")]
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(words, cwd=REPOSITORY, stderr=theirs, stdout=subprocess.PIPE, env=environ, check=False)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.returncode == 0, shown
    assert "allocating" in shown
    assert "of at most 30 s" in shown
    checked(NIGHT, json.loads((tmp_path / "result.json").read_text("utf-8")))
