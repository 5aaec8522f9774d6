//! Where a piece of a query stands in its text: byte offsets, and how they are shown to a person.

/// A half-open range of byte offsets into the query text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The range `start..end`.
    pub fn new(start: usize, end: usize) -> Span {
        Span { start, end }
    }

    /// The smallest range that holds both.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// `line:column` of the first byte, both counted from one, columns in bytes.
    pub fn line_column(self, text: &str) -> String {
        if text.is_empty() {
            return "unknown position".into();
        }
        let Some(before) = text.as_bytes().get(..self.start) else { return "invalid position".into() };
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
        format!("{line}:{column}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one() {
        assert_eq!(Span::new(0, 1).line_column("abc"), "1:1");
        assert_eq!(Span::new(3, 3).line_column("abc"), "1:4");
        assert_eq!(Span::new(5, 6).line_column("ab\ncde"), "2:3");
        assert_eq!(Span::default().line_column(""), "unknown position");
        assert_eq!(Span::new(99, 100).line_column("ab"), "invalid position");
    }
}
