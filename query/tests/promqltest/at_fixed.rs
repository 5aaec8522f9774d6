//! Rewrites an instant query so that `@` fixes every selector at its evaluation time: it must then give the same result
//! at any other time.

use query::promql::ast::{At, Expr};

/// Functions that look at the evaluation time, or at the query's own range.
const LOOKS_AT_TIME: [&str; 15] = [
    "time",
    "timestamp",
    "predict_linear",
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "minute",
    "month",
    "year",
    "start",
    "end",
    "step",
    "range",
];

/// The query with `@ t` on every selector that has none, if its meaning allows it.
pub fn fix(query: &str, t: i64) -> Option<String> {
    let mut expr = query::promql::parse(query).ok()?;
    pin(&mut expr, t)?;
    Some(expr.to_string())
}

fn pin(expr: &mut Expr, t: i64) -> Option<()> {
    let fixed = Some(At::Time(t));
    match expr {
        Expr::Number(_) | Expr::String(_) => {}
        Expr::Selector(s) => s.at = s.at.or(fixed),
        Expr::Matrix(m) => m.selector.at = m.selector.at.or(fixed),
        // Inside, the steps of the subquery decide; only its own time is pinned.
        Expr::Subquery(s) => s.at = s.at.or(fixed),
        Expr::Call(c) if LOOKS_AT_TIME.contains(&c.function.name) || c.function.name == "info" => return None,
        Expr::Call(c) => c.args.iter_mut().try_for_each(|a| pin(a, t))?,
        Expr::Aggregate(a) => {
            if let Some(param) = &mut a.param {
                pin(param, t)?;
            }
            pin(&mut a.expr, t)?;
        }
        Expr::Binary(b) => {
            pin(&mut b.left, t)?;
            pin(&mut b.right, t)?;
        }
        Expr::Unary(u) => pin(&mut u.expr, t)?,
        Expr::Paren(p) => pin(&mut p.expr, t)?,
    }
    Some(())
}

/// Whether a step of a range query gives what an instant query at that time does: not if the query asks for its range, and
/// not if the result is a range itself.
pub fn means_the_same_in_a_range(query: &str) -> bool {
    fn asks_for_range(expr: &Expr) -> bool {
        let here = match expr {
            Expr::Call(c) => matches!(c.function.name, "start" | "end" | "step" | "range"),
            Expr::Selector(s) => matches!(s.at, Some(At::Start | At::End)),
            Expr::Matrix(m) => matches!(m.selector.at, Some(At::Start | At::End)),
            Expr::Subquery(s) => matches!(s.at, Some(At::Start | At::End)),
            _ => false,
        };
        here || expr.children().into_iter().any(asks_for_range)
    }
    let Ok(expr) = query::promql::parse(query) else { return false };
    let is_range = matches!(expr.value_type(), query::promql::ast::ValueType::Matrix);
    let has_duration_of_query = query.contains("step()") || query.contains("range()");
    !is_range && !has_duration_of_query && !asks_for_range(&expr)
}
