//! The tree a query is parsed into. Every node knows where it stands in the text; durations stay expressions until the
//! evaluation knows step and range.

use super::literal::Text;
use super::matcher::Matcher;
use super::position::Span;

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One number a step.
    Scalar,
    /// A string.
    String,
    /// A set of series with one sample a step.
    Vector,
    /// A set of series with a window of samples a step.
    Matrix,
}

impl ValueType {
    /// The type as error messages name it.
    pub fn documented(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::String => "string",
            ValueType::Vector => "instant vector",
            ValueType::Matrix => "range vector",
        }
    }

    /// The type as the HTTP API names it.
    pub fn api_name(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::String => "string",
            ValueType::Vector => "vector",
            ValueType::Matrix => "matrix",
        }
    }
}

/// Any expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `1.5`, or a duration standing for its seconds.
    Number(Number),
    /// `"text"`.
    String(StringLiteral),
    /// `metric{label="x"} offset 5m`.
    Selector(Selector),
    /// `metric[5m]`.
    Matrix(MatrixSelector),
    /// `expr[1h:5m]`.
    Subquery(Subquery),
    /// `rate(x[5m])`.
    Call(Call),
    /// `sum by (job) (x)`.
    Aggregate(Aggregate),
    /// `a + b`.
    Binary(Binary),
    /// `-a`.
    Unary(Unary),
    /// `(a)`.
    Paren(Paren),
}

/// A number literal.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    /// Its value; seconds if it was written as a duration.
    pub value: f64,
    /// Whether it was written as a duration.
    pub is_duration: bool,
    /// Where it stands.
    pub span: Span,
}

/// A string literal.
#[derive(Clone, Debug, PartialEq)]
pub struct StringLiteral {
    /// Its value.
    pub value: Text,
    /// Where it stands.
    pub span: Span,
}

/// The `@` modifier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    /// A fixed time, in milliseconds since the epoch.
    Time(i64),
    /// The first step of the query.
    Start,
    /// The last step of the query.
    End,
}

/// How a selector treats the edges of its window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edges {
    /// Only what lies inside.
    #[default]
    Inside,
    /// The sample before the window counts as its beginning.
    Anchored,
    /// Values at the edges are interpolated.
    Smoothed,
}

/// An instant vector selector.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// The metric name if it stood before the braces or as a bare string inside them.
    pub name: Option<String>,
    /// All matchers, that of the name included.
    pub matchers: Vec<Matcher>,
    /// How far to look back, as written.
    pub offset: Option<DurationExpr>,
    /// A fixed evaluation time.
    pub at: Option<At>,
    /// Edge treatment.
    pub edges: Edges,
    /// Where it stands, modifiers included.
    pub span: Span,
}

/// A range vector selector; offset and `@` are those of the inner selector.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// What is selected.
    pub selector: Selector,
    /// The length of the window.
    pub range: DurationExpr,
    /// Where it stands.
    pub span: Span,
}

/// A subquery.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What is evaluated inside.
    pub expr: Box<Expr>,
    /// The length of the window.
    pub range: DurationExpr,
    /// The resolution; the engine's default if absent.
    pub step: Option<DurationExpr>,
    /// How far to look back.
    pub offset: Option<DurationExpr>,
    /// A fixed evaluation time.
    pub at: Option<At>,
    /// Where it stands.
    pub span: Span,
}

/// A function call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function.
    pub function: &'static super::functions::Function,
    /// Its arguments.
    pub args: Vec<Expr>,
    /// Where it stands.
    pub span: Span,
}

/// An aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Which one.
    pub op: AggregateOp,
    /// The parameter of `topk` and its like.
    pub param: Option<Box<Expr>>,
    /// What is aggregated.
    pub expr: Box<Expr>,
    /// The labels after `by` or `without`.
    pub grouping: Vec<String>,
    /// Whether it was `without`.
    pub without: bool,
    /// Where it stands.
    pub span: Span,
}

/// Aggregation operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum AggregateOp {
    Avg,
    Bottomk,
    Count,
    CountValues,
    Group,
    LimitRatio,
    Limitk,
    Max,
    Min,
    Quantile,
    Stddev,
    Stdvar,
    Sum,
    Topk,
}

