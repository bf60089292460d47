-- Off-peak sharing: who takes part, what an owner offers and when, and how much of it is left. The database itself refuses
-- to promise more than is offered, or outside the window.

CREATE EXTENSION IF NOT EXISTS btree_gist;

-- When the bays of a road may be stood on at all: other roads and all other lots have none, and are always legal.
ALTER TABLE lots ADD COLUMN legal_windows jsonb;       -- parking_core.windows reads it

CREATE TABLE user_accounts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL UNIQUE,          -- what others call the person by: says nothing about him
    role text NOT NULL,                 -- parking_core.people.Role
    operator_id integer REFERENCES operators,   -- of operator staff: whose lots they may touch
    groups text[] NOT NULL DEFAULT '{}',        -- patient, resident, ...: agreements and fairness name them
    token_digest bytea NOT NULL UNIQUE,         -- SHA-256; the token itself is shown once
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    disabled_at timestamptz
);

CREATE TABLE user_plates (
    user_id bigint NOT NULL REFERENCES user_accounts,
    plate text NOT NULL,                -- in the one form of parking_core.plates
    added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, plate)
);

CREATE TABLE sharing_agreements (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL UNIQUE,
    lot_id integer NOT NULL REFERENCES lots,
    state text NOT NULL,                -- parking_core.sharing.AgreementState
    terms jsonb NOT NULL,               -- parking_core.sharing.Terms: prices, notice, eligibility, revenue share, failure rate
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),     -- moves with every change: optimistic concurrency
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL
);
-- Two agreements of one lot would promise the same spaces.
CREATE UNIQUE INDEX sharing_agreements_lot ON sharing_agreements (lot_id) WHERE state <> 'terminated';

CREATE TABLE agreement_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agreement_id integer NOT NULL REFERENCES sharing_agreements,
    kind text NOT NULL,                 -- state reached, or 'terms', 'windows', 'exception'
    at timestamptz NOT NULL,
    by text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX agreement_events_agreement ON agreement_events (agreement_id, id);
CREATE TRIGGER agreement_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON agreement_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Spaces of one lot with the same windows: one class of capacity.
CREATE TABLE space_classes (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agreement_id integer NOT NULL REFERENCES sharing_agreements,
    lot_id integer NOT NULL REFERENCES lots,
    code text NOT NULL,                 -- within the agreement: A, B, ...
    windows jsonb NOT NULL,             -- parking_core.windows reads it
    retired_at timestamptz              -- its windows were changed: no new promise
);
CREATE UNIQUE INDEX space_classes_code ON space_classes (agreement_id, code) WHERE retired_at IS NULL;
CREATE INDEX space_classes_lot ON space_classes (lot_id) WHERE retired_at IS NULL;

CREATE TABLE class_spaces (
    class_id integer NOT NULL REFERENCES space_classes,
    space_id integer NOT NULL REFERENCES spaces,
    named boolean NOT NULL,             -- the owner named it; otherwise it was picked for his quota
    PRIMARY KEY (class_id, space_id)
);
CREATE INDEX class_spaces_space ON class_spaces (space_id);

-- [first, until) of 288 slots of 5 minutes, counted from 0, moved by `delta`.
CREATE FUNCTION shift_slots(slots smallint[], first integer, until integer, delta integer) RETURNS smallint[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT slots[:first]
        || ARRAY(SELECT (slot + delta)::smallint FROM unnest(slots[first + 1:until]) WITH ORDINALITY AS s (slot, n) ORDER BY n)
        || slots[until + 1:]
$$;

-- A UTC day of a class, in slots of 5 minutes: in China it runs from 08:00 to 08:00, so that a night is one row. What is
-- offered is 0 outside the window: a promise outside it fails like one too many.
-- Where less is offered than was promised before (the owner takes a date back), offered stays at what is promised and
-- `overdrawn` says how much of it: when such a promise ends, its space is not promised again.
CREATE TABLE capacity_days (
    class_id integer NOT NULL REFERENCES space_classes,
    day date NOT NULL,
    offered smallint[] NOT NULL CHECK (cardinality(offered) = 288),
    free smallint[] NOT NULL CHECK (cardinality(free) = 288),
    overdrawn smallint[] CHECK (cardinality(overdrawn) = 288 AND 0 <= ALL (overdrawn)),    -- NULL: nowhere
    PRIMARY KEY (class_id, day),
    CONSTRAINT never_promised_twice CHECK (0 <= ALL (free))
) WITH (fillfactor = 70);

-- What a slot of a class is worth, thousandths of a fen for 5 minutes, by the latest look ahead; no row: nothing. A night has
-- some 150 slots, whose prices rounded to whole fen would add up to another price of the stay.
CREATE TABLE capacity_prices (
    class_id integer NOT NULL REFERENCES space_classes,
    day date NOT NULL,
    price integer[] NOT NULL CHECK (cardinality(price) = 288),
    solved_at timestamptz NOT NULL,
    PRIMARY KEY (class_id, day)
);

-- What a floor of acceptance adds to the worth of a group's requests that arrive in a UTC day, by the latest look ahead.
CREATE TABLE demand_bonuses (
    day date NOT NULL,
    user_group text NOT NULL,
    bonus_fen real NOT NULL CHECK (bonus_fen >= 0),
    solved_at timestamptz NOT NULL,
    PRIMARY KEY (day, user_group)
);

-- What is kept free after a promised end in a local hour, as learned from the lot's departures; no row: the prior.
CREATE TABLE lot_buffers (
    lot_id integer NOT NULL REFERENCES lots,
    hour smallint NOT NULL CHECK (hour BETWEEN 0 AND 23),
    guest_min smallint NOT NULL,        -- before the next guest
    owner_min smallint NOT NULL,        -- before the owner's return
    grace_min smallint NOT NULL,        -- how long a promise that begins in this hour waits for its driver
    expected_rate real NOT NULL,        -- of promises that are let down with these
    departures integer NOT NULL,        -- that were learned from
    learned_at timestamptz NOT NULL,
    PRIMARY KEY (lot_id, hour)
);

-- An owner takes back a stretch of time, with notice.
CREATE TABLE suspensions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agreement_id integer NOT NULL REFERENCES sharing_agreements,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    reason text NOT NULL,
    by text NOT NULL,
    announced_at timestamptz NOT NULL,
    affected integer NOT NULL DEFAULT 0,
    moved integer NOT NULL DEFAULT 0,
    refunded integer NOT NULL DEFAULT 0,
    CHECK (since < until)
);
CREATE INDEX suspensions_agreement ON suspensions (agreement_id, since);

