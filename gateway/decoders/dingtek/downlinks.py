"""What Dingtek sensors can be told: one parameter a downlink, as text of hexadecimal digits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gateway.decoders.downlinks import Downlink, Parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

_PORT: Final = 3


def _write(values: Mapping[str, Any], *, group: str, key: int, name: str, digits: int) -> tuple[int, bytes]:
    return _PORT, f"8002{group}{key:02X}{values[name]:0{digits}X}81".encode()


def _one(group: str, key: int, parameter: Parameter, title: str, digits: int = 2) -> Downlink:
    encode = partial(_write, group=group, key=key, name=parameter.name, digits=digits)
    return Downlink(parameter.name, title, (parameter,), encode)


_HOURS: Final = Parameter("uploadInterval", "h", 1, 168)

DO200: Final = (
    _one("8888", 0x01, _HOURS, "how often it reports"),
    _one("8888", 0x02, Parameter("magThreshold", "mGs", 1, 255), "from which magnetic change on a vehicle is there"),
    _one("8888", 0x04, Parameter("magDetectInterval", "s", 1, 255), "how often the magnet is read"),
)
_DO202: Final = (
    _one("9999", 0x01, _HOURS, "how often it reports"),
    _one("9999", 0x05, Parameter("batteryThreshold", "%", 5, 99), "from which charge on it warns"),
    _one("9999", 0x08, Parameter("detectInterval", "min", 1, 60), "how often it looks"),
    _one(
        "9999", 0x0F, Parameter("magnetThreshold", "", 1, 65_535), "from which magnetic change on a vehicle is there", 4
    ),
)
DO202: Final = _DO202
DO201: Final = (
    *_DO202,
    _one("9999", 0x02, Parameter("levelThreshold", "cm", 15, 255), "below which distance a vehicle is there"),
)
