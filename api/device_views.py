"""What operators see of devices, and what they send."""

from __future__ import annotations

from datetime import date, datetime  # noqa: TC003  # msgspec reads the annotations when it runs
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from parking_core.flows.command_device import FAMILY_OF

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from parking_core.discoveries import Discovery
    from parking_core.store.commands import CommandRow
    from parking_core.store.conditions import WorkItem
    from parking_core.store.device_pages import DeviceRow

Text = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")]
Reason = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]


class DeviceView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device; what nobody knows is left out."""

    code: str
    lot: str
    family: str
    enabled: bool
    credential: Annotated[str, Meta(description="none, issued, suspended or revoked.")]
    missing_messages: int
    space: str | None = None
    model: str = ""
    firmware: str = ""
    network: str = ""
    last_heard_at: datetime | None = None
    online: bool | None = None
    battery_v: float | None = None
    battery_percent: float | None = None
    battery_state: str | None = None
    rssi_dbm: float | None = None
    clock_offset_s: float | None = None


class DevicePage(msgspec.Struct, frozen=True):
    """Devices by code."""

    devices: list[DeviceView]
    next_cursor: str | None = None


class CredentialView(msgspec.Struct, frozen=True):
    """A credential, this once."""

    user_name: str
    secret: Annotated[str, Meta(description="Nobody can read it again.")]


class RevocationWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a credential is taken away."""

    reason: Reason


class CommandWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a device is to do."""

    kind: Literal[tuple(kind.value for kind in FAMILY_OF)]  # type: ignore[valid-type]  # of the enum
    reason: Reason
    body: Annotated[
        dict[str, Any], Meta(description="lock_gate_open: until; show_sign: lines, counts; configure: name, values.")
    ] = {}


class CommandView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A command and what became of it."""

    id: str
    kind: str
    state: str
    created_at: datetime
    deadline_at: datetime
    tries: int
    ended_at: datetime | None = None
    answer: str | None = None


class CommandList(msgspec.Struct, frozen=True):
    """The newest first."""

    commands: list[CommandView]


class ConditionView(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is or was wrong with a device."""

    condition: Annotated[str, Meta(description="silent, stuck, frozen, flapping, clock, battery, signal, ...")]
    since: datetime
    found_at: datetime
    evidence: Annotated[dict[str, Any], Meta(description="What was seen beside what was expected; units by name.")]
    cleared_at: datetime | None = None


class WorkItemView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device that somebody has to see to; it closes by itself when all has healed."""

    id: int
    device: str
    lot: str
    opened_at: datetime
    conditions: list[ConditionView]
    space: str | None = None
    closed_at: datetime | None = None


class WorkItemPage(msgspec.Struct, frozen=True):
    """The newest first."""

    items: list[WorkItemView]
    next_cursor: str | None = None


class DeviceDayView(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a device did on a local day that is over."""

    day: date
    messages: int
    changes: int
    short_stays: int
    missing: int
    quiet_s: Annotated[int, Meta(description="Longest time without a sign of life.")]
    battery_v: float | None = None
    rssi_dbm: float | None = None
    clock_offset_s: float | None = None
    doubtful: Annotated[bool, Meta(description="Something was wrong: nothing is learned from it.")] = False


class DeviceDayList(msgspec.Struct, frozen=True):
    """The oldest first."""

    days: list[DeviceDayView]


class DiscoveryView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device that nobody registered."""

    identity: str
    network: str
    state: str
    messages: int
    first_seen_at: datetime
    last_seen_at: datetime
    sample: Annotated[str, Meta(description="The newest message, hexadecimal, cut.")]
    lot: str = ""
    device: str | None = None
    reason: str | None = None


class DiscoveryList(msgspec.Struct, frozen=True):
    """Those that were heard last first."""

    discoveries: list[DiscoveryView]


class BindingWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an unknown device is, and which space it watches."""

    lot: Reason
    space: Reason
    family: Text = "native"
    model: Text = ""
    firmware: Text = ""
    code: Text = ""


class RefusalWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why an unknown device is refused."""

    reason: Reason


class Decided(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was decided of an unknown device."""

    state: str
    device: str | None = None


DEVICE_SCHEMAS = (
    DevicePage,
    DeviceView,
    CredentialView,
    RevocationWish,
    CommandWish,
    CommandView,
    CommandList,
    ConditionView,
    WorkItemView,
    WorkItemPage,
    DeviceDayView,
    DeviceDayList,
    DiscoveryList,
    DiscoveryView,
    BindingWish,
    RefusalWish,
    Decided,
)


def device_view(row: DeviceRow, zone: ZoneInfo) -> DeviceView:
    """A row as it is shown."""
    return DeviceView(
        code=row.code,
        lot=row.lot,
        family=row.family,
        enabled=row.enabled,
        credential=row.credential,
        missing_messages=row.missing,
        space=row.space,
        model=row.model,
        firmware=row.firmware,
        network=row.network,
        last_heard_at=None if row.last_heard_at is None else row.last_heard_at.astimezone(zone),
        online=row.online,
        battery_v=row.battery_v,
        battery_percent=row.battery_percent,
        battery_state=row.battery_state,
        rssi_dbm=row.rssi_dbm,
        clock_offset_s=row.clock_offset_s,
    )


def work_item_view(item: WorkItem, zone: ZoneInfo) -> WorkItemView:
    """A row as it is shown."""
    return WorkItemView(
        item.id,
        item.device,
        item.lot,
        item.opened_at.astimezone(zone),
        [msgspec.convert(condition, ConditionView, strict=False) for condition in item.conditions],
        item.space,
        None if item.closed_at is None else item.closed_at.astimezone(zone),
    )


def command_view(row: CommandRow, zone: ZoneInfo) -> CommandView:
    """A row as it is shown."""
    said = row.answer or {}
    answer = " ".join(str(said[key]) for key in ("result", "reason") if said.get(key))
    return CommandView(
        str(row.id),
        row.kind.value,
        row.state.value,
        row.created_at.astimezone(zone),
        row.deadline_at.astimezone(zone),
        row.tries,
        None if row.ended_at is None else row.ended_at.astimezone(zone),
        answer or None,
    )


def discovery_view(found: Discovery, zone: ZoneInfo) -> DiscoveryView:
    """A row as it is shown."""
    return DiscoveryView(
        identity=found.identity,
        network=found.network,
        state=found.state.value,
        messages=found.messages,
        first_seen_at=found.first_seen_at.astimezone(zone),
        last_seen_at=found.last_seen_at.astimezone(zone),
        sample=found.sample.hex(),
        lot=found.lot,
        device=found.device,
        reason=found.reason,
    )
