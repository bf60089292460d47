"""Simulated traffic: what lanes say of cars, what antennas do to cards, what a lane computes by itself."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from gateway.decoders.lane.decoder import LaneRecord, decode_lane
from parking_core.districts import LaneRecord as Lane
from parking_core.districts import LotRecord
from parking_core.lane_checks import EARLIEST_S
from parking_core.plates import PlateColor, color_of, form_of
from simulators.lane_vehicles import Car, Pays, charge, new_car
from simulators.lanes import CARS_AT_FIRST, EARLIEST, LaneTraffic, Traffic, offline_fee
from simulators.phones import PhoneCounts, phone_payer
from tests.tariff_rows import hourly

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NOON = datetime(2026, 5, 4, 4, tzinfo=UTC)
LOT = LotRecord(
    code="P1",
    name="P1",
    kind="off_street",
    lat=31.5,
    lon=120.3,
    spaces=[],
    lanes=[Lane("P1-E1", direction="entry"), Lane("P1-X1", direction="exit")],
)


def a_car(pays: Pays = Pays.ETC, entered_at: datetime = NOON - timedelta(hours=2)) -> Car:
    car = new_car(random.Random(3), pays)
    car.entered_at = entered_at.isoformat()
    return car


def told(*versions: tuple[datetime, int]) -> Mapping[str, Any]:
    """Body of a tariff command: (from when on, fen an hour)."""
    return {
        "lot": "P1",
        "tariffs": [
            {"from": begins.isoformat(), "code": "hourly", "version": number, "document": hourly(price_fen=fen)}
            for number, (begins, fen) in enumerate(versions, start=1)
        ],
    }


def test_invented_cars_have_plates_that_exist_and_cards_of_both_kinds() -> None:
    rng = random.Random(1)
    cars = [new_car(rng, Pays.ETC) for _ in range(200)]
    assert all(form_of(car.plate) is not None for car in cars)
    assert {color_of(car.color) for car in cars} == {PlateColor.BLUE, PlateColor.GREEN}
    assert {car.card_type for car in cars} == {"22", "23"}
    assert all(len(car.card_no) == 20 for car in cars)
    credit = [car.balance_fen for car in cars if car.card_type == "23"]
    assert min(credit) > 1_999_000_000, "a credit card counts down from two thousand million"


def test_an_antenna_takes_the_fee_and_says_both_balances() -> None:
    car, rng = a_car(), random.Random(1)
    before = car.balance_fen
    first, second = (charge(car, 700, ("320100000001", f"{serial:08X}"), rng) for serial in (1, 2))
    assert (first["balance_before_fen"], first["balance_after_fen"]) == (before, before - 700)
    assert second["balance_before_fen"] == first["balance_after_fen"]
    assert car.balance_fen == before - 1400
    assert len(first["tac"]) == 8
    assert int(first["tac"], 16) >= 0


@pytest.mark.parametrize("pays", Pays)
def test_what_a_lane_says_of_a_car_is_what_the_gateway_reads(pays: Pays) -> None:
    car = a_car(pays)
    sight = car.sight(etc=pays is Pays.ETC, list_version="7")
    record = decode_lane(json.dumps({"event": "exit", "record_no": 1, "at": NOON.isoformat(), **sight}).encode())
    assert isinstance(record, LaneRecord)
    assert record.plate is not None
    assert record.plate.text == car.plate
    assert (record.etc is not None and record.etc.status_list_version == "7") is (pays is Pays.ETC)


def test_a_lane_computes_by_the_tariff_that_held_when_the_car_came() -> None:
    body = told((NOON - timedelta(days=30), 500), (NOON - timedelta(hours=1), 900))
    assert offline_fee(body, a_car(entered_at=NOON - timedelta(minutes=90)), NOON) == 1000
    assert offline_fee(body, a_car(entered_at=NOON - timedelta(minutes=30)), NOON) == 900
    assert offline_fee(body, a_car(entered_at=NOON - timedelta(days=40)), NOON) is None
    assert offline_fee(None, a_car(), NOON) is None
    broken = {"tariffs": [{"from": NOON.isoformat(), "code": "x", "version": 1, "document": {"format": "?"}}]}
    assert offline_fee(broken, a_car(entered_at=NOON), NOON) is None


def traffic(folder: Path | None) -> LaneTraffic:
    return LaneTraffic([LOT], "mqtt://x:y@127.0.0.1:1", folder, traffic=Traffic(seed=1))


async def run_briefly(lanes: LaneTraffic) -> None:
    """Without a broker: what lanes would say stays in their memories."""
    stop = asyncio.Event()
    running = asyncio.create_task(lanes.run(stop))
    await asyncio.sleep(0.05)
    stop.set()
    await running


def test_at_its_first_start_a_lot_is_full_of_cars_that_came_in_the_hours_before(tmp_path: Path) -> None:
    lanes = traffic(tmp_path)
    asyncio.run(run_briefly(lanes))
    (lot,) = lanes.lots
    assert len(lot.cars) == lanes.counts.entries == CARS_AT_FIRST
    records = list(lot.entries[0].memory.unsent.values())
    assert [record["record_no"] for record in records] == list(range(1, CARS_AT_FIRST + 1))
    times = [datetime.fromisoformat(record["at"]) for record in records]
    assert times == sorted(times)
    assert timedelta(seconds=-EARLIEST_S) > EARLIEST > datetime.now(UTC) - times[0] - timedelta(seconds=5)


def test_at_the_next_start_the_same_cars_are_inside_and_nothing_is_told_twice(tmp_path: Path) -> None:
    first = traffic(tmp_path)
    asyncio.run(run_briefly(first))
    second = traffic(tmp_path)
    asyncio.run(run_briefly(second))
    assert second.lots[0].cars == first.lots[0].cars
    assert second.counts.entries == 0
    assert second.lots[0].entries[0].memory.last_record_no == CARS_AT_FIRST
    (tmp_path / "cars.json").unlink()  # a power cut: who was inside is not known, and hours must not be told anew
    third = traffic(tmp_path)
    asyncio.run(run_briefly(third))
    assert third.lots[0].cars == []
    assert third.counts.entries == 0


def test_a_phone_that_reaches_nobody_has_not_paid() -> None:
    counts = PhoneCounts()

    async def pay() -> bool:
        return await phone_payer("http://127.0.0.1:1", counts)("/v1/payments/x")

    assert asyncio.run(pay()) is False
    assert (counts.paid, counts.refused) == (0, 1)


SHARED = LotRecord(
    code="S1",
    name="S1",
    kind="off_street",
    lat=31.5,
    lon=120.3,
    spaces=[],
    lanes=[Lane("S1-B1", direction="both", active=False)],
)


def command(kind: str, said_at: datetime, **body: object) -> dict[str, Any]:
    """As a gateway sends it."""
    deadline = datetime.now(UTC) + timedelta(hours=1)
    return {"id": kind, "kind": kind, "at": said_at.isoformat(), "deadline": deadline.isoformat(), "body": body}


def test_a_barrier_of_a_shared_lot_rises_for_who_was_promised_a_space_and_for_nobody_else(tmp_path: Path) -> None:
    lanes = LaneTraffic([LOT, SHARED], "mqtt://x:y@127.0.0.1:1", tmp_path, traffic=Traffic(seed=1))
    assert ([lot.code for lot in lanes.lots], [lot.code for lot in lanes.barriers]) == (["P1"], ["S1"])
    (barrier,) = lanes.barriers[0].entries
    assert lanes.barriers[0].exits == [barrier], "one lane, both ways"
    times = {"from": NOON.isoformat(), "until": (NOON + timedelta(hours=2)).isoformat()}
    expect = command("expect_vehicle", NOON, plate="苏B12345", reservation="R-1", **times)
    assert barrier._execute(expect) == {"result": "done"}
    assert barrier.raise_for("苏B99999", NOON) is None
    assert barrier.raise_for("苏B12345", NOON - timedelta(minutes=1)) is None
    assert barrier.gate_openings == 0
    assert barrier.raise_for("苏B12345", NOON) == "R-1"
    assert barrier.gate_openings == 1
    for lot in (*lanes.lots, *lanes.barriers):
        for lane in (*lot.entries, *lot.exits):
            lane.memory.close()
    (again,) = LaneTraffic([SHARED], "mqtt://x:y@127.0.0.1:1", tmp_path).barriers[0].entries
    assert again.raise_for("苏B12345", NOON + timedelta(hours=1)) == "R-1", "the promise outlives a power cut"
    assert again._execute(command("forget_vehicle", NOON + timedelta(hours=1), reservation="R-1")) == {"result": "done"}
    assert again.raise_for("苏B12345", NOON + timedelta(hours=1)) is None
    assert again._execute(command("sing", NOON)) == {"result": "unknown"}
    again.memory.close()


def test_guests_come_once_after_the_barrier_rises_for_them_and_leave_by_their_time() -> None:
    begins = datetime.now(UTC) - timedelta(hours=3)
    guests = 40
    lanes = LaneTraffic([SHARED], "mqtt://x:y@127.0.0.1:1", None, traffic=Traffic(seed=1))
    (lot,) = lanes.barriers
    for number in range(guests):
        until = begins + timedelta(hours=2 if number % 2 else 9)
        body = {"plate": f"苏B{number:05}", "from": begins.isoformat(), "until": until.isoformat()}
        lot.entries[0].memory.expect({**body, "reservation": f"R-{number}"}, begins.isoformat())

    async def evening() -> list[int]:
        for controller in lot.exits:
            controller.ask_fee = nobody_answers  # type: ignore[method-assign]  # there is no broker to ask through
        return [await lanes.receive(lot, begins + timedelta(minutes=minute)) for minute in (0, 31, 32, 600)]

    async def nobody_answers(*_: object, **__: object) -> None:
        return None

    moved = asyncio.run(evening())
    assert moved[0] <= 1
    assert guests * 0.7 < sum(moved[:2]) <= guests, "nearly everybody came within half an hour"
    assert moved[2] == 0, "each comes once"
    records = [record["event"] for record in lot.entries[0].memory.unsent.values()]
    assert records.count("entry") == sum(moved[:2])
    assert records.count("exit") == moved[3] >= guests / 2
    assert len(lot.cars) == records.count("entry") - records.count("exit") < guests / 10
