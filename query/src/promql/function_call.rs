//! Calls that are neither maps of floats nor functions of windows: what each does with its arguments.

use proto::Labels;

use super::ast::{Call, Expr, Selector};
use super::eval::{Evaluator, constant_series, internal, merge_same};
use super::eval_selector::Take;
use super::matcher::MatchOp;
use super::value::{ABSENT, Series, Steps, Value};
use super::{QueryError, function_histogram as histogram, function_labels as labels, function_math as math, info};
use proto::labels::METRIC_NAME;

/// Evaluates `call`.
pub(super) fn call(ev: &Evaluator<'_>, call: &Call, steps: &Steps) -> Result<Value, QueryError> {
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let constant = |v: f64| Ok(Value::Scalar(vec![v; steps.count]));
    let series = match call.function.name {
        "time" => return Ok(Value::Scalar(steps.times().map(seconds).collect())),
        "pi" => return constant(std::f64::consts::PI),
        "start" => return constant(seconds(ev.times.start_ms)),
        "end" => return constant(seconds(ev.times.end_ms)),
        "range" => return constant(seconds(ev.times.end_ms - ev.times.start_ms)),
        "step" => return constant(seconds(ev.times.step_ms)),
        "min_of" => return extreme(ev, call, steps, math::smaller),
        "max_of" => return extreme(ev, call, steps, math::larger),
        "scalar" => return scalar_of(ev, call, steps),
        "vector" => vec![constant_series(Labels::empty(), ev.scalar(&call.args[0], steps)?)],
        "timestamp" => timestamp(ev, call, steps)?,
        "absent" => absent(ev, call, steps)?,
        "absent_over_time" => absent_over_time(ev, call, steps)?,
        "clamp" | "clamp_min" | "clamp_max" => clamp(ev, call, steps)?,
        "round" => round(ev, call, steps)?,
        "label_replace" => labels::label_replace(ev, call, steps)?,
        "label_join" => labels::label_join(ev, call, steps)?,
        "sort" | "sort_desc" => {
            labels::sort(ev.vector(&call.args[0], steps)?, steps, call.function.name == "sort_desc")
        }
        "sort_by_label" | "sort_by_label_desc" => labels::sort_by_label(ev, call, steps)?,
        "histogram_quantile" | "histogram_quantiles" => histogram::quantiles(ev, call, steps)?,
        "histogram_fraction" => histogram::fraction(ev, call, steps)?,
        "info" => info::info(ev, call, steps)?,
        name => match (math::find_clock(name), histogram::find_field(name)) {
            (Some(part), _) => clock(ev, call, steps, part)?,
            (None, Some(field)) => named_away(ev, histogram::field(ev.vector(&call.args[0], steps)?, field))?,
            (None, None) => return Err(QueryError::Execution(format!("function {name} cannot be evaluated"))),
        },
    };
    Ok(Value::Vector(series))
}

/// Drops names and joins what became the same.
pub(super) fn named_away(ev: &Evaluator<'_>, series: Vec<Series>) -> Result<Vec<Series>, QueryError> {
    let dropped = series.into_iter().filter(|s| !s.is_empty()).map(|s| ev.drop_name(s)).collect();
    if ev.options.delayed_name_removal { Ok(dropped) } else { merge_same(dropped) }
}

fn extreme(ev: &Evaluator<'_>, call: &Call, steps: &Steps, pick: fn(f64, f64) -> f64) -> Result<Value, QueryError> {
    let (a, b) = (ev.scalar(&call.args[0], steps)?, ev.scalar(&call.args[1], steps)?);
    Ok(Value::Scalar(a.into_iter().zip(b).map(|(a, b)| pick(a, b)).collect()))
}

fn scalar_of(ev: &Evaluator<'_>, call: &Call, steps: &Steps) -> Result<Value, QueryError> {
    let mut out = vec![f64::NAN; steps.count];
    let mut found = vec![0u8; steps.count];
    ev.stream(&call.args[0], steps, &mut |series| {
        for (i, v) in series.floats.iter().enumerate().filter(|(_, v)| !super::value::is_absent(**v)) {
            found[i] = found[i].saturating_add(1);
            out[i] = *v;
        }
        Ok(())
    })?;
    out.iter_mut().zip(found).filter(|(_, n)| *n > 1).for_each(|(v, _)| *v = f64::NAN);
    Ok(Value::Scalar(out))
}

fn timestamp(ev: &Evaluator<'_>, call: &Call, steps: &Steps) -> Result<Vec<Series>, QueryError> {
    let mut out = Vec::new();
    // Of a bare selector it is the sample's time, of everything else that of the step.
    if let Expr::Selector(selector) = call.args[0].unparen() {
        ev.stream_samples(selector, steps, Take::Time, &mut |series| {
            out.push(series);
            Ok(())
        })?;
    } else {
        for mut series in ev.vector(&call.args[0], steps)? {
            for (i, t) in steps.times().enumerate() {
                if series.is_present(i) {
                    series.floats[i] = t as f64 / 1000.0;
                }
            }
            series.histograms = None;
            out.push(series);
        }
    }
    named_away(ev, out)
}

