"""Every published vector is read as its source reads it, or is listed with the reason; the table in docs/ says what is true."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.decoders.configuration import downlinks_of
from gateway.decoders.downlinks import encode
from gateway.decoders.families import FAMILIES
from tests import conformance
from tests.conformance import DIFFERENT, FOLDER, OTHER_SIDE, PASSED, REFUSED, TABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance import Verdict

needs_vectors = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"{FOLDER} is not there; set PARKING_SHARED_DATA to the folder that holds gateway/"
)


@needs_vectors
@pytest.mark.parametrize("read", [conformance.vectors, conformance.envelopes])
def test_no_vector_is_read_otherwise_without_a_reason(read: Callable[[], list[Verdict]]) -> None:
    verdicts = read()
    assert [one.detail for one in verdicts if one.outcome == DIFFERENT] == []
    assert sum(one.outcome == PASSED for one in verdicts) > len(verdicts) / 2
    assert {one.outcome for one in verdicts} <= {PASSED, REFUSED, OTHER_SIDE}


@needs_vectors
def test_the_table_in_the_documentation_is_the_one_measured() -> None:
    measured = conformance.table(conformance.vectors(), conformance.envelopes())
    assert TABLE.read_text("utf-8") == measured, "run `python -m tests.conformance`, look at it, and commit it"


def test_the_table_names_every_family() -> None:
    text = TABLE.read_text("utf-8")
    assert all(f" {slug}" in text for slug in FAMILIES)


@pytest.mark.parametrize(
    "values", [{"uploadInterval": 0}, {"uploadInterval": 1.5}, {"uploadInterval": True}, {}, {"x": 1}]
)
def test_a_downlink_out_of_bounds_is_not_sent(values: dict[str, object]) -> None:
    (interval,) = (each for each in downlinks_of("dingtek", "do202") if each.name == "uploadInterval")
    problem = encode(interval, values)
    assert isinstance(problem, str)
    assert problem.endswith((".", "none"))


def test_a_downlink_within_bounds_is_as_the_field_table_says() -> None:
    (interval,) = (each for each in downlinks_of("dingtek", "do202") if each.name == "uploadInterval")
    assert encode(interval, {"uploadInterval": 168}) == (3, b"8002999901A881")
    assert downlinks_of("bosch", "tps110") == ()
