"""A simulated month through the whole chain, and what an independent computation says that it must come to."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from parking_core.districts import District
from parking_core.tariffs import Stay, documents, parse_tariff, price
from parking_core.tariffs.document import PlateColor
from parking_core.work_calendar import WorkCalendar
from simulators.district import generate_district
from simulators.month.faults import FaultKind
from simulators.month.records import Month, Plan, make_month
from simulators.month.visits import Channel, Mix, TrueVisit, misread
from tests.unit.tariff_integrator import total_fen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulators.month.records import Injected

ZONE = ZoneInfo("Asia/Shanghai")
_WORTH_PROCESSES = 10_000  # visits
TARIFF = "wuxi-off-street"
SETTLED_AFTER = timedelta(days=17)  # by then a visit without an exit was given up, and a TAC that never came is named


def pilot_lots() -> District:
    """The seven lots with ETC lanes of the synthetic district, without the others."""
    district = generate_district()
    lots = [lot for lot in district.lots if lot.etc_lanes]
    return District(name=district.name, areas=district.areas, operators=district.operators, lots=lots)


def month_to_play(now: datetime) -> tuple[datetime, datetime]:
    """The newest calendar month that is over for so long that everything about it is decided."""
    local = (now - SETTLED_AFTER).astimezone(ZONE)
    ends_at = local.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (ends_at - timedelta(days=1)).replace(day=1), ends_at


@cache
def _tariff() -> Any:
    tariff = parse_tariff(documents.read(TARIFF))
    assert not isinstance(tariff, list), tariff
    return tariff


_CALENDAR = WorkCalendar()


def _stay(visit: TrueVisit) -> Stay:
    vehicle = visit.vehicle
    return Stay(
        entered_at=visit.entered_at,
        exited_at=visit.exited_at,
        plate_color=PlateColor(vehicle.color),
        vehicle_class=vehicle.vehicle_class,
    )


def lane_fee(visit: TrueVisit) -> int:
    """What a lane computes by its cached tariff: the platform's engine."""
    return int(price(_tariff(), _stay(visit), _CALENDAR).total_fen)


def true_fee(visit: TrueVisit) -> int:
    """What the visit costs by the independent minute-by-minute computation; a permit covers its own."""
    return 0 if visit.channel is Channel.PERMIT else total_fen(_tariff().document, _stay(visit), _CALENDAR)


