-- Differences between what two sides say, each with a name, an owner and a state; bills and statements.

CREATE TABLE differences (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL UNIQUE,           -- the same difference found again is the same row
    name text NOT NULL,                 -- parking_core.reconciliation.DifferenceName
    owner text NOT NULL,                -- 'operator', 'district', 'clearing_centre', 'acquirer', 'maintenance'
    state text NOT NULL,                -- parking_core.reconciliation.DifferenceState
    lot_id integer REFERENCES lots,
    device_id integer REFERENCES devices,
    visit_id bigint REFERENCES visits,
    event_id bigint REFERENCES lane_events,
    day date NOT NULL,                  -- local day that it belongs to
    hour_at timestamptz,
    channel text,
    records integer NOT NULL DEFAULT 0,
    amount_fen bigint NOT NULL DEFAULT 0,   -- ours minus theirs
    detail jsonb NOT NULL DEFAULT '{}',
    found_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    explanation text
);
CREATE INDEX differences_day ON differences (day);
CREATE INDEX differences_open ON differences (owner, day) WHERE state = 'open';
CREATE INDEX differences_visit ON differences (visit_id);
CREATE INDEX differences_event ON differences (event_id);

CREATE TABLE acquirer_bills (
    acquirer text NOT NULL,
    day date NOT NULL,
    transaction_ref text NOT NULL,
    order_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('payment', 'refund')),
    amount_fen bigint NOT NULL,
    fee_fen bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (acquirer, transaction_ref, kind)
);
CREATE INDEX acquirer_bills_day ON acquirer_bills (acquirer, day);

-- An operator's month: made once from the journal, replaced only by a further version.
CREATE TABLE statements (
    operator_id integer NOT NULL REFERENCES operators,
    month date NOT NULL,
    version integer NOT NULL,
    document jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (operator_id, month, version)
);

CREATE TABLE revenue_shares (
    operator_id integer NOT NULL REFERENCES operators,
    valid_from date NOT NULL,
    district_permille integer NOT NULL CHECK (district_permille BETWEEN 0 AND 1000),
    PRIMARY KEY (operator_id, valid_from)
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'worker_role') THEN
        GRANT SELECT, INSERT, UPDATE ON differences TO worker_role;
        GRANT SELECT, INSERT ON acquirer_bills, statements TO worker_role;
        GRANT SELECT ON revenue_shares TO worker_role;
    END IF;
END $$;
