//! Why two answers differ: the smallest part of a query that differs is looked for, and the list of differences between
//! Prometheus 2.42 and 3 (docs/promql.md) is asked whether it is one of them. What isn't on the list is wrong. Each entry
//! checks numbers, not only names.

use std::collections::BTreeMap;

use query::promql::{
    Expr,
    ast::{Aggregate, AggregateOp, At, BinaryOp, Call, DurationExpr, Subquery, ValueType},
    parse,
};

use super::peers::{Peers, Said, When, difference, same};

/// What became of one question.
#[derive(Debug)]
pub enum Verdict {
    /// The same.
    Equal,
    /// Both found nothing.
    Empty,
    /// Both refused it in the same way.
    SameError,
    /// Different, for a reason that docs/promql.md gives.
    Explained(&'static str),
    /// Different.
    Wrong(String),
}

const LAST_BIT: &str =
    "last bit: a comparison, choice or rounding of numbers that are equal to 1e-9 and not to the last bit";
const CANCEL: &str = "cancellation: the sum of numbers far larger than it";
const OVERFLOW: &str = "overflow: a variance beyond the largest number is Inf, and was NaN";
const EXTRAPOLATION: &str =
    "extrapolation: what a counter's zero limits is half a sample's distance, and was the distance";
const TIES: &str = "ties: which of equal values topk and bottomk take is the store's order";
const FILTERED: &str = "filtered: what a comparison filters out counts when matching is ambiguous, and didn't";
const INFINITE: &str = "infinite: the variance of one Inf is NaN, and was 0";
const SLID: &str = "slid: predict_linear over a window that @ fixes; the window slid with the steps of a range";
const CLOCK: &str =
    "clock: a date of NaN, Inf or more seconds than 64 bits hold is NaN, and was what the processor made of it";
const SUBNORMAL: &str = "subnormal: logarithms of numbers below 2.2e-308, which Go reads wrongly on this processor";
const ATAN2: &str = "atan2 drops the metric's name, and kept it";

/// How small a sum may be beside its terms, as a part of them, for its last digits to be noise.
const NOISE: f64 = 1e-11;

/// The reason of a difference in `query`.
pub async fn of(peers: &Peers, query: &str, when: When, words: String, said: [Said; 2]) -> Verdict {
    let Ok(mut tree) = parse(query).and_then(|tree| parse(&fixed(&tree, when))) else { return Verdict::Wrong(words) };
    let (mut when, mut words, mut said) = (when, words, said);
    loop {
        let (mut below, mut bits) = (None, false);
        for (part, times) in parts(&tree, when) {
            let both = peers.ask(&part.to_string(), times).await;
            if let Some(words) = difference(&both, false) {
                below = Some((part.clone(), times, words, both));
                break;
            }
            bits |= both[0].good() && !same_bits(&both);
        }
        match below {
            Some(found) => (tree, when, words, said) = found,
            None if bits => return Verdict::Explained(LAST_BIT),
            None => break,
        }
    }
    match reason(peers, &tree, when, &said).await {
        Some(reason) => Verdict::Explained(reason),
        None => Verdict::Wrong(format!("{tree} {when:?}: {words}")),
    }
}

/// With the times that `start()` and `end()` stand for: a part of the query asked alone has others.
fn fixed(tree: &Expr, when: When) -> String {
    let (start, end) = when.ends();
    tree.to_string().replace("@ start()", &format!("@ {start:.3}")).replace("@ end()", &format!("@ {end:.3}"))
}

/// The parts of an expression, each with the times it is evaluated at.
fn parts(tree: &Expr, when: When) -> Vec<(&Expr, When)> {
    let mut out = Vec::new();
    for child in tree.children() {
        match child {
            Expr::Subquery(sub) => out.extend(inside(sub, when).map(|times| (&*sub.expr, times))),
            _ if matches!(child.value_type(), ValueType::Vector | ValueType::Scalar) => out.push((child, when)),
            _ => {}
        }
    }
    out
}

/// When a subquery evaluates what is in it, if that can be said.
fn inside(sub: &Subquery, when: When) -> Option<When> {
    let seconds = |d: &DurationExpr| match d {
        DurationExpr::Literal(seconds, ..) => Some(*seconds),
        DurationExpr::Unary(true, inner, _) => match &**inner {
            DurationExpr::Literal(seconds, ..) => Some(-seconds),
            _ => None,
        },
        _ => None,
    };
    let range = seconds(&sub.range)?;
    let step = sub.step.as_ref().map_or(Some(60.0), seconds)?;
    let offset = sub.offset.as_ref().map_or(Some(0.0), seconds)?;
    let (first, last) = fixed_s(sub.at).map_or_else(|| when.ends(), |at| (at, at));
    Some(When::Range(((first - offset - range) / step).ceil() * step, last - offset, step as u32))
}

/// The list.
async fn reason(peers: &Peers, tree: &Expr, when: When, said: &[Said; 2]) -> Option<&'static str> {
    match tree.unparen() {
        Expr::Aggregate(Aggregate { op: AggregateOp::Topk | AggregateOp::Bottomk, .. }) => {
            (by_time(&said[0]) == by_time(&said[1])).then_some(TIES)
        }
        Expr::Aggregate(a) if matches!(a.op, AggregateOp::Sum | AggregateOp::Avg) => {
            let terms = peers.ask(&a.expr.to_string(), when).await;
            is_noise(said, largest(&terms[0])).then_some(CANCEL)
        }
        Expr::Aggregate(a) if matches!(a.op, AggregateOp::Stddev | AggregateOp::Stdvar) => {
            let terms = largest(&peers.ask(&a.expr.to_string(), when).await[0]);
            let size = if a.op == AggregateOp::Stdvar { terms * terms } else { terms * 1e4 };
            overflow(said).or_else(|| infinite(said)).or_else(|| is_noise(said, size).then_some(CANCEL))
        }
        Expr::Binary(b) if b.op.is_comparison() && said[1].good() => {
            said[0].data.as_str()?.starts_with("multiple matches for labels: many-to-one").then_some(FILTERED)
        }
        Expr::Binary(b) if b.op == BinaryOp::Atan2 => {
            let nameless = said.clone().map(|s| s.without_names());
            difference(&nameless, false).is_none().then_some(ATAN2)
        }
        Expr::Call(call) => reason_of_call(peers, call, when, said).await,
        _ => None,
    }
}

