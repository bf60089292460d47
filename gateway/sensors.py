"""Messages of sensors of other makes: bytes of their family, as they are or in the envelope of a network server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from gateway.decoders.families import FAMILIES, decode
from gateway.decoders.native.decoder import Refusal
from gateway.decoders.sensors import Said, SaidKind
from gateway.envelopes import chirpstack, loriot, things_stack
from gateway.envelopes.network import Fate, Join, Remark, Status, Uplink
from parking_core.commands import AckResult, CommandAck
from parking_core.discoveries import Sighting
from parking_core.frames import Frame, Joined, Vitals
from parking_core.readings import SEQ_MAX, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.envelopes import network
    from gateway.messages import RawMessage
    from gateway.sorting import Sorting
    from parking_core.store.devices import Device, DeviceRegistry

# By the first level of the topic.
NETWORKS: Final[Mapping[str, tuple[str, Callable[[str, bytes], network.Said]]]] = {
    "application": ("chirpstack", chirpstack.read),
    "v3": ("things_stack", things_stack.read),
    "loriot": ("loriot", loriot.read),
}
_EARLIEST_US: Final = 946_684_800_000_000  # 2000: no network server is older
_FRESH_US: Final = 15 * 60 * 1_000_000  # an answer of the network that is older says nothing about now


def envelope(message: RawMessage, registry: DeviceRegistry, into: Sorting) -> None:
    """Sorts what a network server published."""
    name, read = NETWORKS[message.topic.partition("/")[0]]
    said = read(message.topic, message.payload)
    if isinstance(said, Refusal):
        into.reject(message, said.reason, said.detail)
        return
    device = registry.by_eui.get(said.eui)
    if isinstance(said, Fate):
        _fate(said, device, message, into)
        return
    if device is None:
        if not isinstance(said, Remark):
            into.discover(
                message,
                Sighting(name, said.eui, "", message.received_us, message),
                f"No device with the DevEUI {said.eui} is registered.",
                is_refused=(name, said.eui) in registry.refused,
            )
        return
    if device.network != name:
        speaker = f"the server of {device.network!r}" if device.network else "the device itself"
        into.reject(
            message, Reason.WRONG_NETWORK, f"For device {device.code!r} speaks {speaker}, not that of {name!r}."
        )
    elif not device.enabled:
        into.reject(message, Reason.DISABLED_DEVICE, f"Device {device.code!r} is disabled.")
    elif isinstance(said, Uplink):
        _uplink(said, device, message, into)
    elif isinstance(said, Join):
        into.joins.append(Joined(device_id=device.id, session=said.session, at_us=said.at_us))
        _hear_now(said.at_us, device, message, into)
    elif isinstance(said, Status):
        into.vitals.append(
            Vitals(device_id=device.id, at_us=said.at_us, battery_percent=said.battery_percent, snr_db=said.margin_db)
        )
        _hear_now(said.at_us, device, message, into)


def raw(message: RawMessage, device: Device, into: Sorting) -> None:
    """Sorts what a sensor published in its own bytes."""
    if device.network:
        into.reject(
            message, Reason.WRONG_NETWORK, f"For device {device.code!r} speaks the server of {device.network!r}."
        )
        return
    said = _said(device, 0, message.payload)
    if isinstance(said, Refusal):
        into.reject(message, said.reason, said.detail)
        return
    if said.at_us is None and message.retained:  # the broker's memory, of no time that anybody knows
        return
    at_us = message.received_us if said.at_us is None else said.at_us
    seq = 0 if said.seq is None else said.seq & SEQ_MAX
    if said.occupied is not None and not _reading(said, device, message, into, (at_us, seq, said.rssi_dbm)):
        return
    # A number without a time is no better: those of sensors begin again after 255 messages, or with a battery.
    if said.at_us is None and said.occupied is not None:
        _state(message, into)
    into.vitals.append(_vitals(said, device, at_us, message.received_us))
    if not message.retained:
        into.heard_us[device.id] = message.received_us
        into.explicit.add(device.id)
    if seq:
        into.observed_seqs.append((device.id, seq))


def _state(message: RawMessage, into: Sorting) -> None:
    """The newest row tells a state alone.

    Of those that the broker delivers again a space's last one counts: what came before it may have been recorded, and
    would look like changes.
    """
    row = len(into.rows) - 1
    into.state_rows.add(row)
    if message.redelivered:
        space_id = into.rows[row][0]
        if (earlier := into.states_again.get(space_id)) is not None:
            into.outdated_rows.add(earlier)
        into.states_again[space_id] = row


def _uplink(uplink: Uplink, device: Device, message: RawMessage, into: Sorting) -> None:
    # A frame without a payload is for the network alone, an acknowledgement say; it is a sign of life nevertheless.
    said = _said(device, uplink.port, uplink.payload) if uplink.payload else Said(kind=SaidKind.INFORMATION)
    if isinstance(said, Refusal):
        into.reject(message, said.reason, said.detail)
        return
    at_us = uplink.at_us if said.at_us is None else said.at_us
    rssi_dbm = uplink.rssi_dbm if said.rssi_dbm is None else said.rssi_dbm
    frame = len(into.frames)
    if said.occupied is not None:
        if not _reading(said, device, message, into, (at_us, uplink.counter, rssi_dbm)):
            return
        into.frame_rows[len(into.rows) - 1] = frame
    # A server's clock that runs away must not keep what comes after it out of the session.
    heard_us = min(max(uplink.at_us, _EARLIEST_US), message.received_us)
    into.frames.append(Frame(device.id, uplink.session, uplink.counter, heard_us, message.received_us))
    into.frame_vitals[frame] = _vitals(said, device, heard_us, message.received_us, uplink)


def _said(device: Device, port: int, payload: bytes) -> Said | Refusal:
    """What the payload says, if it is of this device."""
    said = decode(device.family, device.model, device.firmware, port, payload)
    if isinstance(said, Refusal) or said.identity is None or device.serial is None or said.identity == device.serial:
        return said
    return Refusal(
        Reason.FOREIGN_IDENTITY,
        f"The payload is of the device {said.identity!r}; {device.code!r} is registered as {device.serial!r}.",
        payload,
    )


def _reading(
    said: Said, device: Device, message: RawMessage, into: Sorting, when: tuple[int, int, float | None]
) -> bool:
    """Adds the reading; False: it is of no space that the device watches, and was refused."""
    space_id = device.space_id if said.bay is None else device.bays.get(said.bay)
    if space_id is None:
        which = "which it does not say" if said.bay is None else f"its bay {said.bay!r} is none of them"
        into.reject(
            message, Reason.UNKNOWN_SPACE, f"Device {device.code!r} watches {len(device.spaces)} spaces; {which}."
        )
        return False
    at_us, seq, rssi_dbm = when
    row: tuple[Any, ...] = (
        space_id,
        device.id,
        device.lot_id,
        at_us,
        message.received_us,
        seq,
        said.occupied,
        said.battery_v,
        rssi_dbm,
        said.temperature_c,
    )
    into.rows.append(row)
    into.sources.append(message)
    return True


def _vitals(said: Said, device: Device, at_us: int, received_us: int, uplink: Uplink | None = None) -> Vitals:
    rssi_dbm = said.rssi_dbm if said.rssi_dbm is not None or uplink is None else uplink.rssi_dbm
    return Vitals(
        device_id=device.id,
        at_us=at_us if uplink is not None else min(at_us, received_us),
        battery_v=said.battery_v,
        battery_percent=None if uplink is None else uplink.battery_percent,
        battery_state=said.battery_state,
        temperature_c=said.temperature_c,
        rssi_dbm=rssi_dbm,
        snr_db=None if uplink is None else uplink.snr_db,
        firmware=said.firmware,
        clock_offset_s=None if said.at_us is None else (said.at_us - received_us) / 1e6,
        restarted=said.kind is SaidKind.STARTUP,
        application=None if uplink is None else uplink.application or None,
        quarantined=said.quarantined or None,
    )


def _fate(said: Fate, device: Device | None, message: RawMessage, into: Sorting) -> None:
    """The answer to a command that the network's server handed on; that it is in the air is no answer yet."""
    if not said.command or said.delivered is None:
        return
    try:
        command_id = UUID(said.command)
    except ValueError:  # somebody else's downlink
        return
    into.acks.append(
        CommandAck(
            command_id,
            0 if device is None else device.id,
            AckResult.DONE if said.delivered else AckResult.REFUSED,
            said.reason or None,
            said.at_us or message.received_us,
            message.received_us,
            message.redelivered or message.retained,
            message,
        )
    )


def _hear_now(at_us: int, device: Device, message: RawMessage, into: Sorting) -> None:
    """A sign of life, unless it is told again: what is replayed changes nothing."""
    if not message.retained and abs(message.received_us - at_us) <= _FRESH_US:
        into.heard_us[device.id] = message.received_us
        into.explicit.add(device.id)


def reads(device: Device) -> bool:
    """Whether the device is of a family whose bytes are read here."""
    return device.family in FAMILIES
