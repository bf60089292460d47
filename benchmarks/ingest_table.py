"""Runs of the ingest benchmark, ours and the peers' in turns, as rows of the table."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING

from benchmarks import ingest
from benchmarks.ingest import BAR_CPU_US, BAR_RATE, BAR_RATIO, BAR_RSS_MB, PEER_MESSAGES, Run
from benchmarks.stage import LOTS, SPACES
from benchmarks.table import Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.stage import Stage

BULK_MESSAGES = 400_000  # faster than the other peers: enough for its rate to settle
FEWER_SPACES, FEWER_LOTS = 2_100, 50
_OURS = "parking gateway"
_BARS = {
    "aiomqtt + SQLAlchemy": f"≥ {BAR_RATIO:.0f} x",
    "mq-bridge on_conflict": "> 1 x",
    "mq-bridge bulk_copy": "aim: > 1 x",
}
_DOES_LESS = {
    "aiomqtt + SQLAlchemy": "same hypertable, ON CONFLICT, executemany of 500",
    "mq-bridge on_conflict": "same hypertable",
    "mq-bridge bulk_copy": "plain table, no index, no deduplication",
}


def run(stage: Stage, messages: int, rounds: int) -> tuple[list[Row], dict[str, object]]:
    """The rows of the table, and the figures behind them."""
    sides: list[Callable[[], Run]] = [
        lambda: ingest.ours(stage, messages),
        lambda: ingest.aiomqtt_sqlalchemy(stage, min(messages, PEER_MESSAGES)),
        lambda: ingest.mq_bridge(stage, min(messages, PEER_MESSAGES), "on_conflict"),
        lambda: ingest.mq_bridge(stage, min(messages, BULK_MESSAGES), "bulk_copy"),
    ]
    taken: dict[str, list[Run]] = {}
    for number in range(rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            result = side()
            taken.setdefault(result.name, []).append(result)
    fewer = ingest.ours(stage, min(messages, PEER_MESSAGES), spaces=FEWER_SPACES, lots=FEWER_LOTS)
    ours = taken.pop(_OURS)
    rows = [_beside(ours, peer) for peer in taken.values()]
    rows += [_cpu(ours, taken), _memory(ours), _processes(ours), _growth(ours, fewer)]
    figures: dict[str, object] = {_OURS: [asdict(one) for one in ours], "fewer devices": asdict(fewer)}
    return rows, figures | {name: [asdict(one) for one in runs] for name, runs in taken.items()}


def _median(runs: list[Run], figure: Callable[[Run], float]) -> float:
    return statistics.median(figure(one) for one in runs)


def _rate(runs: list[Run]) -> float:
    return _median(runs, lambda one: one.rate)


def _beside(ours: list[Run], peer: list[Run]) -> Row:
    name = peer[0].name
    return Row(
        f"ingest of {ours[0].messages:,} readings, {SPACES:,} devices, beside {name}",
        f"{_rate(ours):,.0f}/s",
        f"{_rate(peer):,.0f}/s ({peer[0].messages:,} readings; {_DOES_LESS[name]})",
        f"{_rate(ours) / _rate(peer):.2f} x",
        f"≥ {BAR_RATE:,}/s, {_BARS[name]}",
    )


def _cpu(ours: list[Run], peers: dict[str, list[Run]]) -> Row:
    beside = ", ".join(f"{name} {_median(runs, lambda one: one.subscriber_us):.1f}" for name, runs in peers.items())
    mine = _median(ours, lambda one: one.subscriber_us)
    return Row("CPU of the gateway a message", f"{mine:.1f} µs", beside, "", f"≤ {BAR_CPU_US:.0f} µs")


def _memory(ours: list[Run]) -> Row:
    worst = max(ours, key=lambda one: max(one.rss_mb))
    *quarters, most = worst.rss_mb
    figure = f"{' / '.join(f'{mb:.0f}' for mb in quarters)} MB, at most {most:.0f}"
    return Row("memory of the gateway after 25/50/75/100 %", figure, "", "", f"flat, ≤ {BAR_RSS_MB:.0f} MB")


def _processes(ours: list[Run]) -> Row:
    names = sorted(ours[0].cpu_us, key=lambda name: -ours[0].cpu_us[name])
    spent = ", ".join(f"{name} {_median(ours, lambda one, name=name: one.cpu_us[name]):.1f}" for name in names)  # type: ignore[misc]  # bound per name
    commit = _median(ours, lambda one: one.commit_ms)
    batch, rollups = _median(ours, lambda one: one.batch), min(one.rollups for one in ours)
    return Row(
        f"CPU a message by process, µs ({batch:,.0f} messages a batch, commit {commit:.0f} ms)",
        spent,
        "",
        "",
        f"{rollups} rollups meanwhile",
    )


def _growth(ours: list[Run], fewer: Run) -> Row:
    return Row(
        f"{SPACES:,} devices beside {FEWER_SPACES:,} ({LOTS} and {FEWER_LOTS} lots)",
        f"{_median(ours, lambda one: one.subscriber_us):.1f} µs a message",
        f"{fewer.subscriber_us:.1f} µs",
        f"{_median(ours, lambda one: one.subscriber_us) / fewer.subscriber_us:.2f} x",
        "",
    )
