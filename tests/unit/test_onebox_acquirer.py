"""Keys of a home: made once, nobody else's to read, and the simulated acquirer is believed in a demo only."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from onebox.acquirer import AcquirerKeys, process_environment, simulated_environment
from onebox.applications import caller
from onebox.home import Home
from parking_core.acquirers import load_signing_key, load_verifying_keys
from parking_core.settings import AcquirerSettings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, tmp_path / "runtime", caller())


def test_our_key_is_made_once_and_is_its_owners_alone(home: Home) -> None:
    given = process_environment(home, {}, caller())
    key = AcquirerKeys.of(home).private("platform")
    assert given == {"PARKING_ACQUIRER_KEY_FILE": str(key)}
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    assert process_environment(home, {}, caller()) == given
    assert key.read_bytes() == before
    load_signing_key(key, "KEY")
    load_verifying_keys(AcquirerKeys.of(home).public("platform"), "PUBLIC")


def test_a_key_that_the_caller_names_is_used_and_none_is_made(home: Home) -> None:
    assert process_environment(home, {"PARKING_ACQUIRER_KEY_FILE": "/mine.pem"}, caller()) == {}
    assert not AcquirerKeys.of(home).folder.exists()


def test_a_platform_that_is_only_up_believes_no_acquirer(home: Home) -> None:
    settings = AcquirerSettings.from_environ(process_environment(home, {}, caller()))
    assert settings.missing() == ("PARKING_ACQUIRER_URL", "PARKING_ACQUIRER_PUBLIC_KEY_FILE")
    real = {"PARKING_ACQUIRER_URL": "https://pay.example"}
    settings = AcquirerSettings.from_environ(real | process_environment(home, real, caller()))
    assert settings.missing() == ("PARKING_ACQUIRER_PUBLIC_KEY_FILE",), "the simulated one's key is not taken for his"


def test_a_demo_is_paid_through_a_simulated_acquirer_unless_there_is_another(home: Home) -> None:
    if os.geteuid() == 0:
        home.root.chmod(0o755)
    demo = simulated_environment(home, {})
    both = AcquirerSettings.from_environ(demo | process_environment(home, demo, caller()))
    assert both.missing() == ()
    assert both.url.startswith("http://127.0.0.1:")
    theirs = load_verifying_keys(AcquirerKeys.of(home).public("simulated"), "PUBLIC").keys[0]
    own = load_signing_key(AcquirerKeys.of(home).private("simulated"), "KEY").key.public_key()
    assert theirs.public_numbers() == own.public_numbers()
    assert simulated_environment(home, {"PARKING_ACQUIRER_URL": "https://pay.example"}) == {}
