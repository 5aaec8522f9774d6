//! What rows of interest must have in their text columns, so that a scan can leave out what cannot have it.

use super::grams::fold;

/// A longer text is looked for by its beginning, bytes.
const CONTAINED_BYTES_MAX: usize = 256;

/// A condition that every row of interest meets. A scan gives all rows that meet it and most often others too: who asks
/// compares again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// All of these; without any: nothing is needed.
    All(Vec<Need>),
    /// One of these; without any: no row is of interest.
    Any(Vec<Need>),
    /// A column's text contains this one, whatever the case of ASCII letters in either.
    Contains {
        /// Index into [`proto::Table::columns`].
        column: usize,
        /// The text, its case folded.
        folded: Vec<u8>,
    },
    /// A column is one of these texts.
    OneOf {
        /// Index into [`proto::Table::columns`].
        column: usize,
        /// The texts.
        texts: Vec<String>,
    },
}

impl Default for Need {
    /// Nothing is needed.
    fn default() -> Need {
        Need::All(Vec::new())
    }
}

impl Need {
    /// That a column's text contains `text`. With `any_case`, whatever the case of any of its letters: then only its ASCII
    /// characters count, because others change their length.
    pub fn contains(column: usize, text: &str, any_case: bool) -> Need {
        let runs = text.split(|c: char| any_case && !c.is_ascii()).filter(|run| !run.is_empty());
        Need::all(runs.map(|run| {
            let mut folded = Vec::with_capacity(run.len());
            fold(run, &mut folded);
            folded.truncate(CONTAINED_BYTES_MAX);
            Need::Contains { column, folded }
        }))
    }

    /// Whether a scan takes one of these characters for the other.
    pub fn folds_alike(a: char, b: char) -> bool {
        let folded = |c: char| {
            let mut out = Vec::with_capacity(4);
            fold(c.encode_utf8(&mut [0; 4]), &mut out);
            out
        };
        folded(a) == folded(b)
    }

    /// That all hold.
    pub fn all(needs: impl IntoIterator<Item = Need>) -> Need {
        let mut list = Vec::new();
        for need in needs {
            match need {
                Need::All(more) => list.extend(more),
                other => list.push(other),
            }
        }
        match list.len() {
            1 => list.remove(0),
            _ => Need::All(list),
        }
    }

    /// That one of them holds.
    pub fn any(needs: impl IntoIterator<Item = Need>) -> Need {
        let list: Vec<Need> = needs.into_iter().collect();
        if list.iter().any(Need::is_nothing) { Need::default() } else { Need::Any(list) }
    }

    /// Whether every row meets it.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Need::All(list) if list.is_empty())
    }

    /// Whether rows may meet it, of which `contains` and `one_of` say whether they may.
    pub(crate) fn may_be_met(
        &self,
        contains: &dyn Fn(usize, &[u8]) -> bool,
        one_of: &dyn Fn(usize, &[String]) -> bool,
    ) -> bool {
        match self {
            Need::All(list) => list.iter().all(|need| need.may_be_met(contains, one_of)),
            Need::Any(list) => list.iter().any(|need| need.may_be_met(contains, one_of)),
            Need::Contains { column, folded } => contains(*column, folded),
            Need::OneOf { column, texts } => one_of(*column, texts),
        }
    }

    /// The columns that are to be one of some texts.
    pub(crate) fn exact_columns(&self, out: &mut Vec<usize>) {
        match self {
            Need::All(list) | Need::Any(list) => list.iter().for_each(|need| need.exact_columns(out)),
            Need::OneOf { column, .. } if !out.contains(column) => out.push(*column),
            Need::OneOf { .. } | Need::Contains { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(need: &Need, text: &str) -> bool {
        let mut folded = Vec::new();
        fold(text, &mut folded);
        let has = |_: usize, part: &[u8]| part.is_empty() || folded.windows(part.len()).any(|w| w == part);
        need.may_be_met(&has, &|_, texts| texts.iter().any(|t| t == text))
    }

    #[test]
    fn needs_are_simplified_and_judged() {
        let c = |text: &str| Need::contains(6, text, false);
        let cases = [
            (Need::default(), "", true),
            (Need::Any(Vec::new()), "anything", false),
            (c("Dead"), "a DEADLOCK", true),
            (c("dead"), "alive", false),
            (Need::all([c("a"), c("b")]), "ab", true),
            (Need::all([c("a"), c("b")]), "a", false),
            (Need::any([c("a"), c("b")]), "b", true),
            (Need::any([c("a"), Need::default()]), "", true),
            (Need::contains(6, "caf\u{e9} noir", true), "CAF\u{c9} NOIR", true),
            (Need::contains(6, "caf\u{e9} noir", true), "caf", false),
            (Need::OneOf { column: 6, texts: vec!["x".into()] }, "xx", false),
        ];
        for (need, text, expected) in cases {
            assert_eq!(met(&need, text), expected, "{need:?} {text:?}");
        }
        assert!(Need::all([Need::default(), Need::contains(6, "", false)]).is_nothing());
        assert_eq!(Need::all([c("a")]), c("a"));
    }
}
