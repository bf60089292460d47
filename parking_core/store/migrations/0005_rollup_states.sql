-- Rollups keep a digest of the states their next bucket starts from; the states themselves are kept for days, not for
-- years. Retention and compression run as the owner of the tables, by functions with limits of their own.

ALTER TABLE lot_rollups_5m DROP COLUMN closing;
ALTER TABLE lot_rollups_5m ADD COLUMN closing_digest bigint;  -- NULL: the bucket was not over when it was computed

-- States of a lot's spaces at the end of a bucket. A cache: history has them too. Valid where its digest is the rollup's.
CREATE TABLE lot_closings (
    lot_id integer NOT NULL,
    bucket timestamptz NOT NULL,
    digest bigint NOT NULL,
    states bytea NOT NULL,  -- parking_core.store.rollups.SPACE_STATE, one a space
    PRIMARY KEY (lot_id, bucket)
);
SELECT create_hypertable('lot_closings', by_range('bucket', INTERVAL '1 day'), create_default_indexes => false);

-- Up to where a lot's buckets are complete; a lot at rest (no event for a week) has no row.
CREATE TABLE rollup_frontiers (
    lot_id integer PRIMARY KEY,
    complete_until timestamptz NOT NULL
) WITH (fillfactor = 60);

-- What retention has dropped begins before this; rollups of that time are not computed again.
CREATE TABLE history_floor (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    floor_at timestamptz NOT NULL
);
INSERT INTO history_floor (floor_at) VALUES ('-infinity');

-- Drops the chunks of `relation` whose whole range is older than `keep`, and that are themselves older than the least
-- age: a replay writes records of years ago, and they must not vanish under the eyes of who replayed them.
CREATE FUNCTION drop_old_chunks(relation text, keep interval) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    least interval := CASE relation WHEN 'lot_closings' THEN INTERVAL '1 day' ELSE INTERVAL '7 days' END;
    dropped integer := 0;
    chunk record;
BEGIN
    IF relation NOT IN ('occupancy_events', 'lot_rollups_5m', 'lot_closings') THEN
        RAISE EXCEPTION 'drop_old_chunks does not drop chunks of %', relation;
    END IF;
    IF keep IS NULL OR keep < least THEN
        RAISE EXCEPTION 'chunks of % are kept for % at least, not for %', relation, least, keep;
    END IF;
    FOR chunk IN
        SELECT chunks.range_start, chunks.range_end
        FROM timescaledb_information.chunks AS chunks
        WHERE chunks.hypertable_schema = 'public' AND chunks.hypertable_name = relation
          AND chunks.range_end < now() - keep AND chunks.chunk_creation_time < now() - least
    LOOP
        PERFORM public.drop_chunks(format('public.%I', relation)::regclass,
                                   older_than => chunk.range_end, newer_than => chunk.range_start);
        dropped := dropped + 1;
        IF relation <> 'lot_closings' THEN
            UPDATE public.history_floor SET floor_at = greatest(floor_at, chunk.range_end);
        END IF;
    END LOOP;
    RETURN dropped;
END $$;

-- Switches compression on where the edition has it; answers what is the case: 'on', 'switched on' or 'not in this edition'.
CREATE FUNCTION compress_history(older_than interval) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF current_setting('timescaledb.license', true) IS DISTINCT FROM 'timescale' THEN
        RETURN 'not in this edition';
    END IF;
    IF older_than IS NULL OR older_than < INTERVAL '7 days' THEN
        RAISE EXCEPTION 'history is compressed after 7 days at least, not after %: late events still enter it', older_than;
    END IF;
    IF (SELECT compression_enabled FROM timescaledb_information.hypertables
        WHERE hypertable_schema = 'public' AND hypertable_name = 'occupancy_events') THEN
        RETURN 'on';
    END IF;
    EXECUTE 'ALTER TABLE public.occupancy_events SET (timescaledb.compress, timescaledb.compress_segmentby = ''space_id'','
            ' timescaledb.compress_orderby = ''occurred_at DESC, seq DESC, occupied DESC, device_id'')';
    EXECUTE format('SELECT public.add_compression_policy(''public.occupancy_events'', INTERVAL %L)', older_than::text);
    RETURN 'switched on';
END $$;

REVOKE EXECUTE ON FUNCTION drop_old_chunks(text, interval), compress_history(interval) FROM PUBLIC;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'worker_role') THEN
        GRANT SELECT, INSERT, UPDATE ON lot_closings TO worker_role;
        GRANT SELECT, INSERT, UPDATE, DELETE ON rollup_frontiers TO worker_role;
        GRANT SELECT ON history_floor TO worker_role;
        GRANT DELETE ON space_silences TO worker_role;
        GRANT EXECUTE ON FUNCTION drop_old_chunks(text, interval), compress_history(interval) TO worker_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'api_role') THEN
        GRANT SELECT ON history_floor, rollup_frontiers TO api_role;
    END IF;
END $$;
