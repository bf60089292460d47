"""Does the ledger hold what each lane has counted, hour by hour? A pure comparison.

A lane numbers its records without gaps and tells once an hour how many it made and how much money they name. The
ledger's side of the same hour is every record of the lane with its time in the hour (`hour_total` itself left out,
records kept apart as repeats included, because the lane has numbered them too), and the money of its entries and
exits. Source of the method: the hourly record of Jiangsu's ETC parking (record count and money total a lane and hour).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from parking_core.reconciliation import Difference, DifferenceName

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from zoneinfo import ZoneInfo

TOTAL_PATIENCE = timedelta(hours=1)  # after the end of an hour, until its missing total is a finding


@dataclass(frozen=True, slots=True)
class LaneHour:
    """Both sides of one lane and hour; the lane's are None where it has not told them."""

    device_id: int
    lot_id: int
    hour_at: datetime
    lane_records: int | None
    lane_amount_fen: int | None
    ledger_records: int
    ledger_amount_fen: int
    missing: tuple[int, ...] = ()  # numbers that nobody received, counted to the hour of the record after them


@dataclass(frozen=True, slots=True)
class HourFindings:
    """What comparing hours gave."""

    compared: int
    differences: tuple[Difference, ...]
    agreeing: tuple[str, ...]  # keys of differences that these hours do not have (any more)


def compare_hours(hours: Iterable[LaneHour], zone: ZoneInfo, now: datetime) -> HourFindings:
    """Differences of lanes and hours; `zone` gives the local day they belong to."""
    compared = 0
    found: list[Difference] = []
    agreeing: list[str] = []
    for hour in hours:
        compared += 1
        differing = tuple(_differences(hour, zone, now))
        found += differing
        wrong = {difference.key for difference in differing}
        agreeing += [key for name in _OF_AN_HOUR if (key := _key(name, hour)) not in wrong]
    return HourFindings(compared, tuple(found), tuple(agreeing))


_OF_AN_HOUR = (DifferenceName.HOUR_TOTAL_MISSING, DifferenceName.HOUR_RECORDS, DifferenceName.HOUR_AMOUNT)


def _key(name: DifferenceName, hour: LaneHour) -> str:
    return f"{name.value}:{hour.device_id}:{int(hour.hour_at.timestamp())}"


def _differences(hour: LaneHour, zone: ZoneInfo, now: datetime) -> Iterable[Difference]:
    if hour.lane_records is None or hour.lane_amount_fen is None:
        if hour.hour_at + timedelta(hours=1) + TOTAL_PATIENCE <= now:
            yield _difference(DifferenceName.HOUR_TOTAL_MISSING, hour, zone)
        return
    if hour.ledger_records != hour.lane_records:
        yield _difference(DifferenceName.HOUR_RECORDS, hour, zone)
    if hour.ledger_amount_fen != hour.lane_amount_fen:
        yield _difference(DifferenceName.HOUR_AMOUNT, hour, zone)


def _difference(name: DifferenceName, hour: LaneHour, zone: ZoneInfo) -> Difference:
    return Difference(
        key=_key(name, hour),
        name=name,
        day=hour.hour_at.astimezone(zone).date(),
        lot_id=hour.lot_id,
        device_id=hour.device_id,
        hour_at=hour.hour_at,
        records=hour.ledger_records - (hour.lane_records or 0),
        amount_fen=hour.ledger_amount_fen - (hour.lane_amount_fen or 0),
        detail={
            "ledger_records": hour.ledger_records,
            "ledger_amount_fen": hour.ledger_amount_fen,
            "lane_records": hour.lane_records,
            "lane_amount_fen": hour.lane_amount_fen,
            "missing_record_nos": list(hour.missing[:_MOST_NAMED]),
        },
    )


_MOST_NAMED = 50  # numbers in a difference's detail; all of them are in lane_gaps
