-- Who takes an orphan over says so here; seen_at stays the orphan's own, so that it does not count as alive.
ALTER TABLE gateways ADD COLUMN claimed_at timestamptz;
