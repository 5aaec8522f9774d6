//! A plan as EXPLAIN's JSON: its shape (for a fingerprint), one line for people, and its text without literals.

use std::{collections::HashMap, fmt::Write, sync::Arc};

use proto::EventsBuilder;
use serde_json::{Map, Value as Json};

use super::{sql_mask::mask_sql, sql_tokens::Dialect, statements::Load};
use crate::config::Engine;

/// Statements explained in one round.
pub const PLANS_PER_ROUND_MAX: usize = 10;
/// A plan is looked at again after this.
pub const PLAN_AGE_MAX_MS: i64 = 600_000;
/// A statement that became this many times slower is looked at again at once.
const SLOWER_FACTOR: f64 = 2.0;
/// Statements cheaper than this in an interval are not explained.
const TOTAL_MS_MIN: f64 = 1.0;
/// Statements whose plan is remembered.
const PLANS_MAX: usize = 5_000;
/// Longest summary, bytes.
const SUMMARY_BYTES_MAX: usize = 400;
/// Longest plan kept, bytes of its text.
const PLAN_BYTES_MAX: usize = 128 * 1024;

/// A plan, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// 16 hex digits of its shape.
    pub fingerprint: String,
    /// The scans and joins from the top.
    pub summary: String,
    /// The planner's total, where it tells.
    pub total_cost: Option<f64>,
    /// JSON without literals.
    pub text: String,
}

/// Names of things, never literals.
const NAME_KEYS: &[&str] = &[
    "Node Type",
    "Relation Name",
    "Schema",
    "Alias",
    "Index Name",
    "Join Type",
    "Parent Relationship",
    "Strategy",
    "Partial Mode",
    "Scan Direction",
    "Command",
    "Operation",
    "Subplan Name",
    "CTE Name",
    "Function Name",
    "table_name",
    "access_type",
    "key",
    "possible_keys",
    "used_key_parts",
    "ref",
    "join_type",
    "select_id",
    "key_length",
    "buffer_type",
    "buffer_size",
    "operation",
    "r_loops",
];

/// Reads EXPLAIN's JSON of either server.
pub fn read(dialect: Dialect, json: &str) -> Option<Plan> {
    let mut value: Json = serde_json::from_str(json).ok()?;
    let (shape, summary, total_cost) = match dialect {
        Dialect::Postgresql => {
            let root = value.get(0)?.get("Plan")?;
            (postgres_shape(root), postgres_summary(root), root.get("Total Cost").and_then(Json::as_f64))
        }
        Dialect::Mysql => {
            let root = value.get("query_block")?;
            let cost = root
                .get("cost")
                .and_then(Json::as_f64)
                .or_else(|| root.get("cost_info")?.get("query_cost")?.as_str()?.parse().ok());
            let mut steps = Vec::new();
            mysql_steps(root, &mut steps);
            (mysql_shape(root), steps.join(" → "), cost)
        }
    };
    mask(dialect, "", &mut value);
    let mut text = value.to_string();
    if text.len() > PLAN_BYTES_MAX {
        text = serde_json::json!({ "left_out": format!("{} bytes", text.len()) }).to_string();
    }
    let fingerprint = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(shape.as_bytes()));
    let summary = super::fingerprint::cut(&summary, SUMMARY_BYTES_MAX).to_owned();
    Some(Plan { fingerprint, summary, total_cost, text })
}

/// EXPLAIN's JSON, auto_explain's too, without literals; `None`: it is no JSON.
pub fn masked(dialect: Dialect, json: &str) -> Option<String> {
    let mut value: Json = serde_json::from_str(json).ok()?;
    mask(dialect, "", &mut value);
    Some(value.to_string())
}

fn text<'a>(node: &'a Json, key: &str) -> &'a str {
    node.get(key).and_then(Json::as_str).unwrap_or("")
}

fn children(node: &Json) -> impl Iterator<Item = &Json> {
    node.get("Plans").and_then(Json::as_array).into_iter().flatten()
}

fn postgres_shape(node: &Json) -> String {
    let mut shape = String::from("(");
    for key in [
        "Node Type",
        "Strategy",
        "Partial Mode",
        "Join Type",
        "Parent Relationship",
        "Operation",
        "Schema",
        "Relation Name",
        "Index Name",
        "CTE Name",
        "Function Name",
        "Subplan Name",
    ] {
        let _ = write!(shape, "{}|", text(node, key));
    }
    for child in children(node) {
        shape.push_str(&postgres_shape(child));
    }
    shape.push(')');
    shape
}

