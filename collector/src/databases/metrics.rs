//! Turns the answer of a template's query into samples. A function of values: no server, no clock.

use std::collections::HashSet;

use proto::{
    LabelsBuilder,
    labels::METRIC_NAME,
    samples::{Family, SamplesBuilder},
};

use super::{
    fingerprint::fingerprint,
    reading::{Reading, Row},
    template::{Fold, Group, Pairs},
};

/// Most samples taken from one answer; further rows are left out and counted.
pub const SAMPLES_PER_GROUP_MAX: usize = 20_000;
/// Longest label value, bytes.
const LABEL_BYTES_MAX: usize = 512;

/// What one answer gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Samples made.
    pub samples: usize,
    /// Rows left out because there were too many.
    pub rows_left_out: usize,
}

/// Labels every series of a target bears.
#[derive(Clone)]
pub struct Base {
    builder: LabelsBuilder,
}

impl Base {
    /// `instance` and `job`.
    pub fn new(instance: &str, job: &str) -> Base {
        let mut builder = LabelsBuilder::default();
        builder.set("instance", instance).set("job", job);
        Base { builder }
    }

    /// One more sample.
    pub fn push<'a>(
        &self,
        out: &mut SamplesBuilder,
        metric: &str,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        now_ms: i64,
        value: f64,
    ) {
        let mut builder = self.builder.clone();
        for (name, value) in labels {
            builder.set(name, super::fingerprint::cut(value, LABEL_BYTES_MAX));
        }
        out.push(&builder.set(METRIC_NAME, metric).build(), now_ms, value);
    }
}

/// Adds the samples of one answer. `families`: names whose description was sent before.
pub fn take(
    group: &Group,
    reading: &Reading,
    base: &Base,
    now_ms: i64,
    out: &mut SamplesBuilder,
    families: &mut HashSet<String>,
) -> Taken {
    let mut taken = Taken::default();
    for row in reading.iter() {
        if taken.samples >= SAMPLES_PER_GROUP_MAX {
            taken.rows_left_out += 1;
            continue;
        }
        let before = out.len();
        match &group.pairs {
            Some(pairs) => take_pair(group, pairs, row, base, now_ms, out, families),
            None => take_row(group, row, base, now_ms, out, families),
        }
        taken.samples += out.len() - before;
    }
    taken
}

fn take_row(
    group: &Group,
    row: Row<'_>,
    base: &Base,
    now_ms: i64,
    out: &mut SamplesBuilder,
    families: &mut HashSet<String>,
) {
    let print =
        group.fingerprint.as_ref().and_then(|(column, dialect)| row.text(column).map(|t| fingerprint(*dialect, t)));
    let labels = || {
        let columns = group.labels.iter().filter_map(|name| Some((name.as_str(), row.text(name)?)));
        columns.chain(print.as_ref().map(|p| ("fingerprint", &*p.id)))
    };
    for metric in &group.metrics {
        let value = match (row.number(&metric.column), metric.null_value) {
            (Some(value), _) => value * metric.scale.unwrap_or(1.0),
            (None, Some(null)) if row.cells().any(|(n, _)| n.eq_ignore_ascii_case(&metric.column)) => null.0,
            (None, _) => continue,
        };
        let name = group.metric_name(metric);
        for name in std::iter::once(&name).chain(&metric.aliases) {
            family(out, families, name, metric.kind.as_str(), &metric.help, &metric.unit);
            base.push(out, name, labels(), now_ms, value);
        }
    }
    if group.every_column {
        for (column, cell) in row.cells() {
            let lower = column.to_ascii_lowercase();
            if group.labels.contains(&lower) || group.metrics.iter().any(|m| m.column.eq_ignore_ascii_case(column)) {
                continue;
            }
            if let Some(value) = cell.and_then(super::reading::number) {
                base.push(out, &metric_word(&format!("{}_{lower}", group.prefix)), labels(), now_ms, value);
                if let Some(older) = older_name(group, &lower) {
                    base.push(out, &metric_word(&format!("{}_{older}", group.prefix)), labels(), now_ms, value);
                }
            }
        }
    }
}