const CLOCKS: [&str; 8] =
    ["minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year"];

async fn reason_of_call(peers: &Peers, call: &Call, when: When, said: &[Said; 2]) -> Option<&'static str> {
    if CLOCKS.contains(&call.function.name) {
        let all = pairs(said)?;
        return all.iter().all(|(_, _, a, b)| same(*a, *b) || a.is_nan()).then_some(CLOCK);
    }
    if matches!(call.function.name, "ln" | "log10") {
        let normal = format!("{}(({}) > 2.2250738585072014e-308)", call.function.name, call.args[0]);
        return difference(&peers.ask(&normal, when).await, false).is_none().then_some(SUBNORMAL);
    }
    let window = call.args.iter().find(|a| a.value_type() == ValueType::Matrix)?.to_string();
    let mut terms = 0f64;
    for extreme in ["min_over_time", "max_over_time"] {
        terms = terms.max(largest(&peers.ask(&format!("{extreme}({window})"), when).await[0]));
    }
    match call.function.name {
        "sum_over_time" | "avg_over_time" => is_noise(said, terms).then_some(CANCEL),
        "stddev_over_time" => overflow(said).or_else(|| is_noise(said, terms * 1e4).then_some(CANCEL)),
        "stdvar_over_time" => overflow(said).or_else(|| is_noise(said, terms * terms).then_some(CANCEL)),
        "predict_linear" if window.contains('@') => slid(peers, call, when, &said[0]).await.then_some(SLID),
        "deriv" | "predict_linear" => is_noise(said, terms).then_some(CANCEL),
        "rate" | "increase" => extrapolated(peers, call, &window, said).await.then_some(EXTRAPOLATION),
        _ => None,
    }
}

/// Whether Prometheus says the same at each step alone.
async fn slid(peers: &Peers, call: &Call, when: When, ours: &Said) -> bool {
    let When::Range(start, end, step) = when else { return false };
    let query = Expr::Call(call.clone()).to_string();
    let mut steps = 0;
    let mut at = start;
    while at <= end {
        let both = peers.ask(&query, When::At(at)).await;
        if difference(&both, false).is_some() {
            return false;
        }
        steps += both[1].rows().len();
        at += f64::from(step);
    }
    steps == ours.rows().iter().map(|r| r.1.len()).sum::<usize>()
}

/// Whether both numbers are the same to the last bit, everywhere.
fn same_bits(said: &[Said; 2]) -> bool {
    let equal = |a: f64, b: f64| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
    pairs(said).is_some_and(|pairs| pairs.iter().all(|(_, _, a, b)| equal(*a, *b)))
}

fn infinite(said: &[Said; 2]) -> Option<&'static str> {
    let all = pairs(said)?;
    all.iter().all(|(_, _, a, b)| same(*a, *b) || a.is_nan() && *b == 0.0).then_some(INFINITE)
}

/// All numbers of an answer by time, ascending.
fn by_time(said: &Said) -> BTreeMap<u64, Vec<u64>> {
    let mut out = BTreeMap::<u64, Vec<u64>>::new();
    for (_, points) in said.rows() {
        for (at, value) in points {
            out.entry(at.to_bits()).or_default().push((value + 0.0).to_bits());
        }
    }
    out.values_mut().for_each(|values| values.sort_unstable());
    out
}

