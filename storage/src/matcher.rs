//! A label matcher: one condition of a selector, with its regex compiled once.

use regex::Regex;

/// Largest compiled regex, bytes: bounds what one query can make us hold.
pub const REGEX_BYTES_MAX: usize = 1 << 20;
/// Longest list of plain alternatives kept as a set instead of a regex.
pub const ALTERNATIVES_MAX: usize = 1024;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// As PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }
}

/// Why a matcher can't be made.
#[derive(Debug, thiserror::Error)]
pub enum MatcherError {
    /// Not a regular expression, or one too large.
    #[error("matcher {name}{op}{pattern:?}: {source}", op = op.as_str())]
    Regex {
        /// Label.
        name: String,
        /// Comparison.
        op: MatchOp,
        /// What was given.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: Box<regex::Error>,
    },
}

/// What a pattern boils down to.
#[derive(Clone, Debug)]
enum Test {
    /// Exactly this.
    Literal,
    /// Any of these; sorted, distinct.
    Set(Vec<String>),
    /// Anything at all.
    Anything,
    /// Anything but nothing.
    NotEmpty,
    /// Begins with this (`prefix.*`).
    Prefix(String),
    /// A real regex, anchored at both ends.
    Regex(Regex),
}

/// One condition on one label. A label that a series does not have counts as the empty string.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    test: Test,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Matcher) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Matcher {
    /// A matcher; a regex is anchored at both ends and its dot matches newlines, as in Prometheus.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Matcher, MatcherError> {
        let test = match op {
            MatchOp::Equal | MatchOp::NotEqual => Test::Literal,
            MatchOp::Regex | MatchOp::NotRegex => compile(value).map_err(|source| MatcherError::Regex {
                name: name.into(),
                op,
                pattern: value.into(),
                source: Box::new(source),
            })?,
        };
        Ok(Matcher { name: name.into(), op, value: value.into(), test })
    }

    /// A matcher of `pattern` that somebody compiled already, anchored at both ends, its dot matching newlines.
    pub fn compiled(name: &str, op: MatchOp, pattern: &str, regex: Regex) -> Matcher {
        Matcher { name: name.into(), op, value: pattern.into(), test: shortened(pattern, regex) }
    }

    /// `name="value"`.
    pub fn equal(name: &str, value: &str) -> Matcher {
        Matcher { name: name.into(), op: MatchOp::Equal, value: value.into(), test: Test::Literal }
    }

    /// The label it looks at.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// What it compares with, as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label's value fulfils it; pass the empty string for a label that is not there.
    pub fn matches(&self, value: &str) -> bool {
        match self.op {
            MatchOp::Equal => value == self.value,
            MatchOp::NotEqual => value != self.value,
            MatchOp::Regex => self.test(value),
            MatchOp::NotRegex => !self.test(value),
        }
    }

    /// Whether a series without the label fulfils it.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// All values that can fulfil it, if they are a short list: the way into the postings. `None`: any value might.
    pub fn literals(&self) -> Option<Vec<&str>> {
        match (self.op, &self.test) {
            (MatchOp::Equal, _) => Some(vec![&self.value]),
            (MatchOp::Regex, Test::Set(set)) => Some(set.iter().map(String::as_str).collect()),
            _ => None,
        }
    }

    /// What every value that fulfils it begins with; empty if nothing is known.
    pub fn prefix(&self) -> &str {
        match (self.op, &self.test) {
            (MatchOp::Equal, _) => &self.value,
            (MatchOp::Regex, Test::Prefix(prefix)) => prefix,
            (MatchOp::Regex, Test::Regex(_)) => literal_prefix(&self.value),
            _ => "",
        }
    }

    fn test(&self, value: &str) -> bool {
        match &self.test {
            Test::Literal => value == self.value,
            Test::Set(set) => set.binary_search_by(|s| s.as_str().cmp(value)).is_ok(),
            Test::Anything => true,
            Test::NotEmpty => !value.is_empty(),
            Test::Prefix(prefix) => value.starts_with(prefix.as_str()),
            Test::Regex(regex) => regex.is_match(value),
        }
    }
}

impl std::fmt::Display for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op.as_str(), self.value)
    }
}

fn is_meta(c: char) -> bool {
    matches!(c, '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$')
}

