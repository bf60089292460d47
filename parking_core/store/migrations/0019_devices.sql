-- Devices of many makes: how they are known and trusted, their frames, what they say of themselves, and their health.

ALTER TABLE devices
    ADD COLUMN eui text UNIQUE CHECK (eui ~ '^[0-9a-f]{16}$'),  -- DevEUI of a LoRaWAN device
    ADD COLUMN serial text UNIQUE,                              -- as the device names itself in its payloads
    ADD COLUMN network text NOT NULL DEFAULT ''                 -- whose network server speaks for it; '': it speaks itself
        CHECK (network IN ('', 'chirpstack', 'things_stack', 'loriot'));

ALTER TABLE device_spaces ADD COLUMN address text;  -- how a concentrator calls the bay in its frames
CREATE UNIQUE INDEX device_spaces_address ON device_spaces (device_id, address) WHERE address IS NOT NULL;

-- Frames that were counted: a network's frame is known again by these three, whatever time a repetition carries.
CREATE TABLE device_frames (
    device_id integer NOT NULL,
    session text NOT NULL,
    counter bigint NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (device_id, session, counter)
);
CREATE INDEX device_frames_received ON device_frames (received_at);

-- Sessions of a device in its network: a re-join begins a new one, and counts from 0 again.
CREATE TABLE device_sessions (
    device_id integer NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    session text NOT NULL,
    begun_at timestamptz NOT NULL,
    newest_at timestamptz NOT NULL,
    highest bigint NOT NULL,                    -- counter
    forgotten_below bigint NOT NULL DEFAULT 0,  -- frames below are no longer in device_frames: a repetition, whatever it says
    PRIMARY KEY (device_id, session)
);

-- What a device said last of itself.
CREATE TABLE device_vitals (
    device_id integer PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    battery_v real,
    battery_percent real,
    battery_state text,
    battery_at timestamptz,
    temperature_c real,
    rssi_dbm real,
    snr_db real,
    signal_at timestamptz,
    firmware text,
    firmware_at timestamptz,
    clock_offset_s real,        -- device time less first receipt
    clock_at timestamptz,
    joined_at timestamptz,
    restarted_at timestamptz,
    restarts integer NOT NULL DEFAULT 0,
    application text,           -- what a downlink to it is addressed by
    quarantined jsonb,          -- field -> why its value was set aside
    quarantined_at timestamptz
);

-- A device's own credential at the broker; only its hash. A revoked or suspended one lets nobody in.
CREATE TABLE device_credentials (
    device_id integer PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    salt bytea NOT NULL,
    hash bytea NOT NULL,        -- PBKDF2-HMAC-SHA512
    iterations integer NOT NULL,
    issued_at timestamptz NOT NULL,
    revoked_at timestamptz,
    suspended_until timestamptz,
    suspended_for text
);

-- Who did what to a device: credentials, bindings, commands. Only ever added to.
CREATE TABLE device_actions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    device text NOT NULL,       -- code: it may be removed, what was done to it stays
    action text NOT NULL,       -- parking_core.device_credentials.Action, and kinds of commands
    actor text NOT NULL,
    reason text NOT NULL DEFAULT ''
);
CREATE INDEX device_actions_device ON device_actions (device, at);

-- Devices that nobody registered, with what they send, until an operator binds or refuses them.
CREATE TABLE discoveries (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    network text NOT NULL,      -- as devices.network
    identity text NOT NULL,     -- device code of its topic, or DevEUI
    lot text NOT NULL DEFAULT '',
    state text NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'bound', 'refused')),
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    messages bigint NOT NULL DEFAULT 1,
    topic text NOT NULL,        -- of the newest message
    sample bytea NOT NULL,      -- the newest message, cut
    device_id integer REFERENCES devices (id) ON DELETE SET NULL,
    decided_at timestamptz,
    decided_by text,
    reason text,
    UNIQUE (network, identity)
);
CREATE INDEX discoveries_seen ON discoveries (last_seen_at);
-- Gateways pass over what was refused, so a decision is a change of the registry.
CREATE TRIGGER discoveries_decided AFTER UPDATE OF state ON discoveries
    FOR EACH STATEMENT EXECUTE FUNCTION bump_registry_version();

-- Messages of a device that were more than its measure, and were not read.
CREATE TABLE device_floods (
    device_id integer PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    since timestamptz NOT NULL,
    newest_at timestamptz NOT NULL,
    left_out bigint NOT NULL
);

-- Longest time between two signs of life since the worker closed a day.
ALTER TABLE device_liveness ADD COLUMN quiet_s integer NOT NULL DEFAULT 0;

