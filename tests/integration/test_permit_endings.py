"""Permits whose owner takes time back, whose holder breaks the terms, and their money."""

from __future__ import annotations

import contextlib
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from parking_core.errors import ConflictError
from parking_core.flows.end_reservation import end_reservation
from parking_core.flows.move_reservation import accommodate
from parking_core.flows.share_permits import (
    Watched,
    cars_outside_window,
    draw,
    end_for_owner,
    expire_permits,
    give_back,
    note_violation,
    refund_lost_elsewhere,
    resolve_draws,
    settle_permit_money,
    watch_permits,
    withdraw,
)
from parking_core.reservations import EventKind, PermitState, ViolationKind
from parking_core.sharing import Terms
from parking_core.store import reservations
from parking_core.store.permit_months import Violation
from tests.permit_town import DAY, TUESDAY, PermitTown
from tests.shared_town import EVENING, HOUR, ZONE

if TYPE_CHECKING:
    import psycopg

    from parking_core.flows.share_permits import Resolved, Settled
    from parking_core.share_permits import SharedPermit

_MIDNIGHT = datetime(2026, 11, 23, 16, tzinfo=UTC)  # the first moment of TUESDAY
_ALL = Terms(most_permits_permille=1000)
_OPENINGS = 31  # of the month from TUESDAY on: half a night, 29 nights or days, half a night


@pytest.fixture
def permits(db: psycopg.Connection[Any]) -> PermitTown:
    return PermitTown(db)


def _suspend(town: PermitTown, name: str, begins: datetime, hours: float, *, now: datetime = EVENING) -> Resolved:
    span = begins, begins + hours * HOUR
    return resolve_draws(town.db, town.offers, [town.classes[name]], *span, now=now, by="operator:o")


def _settle(town: PermitTown, now: datetime) -> Settled:
    return settle_permit_money(town.db, now, zone=ZONE, channel="hold:acq")


def _states(town: PermitTown, permit: SharedPermit) -> list[str]:
    return [state for *_, state in town.draws(permit)]


# --- the owner --------------------------------------------------------------------------------------------------------


def test_a_night_that_is_taken_back_is_moved_next_door(permits: PermitTown) -> None:
    permits.nights(1, terms=_ALL)
    permits.nights(1, terms=Terms(permit_fen_per_month=None))
    person, permit = permits.holder()
    assert _suspend(permits, "S01-A", EVENING + DAY + 3 * HOUR, 1).moved == 1
    assert _states(permits, permit)[:3] == ["drawn", "moved", "drawn"]
    [(lot, arrive, price, code)] = permits.rows("SELECT lot_id, arrive_at, price_fen, code FROM reservations")
    assert (lot, arrive, price) == (permits.lots["S02"], EVENING + DAY, 0)
    assert permits.standing(code).plate == permit.plate
    assert permits.notices(person)[-1] == "permit_opening_moved"
    permits.check_law()
    again = _suspend(permits, "S01-A", EVENING + DAY + 3 * HOUR, 1)
    assert (again.moved, again.refunded) == (0, 0)


def test_a_weekend_is_moved_as_one_stay_or_opening_by_opening(permits: PermitTown) -> None:
    permits.nights(1, terms=_ALL)
    permits.nights(1, terms=Terms(permit_fen_per_month=None))
    permits.holder()
    friday = EVENING + 4 * DAY
    offer = permits.offers.of(permits.db, EVENING)
    buffer = timedelta(minutes=offer.buffers(offer.lots[0], friday + 62 * HOUR).guest_min)
    assert _suspend(permits, "S01-A", friday, 62).moved == 3
    assert permits.rows("SELECT arrive_at, depart_at FROM reservations") == [(friday, friday + 62 * HOUR - buffer)]
    guest = permits.person("g", "苏B55555")
    permits.granted(guest, 11 * 24 + 16, 2, lot="S02")  # a Saturday of the week after, from 10:00 on
    done = _suspend(permits, "S01-A", friday + 7 * DAY, 62)
    assert (done.moved, done.refunded) == (2, 1)
    permits.check_law()


