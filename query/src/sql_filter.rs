//! What a WHERE clause says about `instance`, `ts` and a metric's name, so that a scan reads only what can match.
//!
//! Always an over-approximation: DataFusion filters every row again.

use datafusion::{
    logical_expr::{BinaryExpr, Expr, Operator},
    scalar::ScalarValue,
};

/// Bounds found in a conjunction of filters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bounds {
    /// First timestamp that can match, inclusive, milliseconds.
    pub min_ms: i64,
    /// Last timestamp that can match, inclusive, milliseconds.
    pub max_ms: i64,
    /// Per text column asked for: the only values that can match.
    pub texts: Vec<(&'static str, Vec<String>)>,
}

impl Bounds {
    /// Bounds of `filters`, all of which must hold; `columns` are the text columns worth knowing about.
    pub fn of(filters: &[Expr], columns: &[&'static str]) -> Bounds {
        let mut bounds = Bounds { min_ms: i64::MIN, max_ms: i64::MAX, texts: Vec::new() };
        for filter in filters {
            bounds.narrow(filter, columns);
        }
        bounds
    }

    /// The only values a text column can have, if the filters say so.
    pub fn values(&self, column: &str) -> Option<&[String]> {
        self.texts.iter().find(|(name, _)| *name == column).map(|(_, values)| &values[..])
    }

    fn narrow(&mut self, filter: &Expr, columns: &[&'static str]) {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                self.narrow(left, columns);
                self.narrow(right, columns);
            }
            Expr::BinaryExpr(BinaryExpr { op: Operator::Or, .. }) => {
                if let Some((column, values)) = equal_to_any(filter, columns) {
                    self.restrict(column, values);
                }
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (column, op, literal) = match (column_name(left), literal(right)) {
                    (Some(column), Some(literal)) => (column, *op, literal),
                    _ => match (column_name(right), literal(left), op.swap()) {
                        (Some(column), Some(literal), Some(op)) => (column, op, literal),
                        _ => return,
                    },
                };
                if column == "ts" {
                    self.narrow_time(op, literal);
                } else if op == Operator::Eq
                    && let Some(column) = columns.iter().find(|c| **c == column)
                    && let Some(Some(text)) = literal.try_as_str()
                {
                    self.restrict(column, vec![text.to_owned()]);
                }
            }
            Expr::Between(between) if !between.negated && column_name(&between.expr) == Some("ts") => {
                if let Some(low) = literal(&between.low) {
                    self.narrow_time(Operator::GtEq, low);
                }
                if let Some(high) = literal(&between.high) {
                    self.narrow_time(Operator::LtEq, high);
                }
            }
            Expr::InList(list) if !list.negated => {
                let Some(column) = column_name(&list.expr).and_then(|n| columns.iter().find(|c| **c == n)) else {
                    return;
                };
                let text = |e| literal(e).and_then(|l| l.try_as_str().flatten()).map(str::to_owned);
                if let Some(values) = list.list.iter().map(text).collect() {
                    self.restrict(column, values);
                }
            }
            _ => {}
        }
    }

    fn restrict(&mut self, column: &'static str, values: Vec<String>) {
        match self.texts.iter_mut().find(|(name, _)| *name == column) {
            Some((_, known)) => known.retain(|v| values.contains(v)),
            None => self.texts.push((column, values)),
        }
    }

    fn narrow_time(&mut self, op: Operator, literal: &ScalarValue) {
        let Some((floor, exact)) = milliseconds(literal) else { return };
        let ceil = if exact { floor } else { floor.saturating_add(1) };
        match op {
            Operator::Gt => self.min_ms = self.min_ms.max(floor.saturating_add(1)),
            Operator::GtEq => self.min_ms = self.min_ms.max(ceil),
            Operator::Lt => self.max_ms = self.max_ms.min(ceil.saturating_sub(1)),
            Operator::LtEq => self.max_ms = self.max_ms.min(floor),
            Operator::Eq => (self.min_ms, self.max_ms) = (self.min_ms.max(ceil), self.max_ms.min(floor)),
            _ => {}
        }
    }
}

