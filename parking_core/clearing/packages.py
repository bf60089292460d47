"""Packages of transactions: when one is made, how it reads, what becomes of it by the centre's answers (pure).

    packed ──► sent ──► accepted ──► booked      result 1, or 5: the centre has it already
       ▲        │ │ └───────────────────▲        bookkeeping overtakes the response
       └────────┘ │                              result 2, 7: a setting of one side is wrong, the same package later
                  ├──► refused                   result 3, 4, 8: its records go again in halves under new numbers
                  └──► held ──► refused          result 6, or a single record: a person sends it again, or gives it up

A number that was refused is dead on both sides: what it held comes under other numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from parking_core.clearing.documents import Fields, add, child, start, write, yuan
from parking_core.clearing.envelope import Envelope, Parties, head_of
from parking_core.clearing.results import MessageError, PackageResult
from parking_core.lane_tail import LaneTail, encode_tail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from xml.etree.ElementTree import Element
    from zoneinfo import ZoneInfo

MOST_RECORDS: Final = 100  # of one package: ours, so that a refusal concerns few
LONGEST_WAIT: Final = timedelta(minutes=5)  # then a package leaves with what there is
RECORD_LIMIT: Final = 10_000  # the centre takes fewer than this; also the limit of what we read
WITH_TRANSACTIONS: Final = "7"  # MessageType of a package
_FIRST_RESEND: Final = timedelta(seconds=30)  # a response takes the centre seconds
_LONGEST_RESEND: Final = timedelta(hours=1)
_LATER: Final = timedelta(hours=1)  # header or version refused: a setting must be mended first


class PackageState(StrEnum):
    """Where a package stands."""

    PACKED = "packed"  # to be sent
    SENT = "sent"  # sent at least once; whether it arrived is not known
    ACCEPTED = "accepted"
    HELD = "held"  # refused, and its records wait in it for a person
    REFUSED = "refused"  # final; its records are elsewhere
    BOOKED = "booked"  # final; disputed records are settled one by one


CHANGES: Final[Mapping[PackageState, frozenset[PackageState]]] = {
    PackageState.PACKED: frozenset({PackageState.SENT}),
    PackageState.SENT: frozenset(
        {PackageState.PACKED, PackageState.ACCEPTED, PackageState.HELD, PackageState.REFUSED, PackageState.BOOKED}
    ),
    PackageState.HELD: frozenset({PackageState.REFUSED}),
    PackageState.ACCEPTED: frozenset({PackageState.BOOKED}),
    PackageState.REFUSED: frozenset(),
    PackageState.BOOKED: frozenset(),
}


class Consequence(StrEnum):
    """What follows from a response."""

    ACCEPT = "accept"
    LATER = "later"  # the same package again in an hour: not the records are wrong but a setting of one side
    HALVE = "halve"  # new packages of half the records: the wrong one ends alone and waits for a person
    HOLD = "hold"  # its records wait for a person


POLICIES: Final[Mapping[PackageResult, Consequence]] = {
    PackageResult.ACCEPTED: Consequence.ACCEPT,
    PackageResult.HEADER: Consequence.LATER,
    PackageResult.SCHEMA: Consequence.HALVE,
    PackageResult.CONTENT: Consequence.HALVE,
    # Sent twice because the response was lost. If it was another package of this number (a database restored from a
    # backup), no bookkeeping follows and `not_cleared` names it.
    PackageResult.DUPLICATE: Consequence.ACCEPT,
    PackageResult.ADVICE_DECLINED: Consequence.HOLD,  # no advice was given: only a person can ask what is meant
    PackageResult.VERSION: Consequence.LATER,
    PackageResult.TOTALS: Consequence.HALVE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionRecord:
    """One transaction as the centre reads it. Amounts in fen, times aware; plates as the antenna read them."""

    occurred_at: datetime
    amount_fen: int
    terminal_no: str
    terminal_serial: str
    tac: str
    trade_type: str
    algorithm: int
    card_network: str
    card_no: str
    card_type: str
    card_plate: str
    balance_before_fen: int
    balance_after_fen: int
    obu_id: str
    obu_plate: str
    vehicle_class: int
    reference: str  # our name of the transaction: lot, time and serial
    lot_name: str
    park_minutes: int


@dataclass(frozen=True, slots=True)
class TransactionPackage:
    """A package; a record's TransId is its place in it, counted from 1."""

    number: int
    clearing_day: date  # ClearTargetDate: the local day on which it was packed
    records: tuple[TransactionRecord, ...]

    @property
    def amount_fen(self) -> int:
        """Sum of its records."""
        return sum(record.amount_fen for record in self.records)


def customized_data(record: TransactionRecord, zone: ZoneInfo) -> str:
    """The 76 hexadecimal digits that the issuer verifies by the TAC; lanes do not report the card's counter: zeros.

    Raises:
        ValueError: something does not fit; such a transaction is held (`UNPACKABLE` in settlement) and never packed.
    """
    at = record.occurred_at.astimezone(zone)
    return encode_tail(
        LaneTail(
            tac=record.tac,
            amount_fen=record.amount_fen,
            trade_type=record.trade_type,
            terminal_no=record.terminal_no,
            terminal_serial=record.terminal_serial,
            local_time=at,
            balance_after_fen=record.balance_after_fen,
            balance_before_fen=record.balance_before_fen,
        )
    )


def may_become(before: PackageState, after: PackageState) -> bool:
    """Whether the life cycle allows the change."""
    return after in CHANGES[before]