def test_what_cannot_be_moved_is_refunded_by_openings(permits: PermitTown) -> None:
    permits.nights(1, terms=_ALL)
    person, permit = permits.holder()
    charged = _settle(permits, _MIDNIGHT)
    assert charged.charged_fen == 20_000
    assert permits.money() == {"preauthorised:acq": 20_000, "revenue:S01": -6_000, "owner_payable:S01": -14_000}
    assert _suspend(permits, "S01-A", EVENING + DAY, 38).refunded == 2
    assert _states(permits, permit)[:4] == ["drawn", "refunded", "refunded", "drawn"]
    assert permits.notices(person)[-1] == "permit_opening_refunded"
    back = round(20_000 * 2 / _OPENINGS)
    assert _settle(permits, _MIDNIGHT + HOUR).refunded_fen == back
    assert _settle(permits, _MIDNIGHT + 2 * HOUR).refunded_fen == 0
    assert permits.money()["preauthorised:acq"] == 20_000 - back
    permits.check_law()


def test_an_opening_that_runs_lasts_until_the_owner_needs_the_space(permits: PermitTown) -> None:
    permits.nights(1, terms=_ALL)
    _, permit = permits.holder(first_day=TUESDAY - DAY)
    done = _suspend(permits, "S01-A", EVENING + 5 * HOUR, 2, now=EVENING + HOUR)
    assert (done.moved, done.refunded) == (0, 1)
    assert permits.draws(permit)[:2] == [
        (EVENING, EVENING + 5 * HOUR, "drawn"),
        (EVENING + 5 * HOUR, EVENING + 14 * HOUR, "refunded"),
    ]
    permits.check_law()


def test_a_night_that_is_lost_elsewhere_too_is_refunded(permits: PermitTown) -> None:
    permits.nights(1, terms=_ALL)
    permits.nights(1, terms=Terms(permit_fen_per_month=None))
    permits.nights(1, terms=Terms(permit_fen_per_month=None))
    person, permit = permits.holder()
    _suspend(permits, "S01-A", EVENING + DAY, 14)
    [(first,)] = permits.rows("SELECT id FROM reservations")
    out = frozenset({permits.classes["S01-A"]})
    assert accommodate(permits.db, permits.offers, first, EVENING, by="worker", cause="suspension", not_in=out)
    assert refund_lost_elsewhere(permits.db, permits.offers, EVENING) == 0
    [(number,)] = permits.rows("SELECT id FROM reservations WHERE state = 'granted'")
    with permits.db.transaction():
        moved = reservations.lock(permits.db, number)
        end_reservation(permits.db, moved, EventKind.WITHDRAWN, EVENING, by="worker", cause="suspension")
    assert refund_lost_elsewhere(permits.db, permits.offers, EVENING) == 1
    assert refund_lost_elsewhere(permits.db, permits.offers, EVENING) == 0
    assert _states(permits, permit)[1] == "refunded"
    assert permits.notices(person)[-1] == "permit_opening_refunded"
    assert _settle(permits, _MIDNIGHT).charged_fen == 20_000 - round(20_000 / _OPENINGS)


def test_an_owner_who_ends_the_agreement_pays_for_what_had_not_begun(permits: PermitTown) -> None:
    permits.nights(4, terms=Terms(approve_permits=True))
    asked = permits.apply(permits.driver(9))
    permits.db.execute("UPDATE sharing_agreements SET terms = terms || '{\"approve_permits\": false}'")
    person, permit = permits.holder()
    _settle(permits, _MIDNIGHT)
    at = EVENING + 10 * DAY + HOUR  # in the night from Thursday to Friday
    classes = [permits.classes["S01-A"]]
    assert end_for_owner(permits.db, classes, at, by="operator:o", cause="termination", zone=ZONE) == 2
    assert end_for_owner(permits.db, classes, at, by="operator:o", cause="termination", zone=ZONE) == 0
    assert permits.now(asked).state is PermitState.REFUSED
    assert permits.now(permit).state is PermitState.ENDED_BY_OWNER
    states = _states(permits, permit)
    assert states == ["drawn"] * 11 + ["refunded"] * (_OPENINGS - 11)
    [(covered,)] = permits.rows("SELECT valid_until FROM permits WHERE code = %s", permit.code)
    assert covered == EVENING + 10 * DAY + 14 * HOUR  # the car inside may stay until the night is over
    back = round(20_000 * (_OPENINGS - 11) / _OPENINGS)
    assert _settle(permits, at).refunded_fen == back
    assert permits.money()["preauthorised:acq"] == 20_000 - back
    assert permits.notices(person)[-1] == "permit_ended_by_owner"
    permits.check_law()


