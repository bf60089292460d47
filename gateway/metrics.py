"""What the gateway counts, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.sorting import Sorted
    from parking_core.flows.record_batch import Recorded
    from parking_core.lanes import LaneReport
    from parking_core.store.lane_events import Entered

_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SIZES = (1, 10, 50, 100, 250, 500, 1000, 2000, 4000, 8000)


class LaneMetrics:
    """Counters of lane messages."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter("gateway_lane_events_total", "Lane messages entered into the ledger", registry=registry)
        self.flags = Counter("gateway_lane_flags_total", "Failed checks of lane messages", ["check"], registry=registry)
        self.repeats = Counter(
            "gateway_lane_repeats_total",
            "Lane messages that the ledger had already: redelivered, or repeated in another way",
            ["reason"],
            registry=registry,
        )

    def count(self, reports: Sequence[LaneReport], entered: Entered) -> None:
        """Counts what became of lane messages."""
        self.events.inc(entered.new)
        self.repeats.labels("redelivered").inc(entered.redelivered)
        for reason, number in entered.repeats.items():
            self.repeats.labels(reason).inc(number)
        for report in reports:
            for flag in report.flags:
                self.flags.labels(flag).inc()


class RefusalMetrics:
    """Counters of what is not taken, beside the dead letters."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.repeated_frames = Counter(
            "gateway_repeated_frames_total",
            "Frames of networks that were counted before: re-sent, or replayed",
            registry=registry,
        )
        self.broker_refusals = Counter(
            "gateway_broker_refusals_total",
            "Connections that the broker ended, as its log tells: login, denied, malformed",
            ["kind"],
            registry=registry,
        )
        self.limited = Counter(
            "gateway_messages_limited_total",
            "Messages that were more than their sender's measure",
            registry=registry,
        )
        self.passed_over = Counter(
            "gateway_passed_over_total", "Messages of unknown devices that somebody refused", registry=registry
        )

    def count(self, found: Sorted, recorded: Recorded, left_out: int) -> None:
        """Counts what was refused in a batch, and by the broker meanwhile."""
        self.repeated_frames.inc(recorded.repeated_frames)
        self.limited.inc(left_out)
        self.passed_over.inc(found.passed_over)
        for refusal in found.refused_by_broker:
            self.broker_refusals.labels(refusal.value).inc()


class Metrics:
    """All counters of one gateway process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.messages = Counter("gateway_messages_total", "Messages made durable", registry=self.registry)
        self.readings = Counter("gateway_readings_total", "Readings recorded or known already", registry=self.registry)
        self.rejections = Counter(
            "gateway_dead_letters_total", "Messages kept as dead letters", ["reason"], registry=self.registry
        )
        self.lanes = LaneMetrics(self.registry)
        self.refused = RefusalMetrics(self.registry)
        self.command_acks = Counter(
            "gateway_command_acks_total", "Devices' answers to commands", ["outcome"], registry=self.registry
        )
        self.commands_sent = Counter(
            "gateway_commands_sent_total", "Commands that the broker took", ["kind"], registry=self.registry
        )
        self.commands_timed_out = Counter(
            "gateway_commands_timed_out_total", "Commands whose deadline passed", ["kind"], registry=self.registry
        )
        self.clock_suspects = Counter(
            "gateway_clock_suspect_total", "Readings outside the clock window", registry=self.registry
        )
        self.batch_size = Histogram(
            "gateway_batch_messages", "Messages a batch", buckets=_SIZES, registry=self.registry
        )
        self.commit_seconds = Histogram(
            "gateway_commit_seconds",
            "Transaction of a batch, retries included",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.live_seconds = Histogram(
            "gateway_receipt_to_live_seconds",
            "From the receipt of a batch's oldest message to its live state",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.device_lag = Histogram(
            "gateway_device_lag_seconds",
            "Median of a batch: from the device's time to the receipt",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.retries = Counter(
            "gateway_database_retries_total", "Batches tried again", ["cause"], registry=self.registry
        )
        self.missing = Gauge(
            "gateway_seq_missing", "Numbered messages nobody received, since the start", registry=self.registry
        )
        self.reconnects = Counter("gateway_broker_reconnects_total", "Lost broker connections", registry=self.registry)
        self.waiting = Gauge("gateway_waiting_messages", "Received and not yet in a batch", registry=self.registry)
        self.live_waiting = Gauge(
            "gateway_live_waiting_readings", "Durable readings not yet in the live state", registry=self.registry
        )

    def serve(self, port: int) -> None:
        """Serves /metrics on the loopback address; 0: not at all."""
        if port:
            start_http_server(port, "127.0.0.1", self.registry)
