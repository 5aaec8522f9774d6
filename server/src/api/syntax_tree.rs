//! `/api/v1/parse_query`: a query's tree as JSON, in the form Prometheus' web pages read.

use query::promql::{
    Expr,
    ast::{At, Cardinality, DurationExpr, Selector},
    functions::{Function, Variadic},
    matcher::Matcher,
    number::format_json,
};
use serde_json::{Value, json};

/// The tree.
pub fn of(expr: &Expr) -> Value {
    match expr {
        Expr::Number(e) => json!({"type": "numberLiteral", "val": format_json(e.value)}),
        Expr::String(e) => json!({"type": "stringLiteral", "val": e.value.to_lossy()}),
        Expr::Paren(e) => json!({"type": "parenExpr", "expr": of(&e.expr)}),
        Expr::Unary(e) => json!({"type": "unaryExpr", "op": if e.minus { "-" } else { "+" }, "expr": of(&e.expr)}),
        Expr::Selector(e) => selector("vectorSelector", e, None),
        Expr::Matrix(e) => selector("matrixSelector", &e.selector, Some(&e.range)),
        Expr::Subquery(e) => json!({
            "type": "subquery",
            "expr": of(&e.expr),
            "range": duration_ms(Some(&e.range)),
            "offset": duration_ms(e.offset.as_ref()),
            "step": duration_ms(e.step.as_ref()),
            "timestamp": timestamp(e.at),
            "startOrEnd": start_or_end(e.at),
        }),
        Expr::Call(e) => json!({"type": "call", "func": function(e.function), "args": list(&e.args)}),
        Expr::Aggregate(e) => json!({
            "type": "aggregation",
            "op": e.op.name(),
            "expr": of(&e.expr),
            "param": e.param.as_deref().map(of),
            "grouping": e.grouping,
            "without": e.without,
        }),
        Expr::Binary(e) => json!({
            "type": "binaryExpr",
            "op": e.op.symbol(),
            "lhs": of(&e.left),
            "rhs": of(&e.right),
            "matching": e.matching.as_ref().map(|m| json!({
                "card": match m.cardinality {
                    Cardinality::OneToOne => "one-to-one",
                    Cardinality::ManyToOne => "many-to-one",
                    Cardinality::OneToMany => "one-to-many",
                    Cardinality::ManyToMany => "many-to-many",
                },
                "labels": m.labels,
                "on": m.on,
                "include": m.include,
                "fillValues": {"lhs": m.fill_left, "rhs": m.fill_right},
            })),
            "bool": e.return_bool,
        }),
    }
}

fn list(args: &[Expr]) -> Vec<Value> {
    args.iter().map(of).collect()
}

fn selector(kind: &str, e: &Selector, range: Option<&DurationExpr>) -> Value {
    let mut node = json!({
        "type": kind,
        "name": e.name.as_deref().unwrap_or(""),
        "matchers": e.matchers.iter().map(matcher).collect::<Vec<_>>(),
        "offset": duration_ms(e.offset.as_ref()),
        "timestamp": timestamp(e.at),
        "startOrEnd": start_or_end(e.at),
    });
    if let Some(range) = range {
        node["range"] = duration_ms(Some(range)).into();
    }
    node
}

fn matcher(m: &Matcher) -> Value {
    json!({"name": m.name(), "type": m.op().symbol(), "value": m.value()})
}

fn function(f: &Function) -> Value {
    let variadic = match f.variadic {
        Variadic::No => 0,
        Variadic::Optional(count) => count as i64,
        Variadic::Repeats(Some(count)) => count as i64,
        Variadic::Repeats(None) => -1,
    };
    json!({
        "name": f.name,
        "argTypes": f.args.iter().map(|t| t.api_name()).collect::<Vec<_>>(),
        "variadic": variadic,
        "returnType": f.returns.api_name(),
    })
}

/// Milliseconds of a duration that is written out; one that is computed has none before the query's times are known: 0.
fn duration_ms(duration: Option<&DurationExpr>) -> i64 {
    match duration {
        Some(DurationExpr::Literal(seconds, ..)) => (seconds * 1000.0).round() as i64,
        Some(DurationExpr::Unary(minus, inner, _)) => duration_ms(Some(inner)) * if *minus { -1 } else { 1 },
        Some(DurationExpr::Paren(inner, _)) => duration_ms(Some(inner)),
        _ => 0,
    }
}

fn timestamp(at: Option<At>) -> Option<i64> {
    match at {
        Some(At::Time(ms)) => Some(ms),
        _ => None,
    }
}

fn start_or_end(at: Option<At>) -> Option<&'static str> {
    match at {
        Some(At::Start) => Some("start"),
        Some(At::End) => Some("end"),
        _ => None,
    }
}
