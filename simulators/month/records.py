"""Lane controllers write down what passes: numbered records and hourly totals, then the network has its way."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from parking_core.topics import Kind, device_topic
from simulators.month.faults import SHARES, FaultKind, draw_faults, lane_clock
from simulators.month.visits import Channel, Mix, TrueVisit, Vehicle, draw_visits, misread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from parking_core.districts import LotRecord

_CREDIT_COUNTER_FEN = 2_000_000_000  # credit cards count down from here
_STORED_FEN = 50_000_00
_AGAIN = timedelta(seconds=5)
_ASKS_BEFORE = timedelta(seconds=20)  # a driver who pays by phone stands at the barrier so long
_LATE_TAC = timedelta(minutes=9)
_CORRECTED_AFTER = timedelta(minutes=30)
_OVERCHARGE_FEN = 100
_WINDOW = 40  # records of all lanes that overtake each other on the way


# Of a visit's entry and exit record: lost, late (sent after all others) or sent twice.
_FATES = {
    FaultKind.ENTRY_LOST: ("lost", ""),
    FaultKind.EXIT_LOST: ("", "lost"),
    FaultKind.ENTRY_LATE: ("late", ""),
    FaultKind.EXIT_LATE: ("", "late"),
    FaultKind.SENT_TWICE: ("twice", "twice"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One message on its way."""

    topic: str
    payload: bytes
    lane: str
    record_no: int
    at: datetime
    visit: int | None = None
    event: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """A fault that was put in, with what identifies it in the platform's findings."""

    kind: str
    lane: str
    lot: str
    record_nos: tuple[int, ...]
    plate: str = ""
    visit: int | None = None
    hour_at: datetime | None = None
    amount_fen: int = 0


@dataclass(slots=True)
class Month:
    """Truth, messages in the order of sending, and the faults among them."""

    visits: list[TrueVisit]
    hurt: dict[int, FaultKind]
    fees: dict[int, int]  # what the lane charged from a card, by visit
    messages: list[Sent] = field(default_factory=list)
    injected: list[Injected] = field(default_factory=list)


@dataclass(slots=True)
class _Record:
    """What a lane writes, before it has a number."""

    at: datetime
    order: int
    lane: str
    body: dict[str, Any]
    visit: int | None
    fate: str = ""  # "", lost, late, twice
    refers_to: _Record | None = None
    reuses: _Record | None = None  # takes the number of another one
    record_no: int = -1


@dataclass(frozen=True, slots=True)
class _LaneHour:
    lane: str
    begins_at: datetime
    records: int
    amount_fen: int


