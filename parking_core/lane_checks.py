"""Checks of a lane event, as the back ends of real clearing channels make them (rules).

A failed check flags the record and routes its money to a person; the record itself is never lost. Sources of the rules:
the validation of the Jiangsu channel (TAC 2, amount 3, card number 7, time 9, site 11, balance 14) and the dispute
reasons of the clearing centre.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from parking_core.lane_tail import fits
from parking_core.lanes import LaneEventKind, Way
from parking_core.plates import PlateColor, form_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from parking_core.lanes import EtcPart, Lane, LaneEvent

JIANGSU_NETWORK: Final = "3201"  # card network whose TAC is verified
CARD_NO_MAX: Final = 20
EARLIEST_S, LATEST_S = -90 * 86_400, 300  # clock window of lanes: one that was offline sends what it kept, 90 days long
_TAC = re.compile(r"[0-9A-Fa-f]{8}")
# Passenger cars 1-4, lorries 11-16, special vehicles 21-26.
VEHICLE_CLASSES: Final = frozenset({*range(1, 5), *range(11, 17), *range(21, 27)})
_PASSAGES: Final = frozenset({LaneEventKind.ENTRY, LaneEventKind.EXIT})


class Check(StrEnum):
    """A check that an event failed. Stable codes: they stand in `lane_events.flags`."""

    TAC_ABSENT = "tac_absent"  # charged, but the reply with the TAC was lost: a completion may bring it
    TAC_FORM = "tac_form"  # not eight hexadecimal digits
    TAIL_FORM = "tail_form"  # terminal, serial, trade type, TAC or balance fits no package to the clearing centre
    AMOUNT_RANGE = "amount_range"  # negative, or over the lane's limit
    CARD_LENGTH = "card_length"
    ENTRY_AFTER_EXIT = "entry_after_exit"  # decided where visits are paired
    BALANCE = "balance"  # before - amount is not after
    SITE_INACTIVE = "site_inactive"  # the clearing centre has not activated it
    OBU_CARD_PLATES = "obu_card_plates"  # the OBU's plate is not the card's
    CAMERA_ETC_PLATES = "camera_etc_plates"  # the camera's plate is not that of card or OBU
    LIST_VERSION_ABSENT = "list_version_absent"  # charged without saying under which status list
    LIST_VERSION_OLD = "list_version_old"  # decided by whoever knows the list in force
    CARD_EXPIRED = "card_expired"
    OBU_EXPIRED = "obu_expired"
    PLATE_FORM = "plate_form"  # no plate looks so: misread
    COLOR_UNKNOWN = "color_unknown"  # a colour code that the lane's list does not have
    VEHICLE_CLASS = "vehicle_class"
    WRONG_WAY = "wrong_way"  # an entry at a lane that leads out, or the other way round
    CLOCK_SUSPECT = "clock_suspect"  # the lane's time cannot be believed: the time of receipt stands in


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers that others have for a failed check."""

    dispute: int | None = None  # reason of the clearing centre's dispute processing
    back_end: int | None = None  # code of the Jiangsu channel's validation


NUMBERS: Final = {
    Check.TAC_ABSENT: Numbers(1, 2),
    Check.TAC_FORM: Numbers(1, 2),
    Check.TAIL_FORM: Numbers(),
    Check.AMOUNT_RANGE: Numbers(7, 3),
    Check.CARD_LENGTH: Numbers(8, 7),
    Check.ENTRY_AFTER_EXIT: Numbers(16, 9),
    Check.BALANCE: Numbers(14, 14),
    Check.SITE_INACTIVE: Numbers(11, 11),
    Check.OBU_CARD_PLATES: Numbers(6),
    Check.CAMERA_ETC_PLATES: Numbers(),
    Check.LIST_VERSION_ABSENT: Numbers(6),
    Check.LIST_VERSION_OLD: Numbers(3),
    Check.CARD_EXPIRED: Numbers(10),
    Check.OBU_EXPIRED: Numbers(),
    Check.PLATE_FORM: Numbers(),
    Check.COLOR_UNKNOWN: Numbers(),
    Check.VEHICLE_CLASS: Numbers(),
    Check.WRONG_WAY: Numbers(),
    Check.CLOCK_SUSPECT: Numbers(16),
}

