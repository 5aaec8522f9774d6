// The charts of one database and its host: what each asks in PromQL, in which unit, and how its lines are named.
// `$i` is the instance's matcher, `$h` its host's, `$w` the window of rates. The first query of a list that answers is taken.
import { promText } from "./escape";
import type { Unit } from "./format";

export interface Ask {
  /** Alternatives: names differ between server versions. */
  queries: readonly string[];
  /** The line's name; `{label}` stands for a label's value. */
  name: string;
  /** A limit: dashed line. */
  limit?: boolean;
}
export interface PanelSpec {
  key: string;
  title: readonly [string, string];
  unit: Unit;
  stack?: boolean;
  asks: readonly Ask[];
}

const ask = (name: string, ...queries: string[]): Ask => ({ name, queries });
const limit = (name: string, ...queries: string[]): Ask => ({ name, queries, limit: true });

/** A rate over a window; of two spellings of a counter (with and without `_total`) the one that exists. */
const rate = (metric: string, by = "", matcher = "$i"): string[] => [
  `sum ${by}(rate(${metric}{${matcher}}[$w]))`,
  `sum ${by}(rate(${metric}_total{${matcher}}[$w]))`,
];

export const POSTGRESQL: readonly PanelSpec[] = [
  {
    key: "transactions",
    title: ["Transactions", "事务"],
    unit: "per_second",
    asks: [ask("commit", ...rate("pg_stat_database_xact_commit")), ask("rollback", ...rate("pg_stat_database_xact_rollback"))],
  },
  {
    key: "connections",
    title: ["Connections by state", "按状态的连接数"],
    unit: "count",
    stack: true,
    asks: [
      ask("{state}", "sum by (state) (pg_stat_activity_count{$i})", "sum(pg_stat_database_numbackends{$i})"),
      limit("max_connections", "max(last_over_time(pg_settings_max_connections{$i}[15m]))"),
    ],
  },
  {
    key: "longest_transaction",
    title: ["Longest transaction", "最长事务"],
    unit: "seconds",
    asks: [ask("{state}", "max by (state) (pg_stat_activity_max_tx_duration{$i})", "max(pg_sessions_oldest_transaction_seconds{$i})")],
  },
  {
    key: "cache",
    title: ["Buffer cache hit ratio", "缓冲区命中率"],
    unit: "ratio",
    asks: [
      ask(
        "hit",
        "sum(rate(pg_stat_database_blks_hit{$i}[$w])) / (sum(rate(pg_stat_database_blks_hit{$i}[$w])) + sum(rate(pg_stat_database_blks_read{$i}[$w])))",
        "sum(rate(pg_stat_database_blks_hit_total{$i}[$w])) / (sum(rate(pg_stat_database_blks_hit_total{$i}[$w])) + sum(rate(pg_stat_database_blks_read_total{$i}[$w])))",
      ),
    ],
  },
  {
    key: "tuples_read",
    title: ["Rows read", "读取行数"],
    unit: "per_second",
    asks: [ask("returned", ...rate("pg_stat_database_tup_returned")), ask("fetched", ...rate("pg_stat_database_tup_fetched"))],
  },
  {
    key: "tuples_written",
    title: ["Rows written", "写入行数"],
    unit: "per_second",
    asks: [
      ask("inserted", ...rate("pg_stat_database_tup_inserted")),
      ask("updated", ...rate("pg_stat_database_tup_updated")),
      ask("deleted", ...rate("pg_stat_database_tup_deleted")),
    ],
  },
  {
    key: "locks",
    title: ["Locks by mode", "按模式的锁"],
    unit: "count",
    asks: [ask("{mode}", "sum by (mode) (pg_locks_count{$i})")],
  },
  {
    key: "waits",
    title: ["Active sessions by wait", "按等待类型的活动会话"],
    unit: "count",
    stack: true,
    asks: [ask("{wait_event_type}", "sum by (wait_event_type) (pg_wait_sessions_count{$i})")],
  },
  {
    key: "lock_waits",
    title: ["Waiting for a lock", "等待锁"],
    unit: "count",
    asks: [ask("sessions", "sum(pg_sessions_waiting_for_lock{$i})", "sum(pg_locks_waiting{$i})")],
  },
  {
    key: "deadlocks",
    title: ["Deadlocks and conflicts", "死锁与冲突"],
    unit: "per_second",
    asks: [ask("deadlocks", ...rate("pg_stat_database_deadlocks")), ask("conflicts", ...rate("pg_stat_database_conflicts"))],
  },
  {
    key: "checkpoints",
    title: ["Checkpoints per minute", "每分钟检查点"],
    unit: "count",
    asks: [
      ask("timed", "sum(rate(pg_stat_bgwriter_checkpoints_timed{$i}[$w])) * 60", "sum(rate(pg_stat_bgwriter_checkpoints_timed_total{$i}[$w])) * 60", "sum(rate(pg_stat_checkpointer_num_timed_total{$i}[$w])) * 60"),
      ask("requested", "sum(rate(pg_stat_bgwriter_checkpoints_req{$i}[$w])) * 60", "sum(rate(pg_stat_bgwriter_checkpoints_req_total{$i}[$w])) * 60", "sum(rate(pg_stat_checkpointer_num_requested_total{$i}[$w])) * 60"),
    ],
  },
  {
    key: "buffers",
    title: ["Buffers written", "写出缓冲块"],
    unit: "per_second",
    asks: [
      ask("checkpoint", ...rate("pg_stat_bgwriter_buffers_checkpoint"), ...rate("pg_stat_checkpointer_buffers_written")),
      ask("cleaner", ...rate("pg_stat_bgwriter_buffers_clean")),
      ask("backends", ...rate("pg_stat_bgwriter_buffers_backend")),
    ],
  },
  {
    key: "wal",
    title: ["WAL written", "写入 WAL"],
    unit: "bytes_per_second",
    asks: [ask("WAL", "sum(rate(pg_wal_position_bytes{$i}[$w]))", ...rate("pg_stat_wal_bytes"))],
  },
  {
    key: "temp",
    title: ["Temporary files", "临时文件"],
    unit: "bytes_per_second",
    asks: [ask("{datname}", ...rate("pg_stat_database_temp_bytes", "by (datname) "))],
  },
  {
    key: "replication",
    title: ["Replication lag", "复制延迟"],
    unit: "seconds",
    asks: [ask("replay", "max(pg_replication_lag_seconds{$i})", "max(pg_replication_lag{$i})"), ask("{application_name}", "max by (application_name) (pg_stat_replication_replay_lag_seconds{$i})")],
  },
  {
    key: "replication_bytes",
    title: ["Not yet replayed by standbys", "备库未回放"],
    unit: "bytes",
    asks: [ask("{application_name}", "max by (application_name) (pg_stat_replication_pg_wal_lsn_diff{$i})")],
  },
  {
    key: "size",
    title: ["Database size", "数据库大小"],
    unit: "bytes",
    stack: true,
    asks: [ask("{datname}", "sum by (datname) (last_over_time(pg_database_size_bytes{$i}[15m]))")],
  },
];

