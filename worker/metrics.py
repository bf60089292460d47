"""What the worker tells Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

LEADING = Gauge(
    "parking_worker_leading", "1 while this worker decides silence and computes rollups, 0 while it stands by"
)
LOOP_SECONDS = Histogram(
    "parking_worker_loop_seconds",
    "Duration of one pass of a loop",
    ["loop"],
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
LAST_SUCCESS = Gauge("parking_worker_last_success_timestamp_seconds", "When a loop's last pass succeeded", ["loop"])
FAILURES = Counter("parking_worker_failures_total", "Passes of a loop that failed", ["loop"])
DIRTY_BACKLOG = Gauge("parking_worker_dirty_backlog", "Rows that waited in dirty_buckets, counted up to a bite's limit")
ROLLUPS_WRITTEN = Counter("parking_worker_rollups_written_total", "Five-minute rows that were new or different")
SILENT_SPACES = Gauge("parking_worker_silent_spaces", "Spaces that are unknown because their sensors are silent")
REBUILDS = Counter("parking_worker_rebuilds_total", "Times the live state was derived from history again")
PAYMENT_NOTICES = Counter(
    "parking_worker_payment_notices_total", "Notices of acquirers processed, by result", ["result"]
)
ACQUIRER_ASKED = Counter(
    "parking_worker_acquirer_asked_total", "Orders the acquirer was asked about, by outcome", ["outcome"]
)
CLEARING_CONNECTED = Gauge("parking_worker_clearing_connected", "1 while the ETC clearing centre is connected")
PACKAGES_MADE = Counter("parking_worker_clearing_packages_total", "Packages made of ETC transactions")
PACKAGES_SENT = Counter("parking_worker_clearing_sent_total", "Packages sent to the clearing centre, repeats included")
CLEARING_MESSAGES = Counter(
    "parking_worker_clearing_messages_total",
    "Messages of the clearing centre by kind and our result",
    ["kind", "result"],
)
LANE_EVENTS = Counter("parking_worker_lane_events_total", "Lane records that became visits, charges and postings")
LANE_SET_ASIDE = Counter("parking_worker_lane_events_set_aside_total", "Lane records that could not be processed")
LANE_BATCH_SECONDS = Histogram(
    "parking_worker_lane_batch_seconds",
    "Duration of one batch of lane records",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
LANE_BACKLOG = Gauge(
    "parking_worker_lane_backlog", "Lane records that wait, looked at every 5 s, counted up to 100,000"
)
LANE_BACKLOG_AGE = Gauge("parking_worker_lane_backlog_age_seconds", "How long the oldest of them has waited")
FEE_ANSWERS = Counter("parking_worker_fee_answers_total", "Answers to lanes that asked for a fee")
SUSPENDED_PROMISES = Counter(
    "parking_worker_suspended_promises_total",
    "Promises that an owner's suspension met, by what became of them",
    ["result"],
)
PROMISES = Counter(
    "parking_worker_promises_total",
    "Promises of shared spaces that the minute's pass acted on, by what it did",
    ["what"],
)
CAPACITY_UNEQUAL = Gauge(
    "parking_worker_capacity_unequal_slots",
    "Slots whose capacity was not what promises leave of it at the last look, counted up to 100",
)
SUSPENDED = Counter("parking_worker_devices_suspended_total", "Devices that were shut out because they flooded")
BROKER_LACKS = Gauge("parking_worker_broker_lacks_devices", "Devices with a credential that the broker does not know")
SIGNS_TOLD = Counter("parking_worker_signs_told_total", "Times a guidance sign was told its free spaces")
DEVICE_CONDITIONS = Gauge("parking_worker_device_conditions", "Devices that are in a condition now", ["condition"])