def test_what_was_moved_is_not_given_back_too(permits: PermitTown) -> None:
    permits.nights(1, terms=_ALL)
    permits.nights(1, terms=Terms(permit_fen_per_month=None))
    _, permit = permits.holder()
    _settle(permits, _MIDNIGHT)
    at = EVENING + 10 * DAY + HOUR
    _suspend(permits, "S01-A", at + DAY, 1000, now=at)
    states = _states(permits, permit)
    kept = states[11:].count("moved")
    assert states[:11] == ["drawn"] * 11
    assert kept > 10
    end_for_owner(permits.db, [permits.classes["S01-A"]], at, by="o", cause="termination", zone=ZONE)
    assert _settle(permits, at).refunded_fen == round(20_000 * (_OPENINGS - 11 - kept) / _OPENINGS)
    permits.check_law()


# --- violations -------------------------------------------------------------------------------------------------------


def _violate(town: PermitTown, permit: SharedPermit, number: int, now: datetime = EVENING) -> bool:
    found = Violation(
        key=f"v{number}",
        user_id=permit.user_id,
        kind=ViolationKind.OVERSTAY,
        at=now,
        shared_permit_id=permit.id,
        detail={"late_min": 70},
    )
    with town.db.transaction():
        return note_violation(town.db, found, now, zone=ZONE)


def test_more_than_three_violations_end_a_permit(permits: PermitTown) -> None:
    permits.nights(2)
    person, permit = permits.holder(months=2)
    _settle(permits, _MIDNIGHT)
    at = EVENING + 3 * DAY + HOUR
    for number in (1, 2, 3):
        assert _violate(permits, permit, number, at)
        assert not _violate(permits, permit, number, at)
    assert permits.now(permit).state is PermitState.ACTIVE
    assert _violate(permits, permit, 4, at)
    ended = permits.now(permit)
    assert (ended.state, ended.ended_at) == (PermitState.CANCELLED, at)
    states = _states(permits, permit)
    assert states[:4] == ["drawn"] * 4
    assert set(states[4:]) == {"given_back"}
    assert permits.notices(person)[-2:] == ["violation", "permit_cancelled"]
    told = permits.rows("SELECT count(*)::int FROM commands WHERE kind = 'forget_vehicle'")
    assert told == [(states.count("given_back"),)]
    assert _settle(permits, at + 40 * DAY) == type(_settle(permits, at))()  # kept, and no further month
    permits.check_law()
    assert _violate(permits, permit, 5, at)
    refused = permits.apply(person, first_day=TUESDAY + 5 * DAY, now=at)
    assert permits.history(refused)[-1].detail["reason"] == "suspended_person"


def test_a_violation_without_a_permit_is_the_persons(permits: PermitTown) -> None:
    person = permits.driver(1)
    found = Violation(key="v", user_id=person.id, kind=ViolationKind.NO_SHOW, at=EVENING, detail={"reservation": "R-1"})
    with permits.db.transaction():
        assert note_violation(permits.db, found, EVENING, zone=ZONE)
        assert not note_violation(permits.db, found, EVENING, zone=ZONE)
    assert permits.notices(person) == ["violation"]


