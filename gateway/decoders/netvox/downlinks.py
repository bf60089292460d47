"""What a Netvox R719A can be told: how often it reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.decoders.downlinks import Downlink, Parameter
from gateway.decoders.netvox.decoder import DEVICES

if TYPE_CHECKING:
    from collections.abc import Mapping

_PORT: Final = 7
_WORD: Final = 65_535
_DEVICE: Final = DEVICES["R719A"]


def _configure(values: Mapping[str, Any]) -> tuple[int, bytes]:
    times = values["MinTime"].to_bytes(2) + values["MaxTime"].to_bytes(2)
    return _PORT, bytes([1, _DEVICE]) + times + bytes([round(values["BatteryChange"] * 10), 0, 0, 0, 0])


def _read(_values: Mapping[str, Any]) -> tuple[int, bytes]:
    return _PORT, bytes([2, _DEVICE]) + bytes(9)


DOWNLINKS: Final = (
    Downlink(
        "ConfigReportReq",
        "how often it reports",
        (
            Parameter("MinTime", "s", 1, _WORD),
            Parameter("MaxTime", "s", 1, _WORD),
            Parameter("BatteryChange", "V", 0.1, 25.5, is_whole=False),
        ),
        _configure,
    ),
    Downlink("ReadConfigReportReq", "ask how often it reports", (), _read),
)


def decode_downlink(payload: bytes) -> dict[str, Any] | None:
    """What a downlink says, by the same field table; None: it is none of these."""
    if len(payload) != 11 or payload[1] != _DEVICE:
        return None
    if payload[0] == 2:
        return {"Cmd": "ReadConfigReportReq", "Device": "R719A"}
    if payload[0] != 1:
        return None
    return {
        "Cmd": "ConfigReportReq",
        "Device": "R719A",
        "MinTime": int.from_bytes(payload[2:4]),
        "MaxTime": int.from_bytes(payload[4:6]),
        "BatteryChange": payload[6] / 10,
    }
