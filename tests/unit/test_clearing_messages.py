"""Messages of the centre and packages: round trips, the simulator's reading of ours, and hostile input."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parking_core.clearing import documents, packages
from parking_core.clearing.documents import Fields, root_of, yuan
from parking_core.clearing.envelope import Envelope, Parties, head_of
from parking_core.clearing.messages import (
    Bookkeeping,
    ClearingTotals,
    Decision,
    DisputeDecisions,
    Response,
    StatusListMessage,
    read_message,
    write_list_request,
    write_response,
)
from parking_core.clearing.packages import (
    CHANGES,
    MOST_RECORDS,
    POLICIES,
    PackageState,
    TransactionPackage,
    TransactionRecord,
    customized_data,
    may_become,
    next_try_at,
    packages_of,
    read_package,
    write_package,
)
from parking_core.clearing.results import DISPUTE_REASONS, MessageError, PackageResult
from parking_core.clearing.status_lists import Medium, StatusEntry
from simulators import clearing_wire as wire

ZONE = ZoneInfo("Asia/Shanghai")
PARTIES = Parties()
DAY = date(2026, 5, 4)
NOW = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)


def a_record(serial: int = 1, **other: Any) -> TransactionRecord:
    facts: dict[str, Any] = {
        "occurred_at": NOW,
        "amount_fen": 1800,
        "terminal_no": "013200001234",
        "terminal_serial": f"{serial:08x}",
        "tac": "a1b2c3d4",
        "trade_type": "09",
        "algorithm": 1,
        "card_network": "3201",
        "card_no": "1030000000000558",
        "card_type": "23",
        "card_plate": "苏BT0001",
        "balance_before_fen": 1_999_921_682,
        "balance_after_fen": 1_999_919_882,
        "obu_id": "34010000080a830a",
        "obu_plate": "苏BT0001",
        "vehicle_class": 1,
        "reference": f"P01-{serial}",
        "lot_name": "Lot & <P01>",
        "park_minutes": 75,
    }
    return TransactionRecord(**(facts | other))


def a_package(count: int = 3, number: int = 17) -> TransactionPackage:
    return TransactionPackage(number, DAY, tuple(a_record(serial) for serial in range(1, count + 1)))


def test_the_tail_has_the_published_layout() -> None:
    tail = customized_data(a_record(), ZONE)
    assert tail == "a1b2c3d400000708090132000012340000000120260504180000000077345b0a773462120000"
    assert len(tail) == 76


def test_a_package_is_read_as_it_was_written() -> None:
    package = a_package()
    assert read_package(root_of(write_package(package, PARTIES, ZONE)), ZONE) == package


@given(
    st.lists(st.tuples(st.integers(0, 50_000), st.text(max_size=30)), min_size=1, max_size=5), st.integers(0, 10**18)
)
def test_any_texts_and_amounts_survive(rows: list[tuple[int, str]], number: int) -> None:
    records = tuple(
        a_record(serial, amount_fen=fen, lot_name=text, card_plate=text) for serial, (fen, text) in enumerate(rows)
    )
    read = read_package(root_of(write_package(TransactionPackage(number, DAY, records), PARTIES, ZONE)), ZONE)
    assert [one.amount_fen for one in read.records] == [fen for fen, _ in rows]
    assert read.amount_fen == sum(fen for fen, _ in rows)
    assert read.number == number


@given(st.text(), st.text())
def test_what_is_written_is_what_any_reader_reads(text: str, attribute: str) -> None:
    message = documents.start()
    documents.add(documents.child(message, "Body", About=attribute), Name=text, Empty="")
    body = ET.fromstring(documents.write(message)).find("Body")  # noqa: S314  # written a line above
    assert body is not None
    assert body.findtext("Name") == documents._NOT_XML.sub("?", text)
    assert body.get("About") == documents._NOT_XML.sub("?", attribute)
    assert body.findtext("Empty") == ""


def test_the_centre_reads_our_package_by_the_published_layout_alone() -> None:
    _, _, root = wire.class_of(write_package(a_package(100), PARTIES, ZONE))
    day, sent = wire.check_package(17, root)
    assert day == DAY
    assert sum(one.fen for one in sent) == 180_000
    assert len({one.key for one in sent}) == 100


@pytest.mark.parametrize(
    ("before", "after", "result"),
    [
        (b"<Count>3</Count>", b"<Count>4</Count>", 4),
        (b"<Amount>54.00</Amount>", b"<Amount>54.01</Amount>", 4),
        (b"<TransId>2</TransId>", b"<TransId>3</TransId>", 4),
        (b"<TerminalTransNo>00000002", b"<TerminalTransNo>00000001", 4),
        (b"<Fee>18.00</Fee>", b"<Fee>18,00</Fee>", 3),
        (b"<ClearTargetDate>2026-05-04", b"<ClearTargetDate>2026-13-04", 3),
        (b"<Version>00010000", b"<Version>00090000", 7),
    ],
)
def test_a_package_that_was_altered_is_refused_by_both_readers(before: bytes, after: bytes, result: int) -> None:
    message = write_package(a_package(), PARTIES, ZONE).replace(before, after, 1)
    with pytest.raises(MessageError) as ours:
        read_package(root_of(message), ZONE)
    assert ours.value.result == result
    if b"Serial" not in before and b"TerminalTransNo" not in before:  # there the tail contradicts first
        with pytest.raises(wire.RefusedError) as theirs:
            wire.check_package(17, wire.class_of(message)[2])
        assert theirs.value.result == result


@pytest.mark.parametrize("count", [0, packages.RECORD_LIMIT])
def test_a_package_has_one_to_9999_records(count: int) -> None:
    with pytest.raises(ValueError, match="records"):
        write_package(TransactionPackage(1, DAY, (a_record(),) * count), PARTIES, ZONE)


def test_messages_of_the_centre_are_read() -> None:
    sent = [wire.Sent(("t", str(serial)), 100 * serial, "") for serial in (1, 2, 3)]
    at = datetime(2026, 5, 4, 8, 0)  # noqa: DTZ001  # the wire has local times
    assert read_message(wire.response(1, 17, 5), ZONE) == Response(1, 17, PackageResult.DUPLICATE)
    assert read_message(wire.bookkeeping(2, 17, sent, {2: 100}), ZONE) == Bookkeeping(2, 17, 3, 400, {2: 100})
    assert read_message(wire.decisions(3, "202605061", {17: [(2, 1, 200)], 18: [(1, 0, 5)]}), ZONE) == DisputeDecisions(
        3, 202605061, date(2026, 5, 6), (Decision(17, 2, paid=False), Decision(18, 1, paid=True))
    )
    assert read_message(wire.totals(4, DAY, (2, 400), [17], ["202605041"]), ZONE) == ClearingTotals(
        4, DAY, 2, 400, frozenset({17}), frozenset({202605041})
    )
    listed = read_message(wire.status_list(5, "V2", "V1", at, [("card", "c&1", 4), ("obu", "o1", None)]), ZONE)
    assert isinstance(listed, StatusListMessage)
    assert (listed.content.version, listed.content.base) == ("V2", "V1")
    assert listed.content.published_at == datetime(2026, 5, 4, 0, 0, tzinfo=UTC)
    assert listed.content.entries == (StatusEntry(Medium.CARD, "c&1", 4), StatusEntry(Medium.OBU, "o1", None))


def test_every_published_dispute_reason_is_read_and_has_words() -> None:
    sent = [wire.Sent(("t", str(serial)), 1, "") for serial in range(18)]
    disputed = dict(enumerate(DISPUTE_REASONS, 1))
    read = read_message(wire.bookkeeping(2, 17, sent, disputed), ZONE)
    assert isinstance(read, Bookkeeping)
    assert read.disputed == disputed
    assert len(DISPUTE_REASONS) == 18


@pytest.mark.parametrize(
    ("message", "result"),
    [
        (b"", 3),
        (b"<Message>", 3),
        (b"\xff\xfe<\0M\0", 3),
        (b"<Other/>", 3),
        (b"<Message/>", 2),
        (wire.response(1, 17, 9), 3),
        (wire.response(1, 17, 1).replace(b"<Version>00010000", b"<Version>1"), 7),
        (wire.response(1, 17, 1).replace(b"<MessageClass>6", b"<MessageClass>3"), 2),
        (wire.bookkeeping(2, 17, [wire.Sent(("t", "1"), 1, "")], {2: 1}), 4),
        (wire.bookkeeping(2, 17, [wire.Sent(("t", "1"), 1, "")], {1: 1}).replace(b"Count>1</Dis", b"Count>2</Dis"), 4),
        (wire.decisions(3, "20261399", {17: [(1, 0, 1)]}), 3),
        (wire.decisions(3, "20260506", {17: [(1, 0, 1), (1, 1, 1)]}), 4),
        (wire.totals(4, DAY, (1, 1), [17, 17], []), 4),
        (wire.status_list(5, "V1", "V2", NOW, []), 4),
        (wire.status_list(5, "V2", "V1", NOW, [("card", "c", 101)]), 4),
        (wire.status_list(5, "V2", None, NOW, [("card", "c", None)]), 4),
        (wire.status_list(5, "V2", None, NOW, [("car", "c", 1)]), 3),
    ],
)
def test_what_cannot_be_used_says_which_result_the_centre_gets(message: bytes, result: int) -> None:
    with pytest.raises(MessageError) as refused:
        read_message(message, ZONE)
    assert refused.value.result == result


@pytest.mark.parametrize(
    "message",
    [
        b'<!DOCTYPE Message [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><Message>&b;</Message>',
        b'<!DOCTYPE Message SYSTEM "file:///etc/passwd"><Message/>',
        '<!DOCTYPE Message [<!ENTITY a "x">]><Message>&a;</Message>'.encode("utf-16"),
        b"<?xml version='1.0' encoding='utf-7'?>+ADwAIQ-DOCTYPE Message+AD4-<Message/>",
        b"<Message><![CDATA[x]]></Message>",
        b"<Message>&unknown;</Message>",
        b"<Message>" + b"<a/>" * 700_000 + b"</Message>",
        b"<Message>" + b" " * 16_000_001 + b"</Message>",
    ],
    ids=["growing", "external", "utf-16", "utf-7", "cdata", "unknown", "tags", "size"],
)
def test_hostile_documents_are_refused(message: bytes) -> None:
    with pytest.raises(MessageError):
        root_of(message)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(noise: bytes) -> None:
    with pytest.raises(MessageError):
        read_message(noise, ZONE)


@given(st.data())
def test_no_altered_message_raises_anything_else(data: st.DataObject) -> None:
    sent = [wire.Sent(("t", str(serial)), 100, "") for serial in (1, 2)]
    message = bytearray(
        data.draw(
            st.sampled_from(
                [
                    wire.response(1, 17, 1),
                    wire.bookkeeping(2, 17, sent, {1: 3}),
                    wire.decisions(3, "20260506", {17: [(1, 0, 1)]}),
                    wire.totals(4, DAY, (1, 1), [17], ["20260504"]),
                    wire.status_list(5, "V2", "V1", NOW, [("card", "c", 1)]),
                ]
            )
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    with suppress(MessageError):
        assert read_message(bytes(message), ZONE).number >= 0


def test_our_responses_and_requests_are_understood_by_the_centre() -> None:
    message_class, _, root = wire.class_of(
        write_response(9, Envelope("5", "5", 2), PackageResult.TOTALS, PARTIES, "2026-05-04T18:00:00")
    )
    assert (message_class, root.findtext("Body/MessageId"), root.findtext("Body/Result")) == ("6", "2", "8")
    assert head_of(Fields(root, "Message")).number == 9
    assert wire.class_of(write_list_request(7, PARTIES, NOW, ZONE))[:2] == ("1", "9")


@given(st.integers(-(10**14), 10**14))
def test_amounts_in_yuan_are_exact(fen: int) -> None:
    root = ET.Element("Body")
    ET.SubElement(root, "Amount").text = yuan(fen)
    assert Fields(root, "Body").fen("Amount") == fen


def test_packages_leave_full_or_after_five_minutes() -> None:
    fresh = [NOW - timedelta(minutes=1)] * 250
    assert packages_of(fresh, NOW) == [slice(0, 100), slice(100, 200)]
    assert packages_of(fresh, NOW + timedelta(minutes=4)) == [slice(0, 100), slice(100, 200), slice(200, 250)]
    assert packages_of(fresh[:99], NOW) == []
    assert packages_of([], NOW) == []
    assert packages_of([NOW, NOW - timedelta(minutes=5)], NOW) == [slice(0, 2)]  # whoever waits longest decides
    assert packages_of([NOW], NOW + timedelta(seconds=9), timedelta(seconds=10)) == []
    assert packages_of([NOW], NOW + timedelta(seconds=10), timedelta(seconds=10)) == [slice(0, 1)]


@given(st.lists(st.integers(0, 600), max_size=400))
def test_no_package_is_too_large_and_none_waits_too_long(ages: list[int]) -> None:
    waiting = [NOW - timedelta(seconds=age) for age in ages]
    cuts = packages_of(waiting, NOW)
    assert all(0 < len(waiting[cut]) <= MOST_RECORDS for cut in cuts)
    left = waiting[cuts[-1].stop if cuts else 0 :]
    assert len(left) < MOST_RECORDS
    assert all(NOW - one < packages.LONGEST_WAIT for one in left)


def test_resending_backs_off_to_an_hour() -> None:
    waits = [(next_try_at(NOW, tries) - NOW).total_seconds() for tries in (1, 2, 3, 8, 1000)]
    assert waits == [30, 60, 120, 3600, 3600]


def test_every_result_has_a_policy_and_every_state_an_end() -> None:
    assert set(POLICIES) == set(PackageResult)
    assert {state for state, after in CHANGES.items() if not after} == {PackageState.REFUSED, PackageState.BOOKED}
    assert may_become(PackageState.SENT, PackageState.BOOKED)
    assert not may_become(PackageState.REFUSED, PackageState.BOOKED)
