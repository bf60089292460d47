-- Least privilege, where the installation has made the three group roles (onebox does).
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'gateway_role') THEN
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO gateway_role;
        GRANT INSERT ON occupancy_events, clock_ledger, device_liveness, dead_letters, dirty_buckets TO gateway_role;
        GRANT UPDATE ON device_liveness, dead_letters TO gateway_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'api_role') THEN
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO api_role;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'worker_role') THEN
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO worker_role;
        GRANT INSERT, UPDATE ON space_silences, lot_rollups_5m, lot_rollups_1h, dirty_buckets TO worker_role;
        GRANT DELETE ON dirty_buckets, clock_ledger TO worker_role;
        GRANT USAGE ON SCHEMA jobs TO worker_role;
        GRANT ALL ON ALL TABLES IN SCHEMA jobs TO worker_role;
        GRANT ALL ON ALL SEQUENCES IN SCHEMA jobs TO worker_role;
        GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA jobs TO worker_role;
    END IF;
END $$;