fn postgres_summary(node: &Json) -> String {
    let mut name = text(node, "Node Type").to_owned();
    let join = text(node, "Join Type");
    if !join.is_empty() && join != "Inner" {
        name = format!("{name} {join}");
    }
    if name == "ModifyTable" {
        name = text(node, "Operation").to_owned();
    }
    for key in ["Relation Name", "CTE Name", "Function Name"] {
        if !text(node, key).is_empty() {
            name = format!("{name} {}", text(node, key));
        }
    }
    if !text(node, "Index Name").is_empty() {
        name = format!("{name} using {}", text(node, "Index Name"));
    }
    let below: Vec<String> = children(node).map(postgres_summary).collect();
    match &below[..] {
        [] => name,
        [one] => format!("{name} → {one}"),
        several => format!("{name} → [{}]", several.join(" | ")),
    }
}

/// Objects and arrays by their keys, tables with how they are read; numbers left out.
fn mysql_shape(node: &Json) -> String {
    match node {
        Json::Object(map) => {
            let mut shape = String::from("(");
            for (key, value) in map {
                match value {
                    Json::Object(_) | Json::Array(_) if !matches!(key.as_str(), "possible_keys" | "cost_info") => {
                        let _ = write!(shape, "{key}{}", mysql_shape(value));
                    }
                    Json::String(s)
                        if matches!(
                            key.as_str(),
                            "table_name" | "access_type" | "key" | "join_type" | "buffer_type" | "operation"
                        ) =>
                    {
                        let _ = write!(shape, "{key}={s}|");
                    }
                    Json::Bool(b) => {
                        let _ = write!(shape, "{key}={b}|");
                    }
                    _ => {}
                }
            }
            shape + ")"
        }
        Json::Array(items) => format!("[{}]", items.iter().map(mysql_shape).collect::<String>()),
        Json::String(s) => format!("{s},"),
        _ => String::new(),
    }
}

fn mysql_steps(node: &Json, steps: &mut Vec<String>) {
    match node {
        Json::Object(map) => {
            if map.contains_key("table_name") {
                steps.push(mysql_table(node));
            }
            for (key, value) in map {
                let word = match key.as_str() {
                    "filesort" | "ordering_operation" => Some("Sort"),
                    "temporary_table" => Some("Temporary Table"),
                    "grouping_operation" => Some("Group"),
                    "union_result" => Some("Union"),
                    "duplicates_removal" => Some("Distinct"),
                    _ => None,
                };
                steps.extend(word.map(str::to_owned));
                mysql_steps(value, steps);
            }
        }
        Json::Array(items) => items.iter().for_each(|i| mysql_steps(i, steps)),
        _ => {}
    }
}

fn mysql_table(node: &Json) -> String {
    let (name, key) = (text(node, "table_name"), text(node, "key"));
    let how = match text(node, "access_type") {
        "ALL" => "Full Scan",
        "index" => "Full Index Scan",
        "range" => "Range Scan",
        "ref" | "ref_or_null" => "Index Lookup",
        "eq_ref" | "const" | "system" => "Unique Lookup",
        other => other,
    };
    if key.is_empty() { format!("{how} {name}") } else { format!("{how} {name} using {key}") }
}

fn mask(dialect: Dialect, key: &str, value: &mut Json) {
    match value {
        Json::String(text) if !NAME_KEYS.contains(&key) => *text = mask_sql(dialect, text),
        Json::Array(items) => items.iter_mut().for_each(|item| mask(dialect, key, item)),
        Json::Object(map) => {
            let map: &mut Map<String, Json> = map;
            for (key, value) in map.iter_mut() {
                mask(dialect, key, value);
            }
        }
        _ => {}
    }
}

/// The newest plan of each statement.
#[derive(Debug, Default)]
pub struct PlanBook {
    known: HashMap<(Option<Arc<str>>, Arc<str>), Known>,
}

#[derive(Clone, Debug)]
struct Known {
    plan_fingerprint: Option<String>,
    tables: Vec<String>,
    read_at_ms: i64,
    mean_ms: f64,
    stale: bool,
}

