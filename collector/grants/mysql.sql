-- The least the collector needs. Written from the manual; no server of it was at hand.
CREATE USER {user} IDENTIFIED BY '…choose one…' WITH MAX_USER_CONNECTIONS 3;
GRANT PROCESS, REPLICATION CLIENT ON *.* TO {user};
GRANT SELECT ON performance_schema.* TO {user};
-- Table and index sizes, and plans by EXPLAIN, need the right to read the tables. Leave this out to go without them.
GRANT SELECT, SHOW VIEW ON *.* TO {user};
