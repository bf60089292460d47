"""The report as one HTML page: Chinese and English, light and dark, nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

if TYPE_CHECKING:
    from collections.abc import Mapping

    from parking_core.reports.facts import LaneDay, Report

NAMES: Final[Mapping[str, str]] = {
    "record_missing": "记录缺号",
    "record_no_reused": "记录号重用",
    "transaction_repeated": "重复交易",
    "hour_records": "小时笔数不符",
    "hour_amount": "小时金额不符",
    "hour_total_missing": "缺小时汇总",
    "check_failed": "校验未通过",
    "tac_missing": "TAC 未补",
    "reference_missing": "所指记录缺失",
    "manual_open": "人工开闸",
    "missing_entry": "无入场记录",
    "missing_exit": "无出场记录",
    "exit_elsewhere": "异地出场",
    "tailgated": "跟车出场",
    "amount_differs": "扣费与应收不符",
    "arrears": "欠费",
    "overpaid": "多收",
    "package_refused": "打包被拒",
    "disputed": "争议交易",
    "clearing_total": "清分总额不符",
    "not_cleared": "逾期未清分",
    "payment_unknown": "不明付款",
    "payment_missing": "账单缺付款",
    "payment_notice_lost": "付款通知丢失",
    "payment_amount": "付款金额不符",
    "paid_twice": "重复付款",
}
OWNERS: Final[Mapping[str, str]] = {
    "operator": "经营者",
    "district": "区停车管理",
    "clearing_centre": "清分中心",
    "acquirer": "收单机构",
    "maintenance": "设备运维",
}

_pages = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def yuan(fen: int) -> str:
    """Fen as yuan with two places, thousands apart: 123456 is "1,234.56"."""
    return f"{'-' if fen < 0 else ''}{abs(fen) // 100:,}.{abs(fen) % 100:02}"


def page(report: Report) -> str:
    """The page's HTML."""
    days = sorted({day.day for day in report.lanes})
    by_lane: dict[str, dict[object, LaneDay]] = {}
    for cell in report.lanes:
        by_lane.setdefault(cell.lane, {})[cell.day] = cell
    grid = [(lane, [cells.get(day) for day in days]) for lane, cells in sorted(by_lane.items())]
    return _pages.get_template("page.html").render(
        report=report, days=days, grid=grid, yuan=yuan, names=NAMES, owners=OWNERS
    )
