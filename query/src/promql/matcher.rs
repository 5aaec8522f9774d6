//! Label matchers: `name="value"`, `!=`, `=~`, `!~`; expressions are anchored and have RE2's meaning.

use std::fmt;

use regex::Regex;

use super::number::go_quote;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Eq,
    /// `!=`
    Ne,
    /// `=~`
    Re,
    /// `!~`
    Nre,
}

impl MatchOp {
    /// The operator's symbol.
    pub fn symbol(self) -> &'static str {
        match self {
            MatchOp::Eq => "=",
            MatchOp::Ne => "!=",
            MatchOp::Re => "=~",
            MatchOp::Nre => "!~",
        }
    }
}

/// One condition on one label; an absent label has the empty value.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    regex: Option<Regex>,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Matcher) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl Matcher {
    /// A matcher; the error says what is wrong with the regular expression.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Matcher, String> {
        let regex = match op {
            MatchOp::Re | MatchOp::Nre => Some(super::pattern::anchored(value)?),
            MatchOp::Eq | MatchOp::Ne => None,
        };
        Ok(Matcher { name: name.into(), op, value: value.into(), regex })
    }

    /// The label.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The comparison.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The value or the regular expression as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The value for an engine that knows Rust's regular expressions only: what is spelled otherwise there is rewritten.
    pub fn rust_value(&self) -> String {
        match self.op {
            MatchOp::Re | MatchOp::Nre => super::pattern::translate(&self.value),
            MatchOp::Eq | MatchOp::Ne => self.value.clone(),
        }
    }

    /// The regular expression, compiled and anchored at both ends, if it compares with one.
    pub fn regex(&self) -> Option<&Regex> {
        self.regex.as_ref()
    }

    /// Whether a label value meets the condition.
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.regex) {
            (MatchOp::Eq, _) => value == self.value,
            (MatchOp::Ne, _) => value != self.value,
            (MatchOp::Re, Some(regex)) => regex.is_match(value),
            (MatchOp::Nre, Some(regex)) => !regex.is_match(value),
            (_, None) => false,
        }
    }

    /// Whether a series without the label meets the condition.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if is_plain_name(&self.name) { self.name.clone() } else { go_quote(self.name.as_bytes()) };
        write!(f, "{name}{}{}", self.op.symbol(), go_quote(self.value.as_bytes()))
    }
}

/// Whether a label name may stand without quotes.
pub fn is_plain_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a metric name may stand without quotes.
pub fn is_plain_metric_name(name: &str) -> bool {
    is_plain_name(&name.replace(':', "_")) && !name.is_empty()
}
