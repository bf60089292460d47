"""Permits of shared lots: who gets one, what it takes, and how the operator and the holder change it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from parking_core.errors import ConflictError, InvalidInputError, NotFoundError
from parking_core.flows.share_permits import apply, approve, draw, expire_permits, give_back, refuse, withdraw
from parking_core.reservations import PermitState, ReservationState
from parking_core.sharing import Terms
from tests.permit_town import DAY, TUESDAY, PermitTown
from tests.shared_town import EVENING, HOUR, ZONE

if TYPE_CHECKING:
    from parking_core.share_permits import SharedPermit

_MIDNIGHT = datetime(2026, 11, 23, 16, tzinfo=UTC)  # the first moment of TUESDAY


@pytest.fixture
def permits(db: psycopg.Connection[Any]) -> PermitTown:
    return PermitTown(db)


def _refusal(town: PermitTown, permit: SharedPermit) -> dict[str, Any]:
    assert permit.state is PermitState.REFUSED
    last = town.history(permit)[-1]
    assert last.kind == "refused"
    return dict(last.detail)


def test_a_permit_draws_every_opening_and_brings_all_that_belongs_to_it(permits: PermitTown) -> None:
    permits.nights(2)
    person, permit = permits.holder()
    draws = permits.draws(permit)
    # what is left of Monday's night, Tuesday to Thursday nights, then Friday night, Saturday and Sunday
    assert [(since, until) for since, until, _ in draws[:6]] == [
        (_MIDNIGHT, EVENING + 14 * HOUR),
        *((EVENING + day * DAY, EVENING + day * DAY + 14 * HOUR) for day in (1, 2, 3, 4)),
        (EVENING + 4 * DAY + 14 * HOUR, EVENING + 5 * DAY + 14 * HOUR),
    ]
    assert {state for *_, state in draws} == {"drawn"}
    assert draws[-1][1] == permit.valid_until  # the last night ends with the permit, at midnight
    permits.check_law()
    assert permits.rows(
        "SELECT kind, slots, windows IS NOT NULL, valid_until FROM permits WHERE code = %s", permit.code
    ) == [("shared", 1, True, permit.valid_until)]
    told = permits.rows("SELECT kind, payload FROM commands ORDER BY payload ->> 'from'")
    assert len(told) == len(draws)
    assert told[1][1] == {
        "plate": permit.plate,
        "from": (EVENING + DAY).isoformat(),
        "until": (EVENING + DAY + 14 * HOUR).isoformat(),
        "reservation": f"{permit.code}/2026-11-24T10:00Z",
    }
    assert permits.rows("SELECT key, amount_fen, state FROM holds") == [(f"permit:{permit.code}", 20_000, "placed")]
    assert permits.notices(person) == ["permit_active"]


def test_the_same_key_gives_the_same_answer(permits: PermitTown) -> None:
    permits.nights(2)
    person = permits.driver(1)
    first = permits.apply(person, key="k")
    assert permits.apply(person, key="k") == first
    with pytest.raises(ConflictError, match="another application"):
        permits.apply(person, key="k", months=2)
    refused = permits.apply(person, key="k2")
    assert _refusal(permits, refused)["reason"] == "too_many_active"
    assert permits.apply(person, key="k2") == refused


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"plate": "苏B00000"}, "not one of yours"),
        ({"group": "patient"}, "not a member"),
        ({"months": 0}, "1 to 12 months"),
        ({"months": 13}, "1 to 12 months"),
        ({"lot": None}, "where you want to go"),
        ({"walk_m": 5}, "A walk is from"),
    ],
)
def test_what_cannot_be_an_application_says_why(permits: PermitTown, change: dict[str, Any], sentence: str) -> None:
    permits.nights(2)
    with pytest.raises(InvalidInputError, match=sentence):
        permits.apply(permits.driver(1), **change)
    assert permits.rows("SELECT FROM shared_permits") == []


def test_places_that_do_not_exist_are_named(permits: PermitTown) -> None:
    permits.nights(2)
    with pytest.raises(NotFoundError, match="'S99'"):
        permits.apply(permits.driver(1), lot="S99")
    with pytest.raises(NotFoundError, match="class 'Q'"):
        permits.apply(permits.driver(2), class_code="Q")


@pytest.mark.parametrize(
    ("terms", "change", "reason"),
    [
        (Terms(permit_fen_per_month=None), {}, "no_permits"),
        (Terms(eligible=("patient",)), {}, "not_eligible"),
        (Terms(most_permits_permille=400), {}, "permits_used_up"),
        (Terms(), {"first_day": TUESDAY - 2 * DAY}, "past"),
        (Terms(), {"first_day": TUESDAY + 40 * DAY}, "too_far_ahead"),
        (Terms(), {"lot": None, "lat": 31.7, "lon": 120.3}, "no_lot_nearby"),
    ],
)
def test_a_refusal_says_why(permits: PermitTown, terms: Terms, change: dict[str, Any], reason: str) -> None:
    permits.nights(2, terms=terms)
    refused = permits.apply(permits.driver(1), **change)
    assert _refusal(permits, refused)["reason"] == reason
    assert permits.rows("SELECT FROM holds") == []
    assert permits.rows("SELECT FROM permit_draws") == []


def test_a_part_of_the_spaces_stays_for_single_stays(permits: PermitTown) -> None:
    permits.nights(4)
    permits.nights(4)
    for number in (1, 2):
        permits.holder(number)
    refused = permits.apply(permits.driver(3))
    detail = _refusal(permits, refused)
    assert detail["reason"] == "permits_used_up"
    assert [(each["lot"], each["class"], each["price_fen_per_month"]) for each in detail["alternatives"]] == [
        ("S02", "A", 20_000)
    ]
    # the two permits do not overlap with one that begins when they are over
    later = permits.driver(4)
    assert permits.apply(later, first_day=TUESDAY + 30 * DAY).state is PermitState.ACTIVE


def test_openings_that_are_promised_already_are_named(permits: PermitTown) -> None:
    permits.nights(1, terms=Terms(most_permits_permille=1000))
    guest = permits.person("g", "苏B55555")
    stay = permits.ask(guest, 24, 1)
    assert permits.reserve(guest, stay).state is ReservationState.GRANTED
    refused = permits.apply(permits.driver(1))
    detail = _refusal(permits, refused)
    assert (detail["reason"], detail["full_openings"]) == ("full", 1)
    assert detail["full"] == [{"from": "2026-11-24T18:00+08:00", "until": "2026-11-25T08:00+08:00"}]
    permits.check_law()


def test_the_nearest_class_that_has_a_space_is_taken(permits: PermitTown) -> None:
    permits.nights(1, 4)
    permits.nights(4)
    place: dict[str, Any] = {"lot": None, "lat": 31.5, "lon": 120.3}
    taken = [permits.holder(number, **place)[1] for number in (1, 2, 3)]
    names = {number: name for name, number in permits.classes.items()}
    assert [names[permit.class_id or 0] for permit in taken] == ["S01-B", "S01-B", "S02-A"]


def test_two_applications_for_the_last_space_leave_one(permits: PermitTown, database_url: str) -> None:
    permits.nights(2)
    people = [permits.driver(number) for number in range(1, 7)]
    start, states = threading.Barrier(len(people)), list[PermitState]()

    def ask(number: int) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            start.wait()
            found = apply(
                connection, permits.offers, people[number], permits.permit_ask(people[number]), key="k", now=EVENING
            )
            states.append(found.state)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(people))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(states) == [PermitState.ACTIVE] + 5 * [PermitState.REFUSED]
    assert permits.rows("SELECT count(*)::int FROM holds") == [(1,)]
    permits.check_law()


def test_new_days_go_to_permits_first(permits: PermitTown) -> None:
    permits.nights(2, days=3)
    _, permit = permits.holder()
    assert len(permits.draws(permit)) == 3
    class_ids = [permits.classes["S01-A"]]
    with permits.db.transaction():
        assert draw(permits.db, class_ids, EVENING, zone=ZONE).drawn == 0
    permits.roll("S01-A", 2, 3, 4)
    with permits.db.transaction():
        assert draw(permits.db, class_ids, EVENING + 2 * HOUR, zone=ZONE).drawn == 4
    with permits.db.transaction():
        assert draw(permits.db, class_ids, EVENING + 3 * HOUR, zone=ZONE).drawn == 0
    assert len(permits.draws(permit)) == 7
    permits.check_law()


def test_an_opening_that_is_not_offered_any_more_is_refunded_and_told(permits: PermitTown) -> None:
    permits.nights(2, days=3)
    person, _ = permits.holder()
    closed = {**_nights(), "exceptions": {"2026-11-26": "closed"}}
    permits.roll("S01-A", 2, 3, 2, closed)
    with permits.db.transaction():
        done = draw(permits.db, [permits.classes["S01-A"]], EVENING, zone=ZONE)
    assert (done.drawn, done.lost) == (1, 1)
    assert permits.notices(person)[-1] == "permit_opening_refunded"
    [(lost,)] = permits.rows("SELECT lost_fen FROM permit_months")
    assert lost == round(20_000 / 31)  # half a night, 29 nights or days, and half a night
    permits.check_law()


def _nights() -> dict[str, Any]:
    return {
        "windows": [
            {"days": ["workday"], "from": "18:00", "until": "08:00"},
            {"days": ["weekend", "holiday"], "from": "00:00", "until": "24:00"},
        ]
    }


def test_the_operator_decides_where_the_terms_say_so(permits: PermitTown) -> None:
    permits.nights(4, terms=Terms(approve_permits=True))
    people = [permits.driver(number) for number in (1, 2, 3)]
    with pytest.raises(InvalidInputError, match="tomorrow"):
        permits.apply(people[0], first_day=TUESDAY - DAY)
    asked = [permits.apply(person) for person in people[:2]]
    assert {permit.state for permit in asked} == {PermitState.APPLIED}
    assert permits.rows("SELECT FROM permit_draws") == []
    assert _refusal(permits, permits.apply(people[2]))["reason"] == "permits_used_up"  # an application counts
    with pytest.raises(NotFoundError):
        approve(permits.db, permits.offers, permits.operator("op2"), asked[0].code, EVENING)
    staff = permits.operator()
    assert approve(permits.db, permits.offers, staff, asked[0].code, EVENING).state is PermitState.ACTIVE
    assert permits.now(asked[0]).state is PermitState.ACTIVE
    with pytest.raises(ConflictError, match="decided already"):
        approve(permits.db, permits.offers, staff, asked[0].code, EVENING)
    refuse(permits.db, permits.offers, staff, asked[1].code, EVENING, why="No disabled badge.")
    assert _refusal(permits, permits.now(asked[1])) == {"reason": "by_operator", "why": "No disabled badge."}
    assert permits.notices(people[1]) == ["permit_applied", "permit_refused"]
    assert dict(permits.rows("SELECT state, count(*)::int FROM holds GROUP BY state")) == {"placed": 1, "released": 1}
    permits.check_law()


def test_an_application_that_came_to_nothing_is_refused(permits: PermitTown) -> None:
    permits.nights(2, terms=Terms(approve_permits=True, most_permits_permille=1000))
    first, second = (permits.apply(permits.driver(number)) for number in (1, 2))
    for number in (1, 2):
        guest = permits.person(f"g{number}", f"苏B5555{number}")
        permits.reserve(guest, permits.ask(guest, 24, 1))
    found = approve(permits.db, permits.offers, permits.operator(), first.code, EVENING)
    assert _refusal(permits, found)["reason"] == "full"
    assert expire_permits(permits.db, _MIDNIGHT - HOUR, zone=ZONE) == 0
    assert expire_permits(permits.db, _MIDNIGHT, zone=ZONE) == 1
    assert _refusal(permits, permits.now(second))["reason"] == "not_decided"


def test_a_holder_who_does_not_come_gives_the_opening_to_others(permits: PermitTown) -> None:
    permits.nights(1, terms=Terms(most_permits_permille=1000))
    person, permit = permits.holder()
    guest = permits.person("g", "苏B55555")
    assert permits.reserve(guest, permits.ask(guest, 24, 1)).state is ReservationState.REFUSED
    given = give_back(permits.db, person.id, permit.code, EVENING + DAY + HOUR, EVENING)
    assert give_back(permits.db, person.id, permit.code, EVENING + DAY, EVENING) == given
    assert permits.reserve(guest, permits.ask(guest, 24, 1)).state is ReservationState.GRANTED
    assert permits.rows("SELECT payload FROM commands WHERE kind = 'forget_vehicle'")[0] == (
        {"reservation": f"{permit.code}/2026-11-24T10:00Z"},
    )
    with pytest.raises(ConflictError, match="has begun"):
        give_back(permits.db, person.id, permit.code, EVENING + 2 * DAY, EVENING + 2 * DAY + HOUR)
    with pytest.raises(ConflictError, match="no opening"):
        give_back(permits.db, person.id, permit.code, EVENING + DAY + 15 * HOUR, EVENING)
    with pytest.raises(NotFoundError):
        give_back(permits.db, guest.id, permit.code, EVENING + 2 * DAY, EVENING)
    permits.check_law()


def test_withdrawing_frees_what_comes_after_the_paid_month(permits: PermitTown) -> None:
    permits.nights(2, days=36)
    person, permit = permits.holder(months=3, first_day=TUESDAY - DAY)
    assert len(permits.draws(permit)) == 36
    shorter = withdraw(permits.db, person.id, permit.code, EVENING + DAY, zone=ZONE)
    assert shorter.valid_until == datetime(2026, 12, 22, 16, tzinfo=UTC)
    assert withdraw(permits.db, person.id, permit.code, EVENING + 2 * DAY, zone=ZONE) == permits.now(permit)
    left = [since for since, _, state in permits.draws(permit) if state == "drawn"]
    assert max(left) < shorter.valid_until
    assert permits.now(permit).state is PermitState.ACTIVE
    permits.check_law()
    assert expire_permits(permits.db, shorter.valid_until, zone=ZONE) == 1
    assert permits.now(permit).state is PermitState.WITHDRAWN
    assert permits.notices(person)[-1] == "permit_withdrawn"


def test_before_it_begins_a_permit_is_withdrawn_for_nothing(permits: PermitTown) -> None:
    permits.nights(2)
    person, permit = permits.holder()
    assert withdraw(permits.db, person.id, permit.code, EVENING, zone=ZONE).state is PermitState.WITHDRAWN
    assert {state for *_, state in permits.draws(permit)} == {"given_back"}
    assert permits.rows("SELECT state FROM holds") == [("released",)]
    permits.check_law()
    again = permits.apply(person, key="again")
    assert again.state is PermitState.ACTIVE


def test_a_permit_expires_and_is_renewed_by_applying_again(permits: PermitTown) -> None:
    permits.nights(2)
    person, permit = permits.holder()
    assert expire_permits(permits.db, permit.valid_until - timedelta(seconds=1), zone=ZONE) == 0
    assert expire_permits(permits.db, permit.valid_until, zone=ZONE) == 1
    assert expire_permits(permits.db, permit.valid_until, zone=ZONE) == 0
    assert permits.now(permit).state is PermitState.EXPIRED
    last = permit.valid_until.astimezone(ZONE).date()
    assert permits.apply(person, first_day=last, now=permit.valid_until).state is PermitState.ACTIVE