/// `c = 'a' OR c = 'b' …` as DataFusion writes a short IN list.
fn equal_to_any(filter: &Expr, columns: &[&'static str]) -> Option<(&'static str, Vec<String>)> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (column, mut values) = equal_to_any(left, columns)?;
            let (other, more) = equal_to_any(right, columns)?;
            values.extend(more);
            (column == other).then_some((column, values))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let column = columns.iter().find(|c| Some(**c) == column_name(left))?;
            Some((column, vec![literal(right)?.try_as_str()??.to_owned()]))
        }
        _ => None,
    }
}

fn column_name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(column) => Some(&column.name),
        Expr::Cast(cast) => column_name(&cast.expr),
        _ => None,
    }
}

pub(crate) fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

/// A timestamp literal rounded down to milliseconds, and whether nothing was cut.
fn milliseconds(literal: &ScalarValue) -> Option<(i64, bool)> {
    Some(match literal {
        ScalarValue::TimestampSecond(Some(s), _) => (s.saturating_mul(1_000), true),
        ScalarValue::TimestampMillisecond(Some(ms), _) => (*ms, true),
        ScalarValue::TimestampMicrosecond(Some(us), _) => (us.div_euclid(1_000), us.rem_euclid(1_000) == 0),
        ScalarValue::TimestampNanosecond(Some(ns), _) => (ns.div_euclid(1_000_000), ns.rem_euclid(1_000_000) == 0),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::logical_expr::{col, lit};

    fn at(ms: i64) -> Expr {
        lit(ScalarValue::TimestampMillisecond(Some(ms), Some("UTC".into())))
    }

    fn at_ns(ns: i64) -> Expr {
        lit(ScalarValue::TimestampNanosecond(Some(ns), None))
    }

    #[test]
    fn time_bounds_are_inclusive_and_never_too_narrow() {
        let cases = [
            (col("ts").gt(at(5)), 6, i64::MAX),
            (col("ts").gt_eq(at(5)), 5, i64::MAX),
            (col("ts").lt(at(5)), i64::MIN, 4),
            (at(5).lt_eq(col("ts")), 5, i64::MAX),
            (col("ts").between(at(1), at(9)), 1, 9),
            (col("ts").eq(at(7)), 7, 7),
            (col("ts").gt_eq(at_ns(5_000_001)), 6, i64::MAX),
            (col("ts").gt(at_ns(5_000_001)), 6, i64::MAX),
            (col("ts").lt(at_ns(5_000_001)), i64::MIN, 5),
            (col("ts").gt(at(5)).and(col("ts").lt(at(9))), 6, 8),
            (col("ts").gt(at(5)).or(col("ts").lt(at(9))), i64::MIN, i64::MAX),
            (col("ts").not_eq(at(5)), i64::MIN, i64::MAX),
        ];
        for (filter, min_ms, max_ms) in cases {
            let found = Bounds::of(std::slice::from_ref(&filter), &[]);
            assert_eq!((found.min_ms, found.max_ms), (min_ms, max_ms), "{filter}");
        }
    }

    #[test]
    fn text_values_come_from_equalities_and_lists() {
        let of = |filter: Expr| Bounds::of(&[filter], &["instance"]).values("instance").map(<[String]>::to_vec);
        assert_eq!(of(col("instance").eq(lit("a"))), Some(vec!["a".into()]));
        assert_eq!(of(lit("a").eq(col("instance"))), Some(vec!["a".into()]));
        assert_eq!(of(col("instance").in_list(vec![lit("a"), lit("b")], false)), Some(vec!["a".into(), "b".into()]));
        assert_eq!(
            of(col("instance").eq(lit("a")).or(col("instance").eq(lit("b")))),
            Some(vec!["a".into(), "b".into()])
        );
        assert_eq!(of(col("instance").eq(lit("a")).and(col("instance").eq(lit("b")))), Some(vec![]));
        assert_eq!(of(col("instance").eq(lit("a")).or(col("body").eq(lit("b")))), None);
        assert_eq!(of(col("instance").in_list(vec![lit("a")], true)), None);
        assert_eq!(of(col("instance").not_eq(lit("a"))), None);
    }
}
