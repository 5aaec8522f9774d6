//! Tables in Markdown, and putting them into a document between two marks.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result};

/// A table: a head and rows of as many cells.
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these columns.
    pub fn new(head: &[&str]) -> Table {
        Table { head: head.iter().map(|h| (*h).to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As Markdown.
    pub fn text(&self) -> String {
        let mut out = format!("| {} |\n|{}\n", self.head.join(" | "), "---|".repeat(self.head.len()));
        for row in &self.rows {
            let _ = writeln!(out, "| {} |", row.join(" | "));
        }
        out
    }
}

/// A number with as many digits as it needs to be read: three that count.
pub fn short(n: f64) -> String {
    match n.abs() {
        0.0 => "0".into(),
        a if a >= 100.0 => format!("{n:.0}"),
        a if a >= 10.0 => format!("{n:.1}"),
        a if a >= 1.0 => format!("{n:.2}"),
        a if a >= 0.01 => format!("{n:.3}"),
        _ => format!("{n:.5}"),
    }
}

/// Replaces what stands between `<!-- NAME -->` and `<!-- /NAME -->` in a document.
pub fn put_between(path: &Path, name: &str, text: &str) -> Result<()> {
    let document = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let missing = || format!("{}: no {begin:?} … {end:?}", path.display());
    let (before, rest) = document.split_once(&begin).with_context(missing)?;
    let (_, after) = rest.split_once(&end).with_context(missing)?;
    fs::write(path, format!("{before}{begin}{text}{end}{after}")).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new(&["what", "n"]);
        table.row(vec!["a".into(), short(0.1234)]);
        assert_eq!(table.text(), "| what | n |\n|---|---|\n| a | 0.123 |\n");
        assert_eq!(["0", "1235", "12.3", "1.23", "0.00012"], [0.0, 1234.6, 12.34, 1.234, 0.00012].map(short)[..]);
    }
}
