//! The questions of dashboards: one of every kind that people draw, over the series of `fleet`.

/// How a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A graph: at every step of the whole time.
    Range,
    /// A table or a single number: at the end.
    Instant,
}

/// One question; `W` in its text stands for a window, `L` for a long one, `S` for a step of a subquery.
pub struct Question {
    /// A word for it in tables.
    pub name: &'static str,
    /// Graph or number.
    pub form: Form,
    /// PromQL.
    pub text: &'static str,
}

const fn graph(name: &'static str, text: &'static str) -> Question {
    Question { name, form: Form::Range, text }
}

const fn number(name: &'static str, text: &'static str) -> Question {
    Question { name, form: Form::Instant, text }
}

/// All of them.
pub const QUESTIONS: &[Question] = &[
    graph("one host", r#"node_load1{instance="db-00003.example:9100"}"#),
    graph("rate, one host", r#"sum by (mode) (rate(node_cpu_seconds_total{instance="db-00003.example:9100"}[W]))"#),
    graph(
        "rate, some hosts",
        r#"sum by (instance) (rate(node_cpu_seconds_total{instance=~"db-0000[1-5].+",mode!="idle"}[W]))"#,
    ),
    graph("sum by of rate", "sum by (mode) (rate(node_cpu_seconds_total[W]))"),
    graph("sum without of rate", "sum without (cpu, mode, instance, cluster) (rate(node_cpu_seconds_total[W]))"),
    graph("avg of rate, arithmetic", r#"100 - 100 * avg by (cluster) (rate(node_cpu_seconds_total{mode="idle"}[W]))"#),
    graph("irate", r#"max by (region) (irate(pg_stat_database_xact_commit{datname="app"}[W]))"#),
    graph("increase", "sum by (datname) (increase(pg_stat_database_tup_fetched[W]))"),
    graph("topk", "topk(10, sum by (instance) (rate(pg_stat_database_xact_commit[W])))"),
    graph("bottomk", r#"bottomk(5, node_filesystem_avail_bytes{mountpoint="/data"})"#),
    graph("quantile", "quantile by (region) (0.9, node_load1)"),
    graph("stddev", "stddev by (region) (node_load1)"),
    graph("sum by of gauge", "sum by (state) (pg_stat_activity_count)"),
    graph("regex count", r#"count by (__name__) ({__name__=~"pg_settings_.*"})"#),
    graph("max_over_time", "max by (cluster) (max_over_time(node_load1[L]))"),
    graph("min_over_time", "min by (region) (min_over_time(node_memory_MemAvailable_bytes[L]))"),
    graph("avg_over_time", "avg by (cluster) (avg_over_time(pg_replication_lag_seconds[L]))"),
    graph("quantile_over_time", "max by (region) (quantile_over_time(0.95, pg_replication_lag_seconds[L]))"),
    graph("stddev_over_time", "max by (region) (stddev_over_time(node_load1[L]))"),
    graph("count_over_time", "sum(count_over_time(up[L]))"),
    graph("changes", "sum by (region) (changes(pg_locks_count[L]))"),
    graph("resets", "sum(resets(pg_stat_database_xact_commit[L]))"),
    graph("deriv", r#"min by (cluster) (deriv(node_filesystem_avail_bytes{mountpoint="/wal"}[L]))"#),
    graph("predict_linear", r#"count(predict_linear(node_filesystem_avail_bytes{mountpoint!="/"}[L], 86400) < 5e11)"#),
    graph("join, one to one", "avg by (cluster) (node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)"),
    graph("join, many to one", "sum by (release) (node_load1 * on (instance) group_left (release) node_uname_info)"),
    graph(
        "join, aggregated",
        "sum by (cluster) (rate(pg_stat_database_blks_hit[W])) / (sum by (cluster) (rate(pg_stat_database_blks_hit[W])) + sum by (cluster) (rate(pg_stat_database_blks_read[W])))",
    ),
    graph("filter", "count(node_load1 > 2)"),
    graph("unless", r#"count(pg_up unless on (instance) (pg_stat_activity_count{state="active"} > 8))"#),
    graph(
        "histogram_quantile",
        "histogram_quantile(0.99, sum by (le, region) (rate(pg_query_duration_seconds_bucket[W])))",
    ),
    graph(
        "histogram mean",
        "sum(rate(pg_query_duration_seconds_sum[W])) / sum(rate(pg_query_duration_seconds_count[W]))",
    ),
    graph("subquery", "max_over_time(sum(rate(pg_stat_database_xact_commit[W]))[L:S])"),
    graph("offset", "sum(rate(pg_stat_database_xact_commit[W])) / sum(rate(pg_stat_database_xact_commit[W] offset L))"),
    graph("label_replace", r#"sum by (site) (label_replace(node_load1, "site", "$1", "region", "([a-z]+)-.*"))"#),
    graph("absent", r#"absent(up{instance="nobody"})"#),
    number("last by name", "topk(5, pg_database_size_bytes)"),
    number("sum of all rates", "sum by (region) (rate(node_cpu_seconds_total[W]))"),
    number("count of all", r#"count({job=~"node|postgres"})"#),
    number("count_values", r#"count_values("connections", pg_settings_max_connections)"#),
    number("long window", "max by (cluster) (max_over_time(node_load1[L]))"),
];

/// Windows of one length of time.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// For rates.
    pub short: &'static str,
    /// For what looks further back.
    pub long: &'static str,
    /// Of subqueries.
    pub step: &'static str,
}

impl Question {
    /// The text with its windows.
    pub fn text(&self, windows: &Windows) -> String {
        let text = self.text.replace("[W]", &format!("[{}]", windows.short));
        // seven seconds more, so that no step of the subquery lies on its window's left end, which is open since Prometheus 3
        let text = text.replace("[L:S]", &format!("[{}7s:{}]", windows.long, windows.step));
        text.replace("[L]", &format!("[{}]", windows.long)).replace("offset L", &format!("offset {}", windows.long))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_question_is_promql() {
        let windows = Windows { short: "5m", long: "30m", step: "1m" };
        for question in QUESTIONS {
            let text = question.text(&windows);
            let read = query::promql::Query::parse(&text, &query::promql::Features::default());
            assert!(read.is_ok(), "{text}: {:?}", read.err());
        }
        let names: std::collections::BTreeSet<_> = QUESTIONS.iter().map(|q| q.name).collect();
        assert_eq!(names.len(), QUESTIONS.len());
        assert!(QUESTIONS.len() >= 23);
    }
}