impl PlanBook {
    /// The costly ones whose plan is not known, is old, or whose statement changed its speed.
    pub fn due<'a>(&self, now_ms: i64, loads: &'a [Load]) -> Vec<&'a Load> {
        let mut costly: Vec<&Load> =
            loads.iter().filter(|l| l.total_ms() >= TOTAL_MS_MIN && l.native_id.is_some()).collect();
        costly.sort_by(|a, b| b.total_ms().total_cmp(&a.total_ms()));
        costly.truncate(PLANS_PER_ROUND_MAX * 2);
        costly.retain(|l| match self.known.get(&(l.database.clone(), l.fingerprint.clone())) {
            None => true,
            Some(k) => {
                let mean = l.total_ms() / l.calls().max(1.0);
                k.stale || now_ms - k.read_at_ms >= PLAN_AGE_MAX_MS || mean > k.mean_ms * SLOWER_FACTOR && mean > 1.0
            }
        });
        costly.truncate(PLANS_PER_ROUND_MAX);
        costly
    }

    /// Something about a table changed: plans that touch it are looked at again. Name without schema.
    pub fn touch(&mut self, table: &str) {
        for known in self.known.values_mut() {
            known.stale |= known.tables.iter().any(|t| t.rsplit('.').next() == Some(table));
        }
    }

    /// Remembers what a reading gave (`None`: it can't be explained); gives the previous fingerprint if the row is news.
    pub fn learn(
        &mut self,
        now_ms: i64,
        load: &Load,
        tables: &[String],
        plan: Option<&Plan>,
    ) -> Option<Option<String>> {
        if self.known.len() >= PLANS_MAX {
            self.known.clear();
        }
        let key = (load.database.clone(), load.fingerprint.clone());
        let before = self.known.get(&key).and_then(|k| k.plan_fingerprint.clone());
        let now = plan.map(|p| p.fingerprint.clone());
        let known = Known {
            plan_fingerprint: now.clone().or_else(|| before.clone()),
            tables: tables.to_vec(),
            read_at_ms: now_ms,
            mean_ms: load.total_ms() / load.calls().max(1.0),
            stale: false,
        };
        self.known.insert(key, known);
        (now.is_some() && now != before).then_some(before)
    }
}

/// One row of `plans`; `previous`: what it was before; `kind`: generic or sample.
#[allow(clippy::too_many_arguments)] // one per column
pub fn row(
    rows: &mut EventsBuilder,
    engine: Engine,
    instance: &str,
    now_ms: i64,
    load: &Load,
    plan: &Plan,
    previous: Option<String>,
    kind: &str,
) {
    rows.row(
        instance,
        now_ms,
        [
            ("engine", engine.as_str().into()),
            ("database", load.database.clone().into()),
            ("fingerprint", load.fingerprint.clone().into()),
            ("plan_fingerprint", plan.fingerprint.as_str().into()),
            ("previous_plan_fingerprint", previous.into()),
            ("plan_kind", kind.into()),
            ("total_cost", plan.total_cost.into()),
            ("plan", plan.text.as_str().into()),
            ("summary", plan.summary.as_str().into()),
        ],
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_plan_has_a_shape_a_line_and_no_literals() {
        let plan = |cost: f64, node: &str, index: &str| {
            format!(
                r#"[{{"Plan": {{"Node Type": "Aggregate", "Strategy": "Plain", "Total Cost": {cost}, "Plans": [
                {{"Node Type": "{node}", "Relation Name": "orders", {index} "Filter": "(note = 'secret'::text)"}}]}}}}]"#
            )
        };
        let seq = read(Dialect::Postgresql, &plan(10.0, "Seq Scan", "")).unwrap();
        let dearer = read(Dialect::Postgresql, &plan(99.0, "Seq Scan", "")).unwrap();
        let index = read(Dialect::Postgresql, &plan(10.0, "Index Scan", r#""Index Name": "i","#)).unwrap();
        assert_eq!((seq.summary.as_str(), seq.total_cost), ("Aggregate → Seq Scan orders", Some(10.0)));
        assert_eq!(index.summary, "Aggregate → Index Scan orders using i");
        assert_eq!(seq.fingerprint, dearer.fingerprint);
        assert_ne!(seq.fingerprint, index.fingerprint);
        assert!(!seq.text.contains("secret") && seq.text.contains("(note = ?::text)"), "{}", seq.text);
    }

    #[test]
    fn mysql_plans_too() {
        let json = r#"{"query_block": {"select_id": 1, "filesort": {"sort_key": "t.a", "temporary_table": {"nested_loop": [
            {"table": {"table_name": "t", "access_type": "ALL", "rows": 5, "attached_condition": "t.a = 'secret'"}},
            {"table": {"table_name": "u", "access_type": "eq_ref", "key": "PRIMARY", "rows": 1}}]}}}}"#;
        let plan = read(Dialect::Mysql, json).unwrap();
        assert_eq!(plan.summary, "Sort → Temporary Table → Full Scan t → Unique Lookup u using PRIMARY");
        assert!(!plan.text.contains("secret"));
        let more_rows = read(Dialect::Mysql, &json.replace("\"rows\": 5", "\"rows\": 500")).unwrap();
        assert_eq!(plan.fingerprint, more_rows.fingerprint);
        let by_index = read(Dialect::Mysql, &json.replace("ALL", "ref")).unwrap();
        assert_ne!(plan.fingerprint, by_index.fingerprint);
    }
}
