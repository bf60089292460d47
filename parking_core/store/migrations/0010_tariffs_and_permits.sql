-- Tariffs as versioned data, which lot charges by which, and what frees a vehicle from them.

CREATE TABLE tariffs (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    document jsonb NOT NULL,     -- parking_core.tariffs reads it
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (code, version)       -- a version is never changed: what it charged stays explainable
);

CREATE TABLE lot_tariffs (
    lot_id integer NOT NULL REFERENCES lots,
    valid_from timestamptz NOT NULL,   -- for vehicles that enter from then on
    tariff_id integer NOT NULL REFERENCES tariffs,
    PRIMARY KEY (lot_id, valid_from)
);

CREATE FUNCTION refuse_change_of_tariff() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a tariff version is never changed: publish the next one' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER tariffs_immutable BEFORE UPDATE OR DELETE ON tariffs FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_tariff();

-- A publication or a binding moves this number; processes that hold tariffs in memory watch it.
CREATE TABLE tariffs_version (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    version bigint NOT NULL
);
INSERT INTO tariffs_version (version) VALUES (1);

CREATE FUNCTION bump_tariffs_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tariffs_version SET version = version + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER tariffs_changed AFTER INSERT ON tariffs FOR EACH STATEMENT EXECUTE FUNCTION bump_tariffs_version();
CREATE TRIGGER lot_tariffs_changed AFTER INSERT OR UPDATE OR DELETE ON lot_tariffs
    FOR EACH STATEMENT EXECUTE FUNCTION bump_tariffs_version();

CREATE TABLE permits (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL UNIQUE,
    lot_id integer NOT NULL REFERENCES lots,
    kind text NOT NULL,
    valid_from timestamptz NOT NULL,
    valid_until timestamptz NOT NULL,
    slots integer NOT NULL DEFAULT 1 CHECK (slots > 0),  -- vehicles of it that may stay at once
    CHECK (valid_from < valid_until)
);
CREATE INDEX permits_lot ON permits (lot_id);

CREATE TABLE permit_plates (
    permit_id bigint NOT NULL REFERENCES permits,
    plate text NOT NULL,
    PRIMARY KEY (permit_id, plate)
);
CREATE INDEX permit_plates_plate ON permit_plates (plate);

CREATE TABLE coupons (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL UNIQUE,
    kind text NOT NULL CHECK (kind IN ('minutes', 'amount', 'percent')),
    value integer NOT NULL CHECK (value > 0),
    lot_id integer REFERENCES lots,       -- NULL: any lot
    plate text,                           -- bound to a vehicle when it is given out
    valid_until timestamptz NOT NULL,
    visit_id bigint                       -- the visit it was used for
);
CREATE INDEX coupons_plate ON coupons (plate) WHERE visit_id IS NULL;
CREATE INDEX coupons_visit ON coupons (visit_id) WHERE visit_id IS NOT NULL;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'gateway_role') THEN
        REVOKE ALL ON permits, permit_plates, coupons FROM gateway_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'api_role') THEN
        GRANT SELECT ON tariffs, lot_tariffs, tariffs_version TO api_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'worker_role') THEN
        GRANT SELECT ON tariffs, lot_tariffs, permits, permit_plates, coupons TO worker_role;
        GRANT UPDATE ON coupons TO worker_role;
    END IF;
END $$;
