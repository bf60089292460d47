"""One folder a device family: gateway/decoders/<family>/ with decoder.py, README.md and samples that it really reads."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest

from gateway.decoders._blueprint import decoder as blueprint
from gateway.decoders.families import FAMILIES, decode
from gateway.decoders.native import decoder as native
from gateway.decoders.sensors import as_json
from gateway.lanes import LaneReader
from parking_core.lanes import Way
from tests.conventions.source import REPOSITORY, report
from tests.lane_builders import a_lane, a_lane_device, lane_message

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DECODERS = REPOSITORY / "gateway" / "decoders"
OUTCOMES = {"expected", "rejected"}


def families(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("_"))


def sample_problem(sample: object) -> str:
    """What is wrong with a sample, or nothing.

    A sample is `{"topic"?: text, "payload": text or {"hex": text}, "expected": [reading, ...] or {"rejected": reason}}`;
    a sensor's also names its `model`, and `firmware` and `port` where they matter.
    """
    if not isinstance(sample, dict) or not {"payload", "expected"} <= sample.keys():
        return "needs `payload` and `expected`"
    payload, expected = sample["payload"], sample["expected"]
    if isinstance(payload, dict):
        try:
            bytes.fromhex(payload["hex"])
        except (KeyError, TypeError, ValueError):
            return "`payload` is neither text nor {'hex': '00ff'}"
    elif not isinstance(payload, str):
        return "`payload` is neither text nor {'hex': '00ff'}"
    if isinstance(expected, dict):
        return (
            "" if isinstance(expected.get("rejected"), str) else "`expected` is no list and names no `rejected` reason"
        )
    return "" if isinstance(expected, list) else "`expected` is neither a list of readings nor {'rejected': reason}"


def incomplete(folder: Path) -> list[str]:
    """What a family's folder lacks."""
    findings = [
        f"{folder.name}: {needed} is missing; a family's folder holds its code, its field table and samples."
        for needed in ("decoder.py", "README.md")
        if not (folder / needed).is_file()
    ]
    samples = sorted((folder / "samples").glob("*.json"))
    if not samples:
        findings.append(f"{folder.name}: samples/ is empty; add real payloads with the reading that they must give.")
    for path in samples:
        try:
            problem = sample_problem(json.loads(path.read_text("utf-8")))
        except ValueError as error:
            problem = f"is no JSON ({error})"
        if problem:
            findings.append(f"{folder.name}/samples/{path.name}: {problem}.")
    return findings


def payload_of(sample: dict[str, Any]) -> bytes:
    payload = sample["payload"]
    return bytes.fromhex(payload["hex"]) if isinstance(payload, dict) else payload.encode()


SAMPLES = [
    pytest.param(family, path, id=f"{family.name}/{path.stem}")
    for family in families(DECODERS)
    for path in sorted((family / "samples").glob("*.json"))
]


def read_native(topic: str, payload: bytes) -> object:
    """Native JSON: the kind is the last part of the topic; an array's element may be refused by itself."""
    kind = topic.rpartition("/")[2] or "occupancy"
    read = {
        "occupancy": native.decode_occupancy,
        "heartbeat": native.decode_heartbeat,
        "status": native.decode_status,
        "ack": native.decode_command_ack,  # of command/ack
    }
    decoded: Any = read[kind](payload)
    if isinstance(decoded, native.Refusal):
        return {"rejected": str(decoded.reason)}
    return [native_form(record) for record in (decoded if isinstance(decoded, list) else [decoded])]


def native_form(record: Any) -> dict[str, Any]:
    """A record as a sample writes it: only what the device said, the time as microseconds since the epoch."""
    if isinstance(record, bool):
        return {"online": record}
    if isinstance(record, native.Refusal):
        return {"rejected": str(record.reason)}
    said = {name: value for name, value in msgspec.structs.asdict(record).items() if value is not None}
    said |= {name: str(value) for name, value in said.items() if isinstance(value, UUID)}
    return {**said, "at": native.microseconds(record.at)}


def read_lane(_topic: str, payload: bytes) -> object:
    """A lane's message as the ledger would hold it, received at 10:01 in China on 1 June 2026 from a lane for both ways."""
    message = lane_message(payload, received_us=1_780_279_260_000_000)
    report = LaneReader(ZoneInfo("Asia/Shanghai")).read(message, a_lane_device(a_lane(way=Way.BOTH)))
    if isinstance(report, native.Refusal):
        return {"rejected": str(report.reason)}
    event = msgspec.to_builtins({**dataclasses.asdict(report.event), "flags": list(report.flags)})
    event["etc"] = {name: value for name, value in (event["etc"] or {}).items() if value is not None}
    not_said = ("id", "device_id", "lot_id", "received_at")
    return [{name: value for name, value in event.items() if name not in not_said and value not in (None, {})}]