impl AggregateOp {
    /// All operators with the words that spell them.
    pub const ALL: [(AggregateOp, &'static str); 14] = [
        (AggregateOp::Avg, "avg"),
        (AggregateOp::Bottomk, "bottomk"),
        (AggregateOp::Count, "count"),
        (AggregateOp::CountValues, "count_values"),
        (AggregateOp::Group, "group"),
        (AggregateOp::LimitRatio, "limit_ratio"),
        (AggregateOp::Limitk, "limitk"),
        (AggregateOp::Max, "max"),
        (AggregateOp::Min, "min"),
        (AggregateOp::Quantile, "quantile"),
        (AggregateOp::Stddev, "stddev"),
        (AggregateOp::Stdvar, "stdvar"),
        (AggregateOp::Sum, "sum"),
        (AggregateOp::Topk, "topk"),
    ];

    /// The word that spells it.
    pub fn name(self) -> &'static str {
        AggregateOp::ALL.iter().find(|(op, _)| *op == self).map_or("", |(_, name)| name)
    }

    /// The operator `word` spells.
    pub fn from_name(word: &str) -> Option<AggregateOp> {
        AggregateOp::ALL.iter().find(|(_, name)| *name == word).map(|(op, _)| *op)
    }

    /// The type of the parameter, if the operator has one.
    pub fn param_type(self) -> Option<ValueType> {
        match self {
            AggregateOp::CountValues => Some(ValueType::String),
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Quantile => Some(ValueType::Scalar),
            AggregateOp::Limitk | AggregateOp::LimitRatio => Some(ValueType::Scalar),
            _ => None,
        }
    }

    /// Whether the operator is experimental.
    pub fn is_experimental(self) -> bool {
        matches!(self, AggregateOp::Limitk | AggregateOp::LimitRatio)
    }
}

/// A binary operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Left side.
    pub left: Box<Expr>,
    /// Right side.
    pub right: Box<Expr>,
    /// Whether `bool` stood after the operator.
    pub return_bool: bool,
    /// How series find each other, if both sides are vectors.
    pub matching: Option<Matching>,
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
    Unless,
    TrimUpper,
    TrimLower,
}

impl BinaryOp {
    /// All operators with symbol and precedence (higher binds tighter).
    pub const ALL: [(BinaryOp, &'static str, u8); 18] = [
        (BinaryOp::Or, "or", 1),
        (BinaryOp::And, "and", 2),
        (BinaryOp::Unless, "unless", 2),
        (BinaryOp::Eq, "==", 3),
        (BinaryOp::Ne, "!=", 3),
        (BinaryOp::Lt, "<", 3),
        (BinaryOp::Le, "<=", 3),
        (BinaryOp::Gt, ">", 3),
        (BinaryOp::Ge, ">=", 3),
        (BinaryOp::TrimUpper, "</", 3),
        (BinaryOp::TrimLower, ">/", 3),
        (BinaryOp::Add, "+", 4),
        (BinaryOp::Sub, "-", 4),
        (BinaryOp::Mul, "*", 5),
        (BinaryOp::Div, "/", 5),
        (BinaryOp::Mod, "%", 5),
        (BinaryOp::Atan2, "atan2", 5),
        (BinaryOp::Pow, "^", 6),
    ];

    /// Symbol and precedence.
    fn entry(self) -> (&'static str, u8) {
        BinaryOp::ALL.iter().find(|(op, ..)| *op == self).map_or(("", 0), |(_, s, p)| (s, *p))
    }

    /// The operator's symbol.
    pub fn symbol(self) -> &'static str {
        self.entry().0
    }

    /// How tightly it binds.
    pub fn precedence(self) -> u8 {
        self.entry().1
    }

    /// Whether it compares.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::{Eq, Ge, Gt, Le, Lt, Ne};
        matches!(self, Eq | Ne | Lt | Le | Gt | Ge)
    }

    /// Whether it is `and`, `or` or `unless`.
    pub fn is_set(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }

    /// Whether the result loses the metric name.
    pub fn drops_name(self) -> bool {
        !self.is_comparison() && !self.is_set() && !matches!(self, BinaryOp::TrimUpper | BinaryOp::TrimLower)
    }
}

