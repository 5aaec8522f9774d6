//! Long queries over several lines, as Prometheus' `format_query` lays them out: what fits into a line stays on it.

use super::ast::Expr;
use super::format::{aggregate_head, operator, subquery_suffix};

/// Longest line that is not broken, characters.
const LINE_CHARS_MAX: usize = 100;

/// The query over as many lines as it needs.
pub fn pretty(expr: &Expr) -> String {
    lines(expr, 0)
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

fn lines(expr: &Expr, level: usize) -> String {
    let (text, start) = (expr.to_string(), indent(level));
    if text.chars().count() <= LINE_CHARS_MAX {
        return start + &text;
    }
    let nested = |inner: String, head: &str| format!("{start}{head}(\n{inner}\n{start})");
    match expr {
        Expr::Aggregate(e) => {
            let args = e.param.iter().map(|p| &**p).chain([&*e.expr]);
            nested(joined(args, level + 1), &aggregate_head(e))
        }
        Expr::Call(e) => nested(joined(e.args.iter(), level + 1), e.function.name),
        Expr::Paren(e) => nested(lines(&e.expr, level + 1), ""),
        Expr::Binary(e) => {
            let (left, right) = (lines(&e.left, level + 1), lines(&e.right, level + 1));
            format!("{left}\n{start}{}\n{right}", operator(e))
        }
        Expr::Subquery(e) => lines(&e.expr, level) + &subquery_suffix(e),
        Expr::Unary(e) => format!("{start}{}{}", if e.minus { "-" } else { "+" }, lines(&e.expr, level).trim()),
        Expr::Number(_) | Expr::String(_) | Expr::Selector(_) | Expr::Matrix(_) => start + &text,
    }
}

fn joined<'e>(args: impl Iterator<Item = &'e Expr>, level: usize) -> String {
    args.map(|a| lines(a, level)).collect::<Vec<_>>().join(",\n")
}
