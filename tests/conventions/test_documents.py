"""Documents that people navigate by: decisions of one page, an index that lists them, glossary, change log, make help."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.conventions.source import REPOSITORY, report

if TYPE_CHECKING:
    from pathlib import Path

DECISIONS = REPOSITORY / "docs" / "decisions"
SECTIONS = ("## Context", "## Decision", "## Consequences", "## Alternatives")
WORDS_OF_A_PAGE = 800


def decision_problems(name: str, text: str) -> list[str]:
    findings = []
    if not re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", name):
        findings.append(f"{name}: a decision is called NNNN-what-was-decided.md.")
    headings = [line.strip() for line in text.splitlines() if line.startswith("## ")]
    if tuple(heading for heading in headings if heading in SECTIONS) != SECTIONS:
        findings.append(f"{name}: needs the sections {', '.join(SECTIONS)} in this order.")
    if (words := len(text.split())) > WORDS_OF_A_PAGE:
        findings.append(f"{name}: {words} words, a page holds {WORDS_OF_A_PAGE}; keep what decides, link the rest.")
    return findings


def unlisted(index: str, names: list[str]) -> list[str]:
    listed = Counter(re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", index))
    return [
        f"{name} is not listed in docs/decisions/README.md; add its line." for name in names if not listed[name]
    ] + [f"docs/decisions/README.md lists {name}, which does not exist." for name in listed if name not in names]


def told_twice(text: str) -> list[str]:
    """Headings of a document, and commands in the first column of its tables, that stand there more than once."""
    headings = Counter(line.strip() for line in text.splitlines() if line.startswith("## "))
    commands = Counter(re.findall(r"^\| (`parking [a-z]+ [A-Za-z-]+)", text, re.MULTILINE))
    counted = [*headings.items(), *((f"{command}`", count) for command, count in commands.items())]
    return [f"{what}: is told {count} times; tell it once." for what, count in counted if count > 1]


def glossary_problems(text: str) -> list[str]:
    """Terms are unique, in alphabetical order inside their table, and each has its Chinese word."""
    findings: list[str] = []
    seen: Counter[str] = Counter()
    previous = ""
    for line in text.splitlines():
        if not line.startswith("| ") or line.startswith(("| term", "| ---")):
            previous = previous if line.startswith("|") else ""
            continue
        term, chinese, meaning = (cell.strip() for cell in line.strip("| ").split("|"))
        seen[term] += 1
        if not re.search(r"[\u4e00-\u9fff]", chinese) or not meaning:
            findings.append(f"{term}: a term has its Chinese word and one line of meaning.")
        if term.lower() < previous:
            findings.append(f"{term}: stands after {previous}; a table is in alphabetical order.")
        previous = term.lower()
    return findings + [
        f"{term}: is explained {count} times; one word, one meaning." for term, count in seen.items() if count > 1
    ]


def undocumented_targets(makefile: str) -> list[str]:
    phony = re.findall(r"^\.PHONY:(.*)$", makefile, re.MULTILINE)
    targets = [target for line in phony for target in line.split()]
    return [
        f"make {target} has no `## sentence` behind its rule, so that `make help` does not show it."
        for target in targets
        if not re.search(rf"^{re.escape(target)}:.*## \S", makefile, re.MULTILINE)
    ]


def decisions() -> list[Path]:
    return sorted(path for path in DECISIONS.glob("*.md") if path.name != "README.md")


def test_decisions_are_one_page_each_and_listed() -> None:
    paths = decisions()
    findings = [finding for path in paths for finding in decision_problems(path.name, path.read_text("utf-8"))]
    findings += unlisted((DECISIONS / "README.md").read_text("utf-8"), [path.name for path in paths])
    assert not findings, report(findings)


def test_the_glossary_says_each_word_once() -> None:
    findings = glossary_problems((REPOSITORY / "docs" / "glossary.md").read_text("utf-8"))
    assert not findings, report(findings)


def test_the_change_log_starts_with_what_is_not_released() -> None:
    headings = re.findall(r"^## .*$", (REPOSITORY / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "## [Unreleased]"
    assert all(re.fullmatch(r"## \[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", heading) for heading in headings[1:])


def test_make_help_lists_every_target() -> None:
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    findings = undocumented_targets(makefile)
    assert not findings, report(findings)
    printed = subprocess.run(["make", "help"], cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    assert {"setup", "demo", "test", "lint", "acceptance", "bench", "lock", "clean"} <= set(
        re.findall(r"make ([a-z]+)", printed)
    )


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("0001-planted.md", "\n".join(SECTIONS), 0),
        ("planted.md", "\n".join(SECTIONS), 1),
        ("0001-planted.md", "\n".join(SECTIONS[:3]), 1),
        ("0001-planted.md", "\n".join(SECTIONS) + "\nword" * WORDS_OF_A_PAGE, 1),
    ],
)
def test_a_bad_decision_is_found(name: str, text: str, count: int) -> None:
    assert len(decision_problems(name, text)) == count


def test_a_decision_that_is_not_listed_is_found() -> None:
    assert unlisted("[one](0001-one.md)", ["0001-one.md"]) == []
    assert len(unlisted("[one](0001-one.md)", ["0002-two.md"])) == 2


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        ("| dwell | 停车时长 | time in a space |\n| lot | 停车场 | spaces together |", 0),
        ("| lot | 停车场 | spaces together |\n| dwell | 停车时长 | time in a space |", 1),
        ("| lot | 停车场 | spaces together |\n| lot | 停车场 | something else |", 1),
        ("| lot | | spaces together |", 1),
    ],
)
def test_a_bad_glossary_line_is_found(rows: str, count: int) -> None:
    assert len(glossary_problems("| term | zh | meaning |\n| --- | --- | --- |\n" + rows)) == count


def test_a_target_without_a_sentence_is_found() -> None:
    assert undocumented_targets(".PHONY: demo\ndemo: setup ## what it does\n") == []
    assert len(undocumented_targets(".PHONY: demo\ndemo: setup\n")) == 1


def test_the_readme_tells_nothing_twice() -> None:
    report(told_twice((REPOSITORY / "README.md").read_text("utf-8")))


def test_what_is_told_twice_is_found() -> None:
    text = "## One\n| `parking users add` / `list` | a |\n| `parking users add` | b |\n| `parking lane list` | c |\n## One\n"
    assert told_twice(text) == [
        "## One: is told 2 times; tell it once.",
        "`parking users add`: is told 2 times; tell it once.",
    ]