def packages_of(waiting: Sequence[datetime], now: datetime, longest_wait: timedelta = LONGEST_WAIT) -> list[slice]:
    """Which of the waiting transactions leave now: full packages, and the rest once its oldest has waited long enough.

    Args:
        waiting: since when each is ready, in the order in which they are packed.
        now: aware.
        longest_wait: how long that is.
    """
    full = len(waiting) // MOST_RECORDS * MOST_RECORDS
    cuts = [slice(begin, begin + MOST_RECORDS) for begin in range(0, full, MOST_RECORDS)]
    rest = waiting[full:]
    if rest and now - min(rest) >= longest_wait:
        cuts.append(slice(full, len(waiting)))
    return cuts


def next_try_at(now: datetime, tries: int) -> datetime:
    """When a package that was sent `tries` times and is not answered goes again: 30 s, 60 s, ... an hour."""
    return now + min(_LONGEST_RESEND, _FIRST_RESEND * (1 << min(tries - 1, 20)))


def later(now: datetime) -> datetime:
    """When a package goes again that was refused for a setting."""
    return now + _LATER


def write_package(package: TransactionPackage, parties: Parties, zone: ZoneInfo) -> bytes:
    """The package as a message.

    Raises:
        ValueError: it has no records or too many; packing made a mistake.
    """
    if not 0 < len(package.records) < RECORD_LIMIT:
        raise ValueError(f"Package {package.number} has {len(package.records)} records; 1 to {RECORD_LIMIT - 1} fit.")
    message = start()
    Envelope(message_class="5", message_type=WITH_TRANSACTIONS, number=package.number).put(message, parties)
    body = child(message, "Body", ContentType=1)
    add(
        body,
        ClearTargetDate=package.clearing_day.isoformat(),
        ServiceProviderId=parties.sender,
        IssuerId=parties.receiver,
        MessageId=package.number,
        Count=len(package.records),
        Amount=yuan(package.amount_fen),
    )
    for trans_id, record in enumerate(package.records, 1):
        _put(child(body, "Transaction"), trans_id, record, zone)
    return write(message)


def _put(element: Element, trans_id: int, record: TransactionRecord, zone: ZoneInfo) -> None:
    at = record.occurred_at.astimezone(zone)
    minutes = f"{record.park_minutes // 60}:{record.park_minutes % 60:02}"
    add(element, TransId=trans_id, Time=f"{at:%Y-%m-%d %H:%M:%S}", Fee=yuan(record.amount_fen))
    add(child(element, "Service"), ServiceType=2, Description=f"{record.lot_name}|{minutes}", Detail="")
    add(
        child(element, "ICCard"),
        CardType=record.card_type,
        NetNo=record.card_network,
        CardId=record.card_no,
        License=record.card_plate,
        PreBalance=yuan(record.balance_before_fen),
        PostBalance=yuan(record.balance_after_fen),
    )
    add(
        child(element, "Validation"),
        TAC=record.tac,
        TransType=record.trade_type,
        TerminalNo=record.terminal_no,
        TerminalTransNo=record.terminal_serial,
    )
    add(child(element, "OBU"), NetNo=record.card_network, OBUId=record.obu_id, License=record.obu_plate)
    add(
        element,
        CustomizedData=customized_data(record, zone),
        Id=record.reference,
        name=record.lot_name,
        parkTime=record.park_minutes,
        vehicleType=record.vehicle_class,
        algorithmIdentifier=record.algorithm,
    )


def read_package(root: Fields, zone: ZoneInfo) -> TransactionPackage:
    """A package as we wrote it, its count and total checked.

    Raises:
        MessageError: with result 3 a field is wrong, with 4 a count, a total or an order.
    """
    body = root.child("Body")
    elements = list(body.children("Transaction"))
    if not 0 < len(elements) < RECORD_LIMIT:
        raise MessageError(f"The package has {len(elements)} records; 1 to {RECORD_LIMIT - 1} fit.")
    package = TransactionPackage(
        head_of(root).number, body.day("ClearTargetDate"), tuple(_read(element, zone) for element in elements)
    )
    if [element.whole("TransId") for element in elements] != list(range(1, len(elements) + 1)):
        raise MessageError("The records of the package are not numbered from 1.", PackageResult.CONTENT)
    if body.whole("Count") != len(elements) or body.fen("Amount") != package.amount_fen:
        raise MessageError(
            f"The package announces {body.whole('Count')} records of {body.fen('Amount')} fen and holds "
            f"{len(elements)} of {package.amount_fen}.",
            PackageResult.CONTENT,
        )
    if len({(record.terminal_no, record.terminal_serial) for record in package.records}) < len(elements):
        raise MessageError("A transaction stands twice in the package.", PackageResult.CONTENT)
    return package


def _read(element: Fields, zone: ZoneInfo) -> TransactionRecord:
    card, checks, obu = element.child("ICCard"), element.child("Validation"), element.child("OBU")
    return TransactionRecord(
        occurred_at=element.moment("Time", zone),
        amount_fen=element.fen("Fee"),
        terminal_no=checks.text("TerminalNo"),
        terminal_serial=checks.text("TerminalTransNo"),
        tac=checks.text("TAC"),
        trade_type=checks.text("TransType"),
        algorithm=element.whole("algorithmIdentifier"),
        card_network=card.text("NetNo"),
        card_no=card.text("CardId"),
        card_type=card.text("CardType"),
        card_plate=card.text("License"),
        balance_before_fen=card.fen("PreBalance"),
        balance_after_fen=card.fen("PostBalance"),
        obu_id=obu.text("OBUId"),
        obu_plate=obu.text("License"),
        vehicle_class=element.whole("vehicleType"),
        reference=element.text("Id"),
        lot_name=element.text("name"),
        park_minutes=element.whole("parkTime"),
    )