class Writer:
    """Collects the records of all lanes, then numbers them."""

    def __init__(
        self, seed: int, lots: Sequence[LotRecord], fee: Callable[[TrueVisit], int], hour_fault_share: float
    ) -> None:
        self._rng = random.Random(seed)
        self._fee = fee
        self._hour_fault_share = hour_fault_share
        self._lot_of = {lane.code: lot.code for lot in lots for lane in lot.lanes}
        self._terminals = {lane: f"0132{number:08d}" for number, lane in enumerate(sorted(self._lot_of), start=1)}
        self._serials: dict[str, int] = defaultdict(int)
        self._balances: dict[str, int] = {}
        self._records: list[_Record] = []
        self._wrong_totals: list[tuple[str, _Record, _LaneHour]] = []

    def write(self, visits: Sequence[TrueVisit], hurt: dict[int, FaultKind]) -> Month:
        """The whole month. Cost: n log n of the records."""
        month = Month(list(visits), hurt, {})
        for visit in sorted(visits, key=lambda one: (one.exited_at, one.number)):
            self._visit(visit, hurt.get(visit.number), month)
        self._totals()
        self._number()
        self._note_faults(month)
        self._send(month)
        return month

    # a visit's records

    def _visit(self, visit: TrueVisit, fault: FaultKind | None, month: Month) -> None:
        seen = misread(visit.vehicle.plate) if fault in (FaultKind.MISREAD, FaultKind.MISREAD_CORRECTED) else None
        entry = self._put(visit, visit.entered_at, visit.entry_lane, self._body(visit, "entry", seen))
        exited_at = lane_clock(visit, fault)
        if visit.channel is Channel.QR:
            self._put(visit, exited_at - _ASKS_BEFORE, visit.exit_lane, self._body(visit, "fee_request"))
        left = self._put(visit, exited_at, visit.exit_lane, self._body(visit, "exit"))
        if visit.channel is Channel.ETC:
            self._charge(visit, fault, left, month)
        entry_fate, exit_fate = _FATES.get(fault, ("", "")) if fault else ("", "")
        entry.fate, left.fate = entry_fate, exit_fate
        if fault is not None:
            self._add(visit, fault, entry, left)

    def _add(self, visit: TrueVisit, fault: FaultKind, entry: _Record, left: _Record) -> None:
        """Records that a fault adds."""
        match fault:
            case FaultKind.ENTERS_TWICE:
                self._put(visit, visit.entered_at + _AGAIN, visit.entry_lane, self._body(visit, "entry"))
            case FaultKind.TRANSACTION_REPEATED:
                self._put(visit, left.at + _AGAIN, visit.exit_lane, dict(left.body))
            case FaultKind.RECORD_NO_REUSED:
                body = self._body(visit, "manual_open") | {"plate": {"text": "", "color": ""}, "source": "manual"}
                self._put(visit, left.at + _AGAIN, visit.exit_lane, body).reuses = left
            case FaultKind.MISREAD_CORRECTED:
                body = self._body(visit, "correction") | {"source": "manual"}
                self._put(visit, visit.entered_at + _CORRECTED_AFTER, visit.entry_lane, body).refers_to = entry
            case _:
                pass

    def _put(self, visit: TrueVisit, at: datetime, lane: str, body: dict[str, Any]) -> _Record:
        record = _Record(at, len(self._records), lane, body, visit.number)
        self._records.append(record)
        return record

    def _body(self, visit: TrueVisit, event: str, plate: str | None = None) -> dict[str, Any]:
        """A record's content without number and time."""
        vehicle = visit.vehicle
        body: dict[str, Any] = {
            "event": event,
            "plate": {"text": plate or vehicle.plate, "color": vehicle.color},
            "vehicle_class": vehicle.vehicle_class,
            "source": "anpr",
        }
        if visit.channel is Channel.ETC and event in ("entry", "exit"):
            body["source"] = "etc"
            body["etc"] = {
                "obu_plate": vehicle.plate,
                "card_plate": vehicle.plate,
                "obu_id": vehicle.obu_id,
                "card_no": vehicle.card_no,
                "card_network": "3201",
                "card_type": "23" if vehicle.card_credit else "22",
                "status_list_version": "0",
            }
        return body

    def _charge(self, visit: TrueVisit, fault: FaultKind | None, left: _Record, month: Month) -> None:
        """The antenna takes the fee, or what the lane takes for it."""
        fee = self._fee(visit) + (_OVERCHARGE_FEN if fault is FaultKind.AMOUNT_DIFFERS else 0)
        etc = left.body["etc"]
        if fault is FaultKind.OBU_OF_ANOTHER:
            etc["obu_plate"] = misread(visit.vehicle.plate)
        if not fee:
            return
        month.fees[visit.number] = fee
        self._serials[visit.exit_lane] += 1
        before = self._balances.get(visit.vehicle.card_no, self._opening_balance(visit.vehicle))
        self._balances[visit.vehicle.card_no] = before - fee
        etc |= {
            "terminal_no": self._terminals[visit.exit_lane],
            "terminal_serial": f"{self._serials[visit.exit_lane]:08X}",
            "tac": f"{self._rng.getrandbits(32):08X}",
            "algorithm": "1",
            "trade_type": "09",
            "amount_fen": fee,
            "balance_before_fen": before,
            "balance_after_fen": before - fee,
        }
        match fault:
            case FaultKind.BROKEN_BALANCE:
                etc["balance_after_fen"] += 500
            case FaultKind.TAC_MALFORMED:
                etc["tac"] = "224"
            case FaultKind.TAC_NEVER:
                del etc["tac"]
            case FaultKind.TAC_LATE:
                body = self._body(visit, "completion") | {
                    "source": "etc",
                    "etc": {name: etc[name] for name in ("terminal_no", "terminal_serial", "tac")},
                }
                del etc["tac"]
                self._put(visit, left.at + _LATE_TAC, visit.exit_lane, body).refers_to = left
            case _:
                pass

    def _opening_balance(self, vehicle: Vehicle) -> int:
        return (_CREDIT_COUNTER_FEN if vehicle.card_credit else _STORED_FEN) - self._rng.randrange(1_000_000)

    # numbers and totals

    def _number(self) -> None:
        heads: dict[str, int] = defaultdict(lambda: 100)
        self._records.sort(key=lambda record: (record.at, record.order))
        for record in self._records:
            if record.reuses is None:
                heads[record.lane] += 1
                record.record_no = heads[record.lane]
        for record in self._records:
            if record.reuses is not None:
                record.record_no = record.reuses.record_no

    def _totals(self) -> None:
        """One total a lane and hour, from the hour before its first record on: a lane that comes up says so.

        A lane counts what it has numbered; what took a number that was used is no record of its own.
        """
        sums: dict[tuple[str, datetime], list[int]] = defaultdict(lambda: [0, 0])
        first: dict[str, datetime] = {}
        for record in self._records:
            hour = record.at.replace(minute=0, second=0, microsecond=0)
            first[record.lane] = min(first.get(record.lane, hour), hour)
            if record.reuses is None:
                sums[record.lane, hour][0] += 1
                if record.body["event"] == "exit":
                    sums[record.lane, hour][1] += record.body.get("etc", {}).get("amount_fen", 0)
        last = max(record.at for record in self._records)
        for lane, begins_at in sorted(first.items()):
            hour = begins_at - timedelta(hours=1)
            while hour <= last:
                records, amount = sums[lane, hour]
                self._total(_LaneHour(lane, hour, records, amount))
                hour += timedelta(hours=1)

    def _total(self, hour: _LaneHour) -> None:
        draw = self._rng.random()
        fault = ""
        if draw < self._hour_fault_share and hour.records:
            fault = "hour_total_lost" if draw < self._hour_fault_share / 2 else "hour_miscounted"
        wrong = fault == "hour_miscounted"
        body = {
            "event": "hour_total",
            "source": "manual",
            "hour": hour.begins_at.isoformat(),
            "count": hour.records + wrong,
            "amount_fen": hour.amount_fen + _OVERCHARGE_FEN * wrong,
        }
        at = hour.begins_at + timedelta(hours=1, seconds=1)
        record = _Record(at, len(self._records), hour.lane, body, None)
        record.fate = "lost" if fault == "hour_total_lost" else ""
        self._records.append(record)
        if fault:
            self._wrong_totals.append((fault, record, hour))

    # what went wrong, and what is sent

    def _note_faults(self, month: Month) -> None:
        of_visit: dict[int, list[_Record]] = defaultdict(list)
        for record in self._records:
            if record.visit is not None and record.visit in month.hurt:
                of_visit[record.visit].append(record)
        visits = {visit.number: visit for visit in month.visits}
        for number, kind in month.hurt.items():
            records = of_visit[number]
            concerned = [record for record in records if record.fate in ("lost", "late")] or records
            month.injected.append(
                Injected(
                    kind=kind.value,
                    lane=concerned[0].lane,
                    lot=visits[number].lot,
                    record_nos=tuple(record.record_no for record in concerned),
                    plate=visits[number].vehicle.plate,
                    visit=number,
                    amount_fen=month.fees.get(number, 0),
                )
            )

        for fault, record, hour in self._wrong_totals:
            month.injected.append(
                Injected(
                    kind=fault,
                    lane=hour.lane,
                    lot=self._lot_of[hour.lane],
                    record_nos=(record.record_no,),
                    hour_at=hour.begins_at,
                )
            )

    def _send(self, month: Month) -> None:
        """By time, shuffled within a window; late ones last; lost ones never."""
        on_time: list[tuple[int, Sent]] = []
        late: list[Sent] = []
        self._records.sort(key=lambda record: (record.at, record.order))
        for place, record in enumerate(self._records):
            if record.fate == "lost":
                continue
            sent = self._message(record)
            if record.fate == "late":
                late.append(sent)
                continue
            # What takes a used number comes after the record that has it: the platform keeps what comes first.
            behind = _WINDOW if record.reuses is not None else 0
            on_time.append((place + behind + self._rng.randrange(_WINDOW), sent))
            if record.fate == "twice":
                on_time.append((place + self._rng.randrange(10 * _WINDOW), sent))
        on_time.sort(key=lambda one: one[0])
        month.messages = [sent for _, sent in on_time] + late

    def _message(self, record: _Record) -> Sent:
        body = record.body | {"record_no": record.record_no, "at": record.at.isoformat()}
        if record.refers_to is not None:
            body["refers_to"] = record.refers_to.record_no
        return Sent(
            topic=device_topic(self._lot_of[record.lane], record.lane, Kind.LANE),
            payload=msgspec.json.encode(body),
            lane=record.lane,
            record_no=record.record_no,
            at=record.at,
            visit=record.visit,
            event=str(record.body["event"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a month is made of. `fee`: what the lane's own tariff gives for a visit, fen."""

    seed: int
    visits: int
    begins_at: datetime
    ends_at: datetime
    fee: Callable[[TrueVisit], int]
    mix: Mix = field(default_factory=Mix)
    shares: Mapping[FaultKind, float] = field(default_factory=lambda: SHARES)
    hour_fault_share: float = 0.004


def make_month(lots: Sequence[LotRecord], plan: Plan) -> Month:
    """The month of `lots` (those with lanes)."""
    rng = random.Random(plan.seed)
    visits = draw_visits(rng, lots, plan.visits, begins_at=plan.begins_at, ends_at=plan.ends_at, mix=plan.mix)
    visits, hurt = draw_faults(rng, visits, plan.shares, plan.ends_at)
    return Writer(plan.seed, lots, plan.fee, plan.hour_fault_share).write(visits, hurt)