def read_sensor(family: str, sample: dict[str, Any]) -> object:
    """A sensor's payload: what it says as `parking decode` shows it; the sample names model, port and, if any, firmware."""
    model, firmware = sample["model"], sample.get("firmware", "")
    said = decode(family, model, firmware, sample.get("port", 0), payload_of(sample))
    return {"rejected": str(said.reason)} if isinstance(said, native.Refusal) else [as_json(said)]


# How to ask a family's decoder; each gives a list of readings or {"rejected": reason}.
READERS: dict[str, Callable[[str, bytes], object]] = {"native": read_native, "lane": read_lane}


def decode_sample(family: Path, sample: dict[str, Any]) -> object:
    """What the family's decoder makes of the sample, in the form of `expected`."""
    if family.name in FAMILIES:
        return read_sensor(family.name, sample)
    return READERS[family.name](sample.get("topic", ""), payload_of(sample))


@pytest.mark.parametrize("family", families(DECODERS), ids=lambda family: family.name)
def test_every_family_is_complete(family: Path) -> None:
    findings = incomplete(family)
    if family.name not in READERS and family.name not in FAMILIES:
        findings.append(f"{family.name}: add its line to the table in gateway/decoders/families.py.")
    assert not findings, report(findings)


@pytest.mark.parametrize(("family", "path"), SAMPLES)
def test_every_sample_gives_its_expected_reading(family: Path, path: Path) -> None:
    sample = json.loads(path.read_text("utf-8"))
    assert decode_sample(family, sample) == sample["expected"], (
        f"{path.relative_to(REPOSITORY)}: mend the decoder, not the sample"
    )


@pytest.mark.parametrize(
    ("topic", "payload", "expected"),
    [
        ("", '{"occupied": true, "at": 1500}', [{"occupied": True, "at": 1_500_000, "seq": 0}]),
        ("parking/v1/l/d/heartbeat", '{"at": "1970-01-01T00:00:01Z", "seq": 7}', [{"at": 1_000_000, "seq": 7}]),
        ("parking/v1/l/d/status", "offline", [{"online": False}]),
        ("parking/v1/l/d/occupancy", '{"occupied": tru', {"rejected": "malformed"}),
        (
            "parking/v1/l/d/occupancy",
            '[{"space": "a", "occupied": false, "at": 0}, {"space": "b"}]',
            [{"space": "a", "occupied": False, "at": 0, "seq": 0}, {"rejected": "invalid"}],
        ),
    ],
)
def test_a_sample_is_read_by_the_real_decoder(topic: str, payload: str, expected: object) -> None:
    sample = {"topic": topic, "payload": payload, "expected": expected}
    assert sample_problem(sample) == ""
    assert decode_sample(DECODERS / "native", sample) == expected


def test_a_family_without_samples_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "planted"
    (folder / "samples").mkdir(parents=True)
    (folder / "decoder.py").touch()
    assert [finding.split(";")[0] for finding in incomplete(folder)] == [
        "planted: README.md is missing",
        "planted: samples/ is empty",
    ]


@pytest.mark.parametrize(
    ("sample", "problem"),
    [
        ({"payload": "{}", "expected": []}, ""),
        ({"payload": {"hex": "00ff"}, "expected": {"rejected": "truncated"}}, ""),
        ({"payload": "{}"}, "needs"),
        ({"payload": {"hex": "0x"}, "expected": []}, "hex"),
        ({"payload": 1, "expected": []}, "hex"),
        ({"payload": "{}", "expected": {"reason": "truncated"}}, "rejected"),
        ([], "needs"),
    ],
)
def test_a_bad_sample_is_found(sample: object, problem: str) -> None:
    assert (problem in sample_problem(sample)) if problem else sample_problem(sample) == ""


def test_a_sample_that_is_no_json_is_found(tmp_path: Path) -> None:
    samples = tmp_path / "samples"
    samples.mkdir()
    (samples / "broken.json").write_text("{")
    assert any("is no JSON" in finding for finding in incomplete(tmp_path))


def test_folders_that_start_with_an_underscore_are_no_families(tmp_path: Path) -> None:
    for name in ("native", "_shared", "__pycache__"):
        (tmp_path / name).mkdir()
    assert [family.name for family in families(tmp_path)] == ["native"]


def test_the_blueprint_is_a_family_that_works() -> None:
    """What newcomers copy is complete, and its samples are read as they say."""
    folder = DECODERS / "_blueprint"
    assert not incomplete(folder)
    (model,) = blueprint.FAMILY.models
    for path in sorted((folder / "samples").glob("*.json")):
        sample = json.loads(path.read_text("utf-8"))
        layout = model.layout(sample.get("firmware", ""))
        assert layout is not None
        said = layout.decode(sample["port"], payload_of(sample))
        found = {"rejected": str(said.reason)} if isinstance(said, native.Refusal) else [as_json(said)]
        assert found == sample["expected"], path.name
