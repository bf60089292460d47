"""Vehicles that drive through simulated lanes: invented plates, cards and OBUs, and what an antenna does to a card."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from simulators.month.visits import checked_plate

if TYPE_CHECKING:
    import random

_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ"  # plates have no I and no O
_REGIONS: Final = ("苏B", "苏A", "苏E", "沪A")
_CREDIT_COUNTER_FEN: Final = 2_000_000_000  # cards that are billed later count down from here
_CREDIT_SHARE, _ELECTRIC_SHARE = 0.7, 0.3


class Pays(StrEnum):
    """How a driver pays."""

    ETC = "etc"  # the antenna charges the card
    PHONE = "phone"  # scans the code on the lane's screen
    LATER = "later"  # drives off when the barrier lets him, and owes


@dataclass(slots=True)
class Car:
    """One vehicle; times as RFC 3339, so that it can be kept as JSON."""

    plate: str
    color: str
    pays: Pays
    card_no: str
    obu_id: str
    card_type: str  # 22 stored value, 23 credit
    balance_fen: int
    entered_at: str = ""
    leaves_at: str = ""  # of guests of shared lots; others leave when they are drawn

    def sight(self, *, etc: bool = False, list_version: str | None = None) -> dict[str, Any]:
        """What a lane says of it: camera, and antenna where there is a card to read."""
        said: dict[str, Any] = {
            "plate": {"text": self.plate, "color": self.color},
            "vehicle_class": 1,
            "source": "etc" if etc else "anpr",
        }
        if etc:
            said["etc"] = {
                "obu_plate": self.plate,
                "card_plate": self.plate,
                "obu_id": self.obu_id,
                "card_no": self.card_no,
                "card_network": "3201",
                "card_type": self.card_type,
                "status_list_version": list_version or "0",
            }
        return said


def charge(car: Car, fee_fen: int, terminal: tuple[str, str], rng: random.Random) -> dict[str, Any]:
    """Takes the fee from the card; gives what the antenna adds to the record. `terminal`: its number and serial."""
    before, car.balance_fen = car.balance_fen, car.balance_fen - fee_fen
    return {
        "terminal_no": terminal[0],
        "terminal_serial": terminal[1],
        "tac": f"{rng.getrandbits(32):08X}",
        "algorithm": "1",
        "trade_type": "09",
        "amount_fen": fee_fen,
        "balance_before_fen": before,
        "balance_after_fen": car.balance_fen,
    }


def new_car(rng: random.Random, pays: Pays) -> Car:
    """An invented vehicle. Plates end in a check figure, so that invented ones are told apart."""
    electric = rng.random() < _ELECTRIC_SHARE
    letters = ("D" if electric else rng.choice(_LETTERS)) + rng.choice(_LETTERS)
    figures = f"{rng.randrange(1000):03}"[: 3 if electric else 2]
    credit = rng.random() < _CREDIT_SHARE
    serial = rng.randrange(10**12)
    return Car(
        plate=checked_plate(rng.choice(_REGIONS), letters + figures),
        color="green" if electric else "blue",
        pays=pays,
        card_no=f"3201{serial:016d}",
        obu_id=f"3401{serial:012d}",
        card_type="23" if credit else "22",
        balance_fen=(_CREDIT_COUNTER_FEN if credit else 50_000) - rng.randrange(40_000),
    )
