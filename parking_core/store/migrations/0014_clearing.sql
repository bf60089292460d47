-- What goes to the ETC clearing centre and what comes back, and the status lists it gives out.

CREATE TABLE etc_packages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- also its number at the centre
    state text NOT NULL,                -- parking_core.clearing.packages.PackageState
    records integer NOT NULL,
    amount_fen bigint NOT NULL,
    clearing_day date NOT NULL,         -- ClearTargetDate: the local day on which it was packed
    parent_id bigint REFERENCES etc_packages,  -- half of a refused package
    body bytea NOT NULL,                -- the message as it is sent, every time the same bytes
    created_at timestamptz NOT NULL,
    sent_at timestamptz,                -- first time
    tries integer NOT NULL DEFAULT 0,
    next_try_at timestamptz,
    result smallint,                    -- the centre's response 1-8
    answered_at timestamptz,
    booked_at timestamptz
);
CREATE INDEX etc_packages_open ON etc_packages (next_try_at) WHERE state IN ('packed', 'sent');
CREATE INDEX etc_packages_day ON etc_packages (clearing_day);

-- Messages of the centre, each applied once by its number. Not applied yet: it waits for another that comes first.
CREATE TABLE clearing_messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_no text NOT NULL UNIQUE,
    kind text NOT NULL,
    body bytea NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    repeats integer NOT NULL DEFAULT 0,
    applied_at timestamptz,
    result smallint,                    -- our response 1-8
    problem text                        -- what was wrong with it, or what it waits for
);
CREATE INDEX clearing_messages_waiting ON clearing_messages (id) WHERE applied_at IS NULL;

CREATE TABLE clearing_totals (
    clearing_day date PRIMARY KEY,
    records integer NOT NULL,
    amount_fen bigint NOT NULL,
    packages bigint[] NOT NULL DEFAULT '{}',  -- that the centre counts to the day
    files bigint[] NOT NULL DEFAULT '{}',     -- of dispute decisions
    version integer NOT NULL DEFAULT 1,       -- a corrected total is one more
    received_at timestamptz NOT NULL
);
CREATE INDEX etc_transactions_clearing_day ON etc_transactions (clearing_day) WHERE clearing_day IS NOT NULL;

CREATE TABLE status_lists (
    version text PRIMARY KEY,           -- sorts by time
    base_version text,                  -- NULL: a full list
    published_at timestamptz NOT NULL,
    changes integer NOT NULL,           -- numbers that it listed, took off or listed for another reason
    received_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- When each number was listed, by versions: any version can be told again.
CREATE TABLE status_entries (
    medium text NOT NULL CHECK (medium IN ('card', 'obu')),
    number text NOT NULL,
    reason smallint NOT NULL,
    from_version text NOT NULL REFERENCES status_lists,
    until_version text REFERENCES status_lists,   -- NULL: still listed
    PRIMARY KEY (medium, number, from_version)
);
CREATE INDEX status_entries_from ON status_entries (from_version);
CREATE INDEX status_entries_until ON status_entries (until_version);

-- Which version each lane was told and has confirmed.
CREATE TABLE lane_status_lists (
    device_id integer PRIMARY KEY REFERENCES devices,
    version text NOT NULL REFERENCES status_lists,   -- told by command_id
    command_id uuid REFERENCES commands,
    attempts integer NOT NULL DEFAULT 1,             -- commands for this version
    confirmed_version text REFERENCES status_lists,
    confirmed_at timestamptz
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'api_role') THEN
        GRANT SELECT ON status_lists, lane_status_lists TO api_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'worker_role') THEN
        GRANT SELECT, INSERT, UPDATE ON etc_packages, clearing_messages, clearing_totals TO worker_role;
        GRANT SELECT, INSERT, UPDATE ON status_entries, lane_status_lists TO worker_role;
        GRANT SELECT, INSERT, UPDATE (changes) ON status_lists TO worker_role;
    END IF;
END $$;
