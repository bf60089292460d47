"""A stay laid on the windows of its days: parts of one window each, in order (pure).

The cost grows with the windows and days that a stay crosses, never with its minutes.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from parking_core.tariffs.compiled import CompiledPlan, Segment
    from parking_core.tariffs.local_days import LocalDays
    from parking_core.work_calendar import DayKinds

    Span = tuple[int, int]  # minutes since the epoch, the end not included


def windows_from(
    days: LocalDays, plan: CompiledPlan, calendar: DayKinds, minute: int
) -> Iterator[tuple[int, int, Segment, int]]:
    """From a minute on, without end: when a segment begins and ends, the segment, the ordinal of its day."""
    ordinal = days.ordinal(minute)
    while True:
        segments = plan.every_day or plan.segments[calendar.day_kind(date.fromordinal(ordinal))]
        for since, until, midnight in days.stretches(ordinal):
            for segment in segments:
                begins, ends = midnight + segment.begins, midnight + segment.ends
                if ends > since and begins < until and ends > minute:
                    yield max(begins, since), min(ends, until), segment, ordinal
        ordinal += 1


def pieces(
    days: LocalDays, plan: CompiledPlan, calendar: DayKinds, spans: list[Span]
) -> Iterator[tuple[int, int, Segment, int]]:
    """The spans (in order, apart) cut where windows change."""
    if not spans:
        return
    windows = windows_from(days, plan, calendar, spans[0][0])
    _, ends, segment, ordinal = next(windows)
    for since, until in spans:
        while ends <= since:
            _, ends, segment, ordinal = next(windows)
        begins = since
        while ends < until:
            yield begins, ends, segment, ordinal
            begins = ends
            _, ends, segment, ordinal = next(windows)
        yield begins, until, segment, ordinal


def without(spans: list[Span], gaps: list[Span]) -> list[Span]:
    """The spans less the gaps; both in order, apart from each other."""
    left: list[Span] = []
    for since, until in spans:
        begins = since
        for gap_begins, gap_ends in gaps:
            if gap_ends <= begins:
                continue
            if gap_begins >= until:
                break
            if gap_begins > begins:
                left.append((begins, gap_begins))
            begins = gap_ends
        if begins < until:
            left.append((begins, until))
    return left


def joined(gaps: Iterable[Span]) -> list[Span]:
    """Gaps in any order as gaps in order that do not touch; empty ones fall away."""
    whole: list[Span] = []
    for begins, ends in sorted(gap for gap in gaps if gap[0] < gap[1]):
        if whole and begins <= whole[-1][1]:
            whole[-1] = (whole[-1][0], max(whole[-1][1], ends))
        else:
            whole.append((begins, ends))
    return whole


def cut(spans: list[Span], first: int, step: int) -> list[Span]:
    """The spans, cut at `first`, `first + step`, and so on; a step of 0 cuts nothing."""
    if not step or not spans or (first <= spans[0][0] and spans[-1][1] <= first + step):
        return spans
    parts: list[Span] = []
    for since, until in spans:
        begins = since
        while (ends := first + ((begins - first) // step + 1) * step) < until:
            parts.append((begins, ends))
            begins = ends
        parts.append((begins, until))
    return parts
