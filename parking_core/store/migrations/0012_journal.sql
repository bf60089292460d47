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
CREATE TRIGGER journal_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER postings_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON postings
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Looks once a statement, at what that statement added: the postings of an entry are inserted together, in lines 1, 2, ...
-- A second helping would need line 1 again, which the primary key refuses; so the table itself need not be read.
CREATE FUNCTION refuse_imbalance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong bigint;
BEGIN
    SELECT journal_id INTO wrong FROM added GROUP BY journal_id
    HAVING sum(amount_fen) <> 0 OR min(line) <> 1 OR max(line) <> count(*) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'postings of journal entry % do not balance, or are not all of its lines', wrong
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER postings_balance AFTER INSERT ON postings REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_imbalance();

-- A late TAC may come before the exit that it completes: the exit looks for it here.
CREATE INDEX lane_events_completion ON lane_events (terminal_no, terminal_serial) WHERE event = 'completion';
CREATE INDEX lane_events_completion_of ON lane_events (device_id, refers_to) WHERE event = 'completion';
CREATE INDEX lane_repeats_event ON lane_repeats (event_id);

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
    amount_fen bigint NOT NULL CHECK (amount_fen > 0),
    lines jsonb NOT NULL DEFAULT '[]',  -- parking_core.tariffs.ChargeLine: why it costs so much
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    superseded_at timestamptz           -- a newer link of the visit names the amount that is due
);
CREATE INDEX payment_links_visit ON payment_links (visit_id);

CREATE TABLE payment_orders (
    id uuid PRIMARY KEY,                -- our order number at the acquirer
    acquirer text NOT NULL,
    link_digest bytea NOT NULL REFERENCES payment_links,
    visit_id bigint NOT NULL REFERENCES visits,
    amount_fen bigint NOT NULL CHECK (amount_fen > 0),
    state text NOT NULL,                -- parking_core.payments.OrderState
    code_url text,                      -- what the driver's wallet opens
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    asks integer NOT NULL DEFAULT 0,    -- how often we asked the acquirer about it
    next_ask_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX payment_orders_live ON payment_orders (link_digest) WHERE state IN ('created', 'pending');
CREATE INDEX payment_orders_ask ON payment_orders (next_ask_at) WHERE state IN ('created', 'pending');
CREATE INDEX payment_orders_link ON payment_orders (link_digest);
CREATE INDEX payment_orders_visit ON payment_orders (visit_id);

-- What acquirers told us, as it came, its signature checked; the worker books each once. What we learn by asking stands
-- here too, under the number 'asked:<order>'.
CREATE TABLE payment_notices (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    acquirer text NOT NULL,
    notice_id text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    repeats integer NOT NULL DEFAULT 0,
    body bytea NOT NULL,
    processed_at timestamptz,
    result text,                        -- parking_core.payments.PaymentResult
    UNIQUE (acquirer, notice_id)
);
CREATE INDEX payment_notices_waiting ON payment_notices (id) WHERE processed_at IS NULL;

-- Money that an acquirer took for us, one row a transaction of his, whatever he tells again.
CREATE TABLE payments (
    acquirer text NOT NULL,
    transaction_ref text NOT NULL,
    order_id uuid REFERENCES payment_orders,    -- NULL: nobody here ordered it
    visit_id bigint REFERENCES visits,
    amount_fen bigint NOT NULL CHECK (amount_fen > 0),
    paid_at timestamptz NOT NULL,
    result text NOT NULL,               -- parking_core.payments.PaymentResult
    notice_id bigint NOT NULL REFERENCES payment_notices,
    booked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (acquirer, transaction_ref)
);
CREATE INDEX payments_order ON payments (order_id);
CREATE INDEX payments_visit ON payments (visit_id);
CREATE INDEX payments_paid ON payments (paid_at);

-- Money to be given back through the acquirer who took it; booked when he confirms.
CREATE TABLE payment_refunds (
    id uuid PRIMARY KEY,                -- our refund number at the acquirer
    acquirer text NOT NULL,
    transaction_ref text NOT NULL,
    order_id uuid NOT NULL REFERENCES payment_orders,
    visit_id bigint NOT NULL REFERENCES visits,
    amount_fen bigint NOT NULL CHECK (amount_fen > 0),
    reason text NOT NULL,
    state text NOT NULL,                -- parking_core.payments.RefundState
    refund_ref text,                    -- the acquirer's number of it
    created_at timestamptz NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    next_try_at timestamptz NOT NULL,
    ended_at timestamptz,
    UNIQUE (acquirer, transaction_ref, reason),
    FOREIGN KEY (acquirer, transaction_ref) REFERENCES payments
);
CREATE INDEX payment_refunds_due ON payment_refunds (next_try_at) WHERE state = 'due';
CREATE INDEX payment_refunds_visit ON payment_refunds (visit_id);

-- Which days' bills were fetched, and what they add up to.
CREATE TABLE acquirer_bill_days (
    acquirer text NOT NULL,
    day date NOT NULL,
    payments integer NOT NULL,
    payments_fen bigint NOT NULL,
    refunds integer NOT NULL,
    refunds_fen bigint NOT NULL,
    fee_fen bigint NOT NULL,
    fetched_at timestamptz NOT NULL,
    PRIMARY KEY (acquirer, day)
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'api_role') THEN
        GRANT SELECT ON payment_links, payment_orders, payments, payment_refunds TO api_role;
        GRANT INSERT ON payment_orders, payment_notices TO api_role;
        GRANT UPDATE (state, code_url, changed_at) ON payment_orders TO api_role;
        GRANT SELECT (acquirer, notice_id, repeats), UPDATE (repeats) ON payment_notices TO api_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'worker_role') THEN
        GRANT SELECT, INSERT ON accounts, journal, postings TO worker_role;
        GRANT SELECT, INSERT, UPDATE ON holds, payment_links, payment_orders, payment_notices, payment_refunds TO worker_role;
        GRANT SELECT, INSERT ON payments, acquirer_bill_days TO worker_role;
    END IF;
END $$;
