"""Failure policy is written once: broad handlers stand in supervising loops, and a silenced check says why."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from typing import TYPE_CHECKING

import pytest

from tests.conventions.source import ALL_ROOTS, IMPORT_ROOTS, Source, planted, report, sources

if TYPE_CHECKING:
    from collections.abc import Sequence

BROAD = {"Exception", "BaseException"}
SUPERVISOR = re.compile(r"# supervisor: \S+ \S+")
SILENCED = re.compile(
    r"#\s*(?:noqa|type:\s*ignore|pragma:\s*no cover)\b(?::\s*[A-Z]+\d+(?:[,\s]+[A-Z]+\d+\b)*|\[[^]]*\])?"
)
LETTERS_OF_A_REASON = 8  # "why" takes at least two short words


def is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    if caught is None:
        return True
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(isinstance(name, ast.Name) and name.id in BROAD for name in names)


def only_cleans_up(handler: ast.ExceptHandler) -> bool:
    """A handler that ends by raising what it caught hides nothing."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def broad_handlers(files: Sequence[Source]) -> list[str]:
    return [
        f"{file.path}:{node.lineno}: catches everything; name the errors that can happen here and let the others reach "
        "the supervising loop. Only that loop catches all, and says so on the line: `# supervisor: what it keeps alive`."
        for file in files
        for node in ast.walk(file.tree)
        if isinstance(node, ast.ExceptHandler)
        and is_broad(node)
        and not only_cleans_up(node)
        and not SUPERVISOR.search(file.line(node.lineno))
    ]


def comments(file: Source) -> list[tuple[int, str]]:
    tokens = tokenize.generate_tokens(io.StringIO(file.text).readline)
    return [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]


def silent_opt_outs(files: Sequence[Source]) -> list[str]:
    findings = []
    for file in files:
        for number, comment in comments(file):
            if SILENCED.search(comment) is None:
                continue
            reason = SILENCED.sub("", comment)
            if len(re.sub(r"[^a-zA-Z]", "", reason)) < LETTERS_OF_A_REASON:
                findings.append(
                    f"{file.path}:{number}: `{comment}` silences a check without saying why; "
                    "write the reason behind it on the same line, or mend what the check found."
                )
    return findings


def test_only_supervising_loops_catch_everything() -> None:
    findings = broad_handlers(sources(*IMPORT_ROOTS))
    assert not findings, report(findings)


def test_every_silenced_check_says_why() -> None:
    findings = silent_opt_outs(sources(*ALL_ROOTS))
    assert not findings, report(findings)


@pytest.mark.parametrize(
    "caught", ["except Exception:", "except BaseException as e:", "except (OSError, Exception):", "except:"]
)
def test_a_broad_handler_is_found(caught: str) -> None:
    assert len(broad_handlers(planted("gateway/planted.py", f"try:\n    flow()\n{caught}\n    log()\n"))) == 1


@pytest.mark.parametrize(
    "handler",
    [
        "except OSError:\n    log()",
        "except Exception:  # supervisor: one bad connection must not stop the gateway\n    log()",
        "except BaseException:\n    remove_half()\n    raise",
    ],
)
def test_a_narrow_a_supervising_or_a_cleaning_handler_is_fine(handler: str) -> None:
    assert broad_handlers(planted("gateway/planted.py", f"try:\n    flow()\n{handler}\n")) == []


def test_a_supervisor_must_say_what_it_keeps_alive() -> None:
    assert (
        len(
            broad_handlers(
                planted("gateway/planted.py", "try:\n    flow()\nexcept Exception:  # supervisor:\n    log()\n")
            )
        )
        == 1
    )


@pytest.mark.parametrize(
    "rule", ["noqa", "noqa: S603", "noqa: S603, PLR0915", "type: ignore[arg-type]", "pragma: no cover"]
)
def test_a_silenced_check_without_a_reason_is_found(rule: str) -> None:
    assert len(silent_opt_outs(planted("gateway/planted.py", f"call()  # {rule}\n"))) == 1
    assert silent_opt_outs(planted("gateway/planted.py", f"call()  # {rule}  # the stubs know one form only\n")) == []
