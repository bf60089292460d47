"""Recurring windows on the work calendar: shared lots, permits, and bays that are legal at certain hours only (pure).

    schedule = parse_schedule(document)                             # or one InvalidInputError with all that is wrong
    openings(schedule, calendar, zone, since, until)                # stretches, joined where they touch
    may_stand(schedule, calendar, zone, begins, ends)               # allowed? until when? why not? when again?
    sentence_zh(schedule), sentence_en(schedule)                    # and verdict_zh, verdict_en of a verdict

A document is JSON. The permit of Wuxi's shared lots of 2022, closed on a day when the owner needs the lot:

    {"windows": [{"days": ["workday"], "from": "18:00", "until": "08:00"},
                 {"days": ["weekend", "holiday"], "from": "00:00", "until": "24:00"}],
     "exceptions": {"2026-10-08": "closed", "2026-12-31": [{"from": "00:00", "until": "12:00"}]},
     "no_movement": [{"days": ["any_day"], "from": "22:00", "until": "06:00"}],
     "valid_from": "2026-01-01", "valid_through": "2026-12-31"}

    windows      on kinds of days (workday, weekend, holiday as parking_core.work_calendar has them: a make-up Sunday is
                 a workday), on ISO weekdays (1 Monday to 7 Sunday: the calendar does not matter), or on "any_day".
                 A window belongs to the day on which it begins; `until` not after `from` is of the next day, whatever
                 day that is; "until": "workday 07:00" is of the next workday, however far: leave before 07:00 of the
                 first workday.
    exceptions   a date's own hours, in place of all others: from its first to its last minute nothing else holds, not
                 even the night that began on the day before. Hours of it may run into the next date.
    no_movement  cars may stand but neither enter nor leave (both ends are allowed: out by 22:00, in from 06:00 on).
    runs_on      false: to the letter, see below.
    valid_from, valid_through    both included, cut at midnight.

What "workdays 18:00 to 08:00, weekends and holidays all day" means is what its owner means by it: the spaces are needed
on workdays from 08:00 on.

- On the eve of a day off the window ends at 08:00 of the day off and joins its all-day window.
- A day off before a workday would end at midnight, with nothing written about the night: nobody is to fetch a car at
  midnight from a place that the owner needs at 08:00. So an opening that ends at the midnight before a day with
  overnight hours runs on until their end, here 08:00. Friday 18:00 to Monday 08:00 is one stretch; so is the night
  from a Saturday to a make-up Sunday, and the one after the last day of a holiday. It happens only where something is
  open until midnight exactly: who opens on workdays alone has his Monday begin at 18:00, and hours that are written
  past midnight end where they are written to end.
- `runs_on: false` switches that off.
"""

from __future__ import annotations

from parking_core.windows.document import describe_schedule, parse_schedule
from parking_core.windows.publication import (
    GRID_MINUTES,
    MOST_CLASSES,
    Advice,
    AdviceCode,
    merged_classes,
    poolable,
    publication_advice,
)
from parking_core.windows.schedule import (
    ALL_DAY,
    EVERY_DAY,
    Hours,
    Schedule,
    Window,
    schedule_of_opening,
)
from parking_core.windows.sentences import sentence_en, sentence_zh
from parking_core.windows.stretches import Reason, Verdict, may_stand, openings
from parking_core.windows.verdicts import verdict_en, verdict_zh

__all__ = [
    "ALL_DAY",
    "EVERY_DAY",
    "GRID_MINUTES",
    "MOST_CLASSES",
    "Advice",
    "AdviceCode",
    "Hours",
    "Reason",
    "Schedule",
    "Verdict",
    "Window",
    "describe_schedule",
    "may_stand",
    "merged_classes",
    "openings",
    "parse_schedule",
    "poolable",
    "publication_advice",
    "schedule_of_opening",
    "sentence_en",
    "sentence_zh",
    "verdict_en",
    "verdict_zh",
]
