//! What a WHERE clause needs of a table's texts — LIKE, ILIKE, equality, lists, regular expressions — so that a scan leaves
//! out blocks of rows that cannot have it.
//!
//! Always an over-approximation: what is not understood needs nothing, and DataFusion filters every row again.

use datafusion::{
    arrow::datatypes::DataType,
    logical_expr::{BinaryExpr, Expr, Like, Operator, expr::ScalarFunction},
};
use proto::{Kind, Table};
use regex_syntax::{
    ParserBuilder,
    hir::{Class, Hir, HirKind},
};
use storage::Need;

use crate::sql_filter::literal;

/// Lists, and alternatives of a regular expression, longer than this need nothing: to look for each would cost more than
/// reading.
const ALTERNATIVES_MAX: usize = 64;
/// Characters of a class that may be one letter in its cases.
const CASES_MAX: usize = 4;

/// What rows need that all of `filters` hold for.
pub(crate) fn need(table: Table, filters: &[Expr]) -> Need {
    Need::all(filters.iter().map(|filter| of(table, filter)))
}

fn of(table: Table, filter: &Expr) -> Need {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            Need::all([of(table, left), of(table, right)])
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            Need::any([of(table, left), of(table, right)])
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => compared(table, left, *op, right),
        Expr::Like(like) if !like.negated => like_pattern(table, like),
        Expr::InList(list) if !list.negated && list.list.len() <= ALTERNATIVES_MAX => {
            Need::any(list.list.iter().map(|item| compared(table, &list.expr, Operator::Eq, item)))
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) => match (func.name(), &args[..]) {
            ("regexp_like", [text, pattern]) => compared(table, text, Operator::RegexMatch, pattern),
            ("contains" | "starts_with" | "ends_with", [text, part]) => match (place(table, text), string(part)) {
                (Some(place), Some(part)) => place.contains(part),
                _ => Need::default(),
            },
            _ => Need::default(),
        },
        _ => Need::default(),
    }
}

fn compared(table: Table, left: &Expr, op: Operator, right: &Expr) -> Need {
    let (place, text) = match (place(table, left), string(right)) {
        (Some(place), Some(text)) => (place, text),
        _ => match (place(table, right), string(left)) {
            (Some(place), Some(text)) if op == Operator::Eq => (place, text),
            _ => return Need::default(),
        },
    };
    match op {
        Operator::Eq if place.any_case => place.contains(text),
        Operator::Eq => Need::OneOf { column: place.column, texts: vec![text.to_owned()] },
        Operator::RegexMatch => regex(place, text, false),
        Operator::RegexIMatch => regex(place, text, true),
        _ => Need::default(),
    }
}

/// A text column as a filter names it.
#[derive(Clone, Copy)]
struct Place {
    column: usize,
    /// What is compared is its text in lower case.
    any_case: bool,
}

impl Place {
    fn contains(self, text: &str) -> Need {
        Need::contains(self.column, text, self.any_case)
    }
}

fn place(table: Table, expr: &Expr) -> Option<Place> {
    match expr {
        Expr::Column(column) => {
            let column = table.column_index(&column.name)?;
            (table.columns()[column].kind == Kind::Text).then_some(Place { column, any_case: false })
        }
        Expr::Cast(cast) => match cast.field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => place(table, &cast.expr),
            _ => None,
        },
        Expr::ScalarFunction(ScalarFunction { func, args }) => match (func.name(), &args[..]) {
            ("lower", [text]) => place(table, text).map(|place| Place { any_case: true, ..place }),
            _ => None,
        },
        _ => None,
    }
}

fn string(expr: &Expr) -> Option<&str> {
    literal(expr)?.try_as_str()?
}

/// The runs of a pattern between its wildcards. A backslash, and what it stands before, count as a wildcard.
fn like_pattern(table: Table, like: &Like) -> Need {
    let (Some(place), Some(pattern)) = (place(table, &like.expr), string(&like.pattern)) else {
        return Need::default();
    };
    if like.escape_char.is_some_and(|c| c != '\\') {
        return Need::default();
    }
    let place = Place { any_case: place.any_case || like.case_insensitive, ..place };
    let (mut runs, mut run) = (Vec::new(), String::new());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            chars.next();
        }
        match c {
            '%' | '_' | '\\' => runs.push(std::mem::take(&mut run)),
            c => run.push(c),
        }
    }
    runs.push(run);
    Need::all(runs.iter().map(|run| place.contains(run)))
}

fn regex(place: Place, pattern: &str, any_case: bool) -> Need {
    let mut parser = ParserBuilder::new().case_insensitive(any_case).build();
    match parser.parse(pattern) {
        Ok(hir) => Runs::of(place, &hir),
        Err(_) => Need::default(), // DataFusion will say what is wrong with it
    }
}

