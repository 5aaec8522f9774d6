-- The least the collector needs. Run as a superuser in the database the collector connects to first (usually postgres).
CREATE ROLE {user} LOGIN PASSWORD '…choose one…' CONNECTION LIMIT 3;
GRANT pg_monitor TO {user};
-- Statement statistics, with shared_preload_libraries = 'pg_stat_statements' in postgresql.conf.
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
-- Plans are asked for by EXPLAIN, and bloat is estimated from statistics; both need the right to read the tables. Leave
-- this out to go without them. PostgreSQL 13 has no such role: there, in every database,
-- GRANT USAGE ON SCHEMA …, GRANT SELECT ON ALL TABLES IN SCHEMA … (tidewatch-collector check names them).
DO $$ BEGIN
  IF to_regrole('pg_read_all_data') IS NOT NULL THEN GRANT pg_read_all_data TO {user}; END IF;
END $$;
