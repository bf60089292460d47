"""A lane's message understood: wire record to the report that enters the ledger, with the checks that it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.decoders.lane.decoder import amount_of_hour, day_of, decode_lane, hour_of, text_of
from gateway.decoders.native.decoder import Refusal, microseconds
from parking_core.lane_checks import EARLIEST_S, LATEST_S, Context, failed_checks
from parking_core.lanes import EtcPart, LaneEvent, LaneEventKind, LaneReport, LaneSource, vehicle_of
from parking_core.plates import color_of, normal
from parking_core.readings import Reason, moment

if TYPE_CHECKING:
    from datetime import datetime, tzinfo

    from gateway.decoders.lane.decoder import EtcRecord, LaneRecord
    from gateway.messages import RawMessage
    from parking_core.lanes import Lane
    from parking_core.store.devices import Device

_SECOND_US = 1_000_000


class LaneReader:
    """Reads lane messages; hours are those of `zone`."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone

    def read(self, message: RawMessage, device: Device) -> LaneReport | Refusal:
        """The report of a message, or why it cannot be used."""
        lane = device.lane
        if lane is None:
            return Refusal(Reason.NOT_A_LANE, f"Device {device.code!r} is registered, but as no lane.", message.payload)
        record = decode_lane(message.payload)
        if isinstance(record, Refusal):
            return record
        said_us = microseconds(record.at)
        assert said_us is not None  # noqa: S101  # the decoder refuses what is no time
        suspect = not _believable(device, said_us - message.received_us)
        occurred_at = moment(message.received_us if suspect else said_us)
        hour_at = hour_of(record, moment(said_us), self._zone) if record.event is LaneEventKind.HOUR_TOTAL else None
        if isinstance(hour_at, str):
            return Refusal(Reason.BAD_TIME, hour_at, message.payload)
        event = _event(record, lane, hour_at, occurred_at, moment(message.received_us))
        context = Context(clock_suspect=suspect)
        if record.etc is not None and (record.etc.card_expires or record.etc.obu_expires):
            context = Context(
                clock_suspect=suspect,
                card_expires=day_of(record.etc.card_expires),
                obu_expires=day_of(record.etc.obu_expires),
                local_day=occurred_at.astimezone(self._zone).date(),
            )
        return LaneReport(event, failed_checks(event, lane, context), message)


def _believable(device: Device, ahead_us: int) -> bool:
    """Whether the lane's time, so far ahead of its receipt, lies in the device's window."""
    earliest_s = EARLIEST_S if device.clock_earliest_s is None else device.clock_earliest_s
    latest_s = LATEST_S if device.clock_latest_s is None else device.clock_latest_s
    return earliest_s * _SECOND_US <= ahead_us <= latest_s * _SECOND_US


def _event(
    record: LaneRecord, lane: Lane, hour_at: datetime | None, occurred_at: datetime, received_at: datetime
) -> LaneEvent:
    plate = color = None
    if record.plate is not None:
        plate = normal(record.plate.text)
        color = None if record.plate.color is None else color_of(record.plate.color, lane.color_codes).value
    etc = None if record.etc is None else _etc(record.etc)
    is_correction = record.event is LaneEventKind.CORRECTION  # about the plate it gives, whatever else it repeats
    return LaneEvent(
        id=0,
        device_id=lane.device_id,
        lot_id=lane.lot_id,
        record_no=record.record_no,
        kind=record.event,
        source=record.source or _source(record),
        occurred_at=occurred_at,
        received_at=received_at,
        vehicle=vehicle_of(plate, None if is_correction else etc, record.ticket, lane.code, record.record_no),
        refers_to=record.refers_to,
        plate=plate,
        plate_color=color,
        vehicle_class=record.vehicle_class,
        etc=etc,
        hour_at=hour_at,
        hour_records=record.count if hour_at is not None else None,
        hour_amount_fen=amount_of_hour(record) if hour_at is not None else None,
    )


def _etc(record: EtcRecord) -> EtcPart:
    return EtcPart(
        obu_plate=normal(record.obu_plate),
        card_plate=normal(record.card_plate),
        obu_id=text_of(record.obu_id) or None,
        contract_no=text_of(record.contract_no) or None,
        card_no=text_of(record.card_no),
        card_network=text_of(record.card_network),
        card_type=text_of(record.card_type),
        terminal_no=text_of(record.terminal_no) or None,
        terminal_serial=text_of(record.terminal_serial) or None,
        tac=record.tac or None,
        algorithm=text_of(record.algorithm),
        trade_type=text_of(record.trade_type),
        amount_fen=record.amount_fen,
        balance_before_fen=record.balance_before_fen,
        balance_after_fen=record.balance_after_fen,
        status_list_version=text_of(record.status_list_version) or None,
    )


def _source(record: LaneRecord) -> LaneSource:
    if record.event is LaneEventKind.MANUAL_OPEN:
        return LaneSource.MANUAL
    return LaneSource.ANPR if record.etc is None else LaneSource.ETC
