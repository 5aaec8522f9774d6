//! `/api/v1/series`, `/labels`, `/label/<name>/values`, `/metadata`: what there is to ask about.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use proto::Labels;
use query::promql::{Expr, json::write_labels, parse};
use storage::{MatchOp, Matcher};

use super::{
    Api,
    form::Form,
    promql::{TRUNCATED, cut},
    reply::{ApiError, ApiResult, Reply},
};

/// Most entries of an answer to which no limit was given.
pub const ENTRIES_MAX: usize = 1_000_000;

/// One list of matchers per `match[]`.
pub fn selectors(form: &Form) -> Result<Vec<Vec<Matcher>>, ApiError> {
    form.all("match[]").map(selector).collect()
}

fn selector(text: &str) -> Result<Vec<Matcher>, ApiError> {
    let wrong = |message: String| ApiError::parameter("match[]", message);
    // a selector of everything is no query, and no selector here either; the words are the API's
    let everything = || wrong("match[] must contain at least one non-empty matcher".into());
    let expr = parse(text).map_err(|e| match e.message.ends_with("at least one non-empty matcher") {
        true => everything(),
        false => wrong(e.to_string()),
    })?;
    let Expr::Selector(selector) = expr else {
        return Err(wrong(format!("{text:?} is not a series selector")));
    };
    let matchers: Result<Vec<_>, _> = selector.matchers.iter().map(stored).collect();
    let matchers = matchers.map_err(|e| wrong(e.to_string()))?;
    if matchers.iter().all(Matcher::matches_empty) {
        return Err(everything());
    }
    Ok(matchers)
}

fn stored(asked: &query::promql::Matcher) -> Result<Matcher, storage::MatcherError> {
    let op = match asked.op() {
        query::promql::MatchOp::Eq => MatchOp::Equal,
        query::promql::MatchOp::Ne => MatchOp::NotEqual,
        query::promql::MatchOp::Re => MatchOp::Regex,
        query::promql::MatchOp::Nre => MatchOp::NotRegex,
    };
    Matcher::new(asked.name(), op, &asked.rust_value())
}

/// Answers with a list of texts, cut at the limit.
fn list(mut texts: Vec<String>, limit: Option<usize>) -> ApiResult {
    let truncated = cut(&mut texts, limit.unwrap_or(ENTRIES_MAX));
    let warnings = if truncated { vec![TRUNCATED.to_owned()] } else { Vec::new() };
    Ok(Reply::json(&texts)?.with(warnings, Vec::new()))
}

/// How many to ask the store for, so that a cut can be seen.
fn one_more(limit: Option<usize>) -> usize {
    limit.unwrap_or(ENTRIES_MAX).saturating_add(1)
}

/// Series that match any of `match[]`.
pub async fn series(State(api): State<Api>, form: Form) -> ApiResult {
    let selectors = selectors(&form)?;
    if selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let ((min_ms, max_ms), limit) = (form.range_ms()?, form.limit()?);
    let _turn = api.turn().await?;
    let snapshot = api.snapshot();
    let mut found: BTreeSet<Labels> = BTreeSet::new();
    for matchers in &selectors {
        found.extend(api.within(snapshot.series(matchers, min_ms, max_ms, one_more(limit))).await?);
    }
    let mut found: Vec<Labels> = found.into_iter().collect();
    let truncated = cut(&mut found, limit.unwrap_or(ENTRIES_MAX));
    let mut data = String::from("[");
    for (i, labels) in found.iter().enumerate() {
        if i > 0 {
            data.push(',');
        }
        write_labels(&mut data, labels);
    }
    data.push(']');
    let warnings = if truncated { vec![TRUNCATED.to_owned()] } else { Vec::new() };
    Ok(Reply::raw(data).with(warnings, Vec::new()))
}