-- What the district has decided about allocation: the newest that is valid counts.
CREATE TABLE allocation_policies (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    document jsonb NOT NULL,            -- parking_core.sharing.AllocationPolicy: floors, caps, buffers, grace
    valid_from timestamptz NOT NULL UNIQUE,
    by text NOT NULL
);

-- An agreement, a class or a policy that changes moves this number; processes that hold them in memory watch it.
CREATE TABLE sharing_version (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    version bigint NOT NULL
);
INSERT INTO sharing_version (version) VALUES (1);

CREATE FUNCTION bump_sharing_version() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    UPDATE sharing_version SET version = version + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER sharing_agreements_changed AFTER INSERT OR UPDATE ON sharing_agreements
    FOR EACH STATEMENT EXECUTE FUNCTION bump_sharing_version();
CREATE TRIGGER space_classes_changed AFTER INSERT OR UPDATE ON space_classes
    FOR EACH STATEMENT EXECUTE FUNCTION bump_sharing_version();
CREATE TRIGGER class_spaces_changed AFTER INSERT OR UPDATE ON class_spaces
    FOR EACH STATEMENT EXECUTE FUNCTION bump_sharing_version();
CREATE TRIGGER lot_buffers_changed AFTER INSERT OR UPDATE ON lot_buffers
    FOR EACH STATEMENT EXECUTE FUNCTION bump_sharing_version();
CREATE TRIGGER allocation_policies_changed AFTER INSERT OR UPDATE ON allocation_policies
    FOR EACH STATEMENT EXECUTE FUNCTION bump_sharing_version();

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'gateway_role') THEN
        REVOKE ALL ON user_accounts, user_plates FROM gateway_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'api_role') THEN
        GRANT SELECT ON user_accounts, user_plates, sharing_agreements, agreement_events, space_classes, class_spaces,
            capacity_days, capacity_prices, demand_bonuses, lot_buffers, suspensions, allocation_policies, sharing_version TO api_role;
        GRANT INSERT ON allocation_policies TO api_role;
        GRANT INSERT ON sharing_agreements, agreement_events, space_classes, class_spaces, capacity_days, suspensions,
            user_plates TO api_role;
        GRANT DELETE ON user_plates TO api_role;
        GRANT UPDATE (state, terms, version, changed_at) ON sharing_agreements TO api_role;
        GRANT UPDATE (retired_at) ON space_classes TO api_role;
        GRANT UPDATE (offered, free, overdrawn) ON capacity_days TO api_role;
        GRANT UPDATE (affected, moved, refunded) ON suspensions TO api_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'worker_role') THEN
        GRANT SELECT ON user_accounts, user_plates, sharing_agreements, agreement_events, space_classes, class_spaces,
            suspensions, allocation_policies, sharing_version TO worker_role;
        GRANT INSERT ON agreement_events TO worker_role;
        GRANT SELECT, INSERT, UPDATE, DELETE ON capacity_days, capacity_prices, demand_bonuses, lot_buffers TO worker_role;
        GRANT UPDATE (affected, moved, refunded) ON suspensions TO worker_role;
    END IF;
END $$;