fn compile(pattern: &str) -> Result<Test, regex::Error> {
    // Compiled in every case, so that what is wrong is wrong however it could have been shortened.
    regex::RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build()?; // alone: a stray ')' must not end our group
    let regex = regex::RegexBuilder::new(&format!("^(?s:{pattern})$")).size_limit(REGEX_BYTES_MAX).build()?;
    Ok(shortened(pattern, regex))
}

/// What a pattern boils down to, if that is less than its regex.
fn shortened(pattern: &str, regex: Regex) -> Test {
    let plain = |s: &str| !s.contains(is_meta);
    match pattern {
        ".*" => Test::Anything,
        ".+" => Test::NotEmpty,
        p if p.split('|').all(plain) && p.split('|').count() <= ALTERNATIVES_MAX => {
            let mut set: Vec<String> = p.split('|').map(Into::into).collect();
            set.sort();
            set.dedup();
            Test::Set(set)
        }
        p => match p.strip_suffix(".*") {
            Some(prefix) if plain(prefix) => Test::Prefix(prefix.into()),
            _ => Test::Regex(regex),
        },
    }
}

/// The plain characters a pattern begins with, as far as they bind every alternative.
fn literal_prefix(pattern: &str) -> &str {
    if pattern.contains('|') {
        return ""; // an alternative may begin otherwise
    }
    let end = pattern.find(is_meta).unwrap_or(pattern.len());
    match pattern[end..].chars().next() {
        // the last character is optional or repeated: it does not bind
        Some('?' | '*' | '{') => pattern[..end].char_indices().next_back().map_or("", |(at, _)| &pattern[..at]),
        _ => &pattern[..end],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn matches_as_prometheus_does() {
        use MatchOp::{Equal, NotEqual, NotRegex, Regex};
        let cases: &[(MatchOp, &str, &[&str], &[&str])] = &[
            (Equal, "a", &["a"], &["", "b", "aa"]),
            (Equal, "", &[""], &["a"]),
            (NotEqual, "", &["a"], &[""]),
            (Regex, ".*", &["", "a", "a\nb"], &[]),
            (Regex, ".+", &["a", "\n"], &[""]),
            (Regex, "", &[""], &["a"]),
            (Regex, "a|b", &["a", "b"], &["", "ab", "c"]),
            (Regex, "a|", &["a", ""], &["b"]),
            (Regex, "node_.*", &["node_", "node_cpu", "node_a\nb"], &["xnode_", "node"]),
            (Regex, "5..", &["500", "5\n1"], &["5000", "400"]),
            (Regex, "a.c|d", &["abc", "d"], &["abcd", "ad"]),
            (Regex, "(?i)up", &["UP", "up"], &["upp"]),
            (NotRegex, "a|b", &["", "c"], &["a", "b"]),
        ];
        for (op, value, yes, no) in cases {
            let matcher = Matcher::new("l", *op, value).unwrap();
            for v in *yes {
                assert!(matcher.matches(v), "{matcher} should match {v:?}");
                assert!(v.starts_with(matcher.prefix()), "{matcher} prefix {:?} of {v:?}", matcher.prefix());
                assert!(matcher.literals().is_none_or(|l| l.contains(v)), "{matcher} literals lack {v:?}");
            }
            for v in *no {
                assert!(!matcher.matches(v), "{matcher} should not match {v:?}");
            }
        }
    }

    #[test]
    fn prefixes_bind() {
        for (pattern, prefix) in
            [("ab?c", "a"), ("ab*", "a"), ("ab+", "ab"), ("abc.+", "abc"), ("a|b.", ""), ("é?x", ""), ("ab{0}c", "a")]
        {
            assert_eq!(Matcher::new("l", MatchOp::Regex, pattern).unwrap().prefix(), prefix, "{pattern}");
        }
    }

    #[test]
    fn a_bad_regex_says_where() {
        let error = Matcher::new("job", MatchOp::Regex, "a(").unwrap_err().to_string();
        assert!(error.starts_with("matcher job=~\"a(\": "), "{error}");
        assert!(Matcher::new("job", MatchOp::Regex, "(a{1000}){1000}").is_err());
        assert!(Matcher::new("job", MatchOp::Regex, "a)|(b").is_err(), "must not escape its anchors");
    }
}