fn take_pair(
    group: &Group,
    pairs: &Pairs,
    row: Row<'_>,
    base: &Base,
    now_ms: i64,
    out: &mut SamplesBuilder,
    families: &mut HashSet<String>,
) {
    let (Some(name), Some(value)) = (row.text(&pairs.name), row.number(&pairs.value)) else { return };
    let name = name.to_ascii_lowercase();
    if pairs.without.iter().any(|w| name.starts_with(w)) {
        return;
    }
    let fits = |f: &&Fold| {
        name.len() > f.begins.len() + f.ends.len() && name.starts_with(&f.begins) && name.ends_with(&f.ends)
    };
    if let Some(fold) = pairs.folds.iter().find(fits) {
        let rest = &name[fold.begins.len()..name.len() - fold.ends.len()];
        family(out, families, &fold.metric, fold.kind.as_str(), "", "");
        return base.push(out, &fold.metric, [(fold.label.as_str(), rest)], now_ms, value);
    }
    let metric = metric_word(&format!("{}_{name}", group.prefix));
    let kind = if pairs.counters.contains(&name) { "counter" } else { "unknown" };
    family(out, families, &metric, kind, "", "");
    base.push(out, &metric, [], now_ms, value);
}

/// What a column was called before its words were renamed; `None` if it always had this name.
fn older_name(group: &Group, column: &str) -> Option<String> {
    let word = |w: &str| group.renamed.get(w).map_or(w, String::as_str).to_owned();
    let older = column.split('_').map(word).collect::<Vec<_>>().join("_");
    (older != column).then_some(older)
}

