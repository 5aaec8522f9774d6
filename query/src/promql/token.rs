//! The words of the language: token kinds, the keyword table, and how a token is named in an error.

use super::number::go_quote;
use super::position::Span;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// End of the text.
    Eof,
    /// A lexical error; the token's text is its message.
    Error,
    /// A label or metric name without a colon.
    Identifier,
    /// A metric name with a colon.
    MetricIdentifier,
    /// A quoted string, quotes included.
    String,
    /// A number.
    Number,
    /// A duration such as `1h30m`.
    Duration,
    /// Punctuation; the text says which.
    Punctuation,
    /// An operator, by symbol or by name (`and`, `atan2`).
    Operator,
    /// The name of an aggregation.
    Aggregator,
    /// Any other reserved word.
    Keyword,
}

/// One word of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Its text as written; for [`Kind::Error`] the message.
    pub text: String,
    /// Its lower-cased text for operators, aggregators and keywords, else the text.
    pub word: String,
    /// Where it stands.
    pub span: Span,
}

/// Aggregation operators.
pub const AGGREGATORS: &[&str] = &[
    "avg",
    "bottomk",
    "count",
    "count_values",
    "group",
    "limit_ratio",
    "limitk",
    "max",
    "min",
    "quantile",
    "stddev",
    "stdvar",
    "sum",
    "topk",
];

/// Operators that are words.
pub const WORD_OPERATORS: &[&str] = &["and", "or", "unless", "atan2"];

/// Other reserved words.
pub const KEYWORDS: &[&str] = &[
    "offset",
    "smoothed",
    "anchored",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "start",
    "end",
    "step",
    "range",
    "fill",
    "fill_left",
    "fill_right",
];

impl Kind {
    /// The kind of an unquoted word.
    pub fn of_word(word: &str) -> Kind {
        if word.contains(':') {
            return Kind::MetricIdentifier;
        }
        let lower = word.to_ascii_lowercase();
        match lower.as_str() {
            "inf" | "nan" => Kind::Number,
            w if AGGREGATORS.contains(&w) => Kind::Aggregator,
            w if WORD_OPERATORS.contains(&w) => Kind::Operator,
            w if KEYWORDS.contains(&w) => Kind::Keyword,
            _ => Kind::Identifier,
        }
    }
}

impl Token {
    /// Whether this is the punctuation, operator or keyword `word`.
    pub fn is(&self, word: &str) -> bool {
        self.word == word && matches!(self.kind, Kind::Punctuation | Kind::Operator | Kind::Keyword | Kind::Aggregator)
    }

    /// Whether the token may be a metric name outside of braces.
    pub fn names_metric(&self) -> bool {
        match self.kind {
            Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregator => true,
            Kind::Operator => matches!(self.word.as_str(), "and" | "or" | "unless"),
            Kind::Keyword => !matches!(self.word.as_str(), "on" | "ignoring" | "group_left" | "group_right" | "bool"),
            Kind::Number => matches!(self.word.as_str(), "start" | "end"),
            _ => false,
        }
    }

    /// Whether the token may be a label name in a list of labels.
    pub fn names_label(&self) -> bool {
        match self.kind {
            Kind::Identifier | Kind::Aggregator | Kind::Keyword => true,
            Kind::Operator => WORD_OPERATORS.contains(&self.word.as_str()),
            Kind::Number => matches!(self.word.as_str(), "inf" | "nan"),
            _ => false,
        }
    }

    /// The token as an error names it: `number "1"`, `<op:*>`, `end of input`.
    pub fn describe(&self) -> String {
        match self.kind {
            Kind::Eof => "end of input".into(),
            Kind::Error => self.text.clone(),
            Kind::Identifier => format!("identifier {}", go_quote(self.text.as_bytes())),
            Kind::MetricIdentifier => format!("metric identifier {}", go_quote(self.text.as_bytes())),
            Kind::Keyword => format!("<{}>", self.text),
            Kind::Operator => format!("<op:{}>", self.text),
            Kind::Aggregator => format!("<aggr:{}>", self.text),
            Kind::String => format!("string {}", shortened(&self.text)),
            Kind::Number => format!("number {}", shortened(&self.text)),
            Kind::Duration => format!("duration {}", shortened(&self.text)),
            Kind::Punctuation => shortened(&self.text),
        }
    }
}

/// Quotes a token's text, cut after ten characters.
fn shortened(text: &str) -> String {
    if text.len() > 10 {
        let head: String = text.chars().take(10).collect();
        format!("{}...", go_quote(head.as_bytes()))
    } else {
        go_quote(text.as_bytes())
    }
}
