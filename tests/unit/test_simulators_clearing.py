"""A clearing centre that is started again goes on where it was, and one with short days keeps to the calendar."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from parking_core.clearing.envelope import Parties
from parking_core.clearing.packages import TransactionPackage, TransactionRecord, write_package
from simulators import clearing_wire as wire
from simulators.clearing_books import CentreBooks, Habits
from simulators.clearing_centre import ClearingCentre
from simulators.clearing_memory import CentreMemory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ZONE = ZoneInfo("Asia/Shanghai")
DAY = date(2026, 5, 4)
TODAY = datetime.now(ZONE).date()
DISPUTES_ALL = Habits(disputed=1.0, bad_debt=0.0)
PARTIES = Parties(sender=wire.PLATFORM)


def a_record(serial: int, amount_fen: int = 1_000) -> TransactionRecord:
    return TransactionRecord(
        occurred_at=datetime(2026, 5, 4, 4, tzinfo=UTC),
        amount_fen=amount_fen,
        terminal_no="320100000001",
        terminal_serial=f"{serial:08X}",
        tac="1A2B3C4D",
        trade_type="09",
        algorithm=1,
        card_network="3201",
        card_no=f"3201{serial:016d}",
        card_type="22",
        card_plate="苏B12345",
        balance_before_fen=5_000,
        balance_after_fen=5_000 - amount_fen,
        obu_id="3401000000000001",
        obu_plate="苏B12345",
        vehicle_class=1,
        reference=f"P01-{serial}",
        lot_name="P01",
        park_minutes=60,
    )


def a_package(number: int, *serials: int, day: date = DAY) -> bytes:
    records = tuple(a_record(serial) for serial in serials)
    return write_package(TransactionPackage(number, day, records), PARTIES, ZONE)


def kinds(messages: list[tuple[int, bytes]]) -> list[tuple[str, str, str | None]]:
    """Class, type and content of each."""
    found = [wire.class_of(message) for _, message in messages]
    return [(one, other, root.find("Body").get("ContentType")) for one, other, root in found]  # type: ignore[union-attr]  # every message has a body


@contextlib.asynccontextmanager
async def a_centre(path: Path, habits: Habits) -> AsyncIterator[ClearingCentre]:
    centre = ClearingCentre(habits, memory=CentreMemory(path))
    try:
        yield centre
    finally:
        await centre.stop()


async def send(centre: ClearingCentre, number: int, message: bytes) -> bool:
    """One package over the wire; gives the transport's reply. What the centre sends beside it is not answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", await centre.start())
    writer.write(wire.frame(number, message))
    content: wire.Content = b""
    while not isinstance(content, bool):
        _, content = await asyncio.wait_for(wire.read(reader, {number}), 10)
    writer.close()
    return content


def test_a_centre_that_is_started_again_knows_its_books_and_what_it_has_not_told(tmp_path: Path) -> None:
    path, habits = tmp_path / "centre" / "books.journal", Habits(disputed=0.3, seed=4)

    async def first() -> dict[str, object]:
        async with a_centre(path, habits) as centre:
            assert await send(centre, 7, a_package(7, *range(1, 21)))
            centre.publish({("card", "C1"): 3, ("card", "C2"): 1})
            centre.publish({("card", "C1"): None})
            centre.end_day()
            return centre.books.summary()

    async def second() -> None:
        async with a_centre(path, habits) as centre:
            assert centre.books.summary() == before
            assert kinds([(number, waiting.message) for number, waiting in centre._outbox.items()]) == [
                ("6", "7", "1"),
                ("5", "5", "1"),
                ("5", "9", "1"),
                ("5", "9", "2"),
                ("5", "5", "2"),
            ]
            assert await send(centre, 7, a_package(7, *range(1, 21)))
            assert centre.resends == 1, "it has the package already"
            for number in list(centre._outbox):
                centre._taken(number, taken=True)

    async def third() -> None:
        async with a_centre(path, habits) as centre:
            assert centre.idle
            assert centre.books.listed == {("card", "C2"): 1}

    before = asyncio.run(first())
    assert before["open_disputes"]
    asyncio.run(second())
    with path.open("a", encoding="utf-8") as journal:
        journal.write('{"package": 8, "resu')  # the power failed
    asyncio.run(third())
    assert path.read_text("utf-8").endswith("}\n")


def test_a_refused_package_stays_refused(tmp_path: Path) -> None:
    path = tmp_path / "books.journal"

    async def scenario() -> None:
        async with a_centre(path, Habits(refused={4: 1.0})) as centre:
            await send(centre, 7, a_package(7, 1))
        async with a_centre(path, Habits()) as again:
            assert again.books.verdicts == {7: 4}
            assert again.books.judge(7, a_package(7, 1)) == 4

    asyncio.run(scenario())


def test_without_a_path_nothing_is_kept() -> None:
    memory = CentreMemory()
    memory.note(taken=1)
    assert memory.read() == []


def test_days_that_have_dates_decide_after_two_and_give_totals_at_once() -> None:
    books = CentreBooks(DISPUTES_ALL, DAY)
    assert books.judge(7, a_package(7, 1, 2)) == 1
    assert kinds(books.end_day()) == [("5", "5", "2")]
    assert kinds(books.end_day()) == [("5", "7", "2"), ("5", "5", "2")]
    assert books.today == DAY + timedelta(days=2)
    assert len(books.paid) == 2
    assert not books.open_disputes


def test_short_days_keep_to_the_calendar_and_tell_totals_when_the_date_is_over() -> None:
    books = CentreBooks(DISPUTES_ALL, TODAY)
    books.judge(7, a_package(7, 1, day=TODAY))
    assert books.end_day(TODAY) == []
    books.judge(8, a_package(8, 2, day=TODAY))
    assert kinds(books.end_day(TODAY)) == [("5", "7", "2")], "the dispute of two short days ago"
    (decided,) = books.end_day(TODAY)
    assert f"<FileId>{TODAY:%Y%m%d}2</FileId>".encode() in decided[1], "two files of one date have two names"
    assert books.end_day(TODAY) == []
    assert kinds(books.end_day(TODAY + timedelta(days=1))) == [("5", "5", "2")]
    assert books.total(TODAY) == (2, 2_000)
    assert books.end_day(TODAY + timedelta(days=1)) == []


def test_versions_of_status_lists_sort_by_time() -> None:
    books = CentreBooks(Habits(), DAY)
    now = datetime(2026, 5, 4, 4, tzinfo=UTC)
    versions = []
    for place in range(12):
        books.publish({("card", str(place)): 1}, now)
        versions.append(books.version or "")
    books.end_day()
    books.publish({("card", "x"): 1}, now)
    versions.append(books.version or "")
    assert versions == sorted(set(versions))
    assert (versions[0], versions[-1]) == ("2026050400001", "2026050500001")
