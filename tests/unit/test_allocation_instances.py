"""The certified instances: our bounds and values against theirs, when the folder is there."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from parking_core.allocation import colouring
from parking_core.allocation.instance import Instance
from parking_core.allocation.solve import allocate, warm_up
from tests.conftest import REPOSITORY

FOLDER = Path(os.environ.get("PARKING_SHARED_DATA") or REPOSITORY.parent / "shared" / "data") / "alloc"

# name, gap that is wanted, seconds for it on two cores (the time limit; the test allows for a machine that is busy)
INSTANCES = (
    ("sp_cls_S200_R500_s1", 5e-4, 5.0),
    ("sp_cls_S200_R5000_s1", 2.5e-3, 1.0),
    ("sp_cls_S1000_R500_s1", 5e-4, 5.0),
    ("sp_cls_S1000_R5000_s1", 5e-4, 5.0),
    ("sp_cls_S4000_R5000_s1", 5e-4, 5.0),
    ("sp_cls_S4000_R20000_s2", 5e-4, 5.0),
    ("sp_own_S200_R500_s1", 5e-4, 5.0),
    ("sp_own_S1000_R5000_s1", 5e-3, 30.0),
)


def read(name: str) -> dict[str, Any]:
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"{path} is not there; set PARKING_SHARED_DATA to the folder that holds alloc/")
    document = json.loads(path.read_text("utf-8"))
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize(("name", "gap", "seconds"), INSTANCES)
def test_a_certified_instance_is_allocated_within_its_gap(name: str, gap: float, seconds: float) -> None:
    document = read(name)
    known = document["best_known"]
    instance = Instance.from_document(document)
    warm_up()
    began = time.monotonic()
    found = allocate(instance, gap=gap, time_limit_s=2 * seconds, seed=1)
    took = time.monotonic() - began
    groups = found.group_of_request.tolist()
    spaces = colouring.spaces(instance, found.group_of_request).tolist()
    claim = colouring.Claim(found.value, found.upper_bound, found.gap)
    assert colouring.violations(document, groups, spaces, claim) == []
    assert found.gap <= gap
    assert took < 2 * seconds + 1.0
    assert found.value <= known["upper_bound"]  # both bounds hold whatever the other says
    assert found.upper_bound >= known["value"]


def test_every_certified_instance_is_tested() -> None:
    if not FOLDER.is_dir():
        pytest.skip(f"{FOLDER} is not there; set PARKING_SHARED_DATA to the folder that holds alloc/")
    assert {path.stem for path in FOLDER.glob("*.json")} == {name for name, _, _ in INSTANCES}
