-- Promises of shared spaces: one-off reservations and recurring permits, their history, and where the car stands.

CREATE TABLE reservations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL UNIQUE,          -- R-..., shown to the driver and at the barrier
    user_id bigint NOT NULL REFERENCES user_accounts,
    idempotency_key text NOT NULL,
    request_digest bytea NOT NULL,      -- SHA-256 of the request: the same key for another request is refused
    plate text NOT NULL,
    user_group text NOT NULL,           -- one of the person's groups, or 'any'
    lat double precision NOT NULL,      -- where the driver wants to go
    lon double precision NOT NULL,
    walk_m integer NOT NULL,            -- from the lot, or how far he would walk while it waits
    arrive_at timestamptz NOT NULL,
    depart_at timestamptz NOT NULL,     -- promised end
    until_at timestamptz NOT NULL,      -- promised end and buffer: so long its capacity is taken
    lot_id integer REFERENCES lots,     -- NULL while it waits for its round
    class_id integer REFERENCES space_classes,
    state text NOT NULL,                -- parking_core.reservations.ReservationState
    lateness text NOT NULL DEFAULT 'none',      -- parking_core.reservations.Lateness: how far an overstay has gone
    price_fen bigint NOT NULL DEFAULT 0,
    fee_fen bigint NOT NULL DEFAULT 0,  -- for staying too long
    value_fen bigint NOT NULL DEFAULT 0,        -- what the allocator counted it as
    hold_key text,
    visit_id bigint REFERENCES visits,
    moved_to bigint REFERENCES reservations,
    asked_at timestamptz NOT NULL,
    granted_at timestamptz,
    arrived_at timestamptz,
    left_at timestamptz,
    ended_at timestamptz,
    UNIQUE (user_id, idempotency_key),
    CHECK (arrive_at < depart_at AND depart_at <= until_at),
    CHECK ((lot_id IS NULL) = (class_id IS NULL))
);
CREATE INDEX reservations_user ON reservations (user_id, arrive_at);
CREATE INDEX reservations_class ON reservations (class_id, arrive_at) WHERE state IN ('granted', 'arrived');
CREATE INDEX reservations_expected ON reservations (plate, arrive_at);
CREATE INDEX reservations_visit ON reservations (visit_id) WHERE visit_id IS NOT NULL;
CREATE INDEX reservations_inside ON reservations (depart_at) WHERE state = 'arrived';
CREATE INDEX reservations_due ON reservations (arrive_at) WHERE state = 'granted';
CREATE INDEX reservations_waiting ON reservations (arrive_at) WHERE state = 'waiting';
CREATE INDEX reservations_asked ON reservations (asked_at);

-- What happened, in order: the rows above are what follows from it.
CREATE TABLE reservation_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reservation_id bigint NOT NULL REFERENCES reservations,
    kind text NOT NULL,                 -- parking_core.reservations.EventKind
    at timestamptz NOT NULL,
    by text NOT NULL,                   -- 'driver', 'operator:<code>', 'barrier', 'worker', ...
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX reservation_events_reservation ON reservation_events (reservation_id, id);
CREATE TRIGGER reservation_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON reservation_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A recurring right: permits.windows says when it covers; pricing and allocation read the same.
ALTER TABLE permits ADD COLUMN windows jsonb;

CREATE TABLE shared_permits (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL UNIQUE,          -- P-...
    user_id bigint NOT NULL REFERENCES user_accounts,
    idempotency_key text NOT NULL,
    request_digest bytea NOT NULL,
    class_id integer REFERENCES space_classes,  -- NULL: refused, no class was in question
    lot_id integer REFERENCES lots,
    plate text NOT NULL,
    user_group text NOT NULL,
    state text NOT NULL,                -- parking_core.reservations.PermitState
    valid_from timestamptz NOT NULL,
    valid_until timestamptz NOT NULL,
    months smallint NOT NULL,           -- that were applied for, from `first_day` on
    first_day date NOT NULL,
    price_fen bigint NOT NULL,          -- for a month
    asked_at timestamptz NOT NULL,
    decided_at timestamptz,
    withdrawn_at timestamptz,           -- the holder wants no further month
    ended_at timestamptz,
    UNIQUE (user_id, idempotency_key),
    CHECK (valid_from < valid_until),
    CHECK ((lot_id IS NULL) = (class_id IS NULL)),
    CHECK (class_id IS NOT NULL OR state = 'refused')
);
CREATE INDEX shared_permits_user ON shared_permits (user_id);
CREATE INDEX shared_permits_class ON shared_permits (class_id) WHERE state = 'active';
CREATE INDEX shared_permits_plate ON shared_permits (plate) WHERE state = 'active';

