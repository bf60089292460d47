"""Whether a document of the right form makes sense: complete days, sane numbers, names that exist (pure)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from parking_core.tariffs.compiled import bands_of, kinds_of, parts_of
from parking_core.tariffs.document import ANY_DAY, DAY_MINUTES, STANDARD_PLAN, minute_of_day
from parking_core.work_calendar import DayKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parking_core.tariffs.document import Cap, ClockSpan, Plan, Rate, TariffDocument, VehicleRule, Window

    Finding = tuple[str, str]  # path, sentence

_KINDS: Final = tuple(kind.value for kind in DayKind)
_LONGEST_TEXT_DAY: Final = "24:00"


def findings(document: TariffDocument) -> list[Finding]:
    """Everything that is wrong, in the order of the document."""
    return [
        *_time_zone(document),
        *_groups(document),
        *_rates(document),
        *_plans(document),
        *_choices(document),
        *_vehicles(document),
        *_total(document),
    ]


def _time_zone(document: TariffDocument) -> Iterator[Finding]:
    try:
        ZoneInfo(document.time_zone)
    except (ValueError, OSError, LookupError):
        yield "time_zone", f'"{document.time_zone}" is no time zone; write for example "Asia/Shanghai".'


def _groups(document: TariffDocument) -> Iterator[Finding]:
    for name, kinds in document.day_groups.items():
        path = f"day_groups.{name}"
        if name in (*_KINDS, ANY_DAY):
            yield path, f'"{name}" already means something else; give the group another name.'
        if not kinds:
            yield path, "The group has no day kinds."
        for kind in kinds:
            if kind not in _KINDS:
                yield path, f'"{kind}" is no day kind; write {", ".join(_KINDS)}.'
        for kind, times in Counter(kinds).items():
            if times > 1:
                yield path, f'"{kind}" stands in it {times} times.'


def _rates(document: TariffDocument) -> Iterator[Finding]:
    used = {window.rate for plan in document.plans.values() for windows in plan.windows.values() for window in windows}
    for name, rate in document.rates.items():
        path = f"rates.{name}"
        yield from _rate(path, rate)
        if name not in used:
            yield path, "No window uses this rate; remove it, or name it in a window."


def _rate(path: str, rate: Rate) -> Iterator[Finding]:
    single = rate.unit_minutes is not None or rate.price_fen is not None
    if [rate.free, single, rate.bands is not None].count(True) != 1:
        yield path, "A rate is one of three: free, a price (price_fen, with unit_minutes), or bands."
    elif single and rate.price_fen is None:
        yield path, "It has unit_minutes but no price_fen; what does a unit cost?"
    for place, band in enumerate(rate.bands or ()):
        here = f"{path}.bands[{place}]"
        last = place == len(rate.bands or ()) - 1
        begins = (rate.bands or ())[place - 1].until_minutes or 0 if place else 0
        if last and band.until_minutes is not None:
            yield here, "The last band must not end, or longer stays have no price; remove its until_minutes."
        if not last and band.until_minutes is None:
            yield here, "Only the last band may do without until_minutes."
        if band.until_minutes is not None:
            length = band.until_minutes - begins
            if length <= 0:
                yield here, f"It ends after {band.until_minutes} minutes, where the band before already ends."
            elif band.unit_minutes is not None and length % band.unit_minutes:
                yield here, f"Its {length} minutes are no whole number of units of {band.unit_minutes} minutes."
    if rate.bands == ():
        yield path, "It has no bands."


def _plans(document: TariffDocument) -> Iterator[Finding]:
    if STANDARD_PLAN not in document.plans:
        yield "plans", f'There is no plan "{STANDARD_PLAN}"; it is what holds when no choice does.'
    chosen = {choice.plan for choice in document.choices}
    for name, plan in document.plans.items():
        path = f"plans.{name}"
        if name != STANDARD_PLAN and name not in chosen:
            yield path, "No choice uses this plan; remove it, or name it in choices."
        yield from _days(document, plan, path)
        yield from _periods(plan, path)
        for place, cap in enumerate(plan.caps):
            yield from _cap(plan, cap, f"{path}.caps[{place}]")
        for (over, window), times in Counter((cap.over, cap.window) for cap in plan.caps).items():
            if times > 1:
                yield (
                    f"{path}.caps",
                    f'There are {times} caps over "{window or over}"; only the lowest could ever count.',
                )


def _days(document: TariffDocument, plan: Plan, path: str) -> Iterator[Finding]:
    said: Counter[DayKind] = Counter()
    for name, windows in plan.windows.items():
        here = f"{path}.windows.{name}"
        if name not in (*_KINDS, ANY_DAY) and name not in document.day_groups:
            known = ", ".join((*_KINDS, ANY_DAY, *document.day_groups))
            yield here, f'"{name}" is no day kind and no group of them; known are {known}.'
            continue
        if name in document.day_groups and not set(document.day_groups[name]) <= set(_KINDS):
            continue  # the group itself has been complained about
        said.update(set(kinds_of(document, name)))
        yield from _day(document, windows, here)
    for kind in DayKind:
        if said[kind] == 0:
            yield f"{path}.windows", f"No windows are given for a {kind}; what does a stay cost then?"
        if said[kind] > 1:
            yield f"{path}.windows", f"Windows for a {kind} are given {said[kind]} times, in different groups."


def _day(document: TariffDocument, windows: tuple[Window, ...], path: str) -> Iterator[Finding]:
    for name, times in Counter(window.name for window in windows).items():
        if times > 1:
            yield path, f'{times} windows are called "{name}"; give each a name of its own.'
    sound = True
    for place, window in enumerate(windows):
        here = f"{path}[{place}]"
        if window.rate not in document.rates:
            yield here, f'There is no rate "{window.rate}".'
        if window.begins in (window.until, _LONGEST_TEXT_DAY):
            sound = False
            yield here, f"{_named(window)} is empty or begins at the end of the day; for a whole day write 00:00-24:00."
    if sound:
        yield from _cover(windows, path)


def _cover(windows: tuple[Window, ...], path: str) -> Iterator[Finding]:
    """Every minute of the day must lie in exactly one window."""
    parts = sorted((begins, ends, place) for place, w in enumerate(windows) for begins, ends, _ in parts_of(w))
    covered, by = 0, -1
    missing = []
    for begins, ends, place in parts:
        if begins > covered:
            missing.append((covered, begins))
        elif begins < covered:
            twice = f"{_clock(begins)}-{_clock(min(ends, covered))}"
            first, second = sorted((by, place))
            overlap = f"{_named(windows[second])} overlaps {_named(windows[first])} of [{first}]"
            yield f"{path}[{second}]", f"{overlap}: {twice} would be charged twice; let one end where the other begins."
        if ends > covered:
            covered, by = ends, place
    if covered < DAY_MINUTES:
        missing.append((covered, DAY_MINUTES))
    for begins, ends in missing:
        yield (
            path,
            f"No window covers {_clock(begins)}-{_clock(ends)}; every minute of the day needs a price or to be free.",
        )


def _named(window: Window) -> str:
    return f"{window.begins}-{window.until}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _periods(plan: Plan, path: str) -> Iterator[Finding]:
    restart, free = plan.restart, plan.free
    if restart is not None and free is not None and free.minutes >= restart.after_hours * 60:
        yield (
            f"{path}.free",
            f"{free.minutes} free minutes reach to the restart after {restart.after_hours} h: nothing is ever charged.",
        )
    if restart is not None and restart.free_again and free is None:
        yield f"{path}.restart", "free_again is set, but the plan has no free period."


def _cap(plan: Plan, cap: Cap, path: str) -> Iterator[Finding]:
    if cap.max_fen == 0:
        yield path, "A cap of 0 makes everything free; remove the cap, or give the rates a price of 0."
    by_hours = cap.over in ("from_entry", "rolling")
    if by_hours and cap.hours is None:
        yield path, f'A cap over "{cap.over}" needs hours.'
    if not by_hours and cap.hours is not None:
        yield path, f'A cap over "{cap.over}" has no hours; remove them, or write "from_entry".'
    if cap.earlier_stays and cap.over != "day":
        yield path, 'earlier_stays goes with a cap over "day"; a cap over "rolling" always counts them.'
    if (cap.over == "window") != (cap.window is not None):
        yield path, 'A cap over "window" names its window, and no other cap does.'
    elif cap.window is not None:
        names = {window.name for windows in plan.windows.values() for window in windows}
        if cap.window not in names:
            yield path, f'No window is called "{cap.window}"; known are {", ".join(sorted(names))}.'


def _choices(document: TariffDocument) -> Iterator[Finding]:
    for place, choice in enumerate(document.choices):
        path = f"choices[{place}]"
        when = choice.when
        if choice.plan not in document.plans:
            yield path, f'There is no plan "{choice.plan}".'
        given = (
            when.entered_in,
            when.left_in,
            when.at_most_minutes,
            when.entered_on,
            when.plate_colors,
            when.vehicle_classes,
        )
        if all(each is None for each in given):
            yield f"{path}.when", f'It has no condition and would always hold; make this plan "{STANDARD_PLAN}".'
        if () in given:
            yield f"{path}.when", "An empty list never holds."
        for name in when.entered_on or ():
            if name not in _KINDS and name not in document.day_groups:
                yield f"{path}.when.entered_on", f'"{name}" is no day kind and no group of them.'
        yield from _clock_span(when.entered_in, f"{path}.when.entered_in")
        yield from _clock_span(when.left_in, f"{path}.when.left_in")


def _clock_span(span: ClockSpan | None, path: str) -> Iterator[Finding]:
    if span is not None and minute_of_day(span.begins) % DAY_MINUTES == minute_of_day(span.until) % DAY_MINUTES:
        yield path, f"{span.begins}-{span.until} is empty or the whole day; remove the condition."


def _vehicles(document: TariffDocument) -> Iterator[Finding]:
    for name, times in Counter(rule.name for rule in document.vehicles).items():
        if times > 1:
            yield "vehicles", f'{times} rules are called "{name}".'
    for place, rule in enumerate(document.vehicles):
        path = f"vehicles[{place}]"
        if rule.plate_colors is None and rule.vehicle_classes is None:
            yield path, "It is for no kind of vehicle; give plate_colors or vehicle_classes."
        if () in (rule.plate_colors, rule.vehicle_classes):
            yield path, "An empty list fits no vehicle."
        yield from _whole_fen(document, rule, path)


def _whole_fen(document: TariffDocument, rule: VehicleRule, path: str) -> Iterator[Finding]:
    """Percentages give whole fen, or a price would be rounded somewhere that nobody sees."""
    for name, rate in document.rates.items():
        for band in bands_of(rate):
            if band.price_fen * rule.percent % 100:
                yield path, f"{rule.percent} % of {band.price_fen} fen (rate {name}) is no whole number of fen."
    for cap in (cap for plan in document.plans.values() for cap in plan.caps if rule.caps == "scaled"):
        if cap.max_fen * rule.percent % 100:
            yield path, f"{rule.percent} % of the cap of {cap.max_fen} fen is no whole number of fen."


def _total(document: TariffDocument) -> Iterator[Finding]:
    total = document.total
    for name, plan in document.plans.items():
        for place, cap in enumerate(plan.caps):
            path = f"plans.{name}.caps[{place}]"
            if total.minimum_fen > cap.max_fen:
                yield path, f"The cap of {cap.max_fen} fen is below the minimum of {total.minimum_fen} fen."
            if total.minimum_fen and (cap.over == "rolling" or cap.earlier_stays):
                yield path, "A cap over several stays and a minimum per stay contradict each other."
            if total.rounding != "down" and cap.max_fen % total.round_to_fen:
                yield path, f"Rounding to {total.round_to_fen} fen would exceed the cap of {cap.max_fen} fen."
