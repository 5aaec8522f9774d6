//! `histogram_*` functions: fields of native histograms, quantiles and fractions of native and classic ones.

use hashbrown::HashMap;
use proto::Labels;

use super::QueryError;
use super::annotations::{Info, Warning};
use super::ast::Call;
use super::eval::Evaluator;
use super::function_call::{named_away, string_arg};
use super::histogram::Histogram;
use super::histogram_quantile::NanNote;
use super::number::format_open_metrics;
use super::position::Span;
use super::quantile::{ClassicBucket, fraction_of_buckets, of_buckets};
use super::value::{Series, Steps, is_absent};

type Field = fn(&Histogram) -> f64;

/// Functions that read one number off a native histogram.
static FIELDS: &[(&str, Field)] = &[
    ("histogram_avg", |h| h.sum / h.count),
    ("histogram_count", |h| h.count),
    ("histogram_stddev", |h| h.variance().sqrt()),
    ("histogram_stdvar", Histogram::variance),
    ("histogram_sum", |h| h.sum),
];

pub(super) fn find_field(name: &str) -> Option<Field> {
    FIELDS.iter().find(|(n, _)| *n == name).map(|(_, f)| *f)
}

/// The field of every histogram; floats go.
pub(super) fn field(series: Vec<Series>, field: Field) -> Vec<Series> {
    let read = |s: Series| {
        let mut out = Series::absent(s.labels.clone(), s.floats.len());
        out.drop_name = s.drop_name;
        for (i, h) in s.histograms.iter().flatten().enumerate() {
            if let Some(h) = h {
                out.floats[i] = field(h);
            }
        }
        out
    };
    series.into_iter().map(read).collect()
}

/// All that belongs to one label set: a native histogram series and the buckets of a classic one.
struct Group {
    labels: Labels,
    drop_name: bool,
    native: Vec<usize>,
    classic: Vec<(f64, usize)>,
}

/// Sorts series into groups; labels of a group keep the name, so that two metrics stay apart.
fn groups(ev: &Evaluator<'_>, series: &[Series], span: Span) -> Vec<Group> {
    let mut by_labels: HashMap<Labels, usize> = HashMap::new();
    let mut out: Vec<Group> = Vec::new();
    for (i, s) in series.iter().enumerate() {
        let has_floats = s.floats.iter().any(|v| !is_absent(*v));
        let le = s.labels.get("le");
        let mut place = |out: &mut Vec<Group>, labels: Labels| {
            *by_labels.entry(labels.clone()).or_insert_with(|| {
                out.push(Group { labels, drop_name: s.drop_name, native: Vec::new(), classic: Vec::new() });
                out.len() - 1
            })
        };
        if has_floats {
            match le.and_then(parse_bound) {
                Some(bound) => {
                    let at = place(&mut out, s.labels.only(|n| n != "le"));
                    out[at].classic.push((bound, i));
                }
                None => {
                    let name = s.labels.metric_name();
                    ev.notes.warn(&Warning::BadBucketLabel(name, le.unwrap_or("")), span);
                }
            }
        }
        if s.histograms.is_some() {
            let at = place(&mut out, s.labels.clone());
            out[at].native.push(i);
        }
    }
    out
}

fn parse_bound(text: &str) -> Option<f64> {
    super::number::parse_number(text).or_else(|| text.parse().ok())
}

/// What a group is at one step.
enum Present<'s> {
    Nothing,
    Native(&'s Histogram),
    Classic(Vec<ClassicBucket>),
}

fn present<'s>(ev: &Evaluator<'_>, group: &Group, series: &'s [Series], step: usize, span: Span) -> Present<'s> {
    let native = group.native.iter().find_map(|i| series[*i].histogram(step));
    let buckets: Vec<ClassicBucket> = group
        .classic
        .iter()
        .map(|(upper, i)| ClassicBucket { upper: *upper, count: series[*i].floats[step] })
        .filter(|b| !is_absent(b.count))
        .collect();
    match (native, buckets.is_empty()) {
        (Some(_), false) => {
            ev.notes.warn(&Warning::MixedClassicNative(group.labels.metric_name()), span);
            Present::Nothing
        }
        (Some(h), true) => Present::Native(h),
        (None, false) => Present::Classic(buckets),
        (None, true) => Present::Nothing,
    }
}

