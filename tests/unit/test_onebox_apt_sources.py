"""The mirror comes from the host's own apt configuration, in both of its formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from onebox.apt_sources import Mirrors, find_mirrors
from onebox.packages import PrivateApt, needed_at_run_time
from parking_core.errors import InstallationError

if TYPE_CHECKING:
    from pathlib import Path

MAIN, SECURITY, OTHER = "http://mirror.example/debian", "https://mirror.example/security", "http://other.example/apt"


def _etc(folder: Path, **files: str) -> Path:
    (folder / "sources.list.d").mkdir(parents=True)
    for name, text in files.items():
        stem, kind = name.rsplit("_", 1)
        path = folder / "sources.list" if stem == "sources" else folder / "sources.list.d" / f"{stem}.{kind}"
        path.write_text(text, encoding="utf-8")
    return folder


def test_one_line_format_with_options_comments_and_third_parties(tmp_path: Path) -> None:
    text = f"""
# deb http://commented.example/debian bookworm main
deb-src {MAIN}/sources bookworm main
deb {OTHER} cloud-sdk main
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] {MAIN} bookworm main contrib # trailing words
deb {SECURITY} bookworm-security main
"""
    assert find_mirrors(_etc(tmp_path, sources_list=text)) == Mirrors(MAIN, SECURITY)


def test_deb822_format_with_comments_continuation_and_a_disabled_stanza(tmp_path: Path) -> None:
    text = f"""
Types: deb
URIs: http://disabled.example/debian
Suites: trixie
Components: main
Enabled: no

Types: deb deb-src
# a comment between the fields
URIs: {MAIN}
Suites: trixie
 trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: {SECURITY}
Suites: trixie-security
Components: main
"""
    assert find_mirrors(_etc(tmp_path, debian_sources=text)) == Mirrors(MAIN, SECURITY)


def test_the_first_of_several_mirrors_counts_and_security_may_be_missing(tmp_path: Path) -> None:
    etc = _etc(tmp_path, sources_list=f"deb {MAIN} stable main\n", more_list=f"deb {OTHER} bookworm main\n")
    assert find_mirrors(etc) == Mirrors(MAIN, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"deb {OTHER} noble main\n",  # another distribution's suite
        f"deb {MAIN} bookworm-backports main\n",  # a pocket alone is no archive
        "deb cdrom:[Debian]/ bookworm main\n",
        "deb file:/media/disc bookworm main\n",
        f"deb {MAIN} bookworm contrib\n",
        "rubbish\n",
    ],
)
def test_without_a_debian_mirror_there_is_none(tmp_path: Path, text: str) -> None:
    assert find_mirrors(_etc(tmp_path, sources_list=text)) is None


def test_a_missing_folder_is_no_mirror(tmp_path: Path) -> None:
    assert find_mirrors(tmp_path / "absent") is None


def test_a_host_without_a_mirror_is_told_what_to_do_instead(tmp_path: Path) -> None:
    with pytest.raises(
        InstallationError, match=r"names no Debian mirror.*compose\.yaml.*PARKING_DATABASE_URL.*PARKING_MQTT"
    ):
        PrivateApt(tmp_path / "apt", etc_apt=_etc(tmp_path / "etc"))


def test_a_host_without_the_keyring_is_told_so(tmp_path: Path) -> None:
    etc = _etc(tmp_path / "etc", sources_list=f"deb {MAIN} bookworm main\n")
    with pytest.raises(InstallationError, match=r"missing \(package debian-archive-keyring\).*compose\.yaml"):
        PrivateApt(tmp_path / "apt", etc_apt=etc, keyring=tmp_path / "absent.gpg")


def test_another_processor_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(InstallationError, match=r"riscv64.*compose\.yaml"):
        PrivateApt(tmp_path / "apt")


def test_an_unreachable_mirror_is_one_sentence_with_the_way_out(tmp_path: Path) -> None:
    etc = _etc(tmp_path / "etc", sources_list="deb http://127.0.0.1:9/debian bookworm main\n")
    apt = PrivateApt(tmp_path / "apt", etc_apt=etc)
    configuration = tmp_path / "apt/apt.conf"
    configuration.write_text(configuration.read_text().replace('Acquire::Retries "3"', 'Acquire::Retries "0"'))
    with pytest.raises(InstallationError, match=r"apt-get update failed: .*compose\.yaml"):
        apt.update()


def test_the_private_tree_verifies_signatures_and_leaves_the_host_alone(tmp_path: Path) -> None:
    etc = _etc(tmp_path / "etc", sources_list=f"deb {MAIN} bookworm main\n")
    PrivateApt(tmp_path / "apt", etc_apt=etc)
    configuration = (tmp_path / "apt/apt.conf").read_text()
    sources = (tmp_path / "apt/etc/sources.list").read_text()
    assert sources == f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {MAIN} trixie main\n"
    assert "AllowUnauthenticated" not in configuration
    assert "AllowInsecure" not in configuration
    assert 'Dir::Etc::parts "/dev/null"' in configuration
    assert f'Dir::State::status "{tmp_path}/apt/state/status"' in configuration


@pytest.mark.parametrize(
    "name", ["libc6", "libssl3t64", "mosquitto", "postgresql-17", "redis-tools", "tzdata", "libnew9"]
)
def test_what_the_programs_load_is_kept(name: str) -> None:
    assert needed_at_run_time(name)


@pytest.mark.parametrize(
    "name", ["perl-base", "libllvm19", "libjson-perl", "debconf", "adduser", "postgresql-common", "locales"]
)
def test_what_only_package_scripts_need_is_left_out(name: str) -> None:
    assert not needed_at_run_time(name)