def _inside(town: PermitTown, permit: SharedPermit, entered_at: datetime) -> None:
    row = town.rows(
        "INSERT INTO lane_events (device_id, lot_id, record_no, event, source, occurred_at, received_at, plate, plate_color,"
        " vehicle_class, vehicle, flags, payload, digest) VALUES (%s, %s, 1, 'entry', 'anpr', %s, %s, %s, 'blue', 1, %s,"
        " '{}', '', %s) RETURNING id",
        town.lanes["S01"],
        permit.lot_id,
        entered_at,
        entered_at,
        permit.plate,
        permit.plate,
        b"x" * 32,
    )
    town.db.execute(
        "INSERT INTO visits (lot_id, vehicle, state, entry_event_id, entered_at, matters_until)"
        " VALUES (%s, %s, 'open', %s, %s, %s)",
        (permit.lot_id, permit.plate, row[0][0], entered_at, entered_at),
    )


def test_a_car_that_stays_when_the_windows_close_is_found_once_a_closing(permits: PermitTown) -> None:
    permits.nights(2)
    _, permit = permits.holder()
    _inside(permits, permit, EVENING + DAY + HOUR)
    closes, grace = EVENING + DAY + 14 * HOUR, timedelta(minutes=10)

    def found(at: datetime) -> list[Violation]:
        return cars_outside_window(permits.db, at, zone=ZONE, grace=grace)

    assert found(closes - HOUR) == []
    assert found(closes + timedelta(minutes=9)) == []
    first = found(closes + grace)
    assert [(each.at, each.kind) for each in first] == [(closes, ViolationKind.OUTSIDE_WINDOW)]
    assert [each.key for each in found(closes + 3 * HOUR)] == [first[0].key]
    assert found(closes + 11 * HOUR) == []  # the next night
    assert found(closes + DAY + HOUR)[0].key != first[0].key


def test_a_car_that_comes_to_an_opening_that_was_given_back_is_found(permits: PermitTown) -> None:
    permits.nights(2)
    person, permit = permits.holder()
    give_back(permits.db, person.id, permit.code, EVENING + DAY, EVENING)
    entered = EVENING + DAY + HOUR
    _inside(permits, permit, entered)
    found = cars_outside_window(permits.db, entered + HOUR, zone=ZONE, grace=HOUR)
    assert [each.at for each in found] == [entered]


# --- money ------------------------------------------------------------------------------------------------------------


def test_months_are_held_ahead_and_taken_when_they_begin(permits: PermitTown) -> None:
    permits.nights(2)
    _, permit = permits.holder(months=2)
    assert _settle(permits, _MIDNIGHT - HOUR).charged_fen == 0
    assert _settle(permits, _MIDNIGHT).charged_fen == 20_000
    assert _settle(permits, _MIDNIGHT).charged_fen == 0
    turn = datetime(2026, 12, 23, 16, tzinfo=UTC)
    assert _settle(permits, turn - 4 * DAY).held == 0
    assert _settle(permits, turn - 3 * DAY).held == 1
    assert _settle(permits, turn - 2 * DAY).held == 0
    assert _settle(permits, turn).charged_fen == 20_000
    keys = permits.rows("SELECT key FROM journal ORDER BY id")
    assert keys == [(f"permit:{permit.code}:2026-11",), (f"permit:{permit.code}:2026-12",)]
    assert permits.money()["owner_payable:S01"] == -28_000
    assert _settle(permits, turn + 40 * DAY).held == 0


def test_permits_that_cost_nothing_move_no_money(permits: PermitTown) -> None:
    permits.nights(2, terms=Terms(permit_fen_per_month=0))
    permits.holder()
    assert _settle(permits, _MIDNIGHT).charged_fen == 0
    assert permits.rows("SELECT FROM holds") == []


def test_the_worker_does_what_is_due_once(permits: PermitTown) -> None:
    permits.nights(2)
    person, permit = permits.holder()
    _inside(permits, permit, EVENING + DAY + HOUR)
    at = EVENING + DAY + 14 * HOUR
    assert watch_permits(permits.db, permits.offers, at + 59 * HOUR / 60) == Watched(charged_fen=20_000)
    assert watch_permits(permits.db, permits.offers, at + HOUR) == Watched(violations=1)
    assert not watch_permits(permits.db, permits.offers, at + 2 * HOUR).anything
    assert permits.notices(person)[-1] == "violation"
    permits.db.execute("UPDATE visits SET state = 'closed'")
    assert watch_permits(permits.db, permits.offers, permit.valid_until) == Watched(ended=1)
    assert permits.now(permit).state is PermitState.EXPIRED


