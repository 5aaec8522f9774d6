//! An answer of the Prometheus HTTP API, and whether two are the same.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

/// Largest relative difference of two numbers that are the same: sums may be made in another order.
pub const DIFFERENCE_MAX: f64 = 1e-9;

/// Series by their labels (as JSON, names ascending), each with its points: time in milliseconds, value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer(pub BTreeMap<String, Vec<(i64, f64)>>);

#[derive(serde::Deserialize)]
struct Raw {
    status: String,
    data: Data,
}

#[derive(serde::Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(serde::Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    value: Option<(f64, String)>,
}

impl Answer {
    /// Reads a vector or a matrix.
    pub fn read(body: &[u8]) -> Result<Answer> {
        let raw: Raw = serde_json::from_slice(body)?;
        ensure!(raw.status == "success", "status {}", raw.status);
        let mut answer = Answer::default();
        for series in raw.data.result {
            let mut points = Vec::with_capacity(series.values.len() + 1);
            for (time, value) in series.values.iter().chain(&series.value) {
                points.push(((time * 1000.0).round() as i64, value.parse()?));
            }
            answer.0.insert(serde_json::to_string(&series.metric)?, points);
        }
        Ok(answer)
    }

    /// Points in all.
    pub fn points(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// The first difference from what is right; `None` if there is none.
    pub fn difference(&self, right: &Answer) -> Option<String> {
        if let Some(labels) = right.0.keys().find(|labels| !self.0.contains_key(*labels)) {
            return Some(format!("{labels} is missing"));
        }
        for (labels, points) in &self.0 {
            let Some(wanted) = right.0.get(labels) else { return Some(format!("{labels} is too much")) };
            if points.len() != wanted.len() {
                return Some(format!("{labels} has {} points of {}", points.len(), wanted.len()));
            }
            for ((time, value), (wanted_time, wanted)) in points.iter().zip(wanted) {
                if time != wanted_time {
                    return Some(format!("{labels} has a point at {time} for one at {wanted_time}"));
                }
                if !is_same(*value, *wanted) {
                    return Some(format!("{labels} at {time} is {value}, not {wanted}"));
                }
            }
        }
        None
    }
}

fn is_same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= DIFFERENCE_MAX * a.abs().max(b.abs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn matrix(series: &str) -> Answer {
        let text = format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{series}]}}}}"#);
        Answer::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn differences_are_found_and_named() {
        let right = matrix(r#"{"metric":{"a":"1"},"values":[[10,"1"],[20.5,"NaN"]]}"#);
        assert_eq!(right.points(), 2);
        for (series, difference) in [
            (r#"{"metric":{"a":"1"},"values":[[10,"1.0000000000001"],[20.5,"NaN"]]}"#, None),
            (r#"{"metric":{"a":"1"},"values":[[10,"1.1"],[20.5,"NaN"]]}"#, Some(r#"{"a":"1"} at 10000 is 1.1, not 1"#)),
            (r#"{"metric":{"a":"1"},"values":[[10,"1"]]}"#, Some(r#"{"a":"1"} has 1 points of 2"#)),
            (
                r#"{"metric":{"a":"1"},"values":[[10,"1"],[20,"NaN"]]}"#,
                Some(r#"{"a":"1"} has a point at 20000 for one at 20500"#),
            ),
            (r#"{"metric":{"a":"2"},"value":[10,"1"]}"#, Some(r#"{"a":"1"} is missing"#)),
            ("", Some(r#"{"a":"1"} is missing"#)),
        ] {
            assert_eq!(matrix(series).difference(&right).as_deref(), difference, "{series}");
        }
        assert_eq!(right.difference(&matrix("")).as_deref(), Some(r#"{"a":"1"} is too much"#));
    }
}
