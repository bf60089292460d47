"""`parking decode` as an installer runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from gateway.decoders.families import FAMILIES
from onebox.__main__ import application
from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from typer.testing import Result


def run(*words: str) -> Result:
    return CliRunner().invoke(application(), ["decode", *words], env={"COLUMNS": "250"})


def payload(vendor: str, device: str, digits: str, *more: str) -> Result:
    return run("--vendor", vendor, "--device", device, "--hex", digits, *more)


def test_it_prints_the_reading_as_json() -> None:
    result = payload("nwave", "nps405", "00d3d800590b", "--port", "2")
    assert result.exit_code == 0, result.output
    said = json.loads(result.output)
    assert {name: said[name] for name in ("kind", "occupied", "battery_v", "battery_state", "temperature_c")} == {
        "kind": "heartbeat",
        "occupied": False,
        "battery_v": 3.344,
        "battery_state": "good",
        "temperature_c": -10.0,
    }
    assert said["fields"]["battery_health"] == "normal"
    assert "seq" not in said


@pytest.mark.parametrize("digits", ["01 12", "0x0112", "01:12", "0112", "01-12"])
def test_digits_may_be_written_as_people_write_them(digits: str) -> None:
    result = payload("Bosch", "TPS110", digits, "--port", "2", "--firmware", "0.39")
    assert json.loads(result.output)["temperature_c"] == 18


def test_the_firmware_chooses_the_layout() -> None:
    start = "000000000000000000000000" + "031700" + "0101"
    old = json.loads(payload("bosch", "tps110", start, "--port", "3", "--firmware", "0.23.3").output)
    new = json.loads(payload("bosch", "tps110", start, "--port", "3", "--firmware", "0.39").output)
    assert old["firmware"] == "0.23.3"
    assert "firmware" in new["quarantined"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("bosch", "tps110", "07", "--port", "1"), "the occupancy is 00 or 01"),
        (("bosch", "tps110", "01", "--port", "77"), "Port 77 is none of"),
        (("bosch", "tps111", "01"), "no model 'tps111'; known are tps110"),
        (("bosh", "tps110", "01"), "No family 'bosh' is known; known are bay_frames, bosch"),
    ],
)
def test_what_is_refused_says_why(words: tuple[str, ...], sentence: str) -> None:
    result = payload(*words)
    assert isinstance(result.exception, InvalidInputError)
    assert sentence in str(result.exception)


@pytest.mark.parametrize(
    "words", [(), ("--vendor", "bosch"), ("--vendor", "b", "--device", "d", "--hex", "0"), ("--port", "256")]
)
def test_wrong_usage_ends_with_2(words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


def test_the_list_has_every_model() -> None:
    shown = run("--list").output
    for family in FAMILIES.values():
        assert family.slug in shown
        assert all(model.slug in shown for model in family.models)
