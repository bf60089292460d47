-- Periodic work and deliveries: tables of the job queue, in a schema of their own.
CREATE SCHEMA jobs;
SET LOCAL search_path TO jobs, public;
-- include: procrastinate
SET LOCAL search_path TO public;