/// Characters a metric's name can't have become `_`.
fn metric_word(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

fn family(out: &mut SamplesBuilder, sent: &mut HashSet<String>, name: &str, kind: &str, help: &str, unit: &str) {
    if kind == "unknown" || !sent.insert(name.to_owned()) {
        return;
    }
    out.family(Family { name: name.into(), kind: kind.into(), help: help.into(), unit: unit.into() });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::databases::templates::Templates;

    fn group(text: &str) -> Group {
        let yaml =
            format!("template: t\nengine: mysql\ngroups:\n  - {{name: g, interval_s: 1, sql: SHOW STATUS, {text}}}\n");
        Templates::with(vec![("t".into(), yaml)]).unwrap().get("t").unwrap().groups[0].clone()
    }

    fn check(group: &Group, columns: &[&str], rows: &[&[Option<&str>]], want: &[(&str, f64)]) {
        let reading = Reading {
            columns: columns.iter().map(|c| (*c).into()).collect(),
            rows: rows.iter().map(|r| r.iter().map(|c| c.map(str::to_owned)).collect()).collect(),
        };
        let mut out = SamplesBuilder::default();
        take(group, &reading, &Base::new("i", "j"), 7, &mut out, &mut HashSet::new());
        let samples = out.build();
        let got: Vec<(String, u64)> = samples
            .series
            .iter()
            .zip(&samples.values)
            .map(|(s, v)| {
                (samples.labels[*s as usize].to_string().replace(r#", instance="i", job="j""#, ""), v.to_bits())
            })
            .collect();
        let want: Vec<(String, u64)> = want.iter().map(|(s, v)| ((*s).to_owned(), v.to_bits())).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn columns_become_metrics_and_missing_ones_are_left_out() {
        let g = group(
            "prefix: pg, labels: [datname], metrics: [{column: a, kind: counter, help: h}, {column: gone, kind: gauge, help: h}, \
             {column: lag, name: lag_seconds, aliases: [replica_lag], kind: gauge, help: h, scale: 0.001, null_value: -1}]",
        );
        check(
            &g,
            &["datname", "A", "lag"],
            &[&[Some("db"), Some("3"), Some("1500")], &[None, None, None]],
            &[
                (r#"{__name__="pg_a", datname="db"}"#, 3.0),
                (r#"{__name__="lag_seconds", datname="db"}"#, 1.5),
                (r#"{__name__="replica_lag", datname="db"}"#, 1.5),
                (r#"{__name__="lag_seconds"}"#, -1.0),
                (r#"{__name__="replica_lag"}"#, -1.0),
            ],
        );
    }

    #[test]
    fn null_is_a_value_where_the_template_says_so() {
        let shipped = |template: &str, name: &str| {
            let templates = Templates::shipped();
            templates.get(template).unwrap().groups.iter().find(|g| g.name == name).unwrap().clone()
        };
        let mariadb = shipped("mariadb", "replica");
        check(
            &mariadb,
            &["Connection_name", "Seconds_Behind_Master", "Slave_SQL_Running"],
            &[&[Some("c"), None, Some("No")]],
            &[
                (r#"{__name__="mysql_slave_status_seconds_behind_master", connection_name="c"}"#, f64::NAN),
                (r#"{__name__="replica_lag_seconds", connection_name="c"}"#, f64::NAN),
                (r#"{__name__="mysql_slave_status_slave_sql_running", connection_name="c"}"#, 0.0),
                (r#"{__name__="replica_sql_running", connection_name="c"}"#, 0.0),
            ],
        );
        let mut mysql = shipped("mysql", "replica");
        mysql.metrics.truncate(1);
        check(
            &mysql,
            &["Seconds_Behind_Source"],
            &[&[None]],
            &[
                (r#"{__name__="mysql_slave_status_seconds_behind_source"}"#, f64::NAN),
                (r#"{__name__="mysql_slave_status_seconds_behind_master"}"#, f64::NAN),
                (r#"{__name__="replica_lag_seconds"}"#, f64::NAN),
            ],
        );
        check(&mariadb, &["Connection_name"], &[&[Some("c")]], &[]);
        assert!(mariadb == shipped("mariadb", "replica"), "NaN does not make a template differ from itself");
    }

    #[test]
    fn pairs_fold_into_labels() {
        let g = group(
            "prefix: st, pairs: {name: Variable_name, value: Value, without: [com_stmt], \
             folds: [{begins: com_, metric: st_commands_total, label: command, kind: counter}]}",
        );
        check(
            &g,
            &["Variable_name", "Value"],
            &[
                &[Some("Com_select"), Some("5")],
                &[Some("Com_stmt_x"), Some("5")],
                &[Some("Threads_running"), Some("2")],
                &[Some("Ssl_cipher"), Some("abc")],
                &[Some("Read_only"), Some("ON")],
            ],
            &[
                (r#"{__name__="st_commands_total", command="select"}"#, 5.0),
                (r#"{__name__="st_threads_running"}"#, 2.0),
                (r#"{__name__="st_read_only"}"#, 1.0),
            ],
        );
    }

    #[test]
    fn every_column_with_a_number_is_a_metric() {
        let g = group("prefix: rep, labels: [channel], every_column: true");
        check(
            &g,
            &["Channel", "Slave_SQL_Running", "Seconds_Behind_Master", "Last_Error"],
            &[&[Some("c"), Some("No"), None, Some("x")]],
            &[(r#"{__name__="rep_slave_sql_running", channel="c"}"#, 0.0)],
        );
        let g = group("prefix: rep, every_column: true, renamed: {replica: slave, source: master}");
        check(
            &g,
            &["Replica_SQL_Running", "Read_Source_Log_Pos", "Channel"],
            &[&[Some("Yes"), Some("7"), Some("c")]],
            &[
                (r#"{__name__="rep_replica_sql_running"}"#, 1.0),
                (r#"{__name__="rep_slave_sql_running"}"#, 1.0),
                (r#"{__name__="rep_read_source_log_pos"}"#, 7.0),
                (r#"{__name__="rep_read_master_log_pos"}"#, 7.0),
            ],
        );
    }
}