/// `histogram_quantile(q, v)` and `histogram_quantiles(v, label, q, …)`.
pub(super) fn quantiles(ev: &Evaluator<'_>, call: &Call, steps: &Steps) -> Result<Vec<Series>, QueryError> {
    let many = call.function.name == "histogram_quantiles";
    let (vector, quantile_args) = if many { (&call.args[0], 2..call.args.len()) } else { (&call.args[1], 0..1) };
    let label = if many { Some(string_arg(call, 1)?) } else { None };
    let label = match label.map(|l| (l.as_str(), l)) {
        Some((Some(name), _)) if !name.is_empty() => Some(name),
        Some((_, text)) => return Err(QueryError::Execution(format!("invalid label name {}", text.quoted()))),
        None => None,
    };
    let series = ev.vector(vector, steps)?;
    let span = vector.span();
    let groups = groups(ev, &series, span);
    let mut out: Vec<Series> = Vec::new();
    let mut index: HashMap<Labels, usize> = HashMap::new();
    for arg in quantile_args {
        let qs = ev.scalar(&call.args[arg], steps)?;
        for q in qs.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            ev.notes.warn(&Warning::InvalidQuantile(*q), call.args[arg].span());
        }
        for group in &groups {
            for (step, q) in qs.iter().enumerate() {
                let Some(value) = quantile_at(ev, group, &series, step, *q, span) else { continue };
                let labels = match label {
                    Some(label) => group.labels.to_builder().set(label, &format_open_metrics(*q)).build(),
                    None => group.labels.clone(),
                };
                let at = *index.entry(labels.clone()).or_insert_with(|| {
                    out.push(Series { drop_name: group.drop_name, ..Series::absent(labels, steps.count) });
                    out.len() - 1
                });
                if !is_absent(out[at].floats[step]) {
                    return Err(QueryError::duplicate_series());
                }
                out[at].floats[step] = value;
            }
        }
    }
    named_away(ev, out)
}

fn quantile_at(ev: &Evaluator<'_>, group: &Group, series: &[Series], step: usize, q: f64, span: Span) -> Option<f64> {
    let name = group.labels.metric_name();
    match present(ev, group, series, step, span) {
        Present::Nothing => None,
        Present::Native(h) => {
            let (value, note) = h.quantile(q);
            match note {
                NanNote::None => {}
                NanNote::Result => ev.notes.info(&Info::QuantileNan(name), span),
                NanNote::Skewed => ev.notes.info(&Info::QuantileSkewed(name), span),
            }
            Some(value)
        }
        Present::Classic(mut buckets) => {
            let (value, forced) = of_buckets(q, &mut buckets);
            if forced {
                ev.notes.info(&Info::ForcedMonotonicity(name), span);
            }
            Some(value)
        }
    }
}

/// `histogram_fraction(lower, upper, v)`.
pub(super) fn fraction(ev: &Evaluator<'_>, call: &Call, steps: &Steps) -> Result<Vec<Series>, QueryError> {
    let (lower, upper) = (ev.scalar(&call.args[0], steps)?, ev.scalar(&call.args[1], steps)?);
    let series = ev.vector(&call.args[2], steps)?;
    let span = call.args[2].span();
    let mut out = Vec::new();
    for group in groups(ev, &series, span) {
        let mut result = Series { drop_name: group.drop_name, ..Series::absent(group.labels.clone(), steps.count) };
        let name = group.labels.metric_name();
        for step in 0..steps.count {
            match present(ev, &group, &series, step, span) {
                Present::Nothing => {}
                Present::Native(h) => {
                    if h.sum.is_nan() && !h.is_custom() {
                        ev.notes.info(&Info::FractionNan(name), span);
                    }
                    result.floats[step] = h.fraction(lower[step], upper[step]);
                }
                Present::Classic(mut buckets) => {
                    let (value, forced) = fraction_of_buckets(lower[step], upper[step], &mut buckets);
                    if forced {
                        ev.notes.info(&Info::ForcedMonotonicity(name), span);
                    }
                    result.floats[step] = value;
                }
            }
        }
        out.push(result);
    }
    named_away(ev, out)
}
