-- Commands to devices: each a row with a life cycle, made in the transaction of its cause.

CREATE TABLE commands (
    id uuid PRIMARY KEY,                -- the device executes an id once
    device_id integer NOT NULL REFERENCES devices,
    kind text NOT NULL,                 -- parking_core.commands.CommandKind
    payload jsonb NOT NULL,
    cause text NOT NULL,                -- 'lane_event:17', 'payment_notice:3', 'status_list:2026112301', ...
    state text NOT NULL,                -- parking_core.commands.CommandState
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    deadline_at timestamptz NOT NULL,
    next_try_at timestamptz NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    sent_at timestamptz,
    ended_at timestamptz,
    answer jsonb,
    superseded_by uuid REFERENCES commands DEFERRABLE INITIALLY DEFERRED,
    UNIQUE (cause, device_id, kind)     -- a cause that is processed again commands nothing twice
);
CREATE INDEX commands_due ON commands (next_try_at) WHERE state IN ('queued', 'sent');
CREATE INDEX commands_device_time ON commands (device_id, created_at);
CREATE INDEX commands_device ON commands (device_id, kind) WHERE state IN ('queued', 'sent');
-- Fee answers that still hold a payment link: it is taken out when it has expired.
CREATE INDEX commands_token ON commands (created_at) WHERE kind = 'fee_answer' AND payload ->> 'pay_path' IS NOT NULL;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'gateway_role') THEN
        GRANT SELECT, UPDATE ON commands TO gateway_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'worker_role') THEN
        GRANT SELECT, INSERT, UPDATE ON commands TO worker_role;
    END IF;
END $$;
