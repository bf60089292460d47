"""Packages, bookkeeping, disputes and totals against a real database: each thing once, whatever is repeated or reordered."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from parking_core.clearing.results import PackageResult
from parking_core.errors import NotFoundError
from parking_core.flows.clear_transactions import UNREADABLE, Received, receive
from parking_core.flows.pack_transactions import (
    NOT_CLEARED_AFTER,
    find_not_cleared,
    pack_ready,
    release_package,
    take_due_packages,
)
from simulators import clearing_wire as wire
from simulators.clearing_books import CentreBooks, Habits
from tests.integration.clearing_rows import (
    DAY,
    NOW,
    PARTIES,
    a_lane,
    add_ready,
    balances,
    open_differences,
    states,
)
from tests.integration.money_rows import ZONE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

pytestmark = pytest.mark.services
LATER = NOW + timedelta(minutes=5)
A_DAY = timedelta(days=1)


@pytest.fixture
def store(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def books(**habits: Any) -> CentreBooks:
    return CentreBooks(Habits(**habits), DAY)


def pack(store: psycopg.Connection[Any], now: datetime = LATER, **more: Any) -> list[int]:
    return pack_ready(store, now, zone=ZONE, parties=PARTIES, **more)


def tell(store: psycopg.Connection[Any], message: tuple[int, bytes], now: datetime = LATER) -> Received:
    return receive(store, *message, now, zone=ZONE, parties=PARTIES)


def respond(store: psycopg.Connection[Any], centre: CentreBooks, package: int, result: int) -> Received:
    number = centre.number()
    return tell(store, (number, wire.response(number, package, result)))


def send_all(store: psycopg.Connection[Any], centre: CentreBooks, now: datetime = LATER) -> list[tuple[int, bytes]]:
    """Sends what is due until nothing is; gives the bookkeepings, which nobody has been told yet."""
    made = []
    while due := take_due_packages(store, now):
        for package in due:
            result = centre.judge(package.number, package.message)
            respond(store, centre, package.number, result)
            if result == 1:
                made.append(centre.bookkeeping(package.number))
    return made


def package_states(store: psycopg.Connection[Any]) -> dict[int, str]:
    return dict(store.execute("SELECT id, state FROM etc_packages ORDER BY id").fetchall())


def test_packages_are_full_or_five_minutes_old(store: psycopg.Connection[Any]) -> None:
    add_ready(store, a_lane(store), 250)
    assert len(pack(store, NOW + timedelta(minutes=1))) == 2
    assert pack(store, NOW + timedelta(minutes=4)) == []
    assert len(pack(store, LATER)) == 1
    rows = store.execute("SELECT records, state, clearing_day, amount_fen FROM etc_packages ORDER BY id").fetchall()
    assert [row[:3] for row in rows] == [(100, "packed", DAY), (100, "packed", DAY), (50, "packed", DAY)]
    assert sum(row[3] for row in rows) == sum(range(101, 351))
    assert states(store) == {"packed": 250}
    centre = books()
    send_all(store, centre)
    assert centre.refusals == []
    assert set(centre.verdicts.values()) == {1}


def test_what_has_no_visit_yet_waits(store: psycopg.Connection[Any]) -> None:
    add_ready(store, a_lane(store), 2)
    store.execute("UPDATE etc_transactions SET visit_id = NULL WHERE id = 1")
    pack(store, everything=True)
    assert states(store) == {"packed": 1, "ready": 1}


def test_a_package_goes_again_until_it_is_answered_and_is_the_same_each_time(store: psycopg.Connection[Any]) -> None:
    add_ready(store, a_lane(store), 3)
    (number,) = pack(store)
    (first,) = take_due_packages(store, LATER)
    assert take_due_packages(store, LATER + timedelta(seconds=29)) == []
    (second,) = take_due_packages(store, LATER + timedelta(seconds=30))
    assert first == second
    assert second.number == number
    assert take_due_packages(store, LATER + timedelta(seconds=89)) == []
    centre = books()
    respond(store, centre, number, 1)
    assert take_due_packages(store, LATER + 5 * A_DAY) == []


def test_a_lost_response_is_a_duplicate_that_is_booked_once(store: psycopg.Connection[Any]) -> None:
    add_ready(store, a_lane(store), 3)
    pack(store)
    centre = books()
    (first,) = take_due_packages(store, LATER)
    assert centre.judge(first.number, first.message) == 1  # and the answer is lost
    (second,) = take_due_packages(store, LATER + timedelta(seconds=30))
    assert centre.judge(second.number, second.message) == 5
    assert respond(store, centre, second.number, 5).problem is None
    assert package_states(store) == {first.number: "accepted"}
    booked = centre.bookkeeping(first.number)
    assert tell(store, booked).result is PackageResult.ACCEPTED
    assert tell(store, booked).result is PackageResult.DUPLICATE
    assert tell(store, centre.bookkeeping(first.number)).result is PackageResult.ACCEPTED  # again, under another number
    respond(store, centre, first.number, 1)  # a response that comes last changes nothing
    assert package_states(store) == {first.number: "booked"}
    assert states(store) == {"booked": 3}
    assert sum(fen for code, fen in balances(store).items() if code == "etc_clearing") == 306
    assert open_differences(store) == {}


def test_bookkeeping_disputes_decisions_and_totals_end_without_a_fen_unexplained(
    store: psycopg.Connection[Any],
) -> None:
    added = add_ready(store, a_lane(store), 300)
    pack(store)
    centre = books(disputed=0.1, seed=3)
    for message in send_all(store, centre):
        tell(store, message)
    disputed = len(centre.open_disputes)
    assert disputed > 10
    assert states(store) == {"booked": 300 - disputed, "disputed": disputed}
    assert len(open_differences(store)) == disputed
    held = balances(store)
    assert held["etc_clearing"] + held["etc_disputed"] == sum(one.amount_fen for one in added)
    for _ in range(3):
        for message in centre.end_day():
            assert tell(store, message).result is PackageResult.ACCEPTED
    truth = centre.summary()
    assert balances(store) == {
        "bank": truth["paid"]["amount_fen"],
        "bad_debt:P01": truth["lost"]["amount_fen"],
        "receivable:P01": -sum(one.amount_fen for one in added),
    }
    assert states(store) == {"booked": truth["paid"]["records"], "bad_debt": truth["lost"]["records"]}
    ended = {state for state, _ in open_differences(store).values()}
    assert ended == {"settled", "written_off"}


@pytest.mark.parametrize("seed", range(4))
def test_any_order_and_any_repetition_end_in_the_same_books(store: psycopg.Connection[Any], seed: int) -> None:
    added = add_ready(store, a_lane(store), 320)
    pack(store)
    centre = books(disputed=0.05, refused={3: 0.2, 4: 0.2, 8: 0.1}, seed=seed)
    messages = list[tuple[int, bytes]]()
    while due := take_due_packages(store, LATER):  # responses at once, so that halves are made; all else is shuffled
        for package in due:
            result = centre.judge(package.number, package.message)
            respond(store, centre, package.number, result)
            messages += [centre.bookkeeping(package.number)] if result == 1 else []
    for _ in range(4):
        messages += centre.end_day()
    for repeated in messages[::3]:
        messages.append(repeated)
    random.Random(seed).shuffle(messages)
    for message in messages:
        tell(store, message)
    assert centre.refusals == []
    truth, found = centre.summary(), balances(store)
    assert found.get("bank", 0) == truth["paid"]["amount_fen"]
    assert found.get("bad_debt:P01", 0) == truth["lost"]["amount_fen"]
    held = dict(store.execute("SELECT id, amount_fen FROM etc_packages WHERE state = 'held'").fetchall())
    assert found.get("etc_clearing", 0) == sum(held.values())  # single records that the centre refuses: named, and open
    assert found.get("etc_disputed", 0) == 0
    opened = {key: fen for key, (state, fen) in open_differences(store).items() if state == "open"}
    assert opened == {f"package_refused:{number}": fen for number, fen in held.items()}
    assert sum(found.values()) == 0
    assert found["receivable:P01"] == -sum(one.amount_fen for one in added)
    assert store.execute("SELECT count(*) FROM clearing_messages WHERE applied_at IS NULL").fetchone() == (0,)


def test_a_record_that_makes_its_package_refused_ends_alone_and_the_others_are_booked(
    store: psycopg.Connection[Any],
) -> None:
    add_ready(store, a_lane(store), 20)
    store.execute("UPDATE etc_transactions SET tac = '0A0B0C' WHERE id = 13")
    pack(store)
    centre = books()
    for message in send_all(store, centre):
        tell(store, message)
    assert states(store) == {"booked": 19, "packed": 1}
    ((held,),) = store.execute("SELECT id FROM etc_packages WHERE state = 'held'").fetchall()
    known = open_differences(store)
    assert known[f"package_refused:{held}"] == ("open", 113)
    assert {state for key, (state, _) in known.items() if key != f"package_refused:{held}"} == {"explained"}
    assert all("TAC" in why for why in centre.refusals)
    store.execute("UPDATE etc_transactions SET tac = '0A0B0C0D' WHERE id = 13")
    (again,) = release_package(store, held, LATER, zone=ZONE, parties=PARTIES)
    for message in send_all(store, centre):
        tell(store, message)
    assert states(store) == {"booked": 20}
    assert package_states(store)[again] == "booked"
    assert open_differences(store)[f"package_refused:{held}"] == ("explained", 113)
    with pytest.raises(NotFoundError, match="only a held one"):
        release_package(store, held, LATER, zone=ZONE, parties=PARTIES)


@pytest.mark.parametrize("result", [2, 7])
def test_a_wrong_setting_lets_the_same_package_wait_an_hour(store: psycopg.Connection[Any], result: int) -> None:
    add_ready(store, a_lane(store), 2)
    (number,) = pack(store)
    take_due_packages(store, LATER)
    centre = books()
    respond(store, centre, number, result)
    assert package_states(store) == {number: "packed"}
    assert open_differences(store) == {f"package_refused:{number}": ("open", 203)}
    assert take_due_packages(store, LATER + timedelta(minutes=59)) == []
    (again,) = take_due_packages(store, LATER + timedelta(hours=1))
    assert again.number == number
    respond(store, centre, number, 1)
    assert open_differences(store) == {f"package_refused:{number}": ("settled", 203)}


def test_advice_declined_waits_for_a_person(store: psycopg.Connection[Any]) -> None:
    add_ready(store, a_lane(store), 2)
    (number,) = pack(store)
    take_due_packages(store, LATER)
    respond(store, books(), number, 6)
    assert package_states(store) == {number: "held"}
    assert take_due_packages(store, LATER + A_DAY) == []


def test_what_comes_too_early_waits_and_is_applied_after(store: psycopg.Connection[Any]) -> None:
    add_ready(store, a_lane(store), 2)
    pack(store)
    centre = books(disputed=1.0, bad_debt=0.0)
    (booked,) = send_all(store, centre)
    days = [message for _ in range(2) for message in centre.end_day()]
    received = [tell(store, message) for message in days]
    waits = [one for one in received if one.problem]
    assert [one.kind for one in waits] == ["DisputeDecisions"]
    assert "has not come" in str(waits[0].problem)
    assert [one.result for one in received if one.kind == "ClearingTotals"] == [
        PackageResult.ACCEPTED,
        PackageResult.TOTALS,
    ]
    assert states(store) == {"packed": 2}
    tell(store, booked)
    assert states(store) == {"booked": 2}
    found = open_differences(store)
    assert {state for state, _ in found.values()} == {"settled"}
    assert balances(store)["bank"] == 203
    assert "etc_clearing" not in balances(store)


def test_a_total_that_is_not_ours_is_named_and_its_correction_settles_it(store: psycopg.Connection[Any]) -> None:
    add_ready(store, a_lane(store), 3)
    (number,) = pack(store)
    centre = books()
    for message in send_all(store, centre):
        tell(store, message)
    wrong = centre.number()
    result = tell(store, (wrong, wire.totals(wrong, DAY, (2, 204), [number, 999], [])))
    assert result.result is PackageResult.TOTALS
    key = f"clearing_total:{DAY}:1"
    assert open_differences(store) == {key: ("open", 102)}
    ((detail,),) = store.execute("SELECT detail FROM differences").fetchall()
    assert detail["packages_only_theirs"] == [999]
    assert balances(store)["etc_clearing"] == 102  # exactly what the difference explains
    right = centre.number()
    assert tell(store, (right, wire.totals(right, DAY, (3, 306), [number], []))).result is PackageResult.ACCEPTED
    assert open_differences(store) == {key: ("settled", 102)}
    assert balances(store)["bank"] == 306
    assert "etc_clearing" not in balances(store)


def test_what_is_not_cleared_in_time_is_named_until_it_is(store: psycopg.Connection[Any]) -> None:
    add_ready(store, a_lane(store), 3)
    (number,) = pack(store)
    assert find_not_cleared(store, NOW + NOT_CLEARED_AFTER, zone=ZONE) == 0
    late = NOW + NOT_CLEARED_AFTER + A_DAY
    assert find_not_cleared(store, late, zone=ZONE) == 1
    centre = books()
    for message in send_all(store, centre, late):
        tell(store, message)
    assert find_not_cleared(store, late, zone=ZONE) == 1  # booked, and its day is not paid
    for message in centre.end_day():
        tell(store, message)
    assert find_not_cleared(store, late, zone=ZONE) == 0
    assert open_differences(store) == {f"not_cleared:{number}": ("settled", 306)}


def test_decisions_that_contradict_are_told_and_change_nothing(store: psycopg.Connection[Any]) -> None:
    add_ready(store, a_lane(store), 2)
    (package,) = pack(store)
    centre = books(disputed=1.0, bad_debt=0.0)
    for message in send_all(store, centre):
        tell(store, message)
    first, second, third = centre.number(), centre.number(), centre.number()
    assert tell(store, (first, wire.decisions(first, "20260506", {package: [(1, 0, 101)]}))).problem is None
    again = tell(store, (second, wire.decisions(second, "20260507", {package: [(1, 0, 101)]})))
    assert again.problem is None
    other = tell(
        store, (third, wire.decisions(third, "20260508", {package: [(1, 1, 101), (9, 0, 1)], 777: [(1, 0, 1)]}))
    )
    assert other.result is PackageResult.CONTENT
    assert other.problem == (
        f"record 1 of package {package} is booked; record 9 of package {package} is unknown; record 1 of package 777 is unknown"
    )
    assert states(store) == {"booked": 1, "disputed": 1}


def test_nothing_that_is_not_ours_changes_anything(store: psycopg.Connection[Any]) -> None:
    centre = books()
    number = centre.number()
    assert "none of our packages" in str(respond(store, centre, 4711, 1).problem)
    assert "none of our packages" in str(respond(store, centre, 5 * 10**18, 1).problem)
    unknown = wire.bookkeeping(number, 4711, [wire.Sent(("t", "1"), 1, "")], {})
    assert "none of ours" in str(tell(store, (number, unknown)).problem)


def test_unreadable_messages_are_kept_and_a_mended_one_of_the_same_number_counts(
    store: psycopg.Connection[Any],
) -> None:
    add_ready(store, a_lane(store), 1)
    (package,) = pack(store)
    take_due_packages(store, LATER)
    good = wire.response(50, package, 1)
    broken = tell(store, (50, good.replace(b"<Result>1", b"<Result>x")))
    assert (broken.kind, broken.result) == (UNREADABLE, PackageResult.SCHEMA)
    assert broken.answer is not None
    assert wire.class_of(broken.answer[1])[2].findtext("Body/Result") == "3"
    assert tell(store, (50, good)).result is PackageResult.ACCEPTED
    assert package_states(store) == {package: "accepted"}
    other = tell(store, (50, wire.response(50, package, 4)))
    assert other.result is PackageResult.CONTENT
    assert package_states(store) == {package: "accepted"}
    assert tell(store, (51, good)).result is PackageResult.HEADER  # the frame's number is not the message's
    rows = store.execute("SELECT kind, repeats FROM clearing_messages ORDER BY id").fetchall()
    assert rows == [("Response", 2), (UNREADABLE, 0)]
