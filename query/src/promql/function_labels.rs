//! Functions of labels and order: `label_replace`, `label_join`, `sort*`.

use std::cmp::Ordering;

use proto::Labels;
use proto::labels::METRIC_NAME;

use super::QueryError;
use super::ast::Call;
use super::eval::{Evaluator, merge_same};
use super::function_call::string_arg;
use super::value::{Series, Steps, is_absent};

/// Sets a label on every series and joins what became the same.
fn relabel(
    ev: &Evaluator<'_>,
    call: &Call,
    steps: &Steps,
    destination: &str,
    value: impl Fn(&Labels) -> Option<String>,
) -> Result<Vec<Series>, QueryError> {
    let mut out = Vec::new();
    ev.stream(&call.args[0], steps, &mut |mut series| {
        if let Some(value) = value(&series.labels) {
            series.labels = series.labels.to_builder().set(destination, &value).build();
            series.drop_name &= destination != METRIC_NAME;
        }
        out.push(series);
        Ok(())
    })?;
    merge_same(out)
}

fn label_name(call: &Call, index: usize, what: &str) -> Result<String, QueryError> {
    let text = string_arg(call, index)?;
    match text.as_str() {
        Some(name) if !name.is_empty() => Ok(name.into()),
        _ => {
            let name = text.to_lossy();
            Err(QueryError::Execution(format!("invalid {what} label name in {}(): {name}", call.function.name)))
        }
    }
}

pub(super) fn label_replace(ev: &Evaluator<'_>, call: &Call, steps: &Steps) -> Result<Vec<Series>, QueryError> {
    let pattern = string_arg(call, 4)?.to_lossy();
    let regex = super::pattern::anchored(&pattern)
        .map_err(|_| QueryError::Execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
    let destination = label_name(call, 1, "destination")?;
    let (replacement, source) = (string_arg(call, 2)?.to_lossy(), string_arg(call, 3)?.to_lossy());
    relabel(ev, call, steps, &destination, |labels| {
        let captures = regex.captures(labels.get(&source).unwrap_or(""))?;
        let mut value = String::new();
        captures.expand(&replacement, &mut value);
        Some(value)
    })
}

pub(super) fn label_join(ev: &Evaluator<'_>, call: &Call, steps: &Steps) -> Result<Vec<Series>, QueryError> {
    let destination = label_name(call, 1, "destination")?;
    let separator = string_arg(call, 2)?.to_lossy();
    let sources = (3..call.args.len()).map(|i| label_name(call, i, "source")).collect::<Result<Vec<_>, _>>()?;
    relabel(ev, call, steps, &destination, |labels| {
        let values: Vec<&str> = sources.iter().map(|s| labels.get(s).unwrap_or("")).collect();
        Some(values.join(&separator))
    })
}

/// Orders an instant vector by value, NaN last; histograms have no order and go. Range results keep their own order.
pub(super) fn sort(series: Vec<Series>, steps: &Steps, descending: bool) -> Vec<Series> {
    let mut series: Vec<Series> = series.into_iter().map(|s| s.map_floats(|v| v)).filter(|s| !s.is_empty()).collect();
    if steps.count == 1 {
        series.sort_by(|a, b| by_value(a.floats[0], b.floats[0], descending));
    }
    series
}

/// NaN after everything, else by value.
pub(super) fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => {
            let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
            if descending { order.reverse() } else { order }
        }
        (a, b) => a.cmp(&b),
    }
}

pub(super) fn sort_by_label(ev: &Evaluator<'_>, call: &Call, steps: &Steps) -> Result<Vec<Series>, QueryError> {
    let names: Vec<String> =
        (1..call.args.len()).map(|i| string_arg(call, i).map(|t| t.to_lossy())).collect::<Result<_, _>>()?;
    let descending = call.function.name == "sort_by_label_desc";
    let mut series = ev.vector(&call.args[0], steps)?;
    if steps.count == 1 {
        series.retain(|s| !is_absent(s.floats[0]) || s.histograms.is_some());
        series.sort_by(|a, b| {
            let value = |s: &Series, name: &str| s.labels.get(name).unwrap_or("").to_string();
            let order = names
                .iter()
                .map(|name| natural(&value(a, name), &value(b, name)))
                .find(|o| o.is_ne())
                .unwrap_or_else(|| a.labels.cmp(&b.labels));
            if descending { order.reverse() } else { order }
        });
    }
    Ok(series)
}

/// Natural order: runs of digits compare as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (Some(x), Some(y)) = (a.chars().next(), b.chars().next()) else { return a.len().cmp(&b.len()) };
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let run = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
            let (run_a, run_b) = (&a[..run(a)], &b[..run(b)]);
            let (digits_a, digits_b) = (run_a.trim_start_matches('0'), run_b.trim_start_matches('0'));
            let order = digits_a.len().cmp(&digits_b.len()).then_with(|| digits_a.cmp(digits_b));
            if order.is_ne() {
                return order;
            }
            (a, b) = (&a[run_a.len()..], &b[run_b.len()..]);
        } else if x != y {
            return x.cmp(&y);
        } else {
            (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_compare_as_numbers() {
        let mut names = ["4m1000", "4m5", "4m600", "10", "2"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["2", "4m5", "4m600", "4m1000", "10"]);
    }
}