/// Label names.
pub async fn labels(State(api): State<Api>, form: Form) -> ApiResult {
    let mut selectors = selectors(&form)?;
    let ((min_ms, max_ms), limit) = (form.range_ms()?, form.limit()?);
    if selectors.is_empty() {
        selectors.push(Vec::new());
    }
    let _turn = api.turn().await?;
    let snapshot = api.snapshot();
    let mut found = BTreeSet::new();
    for matchers in &selectors {
        found.extend(api.within(snapshot.label_names(matchers, min_ms, max_ms, one_more(limit))).await?);
    }
    list(found.into_iter().collect(), limit)
}

/// Values of one label.
pub async fn label_values(State(api): State<Api>, Path(name): Path<String>, form: Form) -> ApiResult {
    let name = unescape(&name);
    if name.is_empty() {
        return Err(ApiError::bad_data("invalid label name: \"\""));
    }
    let mut selectors = selectors(&form)?;
    let ((min_ms, max_ms), limit) = (form.range_ms()?, form.limit()?);
    if selectors.is_empty() {
        selectors.push(Vec::new());
    }
    let _turn = api.turn().await?;
    let snapshot = api.snapshot();
    let mut found = BTreeSet::new();
    for matchers in &selectors {
        let values = snapshot.label_values(&name, matchers, min_ms, max_ms, one_more(limit));
        found.extend(api.within(values).await?);
    }
    list(found.into_iter().collect(), limit)
}

/// Undoes `U__`, the escaping of names that URLs and old clients can't hold: `_` is written `__`, other characters `_hex_`.
/// (Source: Prometheus' UTF-8 guide, "values" escaping.) A name that is not well escaped stays as it is.
fn unescape(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::new();
    let mut rest = escaped;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '_' {
            out.push(c);
        } else if let Some(after) = rest.strip_prefix('_') {
            out.push('_');
            rest = after;
        } else {
            let code = rest.split_once('_').filter(|(hex, _)| (1..=6).contains(&hex.len()));
            let Some((hex, after)) = code else { return name.to_owned() };
            let Some(c) = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32) else { return name.to_owned() };
            out.push(c);
            rest = after;
        }
    }
    out
}

/// What metrics are: kind, help and unit by name.
pub async fn metadata(State(api): State<Api>, form: Form) -> ApiResult {
    // a limit below 0 is none, in both; 0 metrics are an empty answer, 0 entries a metric are no limit
    let number = |name: &str| match form.get(name) {
        "" => Ok(-1),
        text => text.parse::<i64>().map_err(|_| ApiError::bad_data(format!("{name} must be a number"))),
    };
    let limit = usize::try_from(number("limit")?).unwrap_or(usize::MAX);
    let per_metric = usize::try_from(number("limit_per_metric")?).ok().filter(|n| *n > 0).unwrap_or(usize::MAX);
    let metric = form.get("metric");
    let mut families = api.snapshot().families();
    families.sort_by(|a, b| a.name.cmp(&b.name));
    let mut data = serde_json::Map::new();
    for family in families.iter().filter(|f| metric.is_empty() || f.name == metric) {
        let entry = serde_json::json!({"type": family.kind, "help": family.help, "unit": family.unit});
        if let Some(serde_json::Value::Array(entries)) = data.get_mut(&family.name) {
            if entries.len() < per_metric {
                entries.push(entry);
            }
        } else if data.len() < limit {
            data.insert(family.name.clone(), serde_json::Value::Array(vec![entry]));
        }
    }
    Reply::json(&data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unescaped() {
        for (escaped, name) in [
            ("up", "up"),
            ("U__up", "up"),
            ("U__http_2e_status", "http.status"),
            ("U__a__b", "a_b"),
            ("U___1f600_x", "\u{1f600}x"),
            ("U__bad_zz_", "U__bad_zz_"),
            ("U__bad_2e", "U__bad_2e"),
        ] {
            assert_eq!(unescape(escaped), name, "{escaped}");
        }
    }
}