# Money of a transaction that failed one of these waits for a person. The others are told and change nothing: a camera
# misreads every hundredth plate, and where OBU and card disagree the card was charged all the same. An absent TAC waits for its completion instead.
HOLDING: Final = frozenset(
    {
        Check.TAC_FORM,
        Check.TAIL_FORM,
        Check.AMOUNT_RANGE,
        Check.CARD_LENGTH,
        Check.BALANCE,
        Check.SITE_INACTIVE,
        Check.LIST_VERSION_ABSENT,
        Check.CARD_EXPIRED,
        Check.OBU_EXPIRED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a message says, or its receipt shows, that is not in the event."""

    clock_suspect: bool = False
    card_expires: date | None = None  # last day
    obu_expires: date | None = None
    local_day: date | None = None  # of the event


def failed_checks(event: LaneEvent, lane: Lane, context: Context) -> tuple[Check, ...]:
    """The checks that an event fails, each once, in the order of the list above."""
    found = set(_reading(event, lane))
    if context.clock_suspect:
        found.add(Check.CLOCK_SUSPECT)
    if event.etc is not None and event.kind in _PASSAGES:
        found.update(_transaction(event.etc, lane))
        if (event.etc.amount_fen or 0) > 0 and not _fits_the_tail(event.etc):
            found.add(Check.TAIL_FORM)
        found.update(_expiry(context))
    elif event.etc is not None and event.kind is LaneEventKind.COMPLETION and not is_tac(event.etc.tac):
        found.add(Check.TAC_FORM)  # whatever the network: a late reply has nothing else to tell
    return tuple(check for check in Check if check in found) if found else ()


def is_tac(text: str | None) -> bool:
    """Whether it has the form of a TAC: eight hexadecimal digits."""
    return text is not None and _TAC.fullmatch(text) is not None


def is_list_old(version: str | None, in_force: str | None) -> bool:
    """Whether a transaction was made under an older status list than the one that was in force at the lane.

    Versions sort by time. Unknown on either side is not old.
    """
    return version is not None and in_force is not None and version < in_force


def _reading(event: LaneEvent, lane: Lane) -> Iterator[Check]:
    etc = event.etc
    obu, card = (etc.obu_plate, etc.card_plate) if etc is not None else (None, None)
    if any(plate is not None and form_of(plate) is None for plate in (event.plate, obu, card)):
        yield Check.PLATE_FORM
    if event.plate_color == PlateColor.UNKNOWN:
        yield Check.COLOR_UNKNOWN
    if event.vehicle_class is not None and event.vehicle_class not in VEHICLE_CLASSES:
        yield Check.VEHICLE_CLASS
    if event.kind in _PASSAGES and lane.way is not Way.BOTH and lane.way.value != event.kind.value:
        yield Check.WRONG_WAY
    if obu is not None and card is not None and obu != card:
        yield Check.OBU_CARD_PLATES
    chip = card or obu
    if event.plate is not None and chip is not None and event.plate != chip:
        yield Check.CAMERA_ETC_PLATES


def _transaction(etc: EtcPart, lane: Lane) -> Iterator[Check]:
    amount = etc.amount_fen
    if amount is None:
        return
    if not 0 <= amount <= lane.amount_limit_fen:
        yield Check.AMOUNT_RANGE
    before, after = etc.balance_before_fen, etc.balance_after_fen
    # Of a credit card both are counters near 2,000,000,000: normal. A zero before is a reader that did not read it.
    if amount < 0 or (before is not None and after is not None and before - amount != after):
        yield Check.BALANCE
    if not lane.active:
        yield Check.SITE_INACTIVE
    if amount <= 0:
        return
    if not etc.tac:
        yield Check.TAC_ABSENT
    elif etc.card_network == JIANGSU_NETWORK and not is_tac(etc.tac):
        yield Check.TAC_FORM
    if not 0 < len(etc.card_no or "") <= CARD_NO_MAX:
        yield Check.CARD_LENGTH
    if not etc.status_list_version:
        yield Check.LIST_VERSION_ABSENT


def _fits_the_tail(etc: EtcPart) -> bool:
    return (
        fits("terminal_no", etc.terminal_no)
        and fits("terminal_serial", etc.terminal_serial)
        and fits("trade_type", etc.trade_type)
        and fits("tac", etc.tac)
        and fits("amount", etc.amount_fen)
        and fits("before", etc.balance_before_fen)
        and fits("after", etc.balance_after_fen)
    )


def _expiry(context: Context) -> Iterator[Check]:
    day = context.local_day
    if day is None:
        return
    if context.card_expires is not None and context.card_expires < day:
        yield Check.CARD_EXPIRED
    if context.obu_expires is not None and context.obu_expires < day:
        yield Check.OBU_EXPIRED
