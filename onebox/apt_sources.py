"""Where the host's own apt gets Debian from. No mirror address is written in this program."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>(?:\s+\S+)+)")
_NETWORK = ("http://", "https://", "mirror+http://", "mirror+https://")
_DEBIAN_SUITES = re.compile(
    r"(?:buster|bullseye|bookworm|trixie|forky|duke|sid|stable|testing|unstable|oldstable)"
    r"(?P<pocket>-updates|-security|-backports|-proposed-updates|/updates)?"
)


@dataclass(frozen=True)
class Mirrors:
    """Base addresses of the main Debian archive and, where the host uses one, of its security archive."""

    main: str
    security: str | None


@dataclass(frozen=True)
class _Source:
    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]


def find_mirrors(etc_apt: Path) -> Mirrors | None:
    """Mirrors named by the apt configuration folder (`sources.list` and `sources.list.d`), or None.

    Only network sources with component `main` of a Debian release count; third-party archives
    and other distributions use other suites, and are passed over.
    """
    main = security = None
    for source in _sources(etc_apt):
        if "main" not in source.components or not source.uri.startswith(_NETWORK):
            continue
        for suite in source.suites:
            match = _DEBIAN_SUITES.fullmatch(suite)
            if match is None:
                continue
            if match["pocket"] in {"-security", "/updates"}:
                security = security or source.uri
            elif match["pocket"] in {None, "-updates"}:
                main = main or source.uri
    return Mirrors(main, security) if main else None


def _sources(etc_apt: Path) -> list[_Source]:
    found: list[_Source] = []
    folder = etc_apt / "sources.list.d"
    for path in (etc_apt / "sources.list", *sorted(folder.glob("*.list"))):
        if path.is_file():
            found.extend(_one_line_sources(path.read_text(encoding="utf-8", errors="replace")))
    for path in sorted(folder.glob("*.sources")):
        found.extend(_deb822_sources(path.read_text(encoding="utf-8", errors="replace")))
    return found


def _one_line_sources(text: str) -> list[_Source]:
    lines = (line.split("#", 1)[0].strip() for line in text.splitlines())
    matches = (_ONE_LINE.fullmatch(line) for line in lines)
    return [_Source(match["uri"], (match["suite"],), tuple(match["components"].split())) for match in matches if match]


def _deb822_sources(text: str) -> list[_Source]:
    found: list[_Source] = []
    for stanza in re.split(r"\n\s*\n", text):
        fields = _deb822_fields(stanza)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").strip().lower() in {
            "no",
            "false",
        }:
            continue
        suites, components = tuple(fields.get("suites", "").split()), tuple(fields.get("components", "").split())
        found.extend(_Source(uri, suites, components) for uri in fields.get("uris", "").split())
    return found


def _deb822_fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace():
            fields[name] = f"{fields.get(name, '')} {line.strip()}"
        elif ":" in line:
            name, value = line.split(":", 1)
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields
