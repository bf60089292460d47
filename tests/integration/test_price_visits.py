"""Stays priced in bulk over the real tables: versions, permits, coupons, earlier stays, payments."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from parking_core import charge_lines
from parking_core.errors import InvalidInputError
from parking_core.flows.price_visits import PriceDesk, ToPrice, price_visits, use_coupons
from parking_core.flows.publish_tariff import Binding, publish_tariff
from parking_core.store import permits
from parking_core.store.permits import ListedPermit
from parking_core.tariffs import Coupon, CouponKind, Payment
from parking_core.windows import Schedule, parse_schedule
from parking_core.work_calendar import DayKind, WorkCalendar
from tests.tariff_rows import add_charge, add_lane, add_lot, add_visit, hourly

if TYPE_CHECKING:
    import psycopg

pytestmark = pytest.mark.services

EIGHT = datetime(2026, 11, 23, 8, tzinfo=ZoneInfo("Asia/Shanghai"))
HOUR = timedelta(hours=1)
CAR, OTHER = "苏B12345", "苏B99999"


class Place:
    """A lot of 5 yuan an hour with one lane."""

    def __init__(self, db: psycopg.Connection[Any]) -> None:
        self.db = db
        self.lot = add_lot(db, "L1")
        self.lane = add_lane(db, self.lot, "L1-OUT")
        self.published = publish_tariff(db, hourly(), Binding(EIGHT - 100 * HOUR, ["L1"]), EIGHT)

    def stay(self, hours: float = 2, vehicle: str = CAR, begins: datetime = EIGHT, **more: Any) -> ToPrice:
        return ToPrice(
            lot_id=self.lot, vehicle=vehicle, entered_at=begins, exited_at=begins + timedelta(hours=hours), **more
        )

    def visit(self, begins: float, ends: float | None, vehicle: str = CAR, **more: Any) -> int:
        """Hours after eight."""
        left = None if ends is None else EIGHT + timedelta(hours=ends)
        return add_visit(self.db, self.lane, vehicle, EIGHT + timedelta(hours=begins), left, **more)

    def permit(
        self,
        *plates: str,
        begins: float = -1000,
        ends: float = 1000,
        slots: int = 1,
        code: str = "P1",
        windows: Schedule | None = None,
    ) -> None:
        span = EIGHT + timedelta(hours=begins), EIGHT + timedelta(hours=ends)
        assert permits.add_permit(self.db, ListedPermit(code, "L1", "resident", *span, slots, plates, windows))

    def total(self, *wanted: ToPrice, now: datetime = EIGHT + 1000 * HOUR) -> list[int]:
        return [one.bill.total_fen for one in price_visits(self.db, wanted, now)]


@pytest.fixture
def place(db: psycopg.Connection[Any]) -> Place:
    return Place(db)


def test_nothing_asked_nothing_answered(place: Place) -> None:
    assert price_visits(place.db, [], EIGHT) == []


def test_each_stay_is_charged_by_the_version_of_its_entry_in_the_order_asked(place: Place) -> None:
    publish_tariff(place.db, hourly(price_fen=700), Binding(EIGHT + HOUR, ["L1"]), EIGHT)
    later, first = place.stay(begins=EIGHT + HOUR), place.stay()
    priced = price_visits(place.db, [later, first], EIGHT + 9 * HOUR)
    assert [(one.asked, one.code, one.version, one.bill.total_fen) for one in priced] == [
        (later, "hourly", 2, 1400),
        (first, "hourly", 1, 1000),
    ]
    assert priced[1].tariff_id == place.published.tariff_id


def test_a_lot_without_a_tariff_charges_nothing_and_says_that_it_has_none(place: Place) -> None:
    bare = ToPrice(lot_id=add_lot(place.db, "L2"), vehicle=CAR, entered_at=EIGHT, exited_at=EIGHT + HOUR)
    (priced,) = price_visits(place.db, [bare], EIGHT)
    assert (priced.tariff_id, priced.code, priced.version) == (None, None, None)
    assert (priced.bill.total_fen, priced.lines()) == (0, [])


def test_who_is_inside_is_priced_until_now_and_clocks_that_disagree_make_no_negative_stay(place: Place) -> None:
    inside = ToPrice(lot_id=place.lot, vehicle=CAR, entered_at=EIGHT)
    assert place.total(inside, place.stay(-0.02), now=EIGHT + 1.5 * HOUR) == [1000, 0]


def test_lines_go_to_the_ledger_as_json_and_come_back(place: Place) -> None:
    (priced,) = price_visits(place.db, [place.stay()], EIGHT)
    lines = priced.lines()
    assert json.loads(json.dumps(lines)) == lines
    assert lines[0] == {
        "rule": "rate.hour.0",
        "from": "2026-11-23T08:00:00+08:00",
        "until": "2026-11-23T10:00:00+08:00",
        "units": 2,
        "unit_price_fen": 500,
        "amount_fen": 1000,
        "text": {"zh": priced.bill.lines[0].text_zh, "en": priced.bill.lines[0].text_en},
    }
    assert [charge_lines.from_record(line) for line in lines] == list(priced.bill.lines)


def test_a_permit_that_expires_mid_stay_covers_until_then(place: Place) -> None:
    place.permit(CAR, ends=3)
    assert place.total(place.stay(5), place.stay(5, OTHER)) == [1000, 2500]


def test_a_permit_with_windows_covers_the_night_and_charges_the_day(place: Place) -> None:
    """EIGHT is a Monday morning; a holiday that the district declares opens the permit all day."""
    night = {"days": ["workday"], "from": "18:00", "until": "08:00"}
    off = {"days": ["weekend", "holiday"], "from": "00:00", "until": "24:00"}
    place.permit(CAR, windows=parse_schedule({"windows": [night, off]}))
    assert place.total(place.stay(12), place.stay(2, begins=EIGHT - 3 * HOUR), place.stay(25)) == [5000, 0, 5500]
    declared = PriceDesk(WorkCalendar({EIGHT.date(): DayKind.HOLIDAY}))
    (free,) = price_visits(place.db, [place.stay(12)], EIGHT + 99 * HOUR, declared)
    assert free.bill.total_fen == 0
    place.permit(CAR, OTHER, code="FAMILY", begins=-10, ends=2)
    assert place.total(place.stay(12)) == [4000]


def test_windows_that_cannot_be_read_any_more_are_said_with_their_permit(place: Place) -> None:
    place.permit(CAR)
    place.db.execute("""UPDATE permits SET windows = '{"windows": "always"}'""")
    with pytest.raises(InvalidInputError, match="Permit 'P1' cannot be read any more"):
        place.total(place.stay())


def test_of_two_vehicles_of_one_permit_the_second_pays_until_the_first_leaves(place: Place) -> None:
    place.permit(CAR, OTHER)
    first, second = place.visit(0, 2), place.visit(1, 5, OTHER)
    stays = [place.stay(2, visit_id=first), place.stay(4, OTHER, EIGHT + HOUR, visit_id=second)]
    assert place.total(*stays) == [0, 500]


def test_a_stay_that_ended_unseen_holds_no_slot_and_one_that_runs_does(place: Place) -> None:
    place.permit(CAR, OTHER)
    place.visit(-1, None, CAR, state="missing_exit")
    assert place.total(place.stay(2, OTHER)) == [0]
    place.visit(-1, None, CAR)
    assert place.total(place.stay(2, OTHER)) == [1000]


def test_who_holds_a_slot_is_found_through_permits_that_share_plates(place: Place) -> None:
    """The first car has a permit of its own, so the shared slot is free for the second; it pays when that ends."""
    place.permit(CAR, OTHER, code="FAMILY")
    place.permit(CAR, code="OWN", ends=3)
    place.visit(0, 9)
    assert place.total(place.stay(5, OTHER, EIGHT + HOUR)) == [1500]


def test_a_permit_of_another_lot_covers_nothing(place: Place) -> None:
    add_lot(place.db, "L2")
    span = EIGHT - 9 * HOUR, EIGHT + 9 * HOUR
    assert permits.add_permit(place.db, ListedPermit("P2", "L2", "resident", *span, 1, (CAR,)))
    assert place.total(place.stay()) == [1000]


def give(place: Place, code: str, kind: CouponKind, value: int, *, hours: float = 100, lot: str | None = None) -> None:
    coupon = Coupon(kind, value, code)
    until = EIGHT + timedelta(hours=hours)
    assert permits.add_coupon(place.db, coupon, lot=lot, plate=CAR, valid_until=until)


def test_one_coupon_a_visit_the_one_that_ends_first_and_only_once(place: Place) -> None:
    give(place, "LATER", CouponKind.AMOUNT, 400, hours=50)
    give(place, "SOON", CouponKind.AMOUNT, 300, hours=5)
    give(place, "TOO-SOON", CouponKind.AMOUNT, 900, hours=1)  # before the exit
    visit = place.visit(0, 2)
    (priced,) = price_visits(place.db, [place.stay(visit_id=visit)], EIGHT + 2 * HOUR)
    assert (priced.bill.total_fen, priced.coupons) == (700, ("SOON",))
    assert use_coupons(place.db, [priced]) == ["SOON"]
    assert use_coupons(place.db, [priced]) == []
    again, other = price_visits(
        place.db, [place.stay(visit_id=visit), place.stay(begins=EIGHT + 3 * HOUR)], EIGHT + 9 * HOUR
    )
    assert (again.bill.total_fen, again.coupons) == (700, ("SOON",)), "priced again it keeps its coupon"
    assert (other.bill.total_fen, other.coupons) == (600, ("LATER",))


def test_a_coupon_of_another_lot_or_a_free_stay_is_not_used(place: Place) -> None:
    add_lot(place.db, "L2")
    give(place, "THERE", CouponKind.AMOUNT, 400, lot="L2")
    assert price_visits(place.db, [place.stay()], EIGHT)[0].coupons == ()
    give(place, "HERE", CouponKind.PERCENT, 50, lot="L1")
    place.permit(CAR)
    (free,) = price_visits(place.db, [place.stay()], EIGHT)
    assert (free.bill.total_fen, free.coupons) == (0, ())


def test_a_coupon_that_a_visit_no_longer_uses_is_its_drivers_again(place: Place) -> None:
    give(place, "C-1", CouponKind.AMOUNT, 300)
    visit, later = place.visit(0, 2), place.visit(5, 6)
    use_coupons(place.db, price_visits(place.db, [place.stay(visit_id=visit)], EIGHT))
    again = place.stay(1, begins=EIGHT + 5 * HOUR, visit_id=later)
    assert price_visits(place.db, [again], EIGHT)[0].coupons == ()
    assert use_coupons(place.db, [], void=[visit]) == []
    use_coupons(place.db, price_visits(place.db, [again], EIGHT))
    assert place.total(again) == [200]
    place.permit(CAR)  # found late: the stay was free
    use_coupons(place.db, price_visits(place.db, [again], EIGHT))
    assert place.db.execute("SELECT visit_id FROM coupons").fetchall() == [(None,)]


@pytest.fixture
def rolling(place: Place) -> Place:
    """12 yuan at most in 24 hours, earlier stays counted."""
    cap = {"over": "rolling", "hours": 24, "max_fen": 1200}
    binding = Binding(EIGHT + timedelta(seconds=1), ["L1"])
    publish_tariff(place.db, hourly(plan={"caps": [cap]}), binding, EIGHT)
    return place


def test_what_earlier_stays_paid_counts_by_their_newest_charge(rolling: Place) -> None:
    earlier = rolling.visit(1, 2)
    tariff = price_visits(rolling.db, [rolling.stay(begins=EIGHT + HOUR)], EIGHT)[0].tariff_id
    add_charge(rolling.db, earlier, tariff, 9900)
    add_charge(rolling.db, earlier, tariff, 500, version=2)
    stay = rolling.stay(3, begins=EIGHT + 3 * HOUR)
    assert rolling.total(stay) == [700]
    assert rolling.total(rolling.stay(3, OTHER, begins=EIGHT + 3 * HOUR)) == [1200]


def test_earlier_stays_under_another_tariff_do_not_count(rolling: Place) -> None:
    other = publish_tariff(rolling.db, hourly("other"), None, EIGHT)
    add_charge(rolling.db, rolling.visit(1, 2), other.tariff_id, 500)
    assert rolling.total(rolling.stay(3, begins=EIGHT + 3 * HOUR)) == [1200]


def test_a_batch_that_holds_several_stays_of_a_vehicle_prices_them_in_the_order_of_entry(rolling: Place) -> None:
    spans = [(1, 2), (3, 4), (5, 7)]
    visits = [rolling.visit(*span) for span in spans]
    stays = [
        rolling.stay(ends - begins, begins=EIGHT + begins * HOUR, visit_id=visit)
        for (begins, ends), visit in zip(spans, visits, strict=True)
    ]
    assert rolling.total(stays[2], stays[0], stays[1]) == [200, 500, 500]


def test_a_visit_that_is_priced_again_is_not_its_own_earlier_stay(rolling: Place) -> None:
    visit = rolling.visit(1, 4)
    stay = rolling.stay(3, begins=EIGHT + HOUR, visit_id=visit)
    add_charge(rolling.db, visit, price_visits(rolling.db, [stay], EIGHT)[0].tariff_id, 1200)
    assert rolling.total(stay) == [1200]


def test_who_paid_and_leaves_within_the_grace_owes_nothing_more(place: Place) -> None:
    binding = Binding(EIGHT + HOUR, ["L1"])
    publish_tariff(place.db, hourly(grace_minutes=15), binding, EIGHT)
    paid = (Payment(EIGHT + 2.9 * HOUR, 1000),)
    begins = EIGHT + HOUR
    graced, late = price_visits(
        place.db, [place.stay(2.1, begins=begins, payments=paid), place.stay(2.5, begins=begins, payments=paid)], EIGHT
    )
    assert (graced.bill.total_fen, graced.bill.due_fen) == (1000, 0)
    assert (late.bill.total_fen, late.bill.due_fen) == (1500, 500)


def test_plates_on_duty_and_colours_reach_the_tariff(place: Place) -> None:
    green = {
        "name": "new",
        "label_zh": "半价",
        "label_en": "half",
        "percent": 50,
        "caps": "same",
        "plate_colors": ["green"],
    }
    binding = Binding(EIGHT + HOUR, ["L1"])
    publish_tariff(place.db, hourly(exempt=["police", "fire"], vehicles=[green]), binding, EIGHT)
    begins = EIGHT + HOUR
    stays = [
        place.stay(begins=begins, vehicle="苏B1234警"),
        place.stay(begins=begins, vehicle="苏X1234应急"),
        place.stay(begins=begins, plate_color="green"),
        place.stay(begins=begins, plate_color="plain_green"),
        place.stay(begins=begins, plate_color="unknown"),
        place.stay(begins=begins, vehicle="unplated:7"),
    ]
    assert place.total(*stays) == [0, 0, 500, 1000, 1000, 1000]


def test_a_version_that_cannot_be_read_any_more_is_named(place: Place) -> None:
    place.db.execute("INSERT INTO tariffs (code, version, document) VALUES ('old', 3, '{\"format\": \"gone\"}')")
    place.db.execute("INSERT INTO lot_tariffs SELECT %s, %s, max(id) FROM tariffs", (place.lot, EIGHT))
    with pytest.raises(InvalidInputError, match=r"old version 3 cannot be read any more"):
        price_visits(place.db, [place.stay()], EIGHT)


def test_a_desk_asks_for_a_version_once(place: Place) -> None:
    desk = PriceDesk()
    for _ in range(3):
        (priced,) = price_visits(place.db, [place.stay()], EIGHT, desk)
    assert priced.known is desk.look_up(place.db, [place.published.tariff_id])[place.published.tariff_id]


def test_five_hundred_stays_cost_one_look_at_the_tables(place: Place) -> None:
    place.permit(CAR, OTHER)
    wanted = [
        place.stay(1 + number % 30, f"苏B{number:05}" if number % 50 else CAR, EIGHT + timedelta(minutes=number))
        for number in range(500)
    ]
    desk = PriceDesk()
    price_visits(place.db, wanted[:1], EIGHT, desk)
    began = time.perf_counter()
    priced = price_visits(place.db, wanted, EIGHT + 99 * HOUR, desk)
    seconds = time.perf_counter() - began
    assert len(priced) == 500
    assert [one.asked for one in priced] == wanted
    assert seconds < 1.0, "0.03 s on the development machine"
