"""Status lists: versions that build on each other, what lanes are told and confirm, and old transactions explained."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parking_core.clearing.status_lists import Fit, Medium, StatusEntry, StatusList
from parking_core.flows import apply_status_list as flow
from parking_core.flows.apply_status_list import Told, apply_status_list, tell_lanes
from parking_core.flows.pack_transactions import pack_ready
from parking_core.store import status_lists
from tests.integration.clearing_rows import NOW, PARTIES, TERMINAL, a_lane, add_ready
from tests.integration.money_rows import ZONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onebox.services import RunningServices

pytestmark = pytest.mark.services
HOUR = timedelta(hours=1)


@pytest.fixture
def store(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def card(number: str, reason: int | None = 1) -> StatusEntry:
    return StatusEntry(Medium.CARD, number, reason)


def a_list(version: str, base: str | None, *entries: StatusEntry, at: Any = NOW) -> StatusList:
    return StatusList(version, base, at, entries)


def listed(store: psycopg.Connection[Any], version: str) -> dict[str, int | None]:
    return {entry.number: entry.reason for entry in status_lists.entries(store, version)}


def answer(store: psycopg.Connection[Any], state: str) -> None:
    """What the lane says of the command that waits."""
    store.execute(
        "UPDATE commands SET state = %s, ended_at = %s WHERE state IN ('queued', 'sent')", (state, NOW + HOUR)
    )


def commands_of(store: psycopg.Connection[Any]) -> list[tuple[str, dict[str, Any]]]:
    return store.execute("SELECT state, payload FROM commands ORDER BY created_at, cause").fetchall()


def test_full_and_incremental_lists_build_on_each_other_and_every_version_can_be_told_again(
    store: psycopg.Connection[Any],
) -> None:
    assert apply_status_list(store, a_list("V1", None, card("a"), card("b", 4)), NOW) is Fit.APPLIES
    assert apply_status_list(store, a_list("V2", "V1", card("a", None), card("c", 2)), NOW) is Fit.APPLIES
    assert apply_status_list(store, a_list("V3", "V2", card("b", 5)), NOW) is Fit.APPLIES
    assert apply_status_list(store, a_list("V4", None, card("a"), card("c", 2)), NOW) is Fit.APPLIES
    assert listed(store, "V1") == {"a": 1, "b": 4}
    assert listed(store, "V2") == {"b": 4, "c": 2}
    assert listed(store, "V3") == {"b": 5, "c": 2}
    assert listed(store, "V4") == {"a": 1, "c": 2}
    changes = store.execute("SELECT version, changes FROM status_lists ORDER BY version").fetchall()
    assert changes == [("V1", 2), ("V2", 1), ("V3", 1), ("V4", 1)]


def test_the_worker_s_own_login_may_take_lists_over_tell_lanes_and_pack(
    store: psycopg.Connection[Any], services: RunningServices, database_url: str
) -> None:
    add_ready(store, a_lane(store), 1)
    own = urlsplit(services.database_urls["worker"])._replace(path=urlsplit(database_url).path)
    with psycopg.connect(urlunsplit(own), autocommit=True) as worker:
        assert apply_status_list(worker, a_list("V1", None, card("a")), NOW) is Fit.APPLIES
        assert apply_status_list(worker, a_list("V2", "V1", card("a", None)), NOW) is Fit.APPLIES
        assert tell_lanes(worker, NOW) == Told(queued=1)
        answer(store, "acknowledged")
        assert tell_lanes(worker, NOW + HOUR) == Told()
        assert len(pack_ready(worker, NOW, zone=ZONE, parties=PARTIES, everything=True)) == 1


def test_a_gap_changes_nothing_and_what_is_old_is_passed_over(store: psycopg.Connection[Any]) -> None:
    assert apply_status_list(store, a_list("V2", "V1", card("a")), NOW) is Fit.GAP
    apply_status_list(store, a_list("V2", None, card("a")), NOW)
    assert apply_status_list(store, a_list("V4", "V3", card("b")), NOW) is Fit.GAP
    assert apply_status_list(store, a_list("V2", "V1", card("b")), NOW) is Fit.OLD
    assert apply_status_list(store, a_list("V1", None, card("b")), NOW) is Fit.OLD
    assert status_lists.current(store) == "V2"
    assert listed(store, "V2") == {"a": 1}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([None, 1, 2]), max_size=4), min_size=1, max_size=6
    ),
    st.data(),
)
def test_a_delta_brings_a_lane_of_any_version_between_to_the_newest(
    store: psycopg.Connection[Any], steps: list[dict[str, int | None]], data: st.DataObject
) -> None:
    store.execute("TRUNCATE status_lists, status_entries CASCADE")
    truth, states = dict[str, int](), list[dict[str, int]]()
    for number, step in enumerate(steps):
        full = number == 0 or data.draw(st.booleans())
        if full:
            truth = {key: reason for key, reason in step.items() if reason is not None}
            entries = [card(key, reason) for key, reason in truth.items()]
        else:
            truth = {key: reason for key, reason in (truth | step).items() if reason is not None}
            entries = [card(key, reason) for key, reason in step.items()]
        apply_status_list(store, a_list(f"V{number}", None if full else f"V{number - 1}", *entries), NOW)
        states.append(dict(truth))
    newest = f"V{len(states) - 1}"
    for number, state in enumerate(states):
        assert listed(store, f"V{number}") == state
        delta = {entry.number: entry.reason for entry in status_lists.entries(store, newest, f"V{number}")}
        for between in states[number:]:
            assert {key: reason for key, reason in (between | delta).items() if reason is not None} == truth


def test_a_lane_is_told_all_first_and_then_what_changed_since_it_confirmed(store: psycopg.Connection[Any]) -> None:
    lane = a_lane(store)
    assert tell_lanes(store, NOW).queued == 0  # there is no list yet
    apply_status_list(store, a_list("V1", None, card("a"), card("b")), NOW)
    assert tell_lanes(store, NOW).queued == 1
    assert tell_lanes(store, NOW).queued == 0
    assert commands_of(store) == [
        ("queued", {"version": "V1", "base": None, "entries": [["card", "a", 1], ["card", "b", 1]]})
    ]
    answer(store, "acknowledged")
    apply_status_list(store, a_list("V2", "V1", card("a", None), card("c", 3)), NOW)
    assert tell_lanes(store, NOW + HOUR).queued == 1
    state, body = commands_of(store)[-1]
    assert (state, body) == (
        "queued",
        {"version": "V2", "base": "V1", "entries": [["card", "a", None], ["card", "c", 3]]},
    )
    (told,) = status_lists.lanes(store)
    assert (told.device_id, told.told, told.confirmed, told.confirmed_at) == (lane, "V2", "V1", NOW + HOUR)
    answer(store, "acknowledged")
    assert tell_lanes(store, NOW + HOUR).queued == 0
    (told,) = status_lists.lanes(store)
    assert told.confirmed == "V2"


def test_a_newer_list_supersedes_one_that_is_on_its_way_from_the_same_base(store: psycopg.Connection[Any]) -> None:
    a_lane(store)
    apply_status_list(store, a_list("V1", None, card("a")), NOW)
    tell_lanes(store, NOW)
    answer(store, "acknowledged")
    apply_status_list(store, a_list("V2", "V1", card("b")), NOW)
    tell_lanes(store, NOW)
    apply_status_list(store, a_list("V3", "V2", card("b", None)), NOW)
    assert tell_lanes(store, NOW + HOUR).queued == 1
    assert [state for state, _ in commands_of(store)] == ["acknowledged", "superseded", "queued"]
    assert commands_of(store)[-1][1] == {"version": "V3", "base": "V1", "entries": [["card", "b", None]]}


@pytest.mark.parametrize("end", ["refused", "timed_out"])
def test_a_lane_that_did_not_take_a_delta_gets_the_full_list(store: psycopg.Connection[Any], end: str) -> None:
    a_lane(store)
    apply_status_list(store, a_list("V1", None, card("a")), NOW)
    tell_lanes(store, NOW)
    answer(store, "acknowledged")
    apply_status_list(store, a_list("V2", "V1", card("b")), NOW)
    tell_lanes(store, NOW)
    answer(store, end)
    assert tell_lanes(store, NOW + HOUR).queued == 1
    assert commands_of(store)[-1][1]["base"] is None
    assert len(commands_of(store)[-1][1]["entries"]) == 2
    answer(store, "acknowledged")
    assert tell_lanes(store, NOW + HOUR).queued == 0
    (told,) = status_lists.lanes(store)
    assert (told.confirmed, told.attempts) == ("V2", 2)


def test_lanes_that_are_not_in_use_are_told_nothing(store: psycopg.Connection[Any]) -> None:
    a_lane(store)
    store.execute("UPDATE lanes SET active = false")
    apply_status_list(store, a_list("V1", None, card("a")), NOW)
    assert tell_lanes(store, NOW).queued == 0


def test_a_transaction_under_an_old_version_stays_explainable(store: psycopg.Connection[Any]) -> None:
    lane = a_lane(store)
    add_ready(store, lane, 3)
    store.execute("UPDATE lane_events SET status_list_version = 'V1', occurred_at = %s", (NOW,))
    apply_status_list(store, a_list("V1", None, card("card2"), at=NOW - 3 * HOUR), NOW)
    apply_status_list(store, a_list("V2", "V1", card("card1", 4), at=NOW - HOUR), NOW)
    apply_status_list(store, a_list("V3", "V2", card("card1", None), at=NOW + HOUR), NOW)

    def explained(serial: int) -> list[str]:
        return [one.sentence() for one in status_lists.explain(store, TERMINAL, f"{serial:08x}")]

    assert explained(1) == [
        "listed (account overdrawn) since version V2, the lane had V1",
        "not listed in version V2",
    ]
    assert explained(2)[0] == "listed (lost) since version V1, and the lane had V1: it should have refused"
    assert explained(3) == ["not listed in version V2"] * 2
    assert status_lists.explain(store, TERMINAL, "unknown") == []
    unknown_lane = status_lists.status_of(store, "card1", NOW)
    assert unknown_lane.sentence().endswith("the lane did not say its version")
    assert status_lists.status_of(store, "card1", NOW + 2 * HOUR).sentence() == "not listed in version V3"
    assert status_lists.status_of(store, "card1", NOW - 9 * HOUR).sentence() == "no list had been published"


def test_events_whose_card_or_obu_the_lane_itself_had_listed_are_flagged(store: psycopg.Connection[Any]) -> None:
    add_ready(store, a_lane(store), 4)
    store.execute("UPDATE lane_events SET status_list_version = 'V1'")
    store.execute("UPDATE lane_events SET status_list_version = NULL WHERE card_no = 'card4'")
    apply_status_list(
        store, a_list("V1", None, card("card2", 6), StatusEntry(Medium.OBU, "obu3", 105), card("card4")), NOW
    )
    apply_status_list(store, a_list("V2", "V1", card("card1")), NOW)
    ids = [row[0] for row in store.execute("SELECT id FROM lane_events ORDER BY id").fetchall()]
    found = status_lists.listed_at_lane(store, ids)
    assert {event: (listing.number, listing.meaning) for event, listing in found.items()} == {
        ids[1]: ("card2", "vehicle class does not match"),
        ids[2]: ("obu3", "restricted by the payment institution"),
    }
    assert status_lists.listed_at_lane(store, []) == {}


def test_transactions_carry_what_their_lanes_list_said_of_them(store: psycopg.Connection[Any]) -> None:
    lane = a_lane(store)
    add_ready(store, lane, 4)
    store.execute("UPDATE lane_events SET status_list_version = 'V1' WHERE card_no <> 'card4'")
    store.execute("UPDATE lane_events SET occurred_at = %s WHERE card_no = 'card3'", (NOW + 2 * HOUR,))
    store.execute("UPDATE etc_transactions SET reasons = '{plate_form}' WHERE id = 2")
    apply_status_list(store, a_list("V1", None, card("card2", 6), card("card4")), NOW)
    apply_status_list(store, a_list("V2", "V1", card("card1")), NOW)
    tell_lanes(store, NOW)
    answer(store, "acknowledged")  # an hour after NOW the lane has V2
    tell_lanes(store, NOW)
    pack_ready(store, NOW, zone=ZONE, parties=PARTIES, everything=True)
    assert [row[0] for row in store.execute("SELECT reasons FROM etc_transactions ORDER BY id").fetchall()] == [
        [],
        ["plate_form", "status_listed"],
        ["list_version_old"],
        [],
    ]
    told = store.execute("SELECT owner, visit_id, detail FROM differences WHERE name = 'check_failed' ORDER BY id")
    visits = [row[0] for row in store.execute("SELECT id FROM visits ORDER BY id").fetchall()]
    assert told.fetchall() == [
        ("district", visits[1], {"held": False, "reasons": ["status_listed"]}),
        ("district", visits[2], {"held": False, "reasons": ["list_version_old"]}),
    ]


def test_a_list_that_fits_no_command_leaves_lanes_as_they_are(
    store: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "MOST_ENTRIES", 2)
    a_lane(store)
    apply_status_list(store, a_list("V1", None, card("a"), card("b"), card("c")), NOW)
    assert tell_lanes(store, NOW) == Told(queued=0, too_large=1)
    assert commands_of(store) == []
    apply_status_list(store, a_list("V2", "V1", card("c", None)), NOW)
    assert tell_lanes(store, NOW) == Told(queued=1)
