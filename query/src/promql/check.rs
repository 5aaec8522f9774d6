//! The rules a well-formed tree must still meet: argument counts and types, selectors that select something.

use super::Features;
use super::ast::{Aggregate, Call, DurationExpr, Edges, Expr, Selector, ValueType};
use super::functions::Variadic;
use super::number::go_quote;
use super::parser::{Parsed, trouble};
use super::parser_selector::twice;
use super::position::Span;
use proto::labels::METRIC_NAME;

/// Functions that know what an anchored window is.
const ANCHORED: [&str; 5] = ["changes", "delta", "increase", "rate", "resets"];
/// Functions that know what a smoothed window is.
const SMOOTHED: [&str; 3] = ["delta", "increase", "rate"];

/// Checks `expr` and everything below it.
pub(super) fn check(expr: &Expr, features: &Features) -> Parsed<()> {
    match expr {
        Expr::Selector(selector) => check_selector(selector),
        Expr::Matrix(matrix) => {
            check_selector(&matrix.selector)?;
            check_positive(&matrix.range)
        }
        Expr::Subquery(sub) => {
            check(&sub.expr, features)?;
            if let Some(offset) = &sub.offset {
                check_range(offset)?;
            }
            check_positive(&sub.range)?;
            sub.step.as_ref().map_or(Ok(()), check_positive)
        }
        Expr::Call(call) if call.function.name == "info" => check_info(call, features),
        Expr::Call(call) => check_call(call, features),
        Expr::Aggregate(aggregate) => check_aggregate(aggregate, features),
        other => other.children().into_iter().try_for_each(|child| check(child, features)),
    }
}

/// Durations that are written out must be positive; what is computed is checked when the query's times are known.
fn check_positive(duration: &DurationExpr) -> Parsed<()> {
    check_range(duration)?;
    match duration.literal() {
        Some(seconds) if seconds <= 0.0 => trouble(duration.inner_span(), "duration must be greater than 0"),
        _ => Ok(()),
    }
}

fn check_range(duration: &DurationExpr) -> Parsed<()> {
    match duration.literal() {
        Some(seconds) if seconds.abs() > i64::MAX as f64 / 1e9 => {
            trouble(duration.inner_span(), "duration out of range")
        }
        _ => Ok(()),
    }
}

fn check_selector(selector: &Selector) -> Parsed<()> {
    if let Some(offset) = &selector.offset {
        check_range(offset)?;
    }
    if let Some(name) = selector.name.as_ref().filter(|n| !n.is_empty()) {
        // The name's own matcher is the last.
        let others = &selector.matchers[..selector.matchers.len() - 1];
        if let Some(other) = others.iter().find(|m| m.name() == METRIC_NAME) {
            return trouble(selector.span, twice(name, other.value()));
        }
        return Ok(());
    }
    if selector.matchers.iter().all(super::matcher::Matcher::matches_empty) {
        return trouble(selector.span, "vector selector must contain at least one non-empty matcher");
    }
    Ok(())
}

fn expect_type(expr: &Expr, wanted: ValueType, context: &str) -> Parsed<()> {
    let got = expr.value_type();
    if got == wanted {
        return Ok(());
    }
    let message = format!("expected type {} in {context}, got {}", wanted.documented(), got.documented());
    trouble(expr.span(), message)
}

fn check_call(call: &Call, features: &Features) -> Parsed<()> {
    check_arity(call)?;
    let name = call.function.name;
    for (i, arg) in call.args.iter().enumerate() {
        if let Some(wanted) = call.function.arg_type(i) {
            check(arg, features)?;
            expect_type(arg, wanted, &format!("call to function {}", go_quote(name.as_bytes())))?;
        }
        if let Expr::Matrix(matrix) = arg.unparen() {
            check_edges(matrix.selector.edges, name, matrix.span)?;
        }
    }
    Ok(())
}

fn check_edges(edges: Edges, function: &str, span: Span) -> Parsed<()> {
    let (word, allowed): (&str, &[&str]) = match edges {
        Edges::Inside => return Ok(()),
        Edges::Anchored => ("anchored", &ANCHORED),
        Edges::Smoothed => ("smoothed", &SMOOTHED),
    };
    if allowed.contains(&function) {
        return Ok(());
    }
    let list = allowed.join(", ");
    trouble(span, format!("{word} modifier can only be used with: {list} - not with {function}"))
}

fn check_arity(call: &Call) -> Parsed<()> {
    let (fewest, most) = call.function.arity();
    let (quoted, got) = (go_quote(call.function.name.as_bytes()), call.args.len());
    if got < fewest {
        let least = if call.function.variadic == Variadic::No { "" } else { "at least " };
        return trouble(call.span, format!("expected {least}{fewest} argument(s) in call to {quoted}, got {got}"));
    }
    if let Some(most) = most.filter(|most| got > *most) {
        let at_most = if call.function.variadic == Variadic::No { "" } else { "at most " };
        return trouble(call.span, format!("expected {at_most}{most} argument(s) in call to {quoted}, got {got}"));
    }
    Ok(())
}

/// The second argument of `info` is not a vector but a set of matchers in braces.
fn check_info(call: &Call, features: &Features) -> Parsed<()> {
    check_arity(call)?;
    check(&call.args[0], features)?;
    expect_type(&call.args[0], ValueType::Vector, "call to function \"info\"")?;
    let Some(second) = call.args.get(1) else { return Ok(()) };
    let Expr::Selector(selector) = second else {
        let got = super::format::type_name(second);
        return trouble(
            second.span(),
            format!("expected label selectors as the second argument to \"info\" function, got {got}"),
        );
    };
    if selector.name.is_some() {
        return trouble(second.span(), "expected label selectors only, got vector selector instead");
    }
    Ok(())
}

fn check_aggregate(aggregate: &Aggregate, features: &Features) -> Parsed<()> {
    check(&aggregate.expr, features)?;
    expect_type(&aggregate.expr, ValueType::Vector, "aggregation expression")?;
    if let (Some(param), Some(wanted)) = (&aggregate.param, aggregate.op.param_type()) {
        check(param, features)?;
        expect_type(param, wanted, "aggregation parameter")?;
    }
    Ok(())
}
