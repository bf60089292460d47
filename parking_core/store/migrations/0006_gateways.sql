-- Gateways that share the messages. The broker keeps feeding the session of one that is gone for good,
-- so a living one takes that session over: this table says which exist and when each was last alive.
CREATE TABLE gateways (
    instance text PRIMARY KEY,
    seen_at timestamptz NOT NULL
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'gateway_role') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON gateways TO gateway_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'worker_role') THEN
        GRANT SELECT ON gateways TO worker_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'api_role') THEN
        GRANT SELECT ON gateways TO api_role;
    END IF;
END $$;
