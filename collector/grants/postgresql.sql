-- The least the collector needs. Run as a superuser.
CREATE ROLE {user} LOGIN PASSWORD '…choose one…' CONNECTION LIMIT 3;
GRANT pg_monitor TO {user};
-- Statement statistics: once, in the database the collector connects to first (usually postgres), with
-- shared_preload_libraries = 'pg_stat_statements' in postgresql.conf.
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
-- Plans are asked for by EXPLAIN, which needs the right to read the tables. Leave this out to go without plans.
GRANT pg_read_all_data TO {user};  -- PostgreSQL 14 and later