CREATE TABLE permit_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shared_permit_id bigint NOT NULL REFERENCES shared_permits,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    by text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX permit_events_permit ON permit_events (shared_permit_id, id);
CREATE TRIGGER permit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON permit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Capacity that a permit has drawn: an opening of its windows each, as far ahead as capacity days exist.
CREATE TABLE permit_draws (
    shared_permit_id bigint NOT NULL REFERENCES shared_permits,
    class_id integer NOT NULL REFERENCES space_classes,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    state text NOT NULL,                -- 'drawn', 'given_back', 'moved', 'refunded'
    reservation_id bigint REFERENCES reservations,      -- where it was moved to, for that opening
    PRIMARY KEY (shared_permit_id, since),
    CHECK (since < until)
);
CREATE INDEX permit_draws_class ON permit_draws (class_id, since) WHERE state = 'drawn';
CREATE INDEX permit_draws_reservation ON permit_draws (reservation_id) WHERE state = 'moved';

-- Months of a permit as they are paid: held ahead, taken when they begin, given back in part for openings that were lost.
CREATE TABLE permit_months (
    shared_permit_id bigint NOT NULL REFERENCES shared_permits,
    begins timestamptz NOT NULL,
    ends timestamptz NOT NULL,
    price_fen bigint NOT NULL,
    hold_key text,                      -- NULL: free of charge
    charged_at timestamptz,
    charged_fen bigint NOT NULL DEFAULT 0,
    lost_fen bigint NOT NULL DEFAULT 0 CHECK (lost_fen <= price_fen),     -- what openings that were lost were worth
    refunded_fen bigint NOT NULL DEFAULT 0 CHECK (refunded_fen <= lost_fen),
    PRIMARY KEY (shared_permit_id, begins),
    CHECK (begins < ends)
);
CREATE INDEX permit_months_uncharged ON permit_months (begins) WHERE charged_at IS NULL;

-- Where cars stand, and until when at least: two never share a space.
CREATE TABLE space_stays (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    space_id integer NOT NULL REFERENCES spaces,
    class_id integer NOT NULL REFERENCES space_classes,     -- whose space it is
    reservation_id bigint REFERENCES reservations,
    shared_permit_id bigint REFERENCES shared_permits,
    during tstzrange NOT NULL CHECK (NOT isempty(during)),
    promised_until timestamptz NOT NULL,
    left_at timestamptz,
    CHECK (num_nonnulls(reservation_id, shared_permit_id) = 1),
    CONSTRAINT one_car_a_space EXCLUDE USING gist (space_id WITH =, during WITH &&)
);
CREATE INDEX space_stays_inside ON space_stays (class_id) WHERE left_at IS NULL;
CREATE UNIQUE INDEX space_stays_reservation ON space_stays (reservation_id) WHERE left_at IS NULL;

CREATE TABLE violations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL UNIQUE,           -- found again it is the same one
    user_id bigint NOT NULL REFERENCES user_accounts,
    reservation_id bigint REFERENCES reservations,
    shared_permit_id bigint REFERENCES shared_permits,
    kind text NOT NULL,                 -- parking_core.reservations.ViolationKind
    at timestamptz NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    withdrawn_at timestamptz
);
CREATE INDEX violations_user ON violations (user_id, at);

-- Nobody is left without an answer: what a person has to be told, in the transaction of its cause.
CREATE TABLE user_notices (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES user_accounts,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    detail jsonb NOT NULL,
    seen_at timestamptz
);
CREATE INDEX user_notices_user ON user_notices (user_id, id);

-- Demand that was refused: where and when, for planners; of nobody.
CREATE TABLE refused_demand (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asked_at timestamptz NOT NULL,
    arrive_at timestamptz NOT NULL,
    depart_at timestamptz NOT NULL,
    lat double precision NOT NULL,
    lon double precision NOT NULL,
    user_group text NOT NULL,
    reason text NOT NULL,               -- parking_core.reservations.Refusal
    alternatives integer NOT NULL,      -- how many were offered
    taken boolean NOT NULL DEFAULT false        -- one of them was
);
CREATE INDEX refused_demand_arrive ON refused_demand (arrive_at);

