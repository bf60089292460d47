-- Double entry: every journal entry balances, nothing is ever changed, a key is booked once.

CREATE TABLE accounts (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL UNIQUE,          -- parking_core.settlement names them
    kind text NOT NULL,
    lot_id integer REFERENCES lots,
    operator_id integer REFERENCES operators
);

CREATE TABLE journal (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL UNIQUE,           -- idempotency: 'etc:<terminal>:<serial>', 'charge:<visit>:<version>', ...
    kind text NOT NULL,
    occurred_at timestamptz NOT NULL,   -- when the cause happened: decides day and month
    booked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    visit_id bigint REFERENCES visits,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX journal_occurred ON journal (occurred_at);
CREATE INDEX journal_visit ON journal (visit_id);

CREATE TABLE postings (
    journal_id bigint NOT NULL REFERENCES journal,
    line smallint NOT NULL,
    account_id integer NOT NULL REFERENCES accounts,
    amount_fen bigint NOT NULL CHECK (amount_fen <> 0),   -- debit positive, credit negative
    PRIMARY KEY (journal_id, line)
);
CREATE INDEX postings_account ON postings (account_id, journal_id);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed; book a correction', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER journal_append_only BEFORE UPDATE OR DELETE ON journal FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER postings_append_only BEFORE UPDATE OR DELETE ON postings FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Looks once a statement, at the end of the inserting statement: entry and postings are inserted set by set.
CREATE FUNCTION refuse_imbalance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    unbalanced bigint;
BEGIN
    SELECT p.journal_id INTO unbalanced FROM postings p
    WHERE p.journal_id IN (SELECT DISTINCT journal_id FROM added)
    GROUP BY p.journal_id HAVING sum(p.amount_fen) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'postings of journal entry % do not balance', unbalanced USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER postings_balance AFTER INSERT ON postings REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_imbalance();

-- Money promised and not yet charged.
CREATE TABLE holds (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL UNIQUE,
    visit_id bigint REFERENCES visits,
    channel text NOT NULL,
    amount_fen bigint NOT NULL CHECK (amount_fen > 0),
    captured_fen bigint NOT NULL DEFAULT 0 CHECK (captured_fen BETWEEN 0 AND amount_fen),
    state text NOT NULL,                -- parking_core.settlement.HoldState
    placed_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz
);
CREATE INDEX holds_expiring ON holds (expires_at) WHERE state = 'placed';

-- A driver's offer to pay: the link on the lane's screen or in a message, known only by its digest.
CREATE TABLE payment_links (
    digest bytea PRIMARY KEY,           -- SHA-256 of the token
    visit_id bigint NOT NULL REFERENCES visits,
    device_id integer REFERENCES devices,   -- the lane whose barrier opens on payment; NULL: paid elsewhere
    amount_fen bigint NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX payment_links_visit ON payment_links (visit_id);

CREATE TABLE payment_orders (
    id uuid PRIMARY KEY,                -- our order number at the acquirer
    acquirer text NOT NULL,
    link_digest bytea NOT NULL REFERENCES payment_links,
    visit_id bigint NOT NULL REFERENCES visits,
    amount_fen bigint NOT NULL CHECK (amount_fen > 0),
    state text NOT NULL,                -- parking_core.payments.OrderState
    acquirer_ref text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX payment_orders_open ON payment_orders (created_at) WHERE state IN ('created', 'pending');
CREATE INDEX payment_orders_link ON payment_orders (link_digest);

-- What acquirers told us, as it came, its signature checked; the worker books each once.
CREATE TABLE payment_notices (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    acquirer text NOT NULL,
    notice_id text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    repeats integer NOT NULL DEFAULT 0,
    body bytea NOT NULL,
    processed_at timestamptz,
    result text,
    UNIQUE (acquirer, notice_id)
);
CREATE INDEX payment_notices_waiting ON payment_notices (id) WHERE processed_at IS NULL;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'api_role') THEN
        GRANT SELECT ON payment_links, payment_orders TO api_role;
        GRANT INSERT ON payment_orders, payment_notices TO api_role;
        GRANT UPDATE ON payment_orders TO api_role;
        GRANT SELECT (acquirer, notice_id, repeats), UPDATE (repeats) ON payment_notices TO api_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'worker_role') THEN
        GRANT SELECT, INSERT ON accounts, journal, postings TO worker_role;
        GRANT SELECT, INSERT, UPDATE ON holds, payment_links, payment_orders, payment_notices TO worker_role;
        GRANT DELETE ON payment_links TO worker_role;
    END IF;
END $$;
