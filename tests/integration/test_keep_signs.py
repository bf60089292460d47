"""What guidance signs are told: when it changed, when it did not arrive, never a count that nobody knows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from parking_core.commands import CommandKind, CommandState
from parking_core.flows.keep_signs import forget_old_counts, keep_signs
from parking_core.store import commands
from tests.integration.test_command_device import NOW, order, street  # noqa: F401  # the fixture

if TYPE_CHECKING:
    import psycopg

pytestmark = pytest.mark.services


def lot_of(street: Any) -> int:  # noqa: F811  # the fixture
    return int(street.execute("SELECT id FROM lots WHERE code = 'L1'").fetchone()[0])


def told(street: Any) -> list[tuple[dict[str, Any], str]]:  # noqa: F811  # the fixture
    found = street.execute(
        "SELECT payload, state FROM commands WHERE kind = 'show_sign' ORDER BY created_at, id"
    ).fetchall()
    return [(row[0], row[1]) for row in found]


def settle(street: Any, state: CommandState) -> None:  # noqa: F811  # the fixture
    street.execute("UPDATE commands SET state = %s, ended_at = created_at WHERE state = 'queued'", (state,))


def after(**span: float) -> datetime:
    return NOW + timedelta(**span)


def test_a_sign_is_told_what_changed_and_nothing_twice(street: psycopg.Connection[Any]) -> None:  # noqa: F811  # the fixture
    lot = lot_of(street)
    assert keep_signs(street, {lot: (5, 2)}, NOW) == 1
    assert told(street) == [({"lines": [], "counts": {"L1": 3}}, "queued")]
    assert keep_signs(street, {lot: (5, 2)}, after(seconds=15)) == 0, "on its way"
    settle(street, CommandState.ACKNOWLEDGED)
    assert keep_signs(street, {lot: (5, 2)}, after(minutes=9)) == 0
    assert keep_signs(street, {lot: (5, 2)}, after(minutes=11)) == 1, "it may have been switched off"
    assert keep_signs(street, {lot: (5, 5)}, after(minutes=12)) == 1
    assert [(body["counts"], state) for body, state in told(street)][1:] == [
        ({"L1": 3}, "superseded"),
        ({"L1": 0}, "queued"),
    ]


def test_what_nobody_knows_is_not_shown(street: psycopg.Connection[Any]) -> None:  # noqa: F811  # the fixture
    lot = lot_of(street)
    keep_signs(street, {lot: (5, 2)}, NOW)
    assert keep_signs(street, {lot: (0, 0)}, after(seconds=15)) == 1
    assert told(street)[-1][0]["counts"] == {}
    assert keep_signs(street, {}, after(seconds=30)) == 0


def test_what_did_not_arrive_is_told_again_after_a_minute(street: psycopg.Connection[Any]) -> None:  # noqa: F811  # the fixture
    known = {lot_of(street): (5, 2)}
    keep_signs(street, known, NOW)
    settle(street, CommandState.TIMED_OUT)
    assert keep_signs(street, known, after(seconds=59)) == 0
    assert keep_signs(street, known, after(seconds=61)) == 1


def test_a_lot_without_sensors_is_counted_by_its_lanes(street: psycopg.Connection[Any]) -> None:  # noqa: F811  # the fixture
    lot = lot_of(street)
    street.execute(
        "INSERT INTO lane_counts (lot_id, inside, sensors, counted_at) VALUES (%s, 7, false, %s)", (lot, NOW)
    )
    keep_signs(street, {}, NOW)
    assert told(street)[-1][0]["counts"] == {"L1": 0}, "more may be inside than there are bays"
    assert keep_signs(street, {}, after(minutes=6)) == 1
    assert told(street)[-1][0]["counts"] == {}, "nobody counts any more"


def test_a_persons_words_stay_above_the_counts_and_are_never_forgotten(street: psycopg.Connection[Any]) -> None:  # noqa: F811  # the fixture
    known = {lot_of(street): (5, 2)}
    words = order(street, "L1-003", CommandKind.SHOW_SIGN, body={"lines": ["滨湖医院"], "counts": {"P1": 9}})
    assert keep_signs(street, known, after(seconds=15)) == 1
    assert told(street)[-1][0] == {"lines": ["滨湖医院"], "counts": {"L1": 3}}
    settle(street, CommandState.ACKNOWLEDGED)
    keep_signs(street, {lot_of(street): (5, 1)}, after(hours=1))
    assert forget_old_counts(street, after(hours=23)) == 0
    settle(street, CommandState.ACKNOWLEDGED)
    assert forget_old_counts(street, after(days=3)) == 1, "the one that superseded a person's stays with it"
    assert commands.get(street, words) is not None
    assert len(told(street)) == 2
