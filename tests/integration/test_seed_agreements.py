"""A district file's sharing agreements: published once, with spaces for every class, and never over an owner's own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from typer.testing import CliRunner

from onebox.__main__ import application
from parking_core.districts import District, LaneRecord, LotRecord, SharedClassRecord, SharingRecord, SpaceRecord
from parking_core.flows.seed_agreements import seed_agreements
from parking_core.flows.seed_district import seed_district
from parking_core.sharing import AgreementState
from parking_core.store import agreements, sharing
from simulators.district import generate_district

if TYPE_CHECKING:
    import psycopg

pytestmark = pytest.mark.services

NOW = datetime(2026, 11, 23, 4, tzinfo=UTC)
NIGHTS: dict[str, Any] = {"windows": [{"days": ["workday"], "from": "18:00", "until": "08:00"}]}
DAYS_OFF: dict[str, Any] = {"windows": [{"days": ["weekend", "holiday"], "from": "00:00", "until": "24:00"}]}


def small(*classes: SharedClassRecord, **terms: object) -> District:
    """One lot with six spaces, of which the second is not ordinary."""
    lot = LotRecord(
        code="L1",
        name="一号停车场",
        kind="off_street",
        lat=31.5,
        lon=120.3,
        shared=True,
        sharing=SharingRecord(list(classes), terms),
        spaces=[SpaceRecord(str(number), kind="ev" if number == 2 else "standard") for number in range(1, 7)],
        lanes=[LaneRecord("L1-B1", "both", active=False)],
    )
    return District(name="x", lots=[lot])


def of_lot(db: psycopg.Connection[Any], code: str) -> agreements.Agreement:
    found = agreements.of_lot(db, agreements.lot_spaces(db, code).id)
    assert found is not None
    return found


def test_classes_get_named_spaces_and_ordinary_ones_for_quotas(database_url: str, db: psycopg.Connection[Any]) -> None:
    district = small(
        SharedClassRecord("A", NIGHTS, quota=2), SharedClassRecord("B", DAYS_OFF, named=["2", "3"]), notice_h=48
    )
    seed_district(database_url, district)
    assert seed_agreements(db, district, NOW) == 1
    agreement = of_lot(db, "L1")
    assert (agreement.code, agreement.state, agreement.changed_at) == ("S-L1", AgreementState.PUBLISHED, NOW)
    assert (agreement.terms.notice_h, agreement.terms.permit_fen_per_month) == (48, 20_000)
    classes = agreements.classes_of(db, agreement.id)
    assert [(each.code, each.windows, each.spaces, each.named) for each in classes] == [
        ("A", NIGHTS, ("1", "4"), ()),
        ("B", DAYS_OFF, ("2", "3"), ("2", "3")),
    ]
    assert [(event.kind, event.by) for event in agreements.events(db, agreement.id)] == [("published", "district file")]


def test_a_lot_without_a_lane_is_not_published(database_url: str, db: psycopg.Connection[Any]) -> None:
    district = small(SharedClassRecord("A", NIGHTS, quota=2))
    closed = District(name="x", lots=[msgspec.structs.replace(district.lots[0], lanes=[])])
    seed_district(database_url, closed)
    assert seed_agreements(db, closed, NOW) == 0
    seed_district(database_url, district)
    assert seed_agreements(db, district, NOW) == 1


def test_seeding_again_changes_nothing_and_an_owners_decision_stays(
    database_url: str, db: psycopg.Connection[Any]
) -> None:
    district = small(SharedClassRecord("A", NIGHTS, quota=2))
    seed_district(database_url, district)
    assert [seed_agreements(db, district, NOW) for _ in range(2)] == [1, 0]
    agreements.set_state(db, of_lot(db, "L1").id, AgreementState.TERMINATED, NOW)
    assert seed_agreements(db, small(SharedClassRecord("A", NIGHTS, quota=5)), NOW) == 0, "it was terminated"
    found = agreements.find(db, "S-L1")
    assert found is not None
    assert found.state is AgreementState.TERMINATED


def test_the_synthetic_district_publishes_forty_three_agreements_with_a_barrier_each(
    database_url: str, db: psycopg.Connection[Any]
) -> None:
    district = generate_district()
    seed_district(database_url, district)
    assert seed_agreements(db, district, NOW) == 43
    shared = [lot for lot in district.lots if lot.sharing is not None]
    wanted = sum(each.quota or 0 for lot in shared if lot.sharing for each in lot.sharing.classes)
    assert db.execute("SELECT count(*), count(DISTINCT space_id) FROM class_spaces").fetchone() == (wanted, wanted)
    for lot in shared[:5]:
        barriers = sharing.barriers(db, of_lot(db, lot.code).lot_id)
        assert db.execute("SELECT code FROM devices WHERE id = ANY(%s)", (list(barriers),)).fetchall() == [
            (f"{lot.code}-B1",)
        ]


def test_the_command_tells_how_many_agreements_are_new(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARKING_DATABASE_URL", database_url)
    monkeypatch.setenv("PARKING_REDIS_URL", "redis://127.0.0.1:9")
    monkeypatch.setenv("PARKING_MQTT_URL", "mqtt://127.0.0.1:9")
    result = CliRunner().invoke(application(), ["seed", "--lots", "12"])
    assert result.exit_code == 0, result.output
    assert "1 sharing agreements" in result.output
    assert "Nothing was new" in CliRunner().invoke(application(), ["seed", "--lots", "12"]).output
