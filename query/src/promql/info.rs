//! `info(v, {selector})`: adds data labels of info metrics to the series that share their identifying labels.

use hashbrown::HashMap;
use proto::Labels;
use proto::labels::METRIC_NAME;

use super::QueryError;
use super::ast::{Call, Edges, Expr, Selector};
use super::eval::{Evaluator, merge_same};
use super::matcher::{MatchOp, Matcher};
use super::position::Span;
use super::value::{Series, Steps, Tally};

/// The labels that join info series to others.
const IDENTIFYING: [&str; 2] = ["instance", "job"];
/// The info metric that is meant when none is named.
const DEFAULT_METRIC: &str = "target_info";

/// What the second argument says: which info metrics, and which data labels with which values.
struct InfoSelector {
    names: Vec<Matcher>,
    data: Vec<Matcher>,
}

impl InfoSelector {
    fn new(call: &Call) -> InfoSelector {
        let matchers = match call.args.get(1) {
            Some(Expr::Selector(s)) => s.matchers.clone(),
            _ => Vec::new(),
        };
        let (mut names, data): (Vec<_>, Vec<_>) = matchers.into_iter().partition(|m| m.name() == METRIC_NAME);
        let positive = |m: &Matcher| matches!(m.op(), MatchOp::Eq | MatchOp::Re);
        let default = |op, value| Matcher::new(METRIC_NAME, op, value).ok();
        if names.is_empty() {
            names.extend(default(MatchOp::Eq, DEFAULT_METRIC));
        } else if !names.iter().any(positive) {
            names.extend(default(MatchOp::Re, ".+_info"));
        }
        InfoSelector { names, data }
    }

    fn is_info(&self, labels: &Labels) -> bool {
        self.names.iter().all(|m| m.matches(labels.metric_name()))
    }

    /// The selector for all info series that may matter.
    fn selector(&self, start: usize) -> Selector {
        let mut matchers = self.names.clone();
        matchers.extend(self.data.iter().cloned());
        Selector { name: None, matchers, offset: None, at: None, edges: Edges::Inside, span: Span::new(start, start) }
    }

    /// Whether a data label is to be added.
    fn wants(&self, name: &str) -> bool {
        self.data.is_empty() || self.data.iter().any(|m| m.name() == name)
    }
}

/// The selector of all info series `call` may need. It is kept where no selector of the user's can begin, and looks when
/// the first selector of the base expression does.
pub(super) fn data_selector(call: &Call) -> Selector {
    let key = usize::MAX - call.span.start;
    let mut selector = InfoSelector::new(call).selector(key);
    if let Some(s) = first_selector(&call.args[0]) {
        (selector.offset, selector.at) = (s.offset.clone(), s.at);
    }
    selector
}

fn first_selector(expr: &Expr) -> Option<&Selector> {
    match expr {
        Expr::Selector(s) => Some(s),
        Expr::Matrix(m) => Some(&m.selector),
        other => other.children().into_iter().find_map(first_selector),
    }
}

pub(super) fn info(ev: &Evaluator<'_>, call: &Call, steps: &Steps) -> Result<Vec<Series>, QueryError> {
    let wanted = InfoSelector::new(call);
    let base = ev.vector(&call.args[0], steps)?;
    let selector = data_selector(call);
    let (mut infos, mut times) = (Vec::new(), Vec::new());
    ev.stream_selector(&selector, steps, &mut |s| {
        infos.push(s);
        Ok(())
    })?;
    let uncounted = Steps { tally: Tally::Nothing, ..*steps };
    ev.stream_samples(&selector, &uncounted, super::eval_selector::Take::Time, &mut |s| {
        times.push(s);
        Ok(())
    })?;
    let mut by_identity: HashMap<Labels, Vec<(&Series, &Series)>> = HashMap::new();
    for (info, time) in infos.iter().zip(&times) {
        by_identity.entry(identity(&info.labels)).or_default().push((info, time));
    }
    let must_match = wanted.data.iter().any(|m| !m.matches_empty());
    let mut out: Vec<Series> = Vec::new();
    for series in base {
        if wanted.is_info(&series.labels) {
            out.push(series);
            continue;
        }
        let identity = identity(&series.labels);
        // a series with neither label is nobody's
        let found = by_identity.get(&identity).filter(|_| !identity.is_empty());
        let candidates = found.map_or(&[][..], |v| v);
        enrich(&series, candidates, &wanted, must_match, steps, &mut out)?;
    }
    merge_same(out)
}

fn identity(labels: &Labels) -> Labels {
    labels.only(|n| IDENTIFYING.contains(&n))
}

/// Adds to `out` the series with the data labels of each step; labels may change from step to step.
fn enrich(
    series: &Series,
    candidates: &[(&Series, &Series)],
    wanted: &InfoSelector,
    must_match: bool,
    steps: &Steps,
    out: &mut Vec<Series>,
) -> Result<(), QueryError> {
    let mut by_labels: HashMap<Labels, usize> = HashMap::new();
    for step in (0..steps.count).filter(|i| series.is_present(*i)) {
        // Of several info series of the same metric the newest sample decides.
        let mut newest: HashMap<&str, (f64, &Labels)> = HashMap::new();
        for (info, time) in candidates.iter().filter(|(info, _)| info.is_present(step)) {
            if info.histogram(step).is_some() {
                return Err(QueryError::Execution("info sample should be float".into()));
            }
            let at = time.floats[step];
            let name = info.labels.metric_name();
            match newest.get(name) {
                Some((best, other)) if *best == at && *other != &info.labels => {
                    let ms = (at * 1000.0).round() as i64;
                    return Err(QueryError::Execution(format!(
                        "found duplicate series for info metric: existing {other} @ {ms}, new {} @ {ms}",
                        info.labels
                    )));
                }
                Some((best, _)) if *best >= at => {}
                _ => {
                    newest.insert(name, (at, &info.labels));
                }
            }
        }
        let mut added: Vec<(&str, &str)> = Vec::new();
        for (_, labels) in newest.values() {
            for (name, value) in labels.iter().filter(|(n, _)| *n != METRIC_NAME && !IDENTIFYING.contains(n)) {
                if !wanted.wants(name) || series.labels.get(name).is_some() {
                    continue;
                }
                match added.iter().find(|(n, _)| *n == name) {
                    Some((_, other)) if *other != value => {
                        return Err(QueryError::Execution(format!("conflicting label: {name}")));
                    }
                    Some(_) => {}
                    None => added.push((name, value)),
                }
            }
        }
        if must_match && newest.is_empty() {
            continue; // what was asked for cannot be added
        }
        let mut builder = series.labels.to_builder();
        for (name, value) in added {
            builder.set(name, value);
        }
        let labels = builder.build();
        let at = *by_labels.entry(labels.clone()).or_insert_with(|| {
            out.push(Series { drop_name: series.drop_name, ..Series::absent(labels, steps.count) });
            out.len() - 1
        });
        if let Some(point) = series.point(step) {
            out[at].set(step, point);
        }
    }
    Ok(())
}