/// The largest size of a finite number.
fn largest(said: &Said) -> f64 {
    let points = said.rows().into_iter().flat_map(|r| r.1);
    points.map(|(_, v)| v.abs()).filter(|v| v.is_finite()).fold(0.0, f64::max)
}

/// Whether all that differs differs by less than the last digits of `terms`.
fn is_noise(said: &[Said; 2], terms: f64) -> bool {
    pairs(said).is_some_and(|pairs| pairs.iter().all(|(_, _, a, b)| same(*a, *b) || (a - b).abs() <= NOISE * terms))
}

fn overflow(said: &[Said; 2]) -> Option<&'static str> {
    let all = pairs(said)?;
    all.iter().all(|(_, _, a, b)| same(*a, *b) || *a == f64::INFINITY && b.is_nan()).then_some(OVERFLOW)
}

/// Labels, time and both numbers, if both have the same points.
fn pairs(said: &[Said; 2]) -> Option<Vec<(String, f64, f64, f64)>> {
    let [a, b] = [said[0].rows_by_labels(), said[1].rows_by_labels()];
    let mut out = Vec::new();
    if a.len() != b.len() {
        return None;
    }
    for ((labels, x), (other, y)) in a.into_iter().zip(b) {
        if labels != other || x.len() != y.len() {
            return None;
        }
        let points = x.into_iter().zip(y).map(|((at, v), (other_at, w))| (at == other_at).then_some((at, v, w)));
        for point in points {
            let (at, v, w) = point?;
            out.push((labels.clone(), at, v, w));
        }
    }
    Some(out)
}

/// Whether what differs is `rate` as 2.42 computed it, from the samples it had.
async fn extrapolated(peers: &Peers, call: &Call, window: &str, said: &[Said; 2]) -> bool {
    let (Some(all), Some(range)) = (pairs(said), range_s(&call.args[0])) else { return false };
    for (labels, at, _, theirs) in all.into_iter().filter(|(_, _, a, b)| !same(*a, *b)) {
        let samples = peers.ask(window, When::At(at)).await[1].without_names().rows_by_labels();
        let Some((_, points)) = samples.into_iter().find(|r| r.0 == labels) else { return false };
        let end = at_s(&call.args[0]).unwrap_or(at) - offset_s(&call.args[0]);
        let old = increase_of_2_42(&points, end - range, end);
        let old = if call.function.name == "rate" { old / range } else { old };
        if !same(old, theirs) {
            return false;
        }
    }
    true
}

fn range_s(window: &Expr) -> Option<f64> {
    let range = match window {
        Expr::Matrix(m) => &m.range,
        Expr::Subquery(s) => &s.range,
        _ => return None,
    };
    if let DurationExpr::Literal(seconds, ..) = range { Some(*seconds) } else { None }
}

/// The time an `@` fixes, seconds; `start()` and `end()` were replaced by [`fixed`].
fn fixed_s(at: Option<At>) -> Option<f64> {
    if let Some(At::Time(ms)) = at { Some(ms as f64 / 1000.0) } else { None }
}

fn at_s(window: &Expr) -> Option<f64> {
    match window {
        Expr::Matrix(m) => fixed_s(m.selector.at),
        Expr::Subquery(s) => fixed_s(s.at),
        _ => None,
    }
}

fn offset_s(window: &Expr) -> f64 {
    let offset = match window {
        Expr::Matrix(m) => &m.selector.offset,
        Expr::Subquery(s) => &s.offset,
        _ => &None,
    };
    match offset {
        Some(DurationExpr::Literal(seconds, ..)) => *seconds,
        Some(DurationExpr::Unary(true, inner, _)) => match &**inner {
            DurationExpr::Literal(seconds, ..) => -seconds,
            _ => f64::NAN,
        },
        Some(_) => f64::NAN,
        None => 0.0,
    }
}

/// The increase as Prometheus 2.42 extrapolated it: first the distance to a counter's zero, then whether it is near.
fn increase_of_2_42(points: &[(f64, f64)], start: f64, end: f64) -> f64 {
    let (first, last) = (points[0], points[points.len() - 1]);
    let resets: f64 = points.windows(2).filter(|w| w[1].1 < w[0].1).map(|w| w[0].1).sum();
    let increase = last.1 - first.1 + resets;
    // times are whole milliseconds, which seconds since 1970 are not precise enough for
    let seconds = |from: f64, to: f64| ((to - from) * 1000.0).round() / 1000.0;
    let (interval, mut before, after) = (seconds(first.0, last.0), seconds(start, first.0), seconds(last.0, end));
    let distance = interval / (points.len() - 1) as f64;
    if increase > 0.0 && first.1 >= 0.0 {
        before = before.min(interval * (first.1 / increase));
    }
    let near = |gap: f64| if gap < distance * 1.1 { gap } else { distance / 2.0 };
    increase * ((interval + near(before) + near(after)) / interval)
}