/// The labels `absent` can know: those its selector demands exactly once, by equality.
fn absent_labels(selector: Option<&Selector>) -> Labels {
    let mut builder = Labels::empty().to_builder();
    let matchers = selector.map_or(&[][..], |s| &s.matchers);
    for (i, m) in matchers.iter().enumerate().filter(|(_, m)| m.name() != METRIC_NAME) {
        if m.op() == MatchOp::Eq && !matchers[..i].iter().any(|other| other.name() == m.name()) {
            builder.set(m.name(), m.value());
        } else {
            builder.remove(m.name());
        }
    }
    builder.build()
}

fn absent_series(labels: Labels, found: &[bool]) -> Vec<Series> {
    let values = found.iter().map(|found| if *found { ABSENT } else { 1.0 }).collect();
    let series = constant_series(labels, values);
    if series.is_empty() { Vec::new() } else { vec![series] }
}

fn absent(ev: &Evaluator<'_>, call: &Call, steps: &Steps) -> Result<Vec<Series>, QueryError> {
    let mut found = vec![false; steps.count];
    ev.stream(&call.args[0], steps, &mut |series| {
        found.iter_mut().enumerate().for_each(|(i, f)| *f |= series.is_present(i));
        Ok(())
    })?;
    let selector = match &call.args[0] {
        Expr::Selector(s) => Some(s),
        _ => None,
    };
    Ok(absent_series(absent_labels(selector), &found))
}

fn absent_over_time(ev: &Evaluator<'_>, call: &Call, steps: &Steps) -> Result<Vec<Series>, QueryError> {
    let found = ev.windows_with_samples(&call.args[0], steps)?;
    let selector = match &call.args[0] {
        Expr::Matrix(m) => Some(&m.selector),
        _ => None,
    };
    Ok(absent_series(absent_labels(selector), &found))
}

fn clamp(ev: &Evaluator<'_>, call: &Call, steps: &Steps) -> Result<Vec<Series>, QueryError> {
    let (low, high) = match call.function.name {
        "clamp" => (Some(1), Some(2)),
        "clamp_min" => (Some(1), None),
        _ => (None, Some(1)),
    };
    let bound = |arg: Option<usize>, none: f64| match arg {
        Some(i) => ev.scalar(&call.args[i], steps),
        None => Ok(vec![none; steps.count]),
    };
    let (low, high) = (bound(low, f64::NEG_INFINITY)?, bound(high, f64::INFINITY)?);
    let mut out = Vec::new();
    ev.stream(&call.args[0], steps, &mut |mut series| {
        series.histograms = None;
        for ((v, low), high) in series.floats.iter_mut().zip(&low).zip(&high) {
            if super::value::is_absent(*v) {
            } else if low > high {
                *v = ABSENT;
            } else {
                *v = math::larger(*low, math::smaller(*high, *v));
            }
        }
        out.push(series);
        Ok(())
    })?;
    named_away(ev, out)
}

fn round(ev: &Evaluator<'_>, call: &Call, steps: &Steps) -> Result<Vec<Series>, QueryError> {
    let nearest = match call.args.get(1) {
        Some(arg) => ev.scalar(arg, steps)?,
        None => vec![1.0; steps.count],
    };
    let mut out = Vec::new();
    ev.stream(&call.args[0], steps, &mut |mut series| {
        series.histograms = None;
        for (v, nearest) in series.floats.iter_mut().zip(&nearest).filter(|(v, _)| !super::value::is_absent(**v)) {
            *v = math::round(*v, *nearest);
        }
        out.push(series);
        Ok(())
    })?;
    named_away(ev, out)
}

fn clock(ev: &Evaluator<'_>, call: &Call, steps: &Steps, part: fn(f64) -> f64) -> Result<Vec<Series>, QueryError> {
    let Some(arg) = call.args.first() else {
        let values = steps.times().map(|t| part(t as f64 / 1000.0)).collect();
        return Ok(vec![constant_series(Labels::empty(), values)]);
    };
    let series = ev.vector(arg, steps)?.into_iter().map(|s| s.map_floats(part)).collect();
    named_away(ev, series)
}

/// The string of argument `index`.
pub(super) fn string_arg(call: &Call, index: usize) -> Result<&super::literal::Text, QueryError> {
    match call.args.get(index).map(Expr::unparen) {
        Some(Expr::String(s)) => Ok(&s.value),
        _ => Err(internal("a string")),
    }
}
