-- Lanes: devices at the ways in and out of a lot, and the ledger of what they report.

CREATE TABLE lanes (
    device_id integer PRIMARY KEY REFERENCES devices,
    direction text NOT NULL CHECK (direction IN ('entry', 'exit', 'both')),
    active boolean NOT NULL DEFAULT true,          -- the clearing centre has activated the site
    plate_codes text NOT NULL DEFAULT 'national' CHECK (plate_codes IN ('national', '4pyun')),  -- which colour codes its camera speaks
    amount_limit_fen bigint NOT NULL DEFAULT 50000 CHECK (amount_limit_fen > 0)  -- of one transaction
);

CREATE TRIGGER lanes_changed AFTER INSERT OR UPDATE OR DELETE ON lanes
    FOR EACH STATEMENT EXECUTE FUNCTION bump_registry_version();

-- What of a plate may stay when it is old or shown: parking_core.plates.masked.
CREATE FUNCTION masked_plate(plate text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    CASE WHEN length(plate) < 6 THEN repeat('*', length(plate))
         ELSE left(plate, 2) || '·' || repeat('*', length(plate) - 5) || right(plate, 3) END;

-- A name that tells vehicles apart and nothing else: the salt is thrown away when a masking run ends.
CREATE FUNCTION pseudonym(vehicle text, salt bytea) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    CASE WHEN starts_with(vehicle, 'unplated:') THEN 'unplated:' ELSE masked_plate(vehicle) END
    || '#' || left(encode(sha256(salt || convert_to(vehicle, 'UTF8')), 'hex'), 12);

-- Every lane message once, as it came and as it was understood. A row is never changed, except when it was processed
-- and when the plates of old rows are masked.
CREATE TABLE lane_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id integer NOT NULL REFERENCES devices,
    lot_id integer NOT NULL REFERENCES lots,
    record_no bigint NOT NULL CHECK (record_no >= 0),
    event text NOT NULL,
    source text NOT NULL,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    refers_to bigint,
    plate text,         -- the camera's, in the one form; NULL: none was read
    plate_color text,
    vehicle_class smallint,
    vehicle text NOT NULL,  -- whom the event is taken to be about: visits pair by it
    obu_plate text,
    card_plate text,
    obu_id text,
    contract_no text,
    card_no text,
    card_network text,
    card_type text,
    terminal_no text,
    terminal_serial text,
    tac text,
    algorithm text,
    trade_type text,
    amount_fen bigint,
    balance_before_fen bigint,
    balance_after_fen bigint,
    status_list_version text,
    hour_at timestamptz,       -- hour_total: which hour
    hour_records integer,
    hour_amount_fen bigint,
    flags text[] NOT NULL DEFAULT '{}',  -- parking_core.lane_checks.Check
    payload bytea NOT NULL,    -- empty when masked
    digest bytea NOT NULL,     -- SHA-256 of the payload: a redelivery is the same bytes
    processed_at timestamptz,
    masked_at timestamptz,     -- plates, cards and OBUs of an old row are gone since then
    UNIQUE (device_id, record_no)
);
CREATE UNIQUE INDEX lane_events_transaction ON lane_events (terminal_no, terminal_serial)
    WHERE terminal_no IS NOT NULL AND terminal_serial IS NOT NULL AND event IN ('entry', 'exit');
CREATE INDEX lane_events_asking ON lane_events (id) WHERE processed_at IS NULL AND event = 'fee_request';
CREATE INDEX lane_events_waiting ON lane_events (id) WHERE processed_at IS NULL;
CREATE INDEX lane_events_vehicle ON lane_events (vehicle, occurred_at);
CREATE INDEX lane_events_lane_time ON lane_events (device_id, occurred_at);
CREATE INDEX lane_events_unmasked ON lane_events (received_at) WHERE masked_at IS NULL;
CREATE INDEX lane_events_refers ON lane_events (device_id, refers_to) WHERE refers_to IS NOT NULL;

-- What the ledger already has under another record number or with other content: kept, named, never charged.
CREATE TABLE lane_repeats (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id integer NOT NULL REFERENCES devices,
    record_no bigint NOT NULL,
    event_id bigint NOT NULL REFERENCES lane_events,  -- what it repeats
    reason text NOT NULL CHECK (reason IN ('transaction_repeated', 'record_no_reused')),
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    tac text,           -- the first report may have lacked it: it completes the transaction
    amount_fen bigint,
    payload bytea NOT NULL,
    digest bytea NOT NULL,
    processed_at timestamptz,
    UNIQUE (device_id, record_no, digest)
);
CREATE INDEX lane_repeats_waiting ON lane_repeats (id) WHERE processed_at IS NULL;

-- Numbers that a lane has used and nobody has received; filled_at: the record came late.
CREATE TABLE lane_gaps (
    device_id integer NOT NULL REFERENCES devices,
    record_no bigint NOT NULL,
    run_from bigint NOT NULL,          -- first number of the gap it was found in: a gap is one difference
    occurred_at timestamptz NOT NULL,  -- of the record after the gap
    seen_at timestamptz NOT NULL,      -- receipt of the record after the gap
    named_at timestamptz,              -- NULL: too fresh to be a difference, the record may be on its way
    filled_at timestamptz,
    PRIMARY KEY (device_id, record_no)
);
CREATE INDEX lane_gaps_open ON lane_gaps (device_id) WHERE filled_at IS NULL;
CREATE INDEX lane_gaps_run ON lane_gaps (device_id, run_from);

-- Which numbers of each lane were looked at: every number of a run was received or is a gap. A lane has one run; each
-- leap farther than a gap can be (a controller that was replaced counts anew) begins another.
CREATE TABLE lane_runs (
    device_id integer NOT NULL REFERENCES devices,
    first_record_no bigint NOT NULL,
    last_record_no bigint NOT NULL,
    PRIMARY KEY (device_id, first_record_no),
    CHECK (first_record_no <= last_record_no)
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'gateway_role') THEN
        GRANT SELECT ON lanes, lane_events, lane_repeats, lane_gaps, lane_runs TO gateway_role;
        GRANT INSERT ON lane_events, lane_repeats TO gateway_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'api_role') THEN
        GRANT SELECT ON lanes, lane_gaps, lane_runs TO api_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'worker_role') THEN
        GRANT SELECT ON lanes, lane_events, lane_repeats TO worker_role;
        GRANT UPDATE ON lane_events, lane_repeats, dead_letters TO worker_role;
        GRANT SELECT, INSERT, UPDATE ON lane_gaps TO worker_role;
        GRANT SELECT, INSERT, DELETE ON lane_runs TO worker_role;
    END IF;
END $$;
