-- What goes to the ETC clearing centre and what comes back, and the status lists it gives out.

CREATE TABLE etc_packages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state text NOT NULL,                -- parking_core.clearing.PackageState
    records integer NOT NULL,
    amount_fen bigint NOT NULL,
    created_at timestamptz NOT NULL,
    sent_at timestamptz,
    tries integer NOT NULL DEFAULT 0,
    next_try_at timestamptz,
    result smallint,                    -- the centre's response 1-8
    answered_at timestamptz,
    booked_at timestamptz,
    clearing_day date
);
CREATE INDEX etc_packages_open ON etc_packages (id) WHERE state IN ('packed', 'sent');

-- Messages of the centre, each applied once by its number.
CREATE TABLE clearing_messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_no text NOT NULL UNIQUE,
    kind text NOT NULL,
    body bytea NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    repeats integer NOT NULL DEFAULT 0,
    applied_at timestamptz,
    result smallint
);

CREATE TABLE clearing_totals (
    clearing_day date PRIMARY KEY,
    records integer NOT NULL,
    amount_fen bigint NOT NULL,
    disputed_records integer NOT NULL DEFAULT 0,
    disputed_fen bigint NOT NULL DEFAULT 0,
    received_at timestamptz NOT NULL
);

CREATE TABLE status_lists (
    version text PRIMARY KEY,           -- sorts by time
    base_version text,                  -- NULL: a full list
    published_at timestamptz NOT NULL,
    entries jsonb NOT NULL,             -- changes: [{"kind": "card"|"obu", "number", "reason", "listed": bool}]
    received_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'worker_role') THEN
        GRANT SELECT, INSERT, UPDATE ON etc_packages, clearing_messages, clearing_totals TO worker_role;
        GRANT SELECT, INSERT ON status_lists TO worker_role;
    END IF;
END $$;