/// What every match of a regular expression has: the runs of letters that nothing in it can vary.
struct Runs {
    place: Place,
    run: String,
    found: Vec<Need>,
}

impl Runs {
    fn of(place: Place, hir: &Hir) -> Need {
        let mut runs = Runs { place, run: String::new(), found: Vec::new() };
        runs.walk(hir);
        runs.end();
        Need::all(runs.found)
    }

    fn end(&mut self) {
        self.found.push(self.place.contains(&self.run));
        self.run.clear();
    }

    fn walk(&mut self, hir: &Hir) {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
                Ok(text) => self.run.push_str(text),
                Err(_) => self.end(),
            },
            HirKind::Class(class) => match one_letter(class) {
                Some(letter) => self.run.push(letter),
                None => self.end(),
            },
            HirKind::Repetition(repetition) => {
                self.end();
                if repetition.min > 0 {
                    self.found.push(Runs::of(self.place, &repetition.sub));
                }
            }
            HirKind::Capture(capture) => self.walk(&capture.sub),
            HirKind::Concat(list) => list.iter().for_each(|hir| self.walk(hir)),
            HirKind::Alternation(list) => {
                self.end();
                if list.len() <= ALTERNATIVES_MAX {
                    self.found.push(Need::any(list.iter().map(|hir| Runs::of(self.place, hir))));
                }
            }
        }
    }
}

/// The letter of a class that is one letter in all its cases, as far as a scan tells cases apart.
fn one_letter(class: &Class) -> Option<char> {
    let Class::Unicode(class) = class else { return None };
    let count: u32 = class.ranges().iter().map(|range| range.end() as u32 - range.start() as u32 + 1).sum();
    if count as usize > CASES_MAX {
        return None;
    }
    let mut letters = class.ranges().iter().flat_map(|range| range.start()..=range.end());
    let first = letters.next()?;
    letters.all(|letter| Need::folds_alike(first, letter)).then_some(first)
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    const BODY: usize = 6;

    fn has(text: &str) -> Need {
        Need::contains(BODY, text, false)
    }

    fn of_regex(pattern: &str, any_case: bool) -> Need {
        regex(Place { column: BODY, any_case: false }, pattern, any_case)
    }

    #[test]
    fn like_needs_the_runs_between_its_wildcards() {
        let body = || col("body");
        let cases = [
            (body().like(lit("%dead lock%")), has("dead lock")),
            (body().like(lit("a%bc_d")), Need::all([has("a"), has("bc"), has("d")])),
            (body().like(lit(r"50\% of it")), Need::all([has("50"), has(" of it")])),
            (body().ilike(lit("%Deadlock caf\u{e9}%")), has("deadlock caf")),
            (body().not_like(lit("%x%")), Need::default()),
            (body().like(lit("%")), Need::default()),
            (body().like(lit("%x%")).or(body().like(lit("y%"))), Need::any([has("x"), has("y")])),
            (body().like(lit("%x%")).or(col("pid").gt(lit(3))), Need::default()),
            (body().like(lit("%x%")).and(col("pid").gt(lit(3))), has("x")),
            (col("pid").like(lit("%1%")), Need::default()),
            (body().eq(lit("all of it")), Need::OneOf { column: BODY, texts: vec!["all of it".into()] }),
            (lit("all of it").eq(body()), Need::OneOf { column: BODY, texts: vec!["all of it".into()] }),
            (body().not_eq(lit("x")), Need::default()),
            (body().in_list(vec![lit("a"), col("stream")], false), Need::default()),
        ];
        for (filter, expected) in cases {
            assert_eq!(need(Table::Logs, std::slice::from_ref(&filter)), expected, "{filter}");
        }
    }

    #[test]
    fn regular_expressions_need_what_nothing_in_them_can_vary() {
        let any = |list: &[&str]| Need::any(list.iter().map(|text| has(text)));
        let cases = [
            ("dead.*lock", false, Need::all([has("dead"), has("lock")])),
            (r"^\bdead(lock)$", false, has("deadlock")),
            ("(?:cat|dog)s", false, Need::all([any(&["cat", "dog"]), has("s")])),
            ("(?:cat|)s", false, has("s")),
            ("ab?c", false, Need::all([has("a"), has("c")])),
            ("(?:xyz)+", false, has("xyz")),
            ("Task[0-9]", true, has("task")),
            ("(?i)Task", false, has("task")),
            ("caf\u{e9}s", true, Need::all([has("caf"), has("s")])),
            (".*", false, Need::default()),
            ("a|.", false, Need::default()),
            ("(", false, Need::default()),
        ];
        for (pattern, any_case, expected) in cases {
            assert_eq!(of_regex(pattern, any_case), expected, "{pattern}");
        }
    }
}
