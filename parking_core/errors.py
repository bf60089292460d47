"""The errors of the platform, few and named.

ParkingError                one sentence: what was wrong, where, what to do; `code` is stable
├── SettingsError           a setting cannot be read
├── NotFoundError           a named lot, space, device or dead letter does not exist
├── InvalidInputError       a file, a row or a parameter is not what it must be
├── ConflictError           it contradicts what is known by now: an old version, a key used for something else
│   └── CapacityTakenError  somebody else was faster
├── UnauthorizedError       nobody, or nobody known, asks
├── ForbiddenError          the account may not do that
├── ServiceUnavailableError TimescaleDB, Redis or the broker cannot be reached
└── InstallationError       onebox cannot set up or start a private service
"""

from __future__ import annotations


class ParkingError(Exception):
    """Base of all errors that a person is meant to read."""

    code = "error"


class SettingsError(ParkingError):
    """A setting cannot be read."""

    code = "bad_setting"


class NotFoundError(ParkingError):
    """A named thing does not exist."""

    code = "not_found"


class InvalidInputError(ParkingError):
    """Input is not what it must be."""

    code = "invalid_input"


class ServiceUnavailableError(ParkingError):
    """A service that this process stands on cannot be reached."""

    code = "service_unavailable"


class InstallationError(ParkingError):
    """The private services cannot be installed or started."""

    code = "installation"


class ConflictError(ParkingError):
    """What is asked for contradicts what is known by now: an old version, or a key that was used for something else."""

    code = "conflict"


class UnauthorizedError(ParkingError):
    """Nobody, or nobody known, asks for it."""

    code = "unauthorized"


class ForbiddenError(ParkingError):
    """The account may not do that."""

    code = "forbidden"


class CapacityTakenError(ConflictError):
    """Somebody else was faster; decide again."""

    code = "capacity_taken"
