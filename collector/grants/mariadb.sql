-- The least the collector needs.
CREATE USER {user} IDENTIFIED BY '…choose one…' WITH MAX_USER_CONNECTIONS 3;
GRANT PROCESS, BINLOG MONITOR, REPLICA MONITOR ON *.* TO {user};
-- Statement statistics: performance_schema = ON in the server's configuration.
GRANT SELECT ON performance_schema.* TO {user};
-- Table and index sizes, and plans by EXPLAIN, need the right to read the tables. Leave this out to go without them.
GRANT SELECT, SHOW VIEW ON *.* TO {user};
