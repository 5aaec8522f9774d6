//! `tidewatch query …`: asks a running server over HTTP and writes the answer as a table, JSON or CSV.

use anyhow::{Context, bail};
use query::promql::{
    matcher::{is_plain_metric_name, is_plain_name},
    number::go_quote,
};
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use crate::{
    api::time::{format_ms, parse_duration_ms, parse_time_ms},
    cli::{Language, Output},
};

/// Asks, and gives the text to print.
pub async fn ask(server: &str, language: &Language, output: Output, now_ms: i64) -> anyhow::Result<String> {
    let (path, form) = request(language, now_ms)?;
    let url = format!("{}{path}", server.trim_end_matches('/'));
    let body = encode(&form);
    let client = reqwest::Client::new();
    let response = client
        .post(&url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .send()
        .await
        .with_context(|| format!("no answer from {url}; does tidewatch run there?"))?;
    let text = response.text().await.with_context(|| format!("the answer of {url} ended early"))?;
    let answer: Value = serde_json::from_str(&text).with_context(|| format!("{url} answered no JSON"))?;
    if answer["status"] != "success" {
        bail!("{}", answer["error"].as_str().unwrap_or(&text));
    }
    for kind in ["warnings", "infos"] {
        for note in answer[kind].as_array().into_iter().flatten() {
            eprintln!("{}: {}", kind.trim_end_matches('s'), note.as_str().unwrap_or_default());
        }
    }
    Ok(match output {
        Output::Json => format!("{text}\n"),
        Output::Table => aligned(&table(&answer["data"])),
        Output::Csv => csv(&table(&answer["data"])),
    })
}

fn request(language: &Language, now_ms: i64) -> anyhow::Result<(&'static str, Vec<(&'static str, String)>)> {
    let seconds = |ms: i64| format!("{}", ms as f64 / 1000.0);
    match language {
        Language::Sql { query } => Ok(("/api/v1/sql", vec![("q", query.clone())])),
        Language::Promql { query, range, step, time } => {
            let end_ms = match time {
                Some(time) => parse_time_ms(time).map_err(anyhow::Error::msg).context("--time")?,
                None => now_ms,
            };
            let query = ("query", query.clone());
            let Some(range) = range else {
                return Ok(("/api/v1/query", vec![query, ("time", seconds(end_ms))]));
            };
            let range_ms = parse_duration_ms(range).map_err(anyhow::Error::msg).context("--range")?;
            let times = [("start", seconds(end_ms - range_ms)), ("end", seconds(end_ms)), ("step", step.clone())];
            Ok(("/api/v1/query_range", [query].into_iter().chain(times).collect()))
        }
    }
}

fn encode(form: &[(&str, String)]) -> String {
    let encode = |text| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    form.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
}

/// An answer as rows of cells, the header first.
fn table(data: &Value) -> Vec<Vec<String>> {
    if let (Some(columns), Some(rows)) = (data["columns"].as_array(), data["rows"].as_array()) {
        let header = columns.iter().map(|c| plain(&c["name"])).collect();
        let rows = rows.iter().map(|row| row.as_array().into_iter().flatten().map(plain).collect());
        return [header].into_iter().chain(rows).collect();
    }
    let mut rows = vec![vec!["metric".to_owned(), "time".to_owned(), "value".to_owned()]];
    let mut push = |metric: &str, pair: &Value| {
        let ms = (pair[0].as_f64().unwrap_or(0.0) * 1000.0).round() as i64;
        rows.push(vec![metric.to_owned(), format_ms(ms), plain(&pair[1])]);
    };
    match data["resultType"].as_str() {
        Some("vector" | "matrix") => {
            for series in data["result"].as_array().into_iter().flatten() {
                let metric = name(&series["metric"]);
                for kind in ["value", "histogram"] {
                    if !series[kind].is_null() {
                        push(&metric, &series[kind]);
                    }
                }
                for kind in ["values", "histograms"] {
                    series[kind].as_array().into_iter().flatten().for_each(|pair| push(&metric, pair));
                }
            }
        }
        _ => push("", &data["result"]),
    }
    rows
}

/// `up{instance="a"}`, or `{"up.down", instance="a"}` where the name needs quotes: a selector of the series.
fn name(metric: &Value) -> String {
    let Some(labels) = metric.as_object() else { return String::new() };
    let quote = |text: &str| go_quote(text.as_bytes());
    let label = |name: &str| if is_plain_name(name) { name.to_owned() } else { quote(name) };
    let own = labels.iter().filter(|(name, _)| *name != "__name__");
    let pairs = own.map(|(name, value)| format!("{}={}", label(name), quote(value.as_str().unwrap_or(""))));
    let metric = labels.get("__name__").and_then(Value::as_str).unwrap_or("");
    let is_plain = metric.is_empty() || is_plain_metric_name(metric);
    let quoted = (!is_plain).then(|| quote(metric));
    let inside: Vec<String> = quoted.into_iter().chain(pairs).collect();
    match (if is_plain { metric } else { "" }, inside.is_empty()) {
        (metric, true) if !metric.is_empty() => metric.to_owned(),
        (metric, _) => format!("{metric}{{{}}}", inside.join(", ")),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn aligned(rows: &[Vec<String>]) -> String {
    // a cell is one line: what would break it is written as an escape
    let on_one_line = |cell: &String| match cell.contains(char::is_control) {
        true => cell.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.into() }).collect(),
        false => cell.clone(),
    };
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(on_one_line).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    // Chinese characters take two columns of a terminal
    let width = |at: usize| rows.iter().filter_map(|r| r.get(at)).map(|c| c.width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let pad = |(cell, width): (&String, &usize)| format!("{cell}{}", " ".repeat(width - cell.width()));
        let cells: Vec<String> = row.iter().zip(&widths).map(pad).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

fn csv(rows: &[Vec<String>]) -> String {
    let quoted = |cell: &String| match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.clone(),
    };
    rows.iter().map(|row| row.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_become_rows() {
        let vector = json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "up", "instance": "a"}, "value": [1.5, "1"]},
            {"metric": {}, "value": [2, "NaN"]},
        ]});
        let expected = "metric,time,value\n\"up{instance=\"\"a\"\"}\",1970-01-01T00:00:01.500Z,1\n\
                        {},1970-01-01T00:00:02.000Z,NaN\n";
        assert_eq!(csv(&table(&vector)), expected);
        let scalar = json!({"resultType": "scalar", "result": [0, "7"]});
        assert_eq!(
            aligned(&table(&scalar)),
            "metric  time                      value\n        1970-01-01T00:00:00.000Z  7\n"
        );
        let sql = json!({"columns": [{"name": "a"}, {"name": "b"}], "rows": [[1, null], ["x", true]]});
        assert_eq!(aligned(&table(&sql)), "a  b\n1\nx  true\n");
        let wide = json!({"columns": [{"name": "库"}, {"name": "n"}], "rows": [["订单", 1], ["a\nb", 2]]});
        assert_eq!(aligned(&table(&wide)), "库    n\n订单  1\na\\nb  2\n");
    }

    #[test]
    fn names_are_selectors() {
        for (metric, expected) in [
            (json!({}), "{}"),
            (json!({"__name__": "up"}), "up"),
            (json!({"__name__": "job:up:sum", "库": "订\"单"}), "job:up:sum{\"库\"=\"订\\\"单\"}"),
            (json!({"__name__": "http.status", "a": "b"}), "{\"http.status\", a=\"b\"}"),
        ] {
            assert_eq!(name(&metric), expected);
        }
    }
}
