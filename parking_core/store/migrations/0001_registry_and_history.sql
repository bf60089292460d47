-- Registry: who and what exists.

CREATE TABLE areas (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL UNIQUE,
    name text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('district', 'street')),
    parent_id integer REFERENCES areas (id),
    boundary jsonb  -- GeoJSON geometry, WGS 84
);

CREATE TABLE operators (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL UNIQUE,
    name text NOT NULL
);

CREATE TABLE lots (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL UNIQUE,
    name text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('off_street', 'on_street')),
    area_id integer REFERENCES areas (id),
    operator_id integer REFERENCES operators (id),
    lat double precision NOT NULL CHECK (lat BETWEEN -90 AND 90),
    lon double precision NOT NULL CHECK (lon BETWEEN -180 AND 180),
    address text NOT NULL DEFAULT '',
    shared boolean NOT NULL DEFAULT false,        -- shares spaces off-peak
    etc_lanes integer NOT NULL DEFAULT 0,         -- 0: no ETC lane
    time_limited boolean NOT NULL DEFAULT false,  -- on-street bays that are legal only at certain hours
    opening jsonb,                                -- [{"days": [1..7], "from": "08:00", "until": "22:00"}], local time; NULL: always open
    height_limit_m real,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE spaces (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lot_id integer NOT NULL REFERENCES lots (id),
    code text NOT NULL,
    kind text NOT NULL DEFAULT 'standard' CHECK (kind IN ('standard', 'accessible', 'ev', 'large', 'motorcycle')),
    level text NOT NULL DEFAULT '',
    lat double precision,
    lon double precision,
    geometry jsonb,  -- GeoJSON polygon of the bay, WGS 84
    UNIQUE (lot_id, code)
);

CREATE TABLE devices (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL UNIQUE,
    lot_id integer NOT NULL REFERENCES lots (id),
    space_id integer REFERENCES spaces (id),  -- the bay of a one-space device
    family text NOT NULL DEFAULT 'native',
    model text NOT NULL DEFAULT '',
    firmware text NOT NULL DEFAULT '',
    expected_interval_s integer NOT NULL DEFAULT 3600 CHECK (expected_interval_s > 0),
    clock_earliest_s bigint,  -- this device's own clock window, seconds relative to first receipt;
    clock_latest_s bigint,    -- NULL: the gateway's (a replayed device reports times long past)
    enabled boolean NOT NULL DEFAULT true
);
CREATE INDEX devices_space ON devices (space_id);
CREATE INDEX devices_lot ON devices (lot_id);

-- A device that watches several bays.
CREATE TABLE device_spaces (
    device_id integer NOT NULL REFERENCES devices (id),
    space_id integer NOT NULL REFERENCES spaces (id),
    PRIMARY KEY (device_id, space_id)
);
CREATE INDEX device_spaces_space ON device_spaces (space_id);

-- A change of the registry moves this number; processes that hold the registry in memory watch it.
CREATE TABLE registry_version (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    version bigint NOT NULL
);
INSERT INTO registry_version (version) VALUES (1);

CREATE FUNCTION bump_registry_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE registry_version SET version = version + 1;
    PERFORM pg_notify('registry_changed', '');
    RETURN NULL;
END $$;
CREATE TRIGGER lots_changed AFTER INSERT OR UPDATE OR DELETE ON lots
    FOR EACH STATEMENT EXECUTE FUNCTION bump_registry_version();
CREATE TRIGGER spaces_changed AFTER INSERT OR UPDATE OR DELETE ON spaces
    FOR EACH STATEMENT EXECUTE FUNCTION bump_registry_version();
CREATE TRIGGER devices_changed AFTER INSERT OR UPDATE OR DELETE ON devices
    FOR EACH STATEMENT EXECUTE FUNCTION bump_registry_version();
CREATE TRIGGER device_spaces_changed AFTER INSERT OR UPDATE OR DELETE ON device_spaces
    FOR EACH STATEMENT EXECUTE FUNCTION bump_registry_version();

-- History: immutable. No foreign keys, they would cost a look-up a row on the hot path; the gateway checks the registry.
CREATE TABLE occupancy_events (
    space_id integer NOT NULL,
    device_id integer NOT NULL,
    occurred_at timestamptz NOT NULL,                              -- device time (received_at when clock_suspect)
    received_at timestamptz NOT NULL,                              -- gateway time of the first receipt
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),    -- database time
    seq bigint NOT NULL,                                           -- 0: the device sends none
    occupied boolean NOT NULL,
    clock_suspect boolean NOT NULL,
    battery_v real,
    rssi_dbm real,
    temperature_c real
);
SELECT create_hypertable('occupancy_events', by_range('occurred_at', INTERVAL '7 days'), create_default_indexes => false);

-- The idempotency key. space_id leads, so that "the last event of a space" reads the same index backwards.
CREATE UNIQUE INDEX occupancy_events_key ON occupancy_events (space_id, occurred_at, seq, occupied, device_id);

CREATE FUNCTION refuse_change_of_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'occupancy_events is immutable: correct it by a later event, drop old chunks by retention';
END $$;
CREATE TRIGGER occupancy_events_immutable BEFORE UPDATE OR DELETE ON occupancy_events
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_history();

-- Readings whose device time cannot be believed enter history at their first receipt; this ledger
-- knows them by what the device said, so that a redelivery does not enter twice.
CREATE TABLE clock_ledger (
    device_id integer NOT NULL,
    space_id integer NOT NULL,
    raw_occurred_us bigint NOT NULL,  -- microseconds since the epoch, as the device said; may lie outside timestamptz
    seq bigint NOT NULL,
    occupied boolean NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (device_id, space_id, raw_occurred_us, seq, occupied)
);
CREATE INDEX clock_ledger_received ON clock_ledger (received_at);

-- Durable, because "unknown" is derived from it.
CREATE TABLE device_liveness (
    device_id integer PRIMARY KEY REFERENCES devices (id),
    last_heard_at timestamptz NOT NULL,
    online boolean,                        -- last status message; NULL: never sent one
    seq_missing bigint NOT NULL DEFAULT 0  -- messages that the device numbered and nobody received
) WITH (fillfactor = 60);

-- Intervals in which nothing was known of a space because its device was silent.
CREATE TABLE space_silences (
    space_id integer NOT NULL REFERENCES spaces (id),
    began_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (space_id, began_at)
);
CREATE UNIQUE INDEX space_silences_open ON space_silences (space_id) WHERE ended_at IS NULL;

-- Messages that could not be used, whole, with the reason.
CREATE TABLE dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL,
    topic text NOT NULL,
    payload bytea NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    digest bytea NOT NULL,  -- SHA-256 of topic and payload: finds a redelivered letter
    resolved_at timestamptz -- set when a retry was accepted
);
CREATE INDEX dead_letters_received ON dead_letters (received_at);
CREATE INDEX dead_letters_digest ON dead_letters (digest);

-- Buckets whose rollups must be computed again. Append-only and without a key: two gateways never wait for each other.
CREATE TABLE dirty_buckets (
    lot_id integer NOT NULL,
    bucket timestamptz NOT NULL  -- start of five minutes
);
