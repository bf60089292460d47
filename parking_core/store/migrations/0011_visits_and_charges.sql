-- Visits: a vehicle's stay in a lot, derived from lane events; charges: what each costs, version by version.

-- Which vehicle an event is about, where a correction record says otherwise than the event: the ledger stays as it came.
-- Of several corrections of one event the newest at its lane is in force, whatever the order in which they arrived.
CREATE TABLE lane_amendments (
    correction_event_id bigint PRIMARY KEY REFERENCES lane_events,
    device_id integer NOT NULL REFERENCES devices,
    record_no bigint NOT NULL,             -- of the record that is corrected
    event_id bigint REFERENCES lane_events,    -- that record; NULL: not received yet
    vehicle_before text,
    vehicle_after text NOT NULL,
    plate_color text,
    vehicle_class smallint,
    corrected_at timestamptz NOT NULL,     -- by the lane's clock
    in_force boolean NOT NULL DEFAULT false,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX lane_amendments_in_force ON lane_amendments (event_id) WHERE in_force;
CREATE INDEX lane_amendments_vehicle ON lane_amendments (vehicle_after) WHERE in_force;
CREATE INDEX lane_amendments_record ON lane_amendments (device_id, record_no);

-- Events that could not be processed: set aside so that the others go on, each with a difference.
CREATE TABLE lane_events_set_aside (
    event_id bigint PRIMARY KEY REFERENCES lane_events,
    error text NOT NULL,
    set_aside_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE visits (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lot_id integer NOT NULL REFERENCES lots,
    vehicle text NOT NULL,
    plate_color text,
    vehicle_class smallint,
    state text NOT NULL,               -- parking_core.visits.VisitState
    reasons text[] NOT NULL DEFAULT '{}',  -- parking_core.visits.Oddity
    channel text,                      -- how it was paid, when it is over: 'etc', 'qr', 'permit', 'free', 'later', ...
    -- Deferred: one batch may move an event from a visit to another.
    entry_event_id bigint UNIQUE DEFERRABLE INITIALLY DEFERRED REFERENCES lane_events,
    exit_event_id bigint UNIQUE DEFERRABLE INITIALLY DEFERRED REFERENCES lane_events,
    entered_at timestamptz,
    exited_at timestamptz,
    matters_until timestamptz NOT NULL,    -- passages after that leave the visit as it is
    linked_event_id bigint REFERENCES lane_events,  -- exit_elsewhere: the entry in the other lot, or the exit there
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (state = 'void' OR entry_event_id IS NOT NULL OR exit_event_id IS NOT NULL)
);
CREATE INDEX visits_vehicle ON visits (vehicle, matters_until);
CREATE INDEX visits_inside ON visits (lot_id, entered_at) WHERE state = 'open';
CREATE INDEX visits_exited ON visits (exited_at);

-- What a visit costs. A new version follows when its events, or what is known of them, change; the newest counts.
CREATE TABLE charges (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    visit_id bigint NOT NULL REFERENCES visits,
    version integer NOT NULL CHECK (version > 0),
    tariff_id integer REFERENCES tariffs,
    amount_fen bigint NOT NULL,
    lines jsonb NOT NULL,              -- parking_core.tariffs.ChargeLine, each with the rule that made it
    reason text NOT NULL,              -- why this version: 'exit', 'late_entry', 'correction', ...
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (visit_id, version)
);

-- Money that a lane took from an ETC card, one row a (terminal, serial): charged once, whatever is sent again.
CREATE TABLE etc_transactions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    terminal_no text NOT NULL,
    terminal_serial text NOT NULL,
    event_id bigint NOT NULL UNIQUE REFERENCES lane_events,
    completion_event_id bigint REFERENCES lane_events,
    device_id integer NOT NULL REFERENCES devices,
    lot_id integer NOT NULL REFERENCES lots,
    visit_id bigint REFERENCES visits,
    amount_fen bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    tac text,
    state text NOT NULL,               -- parking_core.settlement.EtcState
    reasons text[] NOT NULL DEFAULT '{}',
    package_id bigint,
    clearing_day date,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (terminal_no, terminal_serial)
);
CREATE INDEX etc_transactions_state ON etc_transactions (state, id) WHERE state IN ('awaiting_tac', 'held', 'ready', 'disputed');
CREATE INDEX etc_transactions_package ON etc_transactions (package_id);
CREATE INDEX etc_transactions_visit ON etc_transactions (visit_id);

-- Where a lot without bay sensors takes its availability from, and what sensors and lanes say of each other elsewhere.
CREATE TABLE lane_counts (
    lot_id integer PRIMARY KEY REFERENCES lots,
    inside integer NOT NULL,           -- open visits
    sensors boolean NOT NULL,          -- whether any of its spaces has a device
    sensor_occupied integer,           -- NULL: no sensors, or what they say is not known
    drift integer,                     -- inside - sensor_occupied
    counted_at timestamptz NOT NULL
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'api_role') THEN
        GRANT SELECT ON lane_counts TO api_role;
        GRANT SELECT (id, lot_id, vehicle, plate_color, vehicle_class, state, channel, entered_at, exited_at) ON visits TO api_role;
        GRANT SELECT ON charges TO api_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'worker_role') THEN
        GRANT SELECT, INSERT, UPDATE ON lane_amendments, visits, etc_transactions, lane_counts TO worker_role;
        GRANT SELECT, INSERT ON lane_events_set_aside, charges TO worker_role;
        GRANT DELETE ON lane_events_set_aside TO worker_role;
    END IF;
END $$;
