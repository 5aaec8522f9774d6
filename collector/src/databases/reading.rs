//! What a query answered, as text: the one shape in which rows of every server arrive, so that what is made of them is
//! a function of values and can be tested without a server.

/// Rows of one query. Column names are as the server wrote them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Names, in order.
    pub columns: Vec<String>,
    /// One cell per column; `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
}

/// One row with its names.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    columns: &'a [String],
    cells: &'a [Option<String>],
}

impl Reading {
    /// Each row.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|cells| Row { columns: &self.columns, cells })
    }

    /// The first row.
    pub fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }

    /// Whether the answer has a column (names compare without case: MySQL versions differ in it).
    pub fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|c| c.eq_ignore_ascii_case(column))
    }
}

impl<'a> Row<'a> {
    /// The text of a cell; `None` for NULL and for a column the answer does not have.
    pub fn text(&self, column: &str) -> Option<&'a str> {
        let index = self.columns.iter().position(|c| c.eq_ignore_ascii_case(column))?;
        self.cells.get(index)?.as_deref()
    }

    /// The same as an owned string.
    pub fn string(&self, column: &str) -> Option<String> {
        self.text(column).map(str::to_owned)
    }

    /// A number; truth values are 1 and 0.
    pub fn number(&self, column: &str) -> Option<f64> {
        self.text(column).and_then(number)
    }

    /// An integer.
    pub fn int(&self, column: &str) -> Option<i64> {
        let text = self.text(column)?;
        text.parse().ok().or_else(|| number(text).map(|v| v as i64))
    }

    /// A truth value.
    pub fn truth(&self, column: &str) -> Option<bool> {
        self.number(column).map(|v| v != 0.0)
    }

    /// Names and cells.
    pub fn cells(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        self.columns.iter().map(String::as_str).zip(self.cells.iter().map(Option::as_deref))
    }
}

/// Reads a server's number or truth word.
///
/// The words are those mysqld_exporter and the servers use for states: on/off, yes/no, `Connecting` (not yet running),
/// `Primary` and its opposites of Galera.
pub fn number(text: &str) -> Option<f64> {
    match text {
        "t" => return Some(1.0),
        "f" => return Some(0.0),
        _ => {}
    }
    if text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.') {
        return text.parse().ok();
    }
    let is = |words: &[&str]| words.iter().any(|w| text.eq_ignore_ascii_case(w));
    if is(&["yes", "on", "true", "primary", "enabled"]) {
        Some(1.0)
    } else if is(&["no", "off", "false", "disabled", "connecting", "preparing", "non-primary", "disconnected"]) {
        Some(0.0)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn cells_are_read_by_name_and_kind() {
        let reading = Reading {
            columns: vec!["A".into(), "b".into(), "c".into()],
            rows: vec![vec![Some("12.5".into()), None, Some("t".into())]],
        };
        let row = reading.first().unwrap();
        assert_eq!((row.number("a"), row.int("A"), row.truth("c")), (Some(12.5), Some(12), Some(true)));
        assert_eq!((row.text("b"), row.text("none")), (None, None));
        assert!(reading.has("B") && !reading.has("d"));
        for (text, want) in
            [("ON", Some(1.0)), ("Connecting", Some(0.0)), ("x", None), ("-3", Some(-3.0)), ("inf", None)]
        {
            assert_eq!(number(text), want, "{text}");
        }
    }
}