-- Local days that are over, from which each device's own rhythm is learned. `doubtful` days teach nothing.
CREATE TABLE device_days (
    device_id integer NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    day date NOT NULL,
    messages integer NOT NULL,
    quiet_s integer NOT NULL,           -- longest time without a sign of life
    missing integer NOT NULL,           -- messages that it numbered and nobody received
    missing_total bigint NOT NULL,      -- since it was registered
    battery_v real,
    rssi_dbm real,
    clock_offset_s real,
    doubtful boolean NOT NULL DEFAULT false,
    PRIMARY KEY (day, device_id)
);
CREATE INDEX device_days_device ON device_days (device_id, day);

-- The same of a bay as one device watches it, and how it stood at the end of the day.
CREATE TABLE bay_days (
    day date NOT NULL,
    space_id integer NOT NULL,
    device_id integer NOT NULL,
    messages integer NOT NULL,
    changes integer NOT NULL,
    flickers integer NOT NULL,          -- changes within seconds of the one before
    measured integer NOT NULL,          -- messages that measured something beside
    repeats integer NOT NULL,           -- of these, what the one before had measured
    suspects integer NOT NULL,          -- messages whose device time could not be used
    calm_free double precision NOT NULL,    -- longest that ended: changes that an ordinary bay of the lot made meanwhile
    calm_taken double precision NOT NULL,
    clock_us bigint NOT NULL,           -- device time less receipt of the promptest quarter
    run integer NOT NULL,               -- messages in a row that measured the same
    print bigint NOT NULL,              -- fingerprint of what they measured
    run_us bigint NOT NULL,             -- when they began
    occupied boolean NOT NULL,
    changed_us bigint NOT NULL,
    last_us bigint NOT NULL,
    doubtful boolean NOT NULL DEFAULT false,
    PRIMARY KEY (day, space_id, device_id)
);
CREATE INDEX bay_days_device ON bay_days (device_id, day);

-- What the bays of a lot did hour by hour of a local day.
CREATE TABLE lot_days (
    lot_id integer NOT NULL REFERENCES lots (id) ON DELETE CASCADE,
    day date NOT NULL,
    bays integer NOT NULL,              -- watched ones
    changes integer[] NOT NULL,
    activity real[] NOT NULL,           -- changes of an ordinary bay
    PRIMARY KEY (day, lot_id)
);

-- What is wrong with a device, with evidence and times; one of a kind at a time.
CREATE TABLE device_conditions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id integer NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    condition text NOT NULL,            -- parking_core.health.Condition
    since timestamptz NOT NULL,
    found_at timestamptz NOT NULL,
    evidence jsonb NOT NULL,            -- what was seen beside what was expected
    cleared_at timestamptz
);
CREATE UNIQUE INDEX device_conditions_open ON device_conditions (device_id, condition) WHERE cleared_at IS NULL;
CREATE INDEX device_conditions_device ON device_conditions (device_id, since);

-- What somebody has to see to: one open item a device, whatever is wrong with it; it closes by itself when all has healed.
CREATE TABLE work_items (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id integer NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    lot_id integer NOT NULL REFERENCES lots (id),
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed')),
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    closed_by text
);
CREATE UNIQUE INDEX work_items_open ON work_items (device_id) WHERE state = 'open';
CREATE INDEX work_items_lot ON work_items (lot_id, opened_at);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'gateway_role') THEN
        REVOKE ALL ON device_credentials, device_days, bay_days, lot_days, device_conditions, work_items FROM gateway_role;
        GRANT SELECT, INSERT, UPDATE ON device_frames, device_sessions, device_vitals, discoveries, device_floods TO gateway_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'api_role') THEN
        GRANT SELECT ON device_sessions, device_vitals, discoveries, device_days, bay_days, device_conditions, work_items, device_floods,
            device_credentials, device_actions TO api_role;
        GRANT INSERT ON device_credentials, device_actions, devices TO api_role;
        GRANT UPDATE ON device_credentials, discoveries, registry_version TO api_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'worker_role') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON device_days, bay_days, lot_days, device_conditions, work_items TO worker_role;
        GRANT UPDATE (quiet_s) ON device_liveness TO worker_role;
        GRANT DELETE ON commands TO worker_role;
        GRANT SELECT, UPDATE, DELETE ON device_frames, device_sessions TO worker_role;
        GRANT SELECT ON device_vitals, device_credentials, device_floods TO worker_role;
        GRANT UPDATE (suspended_until, suspended_for) ON device_credentials TO worker_role;
        GRANT INSERT ON device_actions TO worker_role;
    END IF;
END $$;
