//! Trees back to text, in the form Prometheus prints (`format_query`, rules, logs).

use std::fmt::{self, Display, Formatter};

use super::ast::{Aggregate, At, Binary, Cardinality, DurationExpr, Edges, Expr, Matching, Number, Selector, Subquery};
use super::matcher::{is_plain_metric_name, is_plain_name};
use super::number::{format_g, go_quote};
use proto::labels::METRIC_NAME;

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Number(e) => e.fmt(f),
            Expr::String(e) => f.write_str(&e.value.quoted()),
            Expr::Selector(e) => {
                f.write_str(&selection(e))?;
                suffix(f, e)
            }
            Expr::Matrix(e) => {
                write!(f, "{}[{}]", selection(&e.selector), whole_duration(&e.range))?;
                suffix(f, &e.selector)
            }
            Expr::Subquery(e) => write!(f, "{}{}", e.expr, subquery_suffix(e)),
            Expr::Call(e) => {
                write!(f, "{}(", e.function.name)?;
                list(f, &e.args)?;
                f.write_str(")")
            }
            Expr::Aggregate(e) => {
                write!(f, "{}(", aggregate_head(e))?;
                if let Some(param) = &e.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", e.expr)
            }
            Expr::Binary(e) => write!(f, "{} {} {}", e.left, operator(e), e.right),
            Expr::Unary(e) => write!(f, "{}{}", if e.minus { "-" } else { "+" }, e.expr),
            Expr::Paren(e) => write!(f, "({})", e.expr),
        }
    }
}

fn list(f: &mut Formatter<'_>, items: &[Expr]) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if i > 0 { ", " } else { "" })?;
    }
    Ok(())
}

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&if self.is_duration { super::durations::literal(self.value, true) } else { format_g(self.value) })
    }
}

/// `sum by (job) `, without the arguments.
pub(super) fn aggregate_head(e: &Aggregate) -> String {
    let name = e.op.name();
    match (e.without, e.grouping.is_empty()) {
        (true, _) => format!("{name} without ({}) ", labels(&e.grouping)),
        (false, false) => format!("{name} by ({}) ", labels(&e.grouping)),
        (false, true) => name.into(),
    }
}

/// The operator with all its modifiers.
pub(super) fn operator(e: &Binary) -> String {
    let mut text = e.op.symbol().to_string();
    if e.return_bool {
        text.push_str(" bool");
    }
    if let Some(matching) = &e.matching {
        text.push_str(&matching_text(matching));
    }
    text
}

fn matching_text(m: &Matching) -> String {
    let mut text = String::new();
    let grouped = matches!(m.cardinality, Cardinality::ManyToOne | Cardinality::OneToMany);
    if m.on || !m.labels.is_empty() || grouped {
        let word = if m.on { "on" } else { "ignoring" };
        text.push_str(&format!(" {word} ({})", labels(&m.labels)));
    }
    if grouped {
        let side = if m.cardinality == Cardinality::ManyToOne { "left" } else { "right" };
        text.push_str(&format!(" group_{side} ({})", labels(&m.include)));
    }
    match (m.fill_left, m.fill_right) {
        (Some(l), Some(r)) if l == r || (l.is_nan() && r.is_nan()) => {
            text.push_str(&format!(" fill ({})", format_g(l)))
        }
        (l, r) => {
            for (side, value) in [("left", l), ("right", r)] {
                if let Some(value) = value {
                    text.push_str(&format!(" fill_{side} ({})", format_g(value)));
                }
            }
        }
    }
    text
}

fn labels(names: &[String]) -> String {
    let quoted = |n: &String| if is_plain_name(n) { n.clone() } else { go_quote(n.as_bytes()) };
    names.iter().map(quoted).collect::<Vec<_>>().join(", ")
}

/// Name and braces of a selector.
pub(super) fn selection(s: &Selector) -> String {
    let plain = s.name.as_deref().is_some_and(is_plain_metric_name);
    let mut inside: Vec<String> = Vec::new();
    if let Some(name) = s.name.as_ref().filter(|_| !plain) {
        inside.push(go_quote(name.as_bytes()));
    }
    let own_name = s.name.as_ref().map(|_| s.matchers.len().saturating_sub(1));
    for (i, m) in s.matchers.iter().enumerate() {
        if own_name != Some(i) || m.name() != METRIC_NAME {
            inside.push(m.to_string());
        }
    }
    inside.sort();
    let name = s.name.as_deref().filter(|_| plain).unwrap_or("");
    if inside.is_empty() && !name.is_empty() { name.into() } else { format!("{name}{{{}}}", inside.join(",")) }
}

fn suffix(f: &mut Formatter<'_>, s: &Selector) -> fmt::Result {
    match s.edges {
        Edges::Inside => {}
        Edges::Anchored => f.write_str(" anchored")?,
        Edges::Smoothed => f.write_str(" smoothed")?,
    }
    f.write_str(&modifiers(s.at, s.offset.as_ref()))
}

fn modifiers(at: Option<At>, offset: Option<&DurationExpr>) -> String {
    let mut text = match at {
        None => String::new(),
        Some(At::Time(ms)) => format!(" @ {:.3}", ms as f64 / 1000.0),
        Some(At::Start) => " @ start()".into(),
        Some(At::End) => " @ end()".into(),
    };
    if let Some(offset) = offset {
        text.push_str(&format!(" offset {}", whole_duration(offset)));
    }
    text
}

/// `[1h:5m] @ 10.000 offset 5m`.
pub(super) fn subquery_suffix(s: &Subquery) -> String {
    let step = s.step.as_ref().map(whole_duration).unwrap_or_default();
    format!("[{}:{step}]{}", whole_duration(&s.range), modifiers(s.at, s.offset.as_ref()))
}

/// A duration by itself: a bare number of seconds gets its unit.
fn whole_duration(duration: &DurationExpr) -> String {
    match duration {
        DurationExpr::Literal(seconds, ..) => super::durations::literal(*seconds, true),
        DurationExpr::Unary(minus, inner, _) if matches!(**inner, DurationExpr::Literal(..)) => {
            format!("{}{}", if *minus { "-" } else { "+" }, whole_duration(inner))
        }
        other => other.to_string(),
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            DurationExpr::Literal(seconds, with_unit, _) => {
                f.write_str(&super::durations::literal(*seconds, *with_unit))
            }
            DurationExpr::Step(_) => f.write_str("step()"),
            DurationExpr::Range(_) => f.write_str("range()"),
            DurationExpr::Unary(minus, e, _) => write!(f, "{}{e}", if *minus { "-" } else { "+" }),
            DurationExpr::Binary(op, a, b) => write!(f, "{a} {} {b}", op.symbol()),
            DurationExpr::Extreme(is_max, a, b, _) => write!(f, "{}({a}, {b})", if *is_max { "max" } else { "min" }),
            DurationExpr::Paren(e, _) => write!(f, "({e})"),
        }
    }
}

/// What kind of expression this is, for error messages.
pub(super) fn type_name(expr: &Expr) -> &'static str {
    match expr {
        Expr::Number(_) => "number literal",
        Expr::String(_) => "string literal",
        Expr::Selector(_) => "vector selector",
        Expr::Matrix(_) => "matrix selector",
        Expr::Subquery(_) => "subquery",
        Expr::Call(_) => "function call",
        Expr::Aggregate(_) => "aggregation",
        Expr::Binary(_) => "binary expression",
        Expr::Unary(_) => "unary expression",
        Expr::Paren(_) => "parenthesized expression",
    }
}