-- All demand of shared spaces as it came, granted or not, of nobody: what prices look ahead by.
CREATE TABLE asked_demand (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asked_at timestamptz NOT NULL,
    arrive_at timestamptz NOT NULL,
    depart_at timestamptz NOT NULL,
    lat double precision NOT NULL,
    lon double precision NOT NULL,
    walk_m integer NOT NULL,
    user_group text NOT NULL,
    granted boolean NOT NULL
);
CREATE INDEX asked_demand_arrive ON asked_demand (arrive_at);

-- How late cars left, for the buffers of their lots.
CREATE TABLE departures (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lot_id integer NOT NULL REFERENCES lots,
    reservation_id bigint UNIQUE REFERENCES reservations,       -- NULL: by a permit
    promised_at timestamptz NOT NULL,
    kept_until timestamptz NOT NULL,    -- promised end and buffer: later than that it is in somebody's way
    left_at timestamptz NOT NULL
);
CREATE INDEX departures_lot ON departures (lot_id, promised_at);

-- Promises that were not kept, and the car that was still there.
CREATE TABLE let_downs (
    reservation_id bigint PRIMARY KEY REFERENCES reservations,
    lot_id integer NOT NULL REFERENCES lots,
    late_id bigint REFERENCES reservations,     -- NULL: nobody was late
    at timestamptz NOT NULL,
    at_barrier boolean NOT NULL         -- the driver had come; otherwise he was told before
);
CREATE INDEX let_downs_lot ON let_downs (lot_id, at);

-- What was chosen, what was expected and what happened, a local day of a lot each.
CREATE TABLE promise_days (
    lot_id integer NOT NULL REFERENCES lots,
    day date NOT NULL,
    chosen_rate real NOT NULL,          -- of promises that may fail, by the agreement
    expected_rate real NOT NULL,        -- with the buffers that were in force
    departures integer NOT NULL,
    late integer NOT NULL,              -- beyond their buffer
    let_down integer NOT NULL,
    PRIMARY KEY (lot_id, day)
);

-- Runs of the batch allocator: what was reached, and what could at most be reached.
CREATE TABLE allocation_rounds (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,                 -- 'day_ahead', 'suspension', 'disruption', 'prices'
    at timestamptz NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    requests integer NOT NULL,
    served integer NOT NULL,
    value_fen bigint NOT NULL,
    upper_bound_fen bigint NOT NULL,
    seconds real NOT NULL,
    fairness jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX allocation_rounds_at ON allocation_rounds (at);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'gateway_role') THEN
        REVOKE ALL ON reservations, shared_permits, violations, user_notices FROM gateway_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'api_role') THEN
        GRANT SELECT ON reservations, reservation_events, shared_permits, permit_events, permit_draws, permit_months, space_stays, violations,
            user_notices, refused_demand, asked_demand, departures, let_downs, promise_days, allocation_rounds, permits,
            permit_plates, holds, devices, commands TO api_role;
        GRANT INSERT ON reservations, reservation_events, shared_permits, permit_events, permit_draws, permit_months, space_stays, violations,
            user_notices, refused_demand, asked_demand, permits, permit_plates, holds, commands, departures, let_downs,
            allocation_rounds TO api_role;
        GRANT UPDATE ON reservations, shared_permits, permit_draws, permit_months, space_stays TO api_role;
        GRANT UPDATE (state, captured_fen, ended_at, visit_id) ON holds TO api_role;
        GRANT UPDATE (valid_until) ON permits TO api_role;
        GRANT UPDATE (seen_at) ON user_notices TO api_role;
        GRANT UPDATE (taken) ON refused_demand TO api_role;
        GRANT UPDATE (withdrawn_at) ON violations TO api_role;
        GRANT UPDATE (state, ended_at, superseded_by) ON commands TO api_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'worker_role') THEN
        GRANT SELECT, INSERT, UPDATE ON reservations, shared_permits, permit_draws, permit_months, space_stays, violations, user_notices,
            refused_demand, promise_days TO worker_role;
        GRANT SELECT, INSERT ON reservation_events, permit_events, departures, let_downs, allocation_rounds, asked_demand,
            permits, permit_plates TO worker_role;
        GRANT UPDATE (valid_until) ON permits TO worker_role;
        GRANT UPDATE (plate) ON permit_plates TO worker_role;
        GRANT DELETE ON refused_demand, asked_demand, departures, let_downs, space_stays TO worker_role;
    END IF;
END $$;
