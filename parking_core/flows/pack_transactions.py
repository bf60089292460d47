"""Transactions that are ready become packages; packages are given out to be sent, and again until they are answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from parking_core.clearing.packages import (
    LONGEST_WAIT,
    MOST_RECORDS,
    PackageState,
    TransactionPackage,
    packages_of,
    write_package,
)
from parking_core.errors import NotFoundError
from parking_core.reconciliation import Difference, DifferenceName, DifferenceState
from parking_core.store import clearing, clearing_records, differences, etc_transactions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.clearing.envelope import Parties
    from parking_core.clearing.packages import TransactionRecord
    from parking_core.store.clearing import PackageRow

_MOST_AT_ONCE: Final = 50 * MOST_RECORDS  # of one transaction of the database
NOT_CLEARED_AFTER: Final = timedelta(days=5)  # a day is cleared within two working days, and a weekend may lie between


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A package to be sent: its number at the centre, and the message."""

    number: int
    message: bytes


def pack_ready(
    connection: Connection[Any],
    now: datetime,
    *,
    zone: ZoneInfo,
    parties: Parties,
    everything: bool = False,
    longest_wait: timedelta = LONGEST_WAIT,
) -> list[int]:
    """Packs what is ready: at most 100 records a package, the rest once its oldest has waited `longest_wait`.

    Args:
        connection: of the worker.
        now: aware; its local day is the packages' ClearTargetDate.
        zone: of local days and of the times in the message.
        parties: our number at the centre, and the centre's.
        everything: packs the rest at once, before a day or a run ends.
        longest_wait: 5 minutes at the centre.

    Returns:
        The numbers of the new packages; full batches of 5,000 mean that more may be ready.
    """
    with connection.transaction():
        waiting = clearing.ready(connection, _MOST_AT_ONCE)
        since = [now - max(longest_wait, timedelta(days=1)) if everything else at for _, at in waiting]
        ids = [transaction_id for transaction_id, _ in waiting]
        groups = [ids[cut] for cut in packages_of(since, now, longest_wait)]
        if not groups:
            return []
        flagged = clearing_records.flag(connection, [one for group in groups for one in group])
        differences.open_all(connection, _against_the_list(connection, flagged, zone))
        return _make(connection, groups, _Making(now.astimezone(zone).date(), now, zone, parties))


def _against_the_list(
    connection: Connection[Any], flagged: Mapping[int, Sequence[str]], zone: ZoneInfo
) -> list[Difference]:
    """A lane took money that its status list forbids, or by an old list: the centre may dispute it, so a person is told."""
    return [
        Difference(
            key=f"check_failed:list:{one.name}",
            name=DifferenceName.CHECK_FAILED,
            day=one.occurred_at.astimezone(zone).date(),
            lot_id=one.lot_id,
            device_id=one.device_id,
            visit_id=one.visit_id,
            event_id=one.event_id,
            channel="etc",
            records=1,
            detail={"reasons": sorted(flagged[one.id]), "held": False},
        )
        for one in etc_transactions.by_ids(connection, sorted(flagged))
    ]


@dataclass(frozen=True, slots=True)
class _Making:
    """What all packages made at once share."""

    day: date
    now: datetime
    zone: ZoneInfo
    parties: Parties
    parent: int | None = None


def _make(connection: Connection[Any], groups: Sequence[Sequence[int]], making: _Making) -> list[int]:
    records = clearing_records.records_of(connection, [one for group in groups for one in group])
    contents: list[tuple[TransactionRecord, ...]] = [tuple(records[one] for one in sorted(group)) for group in groups]
    sums = [(len(content), sum(record.amount_fen for record in content)) for content in contents]
    numbers = clearing.add_packages(connection, sums, day=making.day, now=making.now, parent=making.parent)
    bodies = {
        number: write_package(TransactionPackage(number, making.day, content), making.parties, making.zone)
        for number, content in zip(numbers, contents, strict=True)
    }
    clearing.fill(connection, bodies)
    placed = dict(zip(numbers, groups, strict=True))
    packed = clearing_records.pack(connection, placed, making.now, again=making.parent is not None)
    if packed != sum(map(len, groups)):
        raise NotFoundError(
            f"{sum(map(len, groups))} transactions were to be packed and {packed} were; who else packs?"
        )
    return numbers


def send_again(
    connection: Connection[Any], package: PackageRow, now: datetime, *, zone: ZoneInfo, parties: Parties, parts: int
) -> list[int]:
    """In the caller's transaction: the records of a refused package in `parts` new ones; gives their numbers."""
    ids = sorted(one.transaction.id for one in clearing_records.of_packages(connection, [package.number]))
    size = -(-len(ids) // parts)
    groups = [ids[begin : begin + size] for begin in range(0, len(ids), size)]
    day = now.astimezone(zone).date()
    return _make(connection, groups, _Making(day, now, zone, parties, package.number))


def release_package(
    connection: Connection[Any], number: int, now: datetime, *, zone: ZoneInfo, parties: Parties
) -> list[int]:
    """A person sends the records of a held package again, under a new number.

    Raises:
        NotFoundError: there is no such package, or it is not held.
    """
    with connection.transaction():
        package = clearing.lock_package(connection, number)
        if package is None or package.state is not PackageState.HELD:
            stands = "unknown" if package is None else package.state.value
            raise NotFoundError(f"Package {number} is {stands}; only a held one is sent again.")
        clearing.change_package(connection, number, PackageState.REFUSED, now)
        numbers = send_again(connection, package, now, zone=zone, parties=parties, parts=1)
        then = f"Sent again as package {numbers[0]}."
        differences.end(connection, [f"package_refused:{number}"], DifferenceState.EXPLAINED, then)
        return numbers


def take_due_packages(connection: Connection[Any], now: datetime, most: int = 20) -> list[Outgoing]:
    """Packages to be sent now, each marked as sent once more before it is; the next try comes if no answer does."""
    with connection.transaction():
        return [Outgoing(number, message) for number, message in clearing.take_due(connection, now, most)]


def find_not_cleared(connection: Connection[Any], now: datetime, *, zone: ZoneInfo) -> int:
    """Names packages that should be cleared by now, and ends what has been cleared since; gives how many are open."""
    with connection.transaction():
        settled = clearing.cleared_after_all(connection)
        differences.end(connection, settled, DifferenceState.SETTLED, "The centre has cleared it, or refused it.")
        late = clearing.not_cleared(connection, (now - NOT_CLEARED_AFTER).astimezone(zone).date())
        differences.open_all(
            connection,
            [
                Difference(
                    key=f"not_cleared:{package.number}",
                    name=DifferenceName.NOT_CLEARED,
                    day=package.clearing_day,
                    channel="etc",
                    records=package.records,
                    amount_fen=package.amount_fen,
                    detail={"package": package.number, "state": package.state.value},
                )
                for package in late
            ],
        )
        return len(late)