export const MYSQL: readonly PanelSpec[] = [
  {
    key: "queries",
    title: ["Queries", "查询"],
    unit: "per_second",
    asks: [ask("questions", ...rate("mysql_global_status_questions")), ask("slow", ...rate("mysql_global_status_slow_queries"))],
  },
  {
    key: "commands",
    title: ["Commands", "命令"],
    unit: "per_second",
    asks: [ask("{command}", `topk(8, sum by (command) (rate(mysql_global_status_commands_total{$i}[$w])) > 0)`)],
  },
  {
    key: "connections",
    title: ["Connections", "连接"],
    unit: "count",
    asks: [
      ask("connected", "sum(mysql_global_status_threads_connected{$i})"),
      ask("running", "sum(mysql_global_status_threads_running{$i})"),
      limit("max_connections", "max(last_over_time(mysql_global_variables_max_connections{$i}[15m]))"),
    ],
  },
  {
    key: "cache",
    title: ["Buffer pool hit ratio", "缓冲池命中率"],
    unit: "ratio",
    asks: [
      ask("hit", "1 - sum(rate(mysql_global_status_innodb_buffer_pool_reads{$i}[$w])) / (sum(rate(mysql_global_status_innodb_buffer_pool_read_requests{$i}[$w])) > 0)"),
    ],
  },
  {
    key: "pool",
    title: ["Buffer pool pages", "缓冲池页"],
    unit: "count",
    stack: true,
    asks: [
      ask("{state}", "sum by (state) (mysql_global_status_buffer_pool_pages{$i})"),
      ask("data", "sum(mysql_global_status_innodb_buffer_pool_pages_data{$i})"),
      ask("free", "sum(mysql_global_status_innodb_buffer_pool_pages_free{$i})"),
    ],
  },
  {
    key: "handlers",
    title: ["Row reads by handler", "按句柄的行读取"],
    unit: "per_second",
    asks: [
      ask("{handler}", `topk(8, sum by (handler) (rate(mysql_global_status_handlers_total{$i,handler=~"read.*"}[$w])) > 0)`),
      ask("read_rnd_next", "sum(rate(mysql_global_status_handler_read_rnd_next{$i}[$w]))"),
      ask("read_key", "sum(rate(mysql_global_status_handler_read_key{$i}[$w]))"),
      ask("read_next", "sum(rate(mysql_global_status_handler_read_next{$i}[$w]))"),
    ],
  },
  {
    key: "rows",
    title: ["InnoDB row operations", "InnoDB 行操作"],
    unit: "per_second",
    asks: [
      ask("{operation}", "sum by (operation) (rate(mysql_global_status_innodb_row_ops_total{$i}[$w]))"),
      ask("read", "sum(rate(mysql_global_status_innodb_rows_read{$i}[$w]))"),
      ask("inserted", "sum(rate(mysql_global_status_innodb_rows_inserted{$i}[$w]))"),
      ask("updated", "sum(rate(mysql_global_status_innodb_rows_updated{$i}[$w]))"),
      ask("deleted", "sum(rate(mysql_global_status_innodb_rows_deleted{$i}[$w]))"),
    ],
  },
  {
    key: "row_locks",
    title: ["Row lock waits", "行锁等待"],
    unit: "count",
    asks: [
      ask("waiting now", "sum(mysql_global_status_innodb_row_lock_current_waits{$i})"),
      ask("waits/s", "sum(rate(mysql_global_status_innodb_row_lock_waits{$i}[$w]))"),
      ask("deadlocks/s", "sum(rate(mysql_global_status_innodb_deadlocks{$i}[$w]))"),
    ],
  },
  {
    key: "transactions",
    title: ["Open transactions", "未结束的事务"],
    unit: "count",
    asks: [ask("open", "sum(mysql_innodb_transactions{$i})"), ask("waiting for a row lock", "sum(mysql_innodb_transactions_waiting{$i})")],
  },
  {
    key: "oldest_transaction",
    title: ["Longest transaction", "最长事务"],
    unit: "seconds",
    asks: [ask("oldest", "max(mysql_innodb_transactions_oldest_seconds{$i})"), ask("longest lock wait", "max(mysql_innodb_transactions_longest_wait_seconds{$i})")],
  },
  {
    key: "redo",
    title: ["Redo log written", "写入重做日志"],
    unit: "bytes_per_second",
    asks: [ask("redo", "sum(rate(mysql_global_status_innodb_os_log_written{$i}[$w]))")],
  },
  {
    key: "checkpoint",
    title: ["Checkpoint age", "检查点年龄"],
    unit: "bytes",
    asks: [
      ask("age", "max(mysql_global_status_innodb_checkpoint_age{$i})", "max(mysql_info_schema_innodb_metrics_log_log_lsn_checkpoint_age{$i})"),
      limit("capacity", "max(mysql_global_status_innodb_checkpoint_max_age{$i})", "max(last_over_time(mysql_global_variables_innodb_log_file_size{$i}[15m]))"),
    ],
  },
  {
    key: "undo",
    title: ["Undo history length", "Undo 历史长度"],
    unit: "count",
    asks: [ask("history", "max(mysql_global_status_innodb_history_list_length{$i})", "max(mysql_info_schema_innodb_metrics_transaction_trx_rseg_history_len{$i})")],
  },
  {
    key: "temp",
    title: ["Temporary tables", "临时表"],
    unit: "per_second",
    asks: [ask("on disk", ...rate("mysql_global_status_created_tmp_disk_tables")), ask("all", ...rate("mysql_global_status_created_tmp_tables"))],
  },
  {
    key: "scans",
    title: ["Selects without a good index", "缺少合适索引的查询"],
    unit: "per_second",
    asks: [ask("full scan", ...rate("mysql_global_status_select_scan")), ask("full join", ...rate("mysql_global_status_select_full_join"))],
  },
  {
    key: "traffic",
    title: ["Traffic", "流量"],
    unit: "bytes_per_second",
    asks: [ask("received", ...rate("mysql_global_status_bytes_received")), ask("sent", ...rate("mysql_global_status_bytes_sent"))],
  },
  {
    key: "replication",
    title: ["Replication lag", "复制延迟"],
    unit: "seconds",
    asks: [ask("behind", "max(mysql_slave_status_seconds_behind_master{$i})", "max(mysql_slave_status_seconds_behind_source{$i})")],
  },
];