def draw_month(seed: int, visits: int, begins_at: datetime, ends_at: datetime, mix: Mix | None = None) -> Month:
    """A month of the pilot lots."""
    plan = Plan(seed=seed, visits=visits, begins_at=begins_at, ends_at=ends_at, fee=lane_fee, mix=mix or Mix())
    return make_month(pilot_lots().lots, plan)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the books must say at the end, in fen. A finding is (name, subject): a record, an hour of a lane, a plate."""

    records: int  # in the ledger
    repeats: int
    charged: Counter[str]  # by lot
    etc: Counter[str]  # taken from cards, by lot
    to_pay: dict[int, int]  # visit number -> what its driver pays by phone
    findings: Counter[tuple[str, str]]


# What a fault must be found as, beside what its visit owes anyway, and what the finding is about.
_FOUND_AS: dict[str, tuple[tuple[str, str], ...]] = {
    FaultKind.ENTRY_LOST: (("record_missing", "record"), ("hour_records", "hour"), ("missing_entry", "plate")),
    FaultKind.EXIT_LOST: (("record_missing", "record"), ("hour_records", "hour"), ("missing_exit", "plate")),
    FaultKind.TRANSACTION_REPEATED: (("transaction_repeated", "plate"),),
    FaultKind.RECORD_NO_REUSED: (("record_no_reused", "plate"),),
    FaultKind.MISREAD: (("missing_entry", "plate"), ("missing_exit", "misread")),
    FaultKind.OBU_OF_ANOTHER: (("check_failed", "plate"),),
    FaultKind.BROKEN_BALANCE: (("check_failed", "plate"),),
    FaultKind.TAC_MALFORMED: (("check_failed", "plate"),),
    FaultKind.TAC_NEVER: (("tac_missing", "plate"),),
    FaultKind.AMOUNT_DIFFERS: (("amount_differs", "plate"),),
    FaultKind.EXIT_ELSEWHERE: (("exit_elsewhere", "plate"), ("exit_elsewhere", "plate")),
    "hour_total_lost": (("record_missing", "record"), ("hour_total_missing", "hour")),
    "hour_miscounted": (("hour_records", "hour"), ("hour_amount", "hour")),
}
_NOT_CHARGED = {FaultKind.EXIT_LOST, FaultKind.MISREAD, FaultKind.EXIT_ELSEWHERE}
_LIKE_HOURS = {"hour_records", "hour_amount", "hour_total_missing"}


def hour_of(at: datetime) -> str:
    """How an hour is called in subjects."""
    return at.astimezone(UTC).strftime("%m-%dT%H")


def true_fees(visits: Sequence[TrueVisit]) -> list[int]:
    """`true_fee` of many: on all cores where they are many, at a millisecond each."""
    if len(visits) < _WORTH_PROCESSES:
        return [true_fee(visit) for visit in visits]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as workers:
        return list(workers.map(true_fee, visits, chunksize=1000))


def expect(month: Month) -> Expected:
    """Sums up the truth. Nothing here has asked the platform."""
    fees = dict(zip((visit.number for visit in month.visits), true_fees(month.visits), strict=True))
    charged: Counter[str] = Counter()
    etc: Counter[str] = Counter()
    to_pay: dict[int, int] = {}
    findings: Counter[tuple[str, str]] = Counter()
    visits = {visit.number: visit for visit in month.visits}
    for visit in month.visits:
        fault = month.hurt.get(visit.number)
        taken = 0 if fault is FaultKind.EXIT_LOST else month.fees.get(visit.number, 0)
        if taken:
            etc[visit.lot] += taken
        fee = 0 if fault in _NOT_CHARGED else taken if fault is FaultKind.ENTRY_LOST else fees[visit.number]
        charged[visit.lot] += fee
        if visit.channel is Channel.QR and fee:
            to_pay[visit.number] = fee
        elif visit.channel is Channel.LATER and fee:
            findings["tailgated" if fault is FaultKind.TAILGATED else "arrears", visit.vehicle.plate] += 1
    for injected in month.injected:
        for name, subject in _findings_of(injected, visits, month):
            findings[name, subject] = 1 if name in _LIKE_HOURS else findings[name, subject] + 1
    numbered = {(sent.lane, sent.record_no) for sent in month.messages}
    repeats = Counter(injected.kind for injected in month.injected)
    apart = repeats[FaultKind.TRANSACTION_REPEATED]
    return Expected(
        records=len(numbered) - apart,
        repeats=apart + repeats[FaultKind.RECORD_NO_REUSED],
        charged=charged,
        etc=etc,
        to_pay=to_pay,
        findings=findings,
    )


def _findings_of(fault: Injected, visits: dict[int, TrueVisit], month: Month) -> Iterator[tuple[str, str]]:
    subjects = {"record": f"{fault.lane}#{fault.record_nos[0]}", "plate": fault.plate}
    if fault.hour_at is not None:
        at = fault.hour_at
    else:
        visit = visits[fault.visit or 0]
        at = visit.exited_at if fault.kind == FaultKind.EXIT_LOST else visit.entered_at
        subjects["misread"] = misread(fault.plate)
    subjects["hour"] = f"{fault.lane}@{hour_of(at)}"
    for name, about in _FOUND_AS.get(fault.kind, ()):
        yield name, subjects[about]
    if fault.kind == FaultKind.EXIT_LOST and month.fees.get(fault.visit or 0):
        yield "hour_amount", subjects["hour"]


# Differences as the platform has them, named as above.
FOUND = """
SELECT d.name, CASE
           WHEN d.name = 'record_missing' THEN v.code || '#' || (n.record_no ->> 0)
           WHEN d.name IN ('hour_records', 'hour_amount', 'hour_total_missing')
               THEN v.code || '@' || to_char(d.hour_at AT TIME ZONE 'UTC', 'MM-DD"T"HH24')
           ELSE coalesce(s.vehicle, e.vehicle, d.key) END, d.state
FROM differences d
LEFT JOIN devices v ON v.id = d.device_id LEFT JOIN visits s ON s.id = d.visit_id
LEFT JOIN lane_events e ON e.id = d.event_id
LEFT JOIN LATERAL (
    SELECT jsonb_build_array(number) AS record_no FROM jsonb_array_elements(d.detail -> 'record_nos') AS number
    WHERE d.name = 'record_missing'
) AS n ON true
WHERE d.state IN ('open', 'explained')
"""