/// How many series of one side meet how many of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    /// One to one.
    OneToOne,
    /// `group_left`.
    ManyToOne,
    /// `group_right`.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// Vector matching.
#[derive(Clone, Debug, PartialEq)]
pub struct Matching {
    /// How many meet how many.
    pub cardinality: Cardinality,
    /// The labels after `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Whether it was `on`.
    pub on: bool,
    /// The labels after `group_left` or `group_right`.
    pub include: Vec<String>,
    /// The value for a missing left side.
    pub fill_left: Option<f64>,
    /// The value for a missing right side.
    pub fill_right: Option<f64>,
}

/// A sign.
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// Whether it is a minus.
    pub minus: bool,
    /// What it applies to.
    pub expr: Box<Expr>,
    /// Where the sign stands.
    pub start: usize,
}

/// Parentheses.
#[derive(Clone, Debug, PartialEq)]
pub struct Paren {
    /// What they hold.
    pub expr: Box<Expr>,
    /// Where they stand.
    pub span: Span,
}

/// A duration, possibly to be computed.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationExpr {
    /// A literal, in seconds; true if it was written with units.
    Literal(f64, bool, Span),
    /// `step()` of the query.
    Step(Span),
    /// `range()` of the query.
    Range(Span),
    /// A sign.
    Unary(bool, Box<DurationExpr>, Span),
    /// Arithmetic.
    Binary(BinaryOp, Box<DurationExpr>, Box<DurationExpr>),
    /// `min(a, b)`; `max(a, b)` if true.
    Extreme(bool, Box<DurationExpr>, Box<DurationExpr>, Span),
    /// Parentheses.
    Paren(Box<DurationExpr>, Span),
}

impl DurationExpr {
    /// Where it stands.
    pub fn span(&self) -> Span {
        match self {
            DurationExpr::Literal(_, _, s) | DurationExpr::Step(s) | DurationExpr::Range(s) => *s,
            DurationExpr::Unary(_, _, s) | DurationExpr::Extreme(_, _, _, s) | DurationExpr::Paren(_, s) => *s,
            DurationExpr::Binary(_, a, b) => a.span().to(b.span()),
        }
    }
}

impl Expr {
    /// Where the expression stands.
    pub fn span(&self) -> Span {
        match self {
            Expr::Number(e) => e.span,
            Expr::String(e) => e.span,
            Expr::Selector(e) => e.span,
            Expr::Matrix(e) => e.span,
            Expr::Subquery(e) => e.span,
            Expr::Call(e) => e.span,
            Expr::Aggregate(e) => e.span,
            Expr::Binary(e) => e.left.span().to(e.right.span()),
            Expr::Unary(e) => Span::new(e.start, e.expr.span().end),
            Expr::Paren(e) => e.span,
        }
    }

    /// What the expression evaluates to.
    pub fn value_type(&self) -> ValueType {
        match self {
            Expr::Number(_) => ValueType::Scalar,
            Expr::String(_) => ValueType::String,
            Expr::Selector(_) | Expr::Aggregate(_) => ValueType::Vector,
            Expr::Matrix(_) | Expr::Subquery(_) => ValueType::Matrix,
            Expr::Call(e) => e.function.returns,
            Expr::Unary(e) => e.expr.value_type(),
            Expr::Paren(e) => e.expr.value_type(),
            Expr::Binary(e) => match (e.left.value_type(), e.right.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
        }
    }

    /// The expression without parentheses around it.
    pub fn unparen(&self) -> &Expr {
        match self {
            Expr::Paren(p) => p.expr.unparen(),
            other => other,
        }
    }

    /// The expressions directly below.
    pub fn children(&self) -> Vec<&Expr> {
        match self {
            Expr::Number(_) | Expr::String(_) | Expr::Selector(_) | Expr::Matrix(_) => Vec::new(),
            Expr::Subquery(e) => vec![&e.expr],
            Expr::Call(e) => e.args.iter().collect(),
            Expr::Aggregate(e) => e.param.iter().map(|p| &**p).chain([&*e.expr]).collect(),
            Expr::Binary(e) => vec![&e.left, &e.right],
            Expr::Unary(e) => vec![&e.expr],
            Expr::Paren(e) => vec![&e.expr],
        }
    }
}