export const HOST: readonly PanelSpec[] = [
  {
    key: "cpu",
    title: ["CPU", "CPU"],
    unit: "ratio",
    stack: true,
    asks: [
      ask(
        "{mode}",
        `sum by (mode) (rate(node_cpu_seconds_total{$h,mode!="idle"}[$w])) / scalar(count(count by (cpu) (node_cpu_seconds_total{$h})))`,
      ),
    ],
  },
  {
    key: "memory",
    title: ["Memory", "内存"],
    unit: "bytes",
    asks: [
      ask("used", "sum(node_memory_MemTotal_bytes{$h}) - sum(node_memory_MemAvailable_bytes{$h})"),
      ask("cached", "sum(node_memory_Cached_bytes{$h})"),
      limit("total", "sum(node_memory_MemTotal_bytes{$h})"),
    ],
  },
  {
    key: "load",
    title: ["Load", "负载"],
    unit: "count",
    asks: [ask("1 min", "max(node_load1{$h})"), ask("5 min", "max(node_load5{$h})"), limit("CPUs", "count(count by (cpu) (node_cpu_seconds_total{$h}))")],
  },
  {
    key: "filesystems",
    title: ["File systems used", "文件系统使用率"],
    unit: "ratio",
    asks: [
      ask(
        "{mountpoint}",
        `topk(6, max by (mountpoint) (1 - node_filesystem_avail_bytes{$h,fstype!~"tmpfs|ramfs|overlay|squashfs"} / node_filesystem_size_bytes{$h,fstype!~"tmpfs|ramfs|overlay|squashfs"}))`,
      ),
    ],
  },
  {
    key: "disk_io",
    title: ["Disk throughput", "磁盘吞吐"],
    unit: "bytes_per_second",
    asks: [
      ask("read {device}", "topk(4, sum by (device) (rate(node_disk_read_bytes_total{$h}[$w])) > 0)"),
      ask("write {device}", "topk(4, sum by (device) (rate(node_disk_written_bytes_total{$h}[$w])) > 0)"),
    ],
  },
  {
    key: "disk_busy",
    title: ["Disk busy", "磁盘繁忙"],
    unit: "ratio",
    asks: [ask("{device}", "topk(6, sum by (device) (rate(node_disk_io_time_seconds_total{$h}[$w])) > 0)")],
  },
  {
    key: "network",
    title: ["Network", "网络"],
    unit: "bytes_per_second",
    asks: [
      ask("in {device}", `topk(3, sum by (device) (rate(node_network_receive_bytes_total{$h,device!="lo"}[$w])))`),
      ask("out {device}", `topk(3, sum by (device) (rate(node_network_transmit_bytes_total{$h,device!="lo"}[$w])))`),
    ],
  },
  {
    key: "pressure",
    title: ["Pressure: time stalled", "压力：停顿时间占比"],
    unit: "ratio",
    asks: [
      ask("CPU", "sum(rate(node_pressure_cpu_waiting_seconds_total{$h}[$w]))"),
      ask("I/O", "sum(rate(node_pressure_io_waiting_seconds_total{$h}[$w]))"),
      ask("memory", "sum(rate(node_pressure_memory_waiting_seconds_total{$h}[$w]))"),
    ],
  },
];

/** The panels of an engine. */
export function panelsOf(engine: string): readonly PanelSpec[] {
  if (engine === "postgresql") return POSTGRESQL;
  return engine === "mysql" || engine === "mariadb" ? MYSQL : HOST;
}

/** A query with its places filled: the instance, its host, the window. */
export function fillQuery(query: string, instance: string, host: string, window: string): string {
  const values: Record<string, string> = { $i: `instance=${promText(instance)}`, $h: `instance=${promText(host)}`, $w: window };
  return query.replace(/\$[ihw]/g, (place) => values[place] ?? place);
}

/** A line's name from its labels: `{state}` becomes the label's value; an empty one becomes a dash. */
export function lineName(pattern: string, labels: Record<string, string>): string {
  return pattern.replace(/\{(\w+)\}/g, (_whole, name: string) => labels[name] ?? "").trim() || "–";
}