# --- the law ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_permits_and_reservations_together_never_exceed_what_is_offered(  # noqa: C901  # one arm for each thing that can happen
    permits: PermitTown, seed: int
) -> None:
    chance = random.Random(seed)
    permits.nights(3, 2, terms=Terms(most_permits_permille=700), days=10)
    permits.nights(2, terms=_ALL, days=10)
    known: list[tuple[Any, SharedPermit]] = []
    for number in range(60):
        now = EVENING + number * HOUR
        match chance.choice(
            ("permit", "permit", "stay", "stay", "stay", "back", "withdraw", "suspend", "violate", "end")
        ):
            case "permit":
                person = permits.driver(number)
                lot = chance.choice(("S01", "S02"))
                permit = permits.apply(person, now=now, lot=lot, first_day=(now + DAY).astimezone(ZONE).date())
                known += [(person, permit)] if permit.state is PermitState.ACTIVE else []
            case "stay":
                guest = permits.person(f"g{number}", f"苏B6{number:04}")
                ask = permits.ask(guest, number + chance.randrange(1, 100), chance.randrange(1, 30))
                permits.reserve(guest, ask, now=now)
            case "back" if known:
                person, permit = chance.choice(known)
                with contextlib.suppress(ConflictError):  # over, begun, or closed then
                    give_back(permits.db, person.id, permit.code, now + chance.randrange(1, 90) * HOUR, now)
            case "withdraw" if known:
                person, permit = known.pop(chance.randrange(len(known)))
                if permits.now(permit).state is PermitState.ACTIVE:
                    withdraw(permits.db, person.id, permit.code, now, zone=ZONE)
            case "suspend":
                _suspend(permits, chance.choice(("S01-A", "S01-B", "S02-A")), now + 3 * HOUR, 20, now=now)
            case "violate" if known:
                for each in range(4):
                    _violate(permits, known[-1][1], 10 * number + each, now)
            case "end" if number > 50:
                end_for_owner(permits.db, [permits.classes["S02-A"]], now, by="o", cause="termination", zone=ZONE)
            case _:
                with permits.db.transaction():
                    draw(permits.db, list(permits.classes.values()), now, zone=ZONE)
        permits.check_law()
    _nothing_is_left_open(permits)


def _nothing_is_left_open(town: PermitTown) -> None:
    """Every draw that was moved has its reservation, no permit that is over has openings to come, here or elsewhere."""
    assert town.rows("SELECT FROM permit_draws WHERE state = 'moved' AND reservation_id IS NULL") == []
    assert town.rows("SELECT FROM permit_draws WHERE state = 'drawn' AND reservation_id IS NOT NULL") == []
    elsewhere = """
        SELECT FROM permit_draws d JOIN shared_permits s ON s.id = d.shared_permit_id
        JOIN reservations r ON r.id = d.reservation_id
        WHERE s.state IN ('withdrawn', 'cancelled') AND r.state = 'granted' AND r.arrive_at > s.ended_at"""
    assert town.rows(elsewhere) == []
    assert (
        town.rows(
            "SELECT FROM permit_draws d JOIN shared_permits s ON s.id = d.shared_permit_id"
            " WHERE s.state <> 'active' AND d.state = 'drawn' AND d.since > s.ended_at"
        )
        == []
    )
    assert town.rows("SELECT FROM permit_months WHERE lost_fen > price_fen OR refunded_fen > lost_fen") == []
    far = EVENING + 400 * DAY
    expire_permits(town.db, far, zone=ZONE)
    _settle(town, far)
    assert town.rows("SELECT FROM shared_permits WHERE state IN ('applied', 'active')") == []
    assert sum(town.money().values()) == 0
