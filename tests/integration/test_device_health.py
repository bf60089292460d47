"""Work items and days of devices as operators see them, through HTTP and by command."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from onebox.__main__ import application
from onebox.commands.device_health import spark
from parking_core.errors import NotFoundError
from parking_core.health.conditions import Condition, Finding
from parking_core.store import conditions
from tests.integration.test_device_routes import LANE, OTHERS, play  # noqa: F401  # the fixture
from tests.integration.test_operator_agreements import town  # noqa: F401  # the fixture: lots X01 of op, X02 of other

if TYPE_CHECKING:
    import psycopg
    from typer.testing import Result

pytestmark = pytest.mark.services

NOW = datetime(2026, 5, 20, 4, 0, tzinfo=UTC)


def find(db: psycopg.Connection[Any], at: datetime, *found: tuple[str, Condition]) -> conditions.Applied:
    """Applies findings of devices, by code."""
    ids = dict(db.execute("SELECT code, id FROM devices").fetchall())
    since = int((at - timedelta(hours=3)).timestamp() * 1e6)
    with db.transaction():
        return conditions.apply(
            db, [Finding(ids[code], condition, since, {"quiet_s": 9_000}) for code, condition in found], at
        )


def test_one_item_a_device_whatever_is_wrong_and_it_closes_when_all_has_healed(
    db: psycopg.Connection[Any],
    play: Any,  # noqa: F811  # the fixture
) -> None:
    assert find(db, NOW, (LANE, Condition.SILENT), (LANE, Condition.BATTERY), (OTHERS, Condition.CLOCK)) == (
        conditions.Applied(3, 0, 2, 0)
    )
    assert find(db, NOW + timedelta(hours=1), (LANE, Condition.BATTERY)) == conditions.Applied(0, 2, 0, 1)

    async def scene(ask: Any) -> None:
        status, page = await ask("op", "GET", "/work-items")
        assert status == 200
        (item,) = page["items"]
        assert (item["device"], item["lot"]) == (LANE, "X01")
        told = {one["condition"]: one for one in item["conditions"]}
        assert told["battery"]["evidence"] == {"quiet_s": 9_000}
        assert "cleared_at" not in told["battery"]
        assert told["silent"]["cleared_at"].startswith("2026-05-20T")
        assert (await ask("op", "GET", "/work-items?closed=true"))[1]["items"] == []
        (closed,) = (await ask("boss", "GET", "/work-items?closed=true"))[1]["items"]
        assert (closed["device"], closed["closed_at"][:10]) == (OTHERS, "2026-05-20")
        assert (await ask("boss", "GET", f"/work-items?device={OTHERS}"))[1]["items"] == []
        assert (await ask("driver", "GET", "/work-items"))[0] == 403
        assert (await ask("op", "GET", "/work-items?limit=0"))[0] == 422
        assert (await ask("op", "GET", "/work-items?cursor=xyz"))[0] == 422

    play(scene)


def test_items_by_pages(db: psycopg.Connection[Any], play: Any) -> None:  # noqa: F811  # the fixture
    find(db, NOW, (LANE, Condition.SILENT), (OTHERS, Condition.CLOCK))

    async def scene(ask: Any) -> None:
        _, first = await ask("boss", "GET", "/work-items?limit=1")
        _, rest = await ask("boss", "GET", f"/work-items?limit=1&cursor={first['next_cursor']}")
        assert {first["items"][0]["device"], rest["items"][0]["device"]} == {LANE, OTHERS}
        assert "next_cursor" not in rest or rest["next_cursor"] is None

    play(scene)


def add_days(db: psycopg.Connection[Any], code: str, number: int) -> None:
    db.execute(
        "INSERT INTO device_days (device_id, day, messages, quiet_s, missing, missing_total, battery_v)"
        " SELECT d.id, date '2026-05-01' + n, 10 + n, 3600, 0, 0, 3.6 - n * 0.01 FROM devices d, generate_series(0, %s) n"
        " WHERE d.code = %s",
        (number - 1, code),
    )


def test_days_of_ones_own_devices(db: psycopg.Connection[Any], play: Any) -> None:  # noqa: F811  # the fixture
    add_days(db, LANE, 5)

    async def scene(ask: Any) -> None:
        status, found = await ask("op", "GET", f"/devices/{LANE}/days?limit=2")
        assert status == 200
        assert [day["day"] for day in found["days"]] == ["2026-05-04", "2026-05-05"]
        assert found["days"][1]["messages"] == 14
        assert "rssi_dbm" not in found["days"][1], "nobody knows it"
        assert (await ask("op", "GET", f"/devices/{OTHERS}/days"))[0] == 404

    play(scene)


def run(*words: str) -> Result:
    return CliRunner().invoke(application(), ["devices", "health", *words], env={"COLUMNS": "200"})


@pytest.mark.usefixtures("town")
def test_health_as_a_person_sees_it(
    db: psycopg.Connection[Any], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARKING_DATABASE_URL", database_url)
    monkeypatch.setenv("PARKING_REDIS_URL", "redis://127.0.0.1:9")
    monkeypatch.setenv("PARKING_MQTT_URL", "mqtt://127.0.0.1:9")
    assert "Nothing is known to be wrong" in run().output
    find(db, NOW, (LANE, Condition.SILENT), (OTHERS, Condition.SILENT), (OTHERS, Condition.STUCK))
    add_days(db, LANE, 9)
    whole = run().output
    assert "silent" in whole
    assert "quiet_s 9000" in whole
    assert "2026-05-20 09:00:00" in whole, "in local time"
    assert OTHERS not in run("--lot", "X01").output
    one = run(LANE).output
    assert "2026-05-01 to 2026-05-09" in one
    assert "▁" in one
    assert isinstance(run("nobody").exception, NotFoundError)
    find(db, NOW + timedelta(hours=2))
    assert "Nothing is known to be wrong" in run().output
    assert LANE in run("--healed").output


def test_a_curve_in_a_line() -> None:
    assert spark([0, 7]) == "▁█"
    assert spark([3, None, 3]) == "▁ ▁"
    assert len(spark([float(day) for day in range(28)])) == (date(2026, 3, 1) - date(2026, 2, 1)).days
