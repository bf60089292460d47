"""What a TEKZIPARK can be told: all its settings at once, as bits of eight bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.decoders.downlinks import Downlink, Parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

_PORT: Final = 3

# A byte a line: (name, bits), from the highest bit on.
_BITS: Final = (
    (("suppress_baseline_offset", 1), ("radar_start_range", 3), ("fluctuations_count", 4)),
    (("downlink_frequency", 1), ("axis_deflection", 2), ("debug_mode", 1), ("deflection_threshold_mag", 4)),
    (("zero_neg_drop", 1), ("oversampling", 2), ("hw_acc_samples_no", 2), ("fluctuation_threshold_XY", 3)),
    (("sleep_time", 3), ("reset_control", 1), ("mag_reboot", 1), ("fluctuation_delay_time", 3)),
    (("axis_fluctuations", 2), ("fluctuation_threshold_Z", 3), ("self_heal", 1), ("keepalive_period", 2)),
    (("radar_scan_count", 4), ("obstruction_check", 1), ("reflection_threshold_radar", 3)),
    (("OI", 1), ("send_rssi", 1), ("beacons_scan_no", 3), ("ble_scan_window", 3)),
    (("ble_scan_rssi", 8),),
)


def _encode(values: Mapping[str, Any]) -> tuple[int, bytes]:
    octets = bytearray()
    for line in _BITS:
        octet = 0
        for name, bits in line:
            octet = octet << bits | values[name]
        octets.append(octet)
    return _PORT, bytes(octets)


DOWNLINKS: Final = (
    Downlink(
        "configuration",
        "all settings at once",
        tuple(Parameter(name, "", 0, 2**bits - 1) for line in _BITS for name, bits in line),
        _encode,
    ),
)
