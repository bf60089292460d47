-- What a lot did in five minutes and in an hour; computed again whenever a late event makes its bucket dirty.
-- occupied_min and unknown_min are space-minutes, closed_min and full_min minutes of the lot.

CREATE TABLE lot_rollups_5m (
    lot_id integer NOT NULL,
    bucket timestamptz NOT NULL,
    spaces integer NOT NULL,
    occupied_min double precision NOT NULL,
    unknown_min double precision NOT NULL,
    closed_min double precision NOT NULL,
    full_min double precision NOT NULL,
    arrivals integer NOT NULL,
    departures integer NOT NULL,
    dwell_count integer NOT NULL,
    dwell_sum_s double precision NOT NULL,
    dwell_histogram integer[] NOT NULL,  -- counts a class of parking_core.occupancy.DWELL_CLASSES_S
    closing bytea NOT NULL,              -- state of every space at the end of the bucket: what the next one starts from
    PRIMARY KEY (lot_id, bucket)
);
SELECT create_hypertable('lot_rollups_5m', by_range('bucket', INTERVAL '30 days'), create_default_indexes => false);

CREATE TABLE lot_rollups_1h (
    lot_id integer NOT NULL,
    bucket timestamptz NOT NULL,
    spaces integer NOT NULL,
    occupied_min double precision NOT NULL,
    unknown_min double precision NOT NULL,
    closed_min double precision NOT NULL,
    full_min double precision NOT NULL,
    arrivals integer NOT NULL,
    departures integer NOT NULL,
    dwell_count integer NOT NULL,
    dwell_sum_s double precision NOT NULL,
    dwell_histogram integer[] NOT NULL,
    PRIMARY KEY (lot_id, bucket)
);
SELECT create_hypertable('lot_rollups_1h', by_range('bucket', INTERVAL '365 days'), create_default_indexes => false);
