"""All families: total whatever comes, quick, bound to what is registered, and what cannot be true is set aside."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decoders.families import FAMILIES, decode, layout_of
from gateway.decoders.native.decoder import Refusal
from gateway.decoders.sensors import Layout, Said, SaidKind, as_json, set_aside
from parking_core.readings import Reason
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = 65_536
SLOW_S = 0.02  # of the quickest of three: a machine that others use must not fail it

LAYOUTS = [
    pytest.param(layout, id=f"{family.slug}/{model.slug}/{layout.name}")
    for family in FAMILIES.values()
    for model in family.models
    for layout in model.layouts.values()
]
SAMPLES = [
    bytes.fromhex(sample["payload"]["hex"]) if isinstance(sample["payload"], dict) else sample["payload"].encode()
    for slug in FAMILIES
    for path in sorted((REPOSITORY / "gateway" / "decoders" / slug / "samples").glob("*.json"))
    for sample in [json.loads(path.read_text("utf-8"))]
]


def mutations(seed: int, number: int) -> Iterator[bytes]:
    """Samples with bytes changed, cut, doubled and joined."""
    chance = random.Random(seed)
    for _ in range(number):
        payload = bytearray(chance.choice(SAMPLES))
        for _ in range(chance.randint(0, 4)):
            if payload:
                payload[chance.randrange(len(payload))] = chance.randrange(256)
        if chance.random() < 0.3:
            payload = payload[: chance.randint(0, len(payload))]
        if chance.random() < 0.2:
            payload += chance.choice(SAMPLES)
        yield bytes(payload)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_decoder_answers_whatever_comes(layout: Layout) -> None:
    for number, payload in enumerate(mutations(7, 600)):
        for port in (0, 1 + number % 12):
            said = layout.decode(port, payload)
            assert isinstance(said, Said | Refusal)
            if isinstance(said, Said):
                json.dumps(as_json(said), allow_nan=False)  # what `parking decode` prints
            else:
                assert said.detail
                assert said.payload == payload


@given(
    st.sampled_from([layout for each in LAYOUTS for layout in each.values]), st.integers(0, 255), st.binary(max_size=80)
)
def test_no_byte_string_is_too_much(layout: Layout, port: int, payload: bytes) -> None:
    assert isinstance(layout.decode(port, payload), Said | Refusal)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "unit", [b"\0", b"\x01\x66\x01", b"(31489A00)", b'{"payload":', b"[", b"9", b"\xff", b"\x15\x66\x01"]
)
def test_a_large_payload_is_answered_quickly(layout: Layout, unit: bytes) -> None:
    payload = (unit * (LARGEST // len(unit) + 1))[:LARGEST]
    quickest = min(timed(layout, payload) for _ in range(3))
    assert quickest < SLOW_S, f"{quickest * 1000:.1f} ms for {unit!r}..."


def timed(layout: Layout, payload: bytes) -> float:
    started = time.perf_counter()
    for port in (1, 2, 3):
        layout.decode(port, payload)
    return (time.perf_counter() - started) / 3


@pytest.mark.parametrize(
    ("vendor", "model", "firmware", "words"),
    [
        ("nobody", "x", "", "No family 'nobody'"),
        ("bosch", "x", "", "no model 'x'"),
        ("nwave", "NPS405", "", "no model 'NPS405'"),
    ],
)
def test_no_layout_is_guessed(vendor: str, model: str, firmware: str, words: str) -> None:
    said = decode(vendor, model, firmware, 1, b"\x01")
    assert isinstance(said, Refusal)
    assert said.reason is Reason.UNKNOWN_LAYOUT
    assert words in said.detail


@pytest.mark.parametrize(
    ("firmware", "name"),
    [
        ("", "version forward"),
        ("0.39.2", "version forward"),
        ("0.29", "version forward"),
        ("0.23.3", "version reversed"),
        ("0.23", "version reversed"),
        ("0.230", "version forward"),  # parts are compared, not characters
    ],
)
def test_the_firmware_chooses_the_layout(firmware: str, name: str) -> None:
    layout = layout_of("bosch", "tps110", firmware)
    assert isinstance(layout, Layout)
    assert layout.name == name


def test_the_wrong_layout_would_turn_free_into_occupied() -> None:
    """Why a layout is bound to the registration: one byte, two published meanings."""
    lowest, highest = decode("nwave", "nps405", "", 1, b"\x80"), decode("nwave", "nps405-msb", "", 1, b"\x80")
    assert isinstance(lowest, Said)
    assert isinstance(highest, Said)
    assert (lowest.occupied, highest.occupied) == (False, True)


def test_what_cannot_be_true_is_set_aside_and_the_occupancy_is_used() -> None:
    said = set_aside(Said(kind=SaidKind.CHANGE, occupied=True, temperature_c=-117, battery_v=3.6, rssi_dbm=40))
    assert (said.occupied, said.temperature_c, said.battery_v, said.rssi_dbm) == (True, None, 3.6, None)
    assert set(said.quarantined) == {"temperature_c", "rssi_dbm"}
    assert "-117 °C is not within" in said.quarantined["temperature_c"]
