"""Published vectors of other projects against our decoders, and the table of it: `python -m tests.conformance` writes it anew.

The vectors are not part of this repository; PARKING_SHARED_DATA names the folder that holds gateway/.
"""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.decoders.families import FAMILIES, decode
from gateway.decoders.native.decoder import Refusal
from gateway.decoders.netvox.downlinks import decode_downlink
from gateway.sensors import NETWORKS
from tests.conftest import REPOSITORY
from tests.downlink_vectors import encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.decoders.sensors import Said

FOLDER = Path(os.environ.get("PARKING_SHARED_DATA") or REPOSITORY.parent / "shared" / "data") / "gateway"
TABLE = REPOSITORY / "docs" / "decoder-conformance.md"
PASSED, REFUSED, OTHER_SIDE, DIFFERENT = "passed", "refused", "other side", "different"

# Which registration a vector's device has, by the beginning of its name.
REGISTRATIONS: Sequence[tuple[str, str, tuple[str, str, str]]] = (
    ("Bosch", "TPS110", ("bosch", "tps110", "0.29.2")),
    ("Bosch", "Parking Lot Sensor (protocol v0.23.3)", ("bosch", "tps110", "0.23.3")),
    ("Bosch", "Parking Lot Sensor fw 0.39", ("bosch", "tps110", "0.39.2")),
    ("Bosch", "Parking_Lot_Sensor", ("bosch", "tps110", "0.29.0")),
    ("Nwave", "NPS310SM", ("nwave", "nps310sm", "")),
    ("Nwave", "NPS405", ("nwave", "nps405", "")),
    ("Nwave", "G4_NPS", ("nwave", "nps405", "")),
    ("Nwave", "NCC405", ("nwave", "ncc405", "")),
    ("Nwave", "G4_NCC", ("nwave", "ncc405", "")),
    ("Libelium", "", ("libelium", "smart-parking-v2", "")),
    ("Netvox", "", ("netvox", "r719a", "")),
    ("Dingtek", "DO200", ("dingtek", "do200", "")),
    ("Dingtek", "DO201", ("dingtek", "do201", "")),
    ("Dingtek", "DO202", ("dingtek", "do202", "")),
    ("Tekzitel", "", ("tekzitel", "tekzipark", "")),
    ("PNI", "", ("pni", "placepod", "")),
)
# An older commit of the same product: the registration that was made for it.
OLDER_COMMITS = {
    ("vendor/nwave/nps405-codec.yaml", "277e69a"): ("nwave", "nps405-msb", ""),
    ("vendor/nwave/ncc405-codec.yaml", "277e69a"): ("nwave", "ncc405-msb", ""),
}
# Which differences mean that the other side of a contradiction was taken: (source, differing fields) -> why.
SIDES: Sequence[tuple[str, str, frozenset[str], str]] = (
    (
        "Bosch",
        "thingsboard/data-converters",
        frozenset({"firmwareVersion"}),
        "reads the version's bytes in the other order: 2.29.0 for 0.29.2",
    ),
    (
        "Nwave",
        "thingsboard/data-converters",
        frozenset({"battery_voltage", "battery_health"}),
        "another formula of the battery than the maker's: 2.32 V for 3.344 V",
    ),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a vector."""

    family: str
    source: str
    outcome: str
    detail: str = ""


def registration(vector: Mapping[str, Any]) -> tuple[str, str, str]:
    """Family, model and firmware of a vector's device."""
    older = OLDER_COMMITS.get((vector["source_path"], vector["commit"][:7]))
    if older is not None:
        return older
    for vendor, begin, bound in REGISTRATIONS:
        if vector["vendor"].startswith(vendor) and vector["device"].startswith(begin):
            return bound
    raise LookupError(f"{vector['id']}: no registration for {vector['vendor']} {vector['device']}")


def _plain(value: object) -> object:
    """Words without their spelling: `Power On Reset`, `PowerOnReset` and `power_on` are one."""
    if isinstance(value, str):
        return re.sub(r"resets?$", "", re.sub(r"[^a-z0-9.\-]", "", value.lower()))
    return round(value, 3) if isinstance(value, float) else value


_VIEWS: Mapping[str, Callable[[Said], object]] = {
    "occupied": lambda said: said.occupied,
    "occupancy": lambda said: None if said.occupied is None else int(said.occupied),
    "fwVersion": lambda said: said.fields.get("firmwareVersion"),
    "debug": lambda said: str(said.fields.get("debug"))[:20],
    "debugInfo": lambda said: said.fields.get("debug"),
    "battery_voltage": lambda said: said.battery_v,
    "cmd": lambda said: said.fields.get("Cmd"),
    "minTime": lambda said: said.fields.get("MinTime"),
    "maxTime": lambda said: said.fields.get("MaxTime"),
    "batteryChange": lambda said: said.fields.get("BatteryChange"),
}
_NOT_SAID = frozenset({"minutesSinceLastOccupancy"})  # computed by that platform


def differing(expected: Mapping[str, Any], said: Said) -> frozenset[str]:
    """Names whose value is another one."""
    wrong = set()
    for name, value in expected.items():
        view = _VIEWS.get(name)
        found = view(said) if view is not None else said.fields.get(name)
        wanted = {"on": True, "off": False}.get(value, value) if name == "occupied" else value
        if name not in _NOT_SAID and _plain(found) != _plain(bool(wanted) if name == "occupied" else wanted):
            wrong.add(name)
    return frozenset(wrong)


def judge(vector: Mapping[str, Any]) -> Verdict:
    """What our decoder makes of a vector."""
    family, model, firmware = registration(vector)
    source = vector["source_repo"]
    payload = bytes.fromhex(vector["bytes_hex"] or "")
    if vector["kind"] == "downlink_encode":
        sent = encoded(family, model, vector["expected_output"]["encode_from"])
        same = sent == (vector["fPort"], payload)
        return Verdict(family, source, PASSED if same else DIFFERENT, "" if same else f"{vector['id']}: {sent}")
    if vector["kind"] == "downlink_decode":
        same = decode_downlink(payload) == vector["expected_output"]
        return Verdict(family, source, PASSED if same else DIFFERENT, "" if same else str(vector["id"]))
    said = decode(family, model, firmware, vector["fPort"] or 1, payload)
    if vector["expect"] == "error":
        is_refused = isinstance(said, Refusal)
        return Verdict(family, source, REFUSED if is_refused else DIFFERENT, "" if is_refused else str(vector["id"]))
    if isinstance(said, Refusal):
        return Verdict(family, source, DIFFERENT, f"{vector['id']}: {said.detail}")
    return _compared(vector, family, differing(vector["expected_output"], said))


def _compared(vector: Mapping[str, Any], family: str, wrong: frozenset[str]) -> Verdict:
    source = vector["source_repo"]
    if not wrong:
        return Verdict(family, source, PASSED)
    for vendor, told_by, fields, why in SIDES:
        if vector["vendor"] == vendor and source == told_by and wrong <= fields:
            return Verdict(family, source, OTHER_SIDE, why)
    return Verdict(family, source, DIFFERENT, f"{vector['id']}: {', '.join(sorted(wrong))}")


def vectors() -> list[Verdict]:
    """All codec vectors."""
    return [judge(vector) for vector in json.loads((FOLDER / "lorawan_parking_vectors.json").read_text("utf-8"))]


def envelopes() -> list[Verdict]:
    """All envelopes of network servers: the frame, and what the device says in it."""
    return [_envelope(one) for one in json.loads((FOLDER / "lns_envelopes.json").read_text("utf-8"))]


_TOPICS = {
    "ChirpStack": "application/a/device/{eui}/event/up",
    "LORIOT": "loriot/v1/a/{eui}/up",
    "ThingsStackCommunity": "v3/a@t/devices/d/up",
    "ThingsStackIndustries": "v3/a@t/devices/d/up",
}


def _envelope(envelope: Mapping[str, Any]) -> Verdict:
    topic = _TOPICS[envelope["platform"]].format(eui=envelope["devEui"])
    _, read = NETWORKS[topic.partition("/")[0]]
    said: Any = read(topic, json.dumps(envelope["envelope"]).encode())
    platform = envelope["platform"]
    if isinstance(said, Refusal):
        return Verdict(platform, envelope["source_repo"], DIFFERENT, said.detail)
    frame = (said.eui, said.port, said.counter, said.payload.hex())
    if frame != (envelope["devEui"].lower(), envelope["fPort"], envelope["fCnt"], envelope["bytes_hex"].lower()):
        return Verdict(platform, envelope["source_repo"], DIFFERENT, f"the frame is read as {frame}")
    told = _told(envelope)
    decoded = decode(*registration(_as_vector(envelope)), said.port, said.payload)
    if isinstance(decoded, Refusal):
        return Verdict(platform, envelope["source_repo"], DIFFERENT, decoded.detail)
    if said.at_us // 1000 != told["ts"]:
        return Verdict(
            platform, envelope["source_repo"], DIFFERENT, f"the time is read as {said.at_us}, not {told['ts']}"
        )
    verdict = _compared(
        {**_as_vector(envelope), "id": envelope["bytes_hex"]}, platform, differing(told["values"], decoded)
    )
    return Verdict(platform, verdict.source, verdict.outcome, verdict.detail)


def _as_vector(envelope: Mapping[str, Any]) -> dict[str, Any]:
    return {name: envelope[name] for name in ("vendor", "device", "source_repo", "source_path", "commit")}


def _told(envelope: Mapping[str, Any]) -> dict[str, Any]:
    """What ThingsBoard made of it: the first device's first telemetry."""
    result = envelope["expected_thingsboard_result"]
    device = result[0] if isinstance(result, list) else result
    telemetry = device["telemetry"]
    first: dict[str, Any] = telemetry[0] if isinstance(telemetry, list) else telemetry
    return first


def table(codec: Sequence[Verdict], frames: Sequence[Verdict]) -> str:
    """The document."""
    lines = [
        "# Decoders against what others published",
        "",
        "Written by `python -m tests.conformance`, compared by the tests; the vectors themselves are not part of this repository.",
        "*Passed*: the same reading. *Refused*: bytes that the source rejects, too. *Other side*: two sources contradict each other,",
        "and the family's README says which one is taken and why.",
        "",
        "## Vectors of codecs",
        "",
        *_counts(codec, "family"),
        "",
        "Without public vectors: "
        + ", ".join(sorted(set(FAMILIES) - {one.family for one in codec}))
        + " (samples encoded by us).",
        "",
        "## Envelopes of network servers",
        "",
        *_counts(frames, "server"),
        "",
        "## Other side taken",
        "",
        "| read by | source | what it has instead | vectors |",
        "| --- | --- | --- | --- |",
    ]
    others = sorted({(one.family, one.source, one.detail) for one in (*codec, *frames) if one.outcome == OTHER_SIDE})
    for family, source, detail in others:
        number = sum((one.family, one.source, one.detail) == (family, source, detail) for one in (*codec, *frames))
        lines.append(f"| {family} | {source} | {detail} | {number} |")
    return "\n".join(lines) + "\n"


def _counts(verdicts: Sequence[Verdict], what: str) -> list[str]:
    lines = [
        f"| {what} | vectors | passed | refused | other side | different |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in sorted({one.family for one in verdicts}):
        mine = [one.outcome for one in verdicts if one.family == name]
        counts = " | ".join(str(mine.count(outcome)) for outcome in (PASSED, REFUSED, OTHER_SIDE, DIFFERENT))
        lines.append(f"| {name} | {len(mine)} | {counts} |")
    return lines


if __name__ == "__main__":
    if not FOLDER.is_dir():
        sys.exit(f"{FOLDER} is not there; set PARKING_SHARED_DATA to the folder that holds gateway/.")
    TABLE.write_text(table(vectors(), envelopes()), "utf-8")
    sys.stdout.write(f"{TABLE} is written.\n")
