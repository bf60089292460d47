"""Sizes that keep a file readable in one sitting, and names that say what is inside."""

from __future__ import annotations

import ast
import math
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.conventions.source import ALL_ROOTS, IMPORT_ROOTS, Source, planted, report, sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FUNCTION_LINES = 60
FUNCTION_LINES_P95 = 40
FILE_LINES = 400
POSITIONAL_PARAMETERS = 5
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers", "data", "crud"}
# Tests about as large as what they test. The floor is below 1 because some of the source is declarations (tables, SQL,
# command-line options) that one schema test covers; under 0.6 whole flows would have no test of their own.
TESTS_TO_SOURCE = 0.6

type_of_function = (ast.FunctionDef, ast.AsyncFunctionDef)


def functions(files: Sequence[Source]) -> Iterator[tuple[Source, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for file in files:
        for node in ast.walk(file.tree):
            if isinstance(node, type_of_function):
                yield file, node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end; the docstring counts for nothing, or documenting would be punished."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function, clean=False) is not None:
        docstring = function.body[0]
        lines -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return lines


def long_functions(files: Sequence[Source]) -> list[str]:
    return [
        f"{file.path}:{function.lineno}: {function.name}() has {length(function)} lines, the limit is {FUNCTION_LINES}; "
        "give a step of it its own name and let the function read as a table of contents."
        for file, function in functions(files)
        if length(function) > FUNCTION_LINES
    ]


def long_tail(files: Sequence[Source]) -> list[str]:
    by_length = sorted(
        ((length(function), f"{file.path}:{function.lineno} {function.name}()") for file, function in functions(files)),
    )
    if not by_length:
        return []
    p95, _ = by_length[math.ceil(0.95 * len(by_length)) - 1]
    if p95 <= FUNCTION_LINES_P95:
        return []
    longest = "; ".join(f"{place} {lines}" for lines, place in reversed(by_length[-8:]))
    return [
        (
            f"95 % of all functions should have at most {FUNCTION_LINES_P95} lines, but the 95th percentile is {p95}; "
            f"split the longest by their steps: {longest}."
        )
    ]


def long_files(files: Sequence[Source]) -> list[str]:
    return [
        f"{file.path}: {count} lines, the limit is {FILE_LINES}; split it by what its parts are about, "
        "each part under the name of the thing it does."
        for file in files
        if (count := len(file.text.splitlines())) > FILE_LINES
    ]


def many_parameters(files: Sequence[Source]) -> list[str]:
    findings = []
    for file, function in functions(files):
        names = [parameter.arg for parameter in (*function.args.posonlyargs, *function.args.args)]
        if names[:1] in (["self"], ["cls"]):
            names = names[1:]
        if len(names) > POSITIONAL_PARAMETERS:
            findings.append(
                f"{file.path}:{function.lineno}: {function.name}() takes {len(names)} positional parameters, the limit "
                f"is {POSITIONAL_PARAMETERS}; make them keyword-only with `*`, or pass one frozen dataclass."
            )
    return findings


def banned_names(files: Sequence[Source]) -> list[str]:
    return [
        f"{file.path}: {part!r} says nothing about what is inside; name it after the thing it holds (docs/glossary.md)."
        for file in files
        for part in file.path.removesuffix(".py").split("/")
        if part.strip("_") in BANNED_NAMES
    ]


def code_lines(files: Sequence[Source]) -> Counter[str]:
    """Lines a root that hold more than white space or a comment; conventions test habits and count for no flow."""
    counted: Counter[str] = Counter()
    for file in files:
        if file.path.startswith("tests/conventions/"):
            continue
        stripped = (line.strip() for line in file.text.splitlines())
        counted[file.root] += sum(bool(line) and not line.startswith("#") for line in stripped)
    return counted


def thin_tests(files: Sequence[Source]) -> list[str]:
    counted = code_lines(files)
    source = sum(counted[root] for root in IMPORT_ROOTS)
    ratio = counted["tests"] / source if source else 1.0
    if ratio >= TESTS_TO_SOURCE:
        return []
    return [
        (
            f"tests have {counted['tests']} lines for {source} lines of source ({ratio:.2f}, the floor is "
            f"{TESTS_TO_SOURCE}); write the tests that a new flow lacks, in tests/unit, integration or acceptance."
        )
    ]


CHECKS = (long_functions, long_tail, long_files, many_parameters, banned_names, thin_tests)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_tree_keeps_its_budgets(check: Callable[[Sequence[Source]], list[str]]) -> None:
    findings = check(sources(*ALL_ROOTS))
    assert not findings, report(findings)


def test_a_long_function_is_found() -> None:
    body = "\n".join(f"    step_{number}()" for number in range(FUNCTION_LINES))
    long = planted("gateway/planted.py", f"def flow():\n{body}\n")
    assert "gateway/planted.py:1: flow() has 61 lines" in report(long_functions(long))
    short = planted(
        "gateway/planted.py", 'def flow():\n    """One\n\n    two.\n    """\n' + body.replace("    step_0()\n", "")
    )
    assert long_functions(short) == []


def test_a_long_tail_of_functions_is_found() -> None:
    def flow(name: str, lines: int) -> str:
        return f"def {name}():\n" + "    step()\n" * (lines - 1)

    mostly_short = [flow(f"short_{number}", 5) for number in range(95)]
    five_long = [flow(f"long_{number}", 50) for number in range(5)]
    assert long_tail(planted("api/planted.py", "\n".join([*mostly_short, *five_long]))) == []
    six_long = [*five_long, flow("one_more", 50)]
    assert "the 95th percentile is 50" in report(
        long_tail(planted("api/planted.py", "\n".join([*mostly_short, *six_long])))
    )


def test_a_long_file_is_found() -> None:
    assert long_files(planted("api/planted.py", "x = 1\n" * FILE_LINES)) == []
    assert len(long_files(planted("api/planted.py", "x = 1\n" * (FILE_LINES + 1)))) == 1


def test_positional_parameters_are_counted_and_keyword_only_ones_are_free() -> None:
    code = """
        class Lot:
            def fits(self, a, b, c, d, e, *, f, g): ...
        def crowded(a, b, c, d, e, f): ...
    """
    findings = many_parameters(planted("api/planted.py", code))
    assert [finding.split(";")[0] for finding in findings] == [
        "api/planted.py:4: crowded() takes 6 positional parameters, the limit is 5"
    ]


def test_a_name_that_says_nothing_is_found() -> None:
    assert banned_names(planted("gateway/utils.py", "")) != []
    assert banned_names(planted("gateway/_helpers/topics.py", "")) != []
    assert banned_names(planted("gateway/database.py", "")) == []


def test_missing_tests_are_found() -> None:
    source = planted("gateway/planted.py", "x = 1\n" * 100)
    assert thin_tests([*source, *planted("tests/unit/test_planted.py", "assert x\n\n# note\n" * 59)]) != []
    assert thin_tests([*source, *planted("tests/unit/test_planted.py", "assert x\n" * 60)]) == []
