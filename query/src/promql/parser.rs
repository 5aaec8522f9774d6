//! Tokens to tree: precedence climbing over binary operators, then one function per kind of expression. Selectors are in
//! `parser_selector`, durations in `parser_duration`; types are checked afterwards by `check`.

use super::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, Matching, Number, Paren, StringLiteral, Unary,
    ValueType,
};
use super::literal::unquote;
use super::number::{go_quote, parse_duration_ms, parse_number};
use super::position::Span;
use super::token::{Kind, Token};
use super::{Features, functions, lexer};

/// How deep expressions may nest, so that no query can exhaust the stack.
const DEPTH_MAX: usize = 250;
/// How many operators may stand in one chain (`a or b or c …`), for the same reason.
const CHAIN_MAX: usize = 500;

/// A query that could not be read, with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: parse error: {message}")]
pub struct ParseError {
    /// `line:column`, counted from one.
    pub position: String,
    /// Where the trouble stands.
    pub span: Span,
    /// What is wrong, in Prometheus' words.
    pub message: String,
}

/// What went wrong and where, before the text is at hand.
pub(super) struct Trouble {
    pub(super) span: Span,
    pub(super) message: String,
}

pub(super) type Parsed<T> = Result<T, Trouble>;

pub(super) fn trouble<T>(span: Span, message: impl Into<String>) -> Parsed<T> {
    Err(Trouble { span, message: message.into() })
}

/// Parses and type-checks `text`.
pub fn parse_with(text: &str, features: &Features) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text, features);
    parser.query().and_then(|expr| super::check::check(&expr, features).map(|()| expr)).map_err(|t| t.at(text))
}

impl Trouble {
    pub(super) fn at(self, text: &str) -> ParseError {
        ParseError { position: self.span.line_column(text), span: self.span, message: self.message }
    }
}

pub(super) struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    pub(super) features: &'a Features,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &str, features: &'a Features) -> Parser<'a> {
        Parser { tokens: lexer::tokens(text), at: 0, depth: 0, features }
    }

    pub(super) fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    pub(super) fn peek_second(&self) -> &Token {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)]
    }

    pub(super) fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    /// Takes the token if it is `word`.
    pub(super) fn accept(&mut self, word: &str) -> Option<Span> {
        self.peek().is(word).then(|| self.next().span)
    }

    /// Takes `word` or complains.
    pub(super) fn expect(&mut self, word: &str, context: &str, expected: &str) -> Parsed<Span> {
        self.accept(word).map_or_else(|| self.unexpected(context, expected), Ok)
    }

    /// Complains about the next token.
    pub(super) fn unexpected<T>(&self, context: &str, expected: &str) -> Parsed<T> {
        let token = self.peek();
        if token.kind == Kind::Error {
            return trouble(token.span, token.text.clone());
        }
        let mut message = format!("unexpected {}", token.describe());
        if !context.is_empty() {
            message.push_str(" in ");
            message.push_str(context);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        trouble(token.span, message)
    }

    fn query(&mut self) -> Parsed<Expr> {
        if self.peek().kind == Kind::Eof {
            return trouble(Span::default(), "no expression found in input");
        }
        let expr = self.expression(0)?;
        if self.peek().kind != Kind::Eof {
            return self.unexpected("", "");
        }
        Ok(expr)
    }

    /// An expression whose operators all bind at least as tightly as `floor`.
    pub(super) fn expression(&mut self, floor: u8) -> Parsed<Expr> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return trouble(self.peek().span, format!("expression nests too deeply, at most {DEPTH_MAX} levels"));
        }
        let mut left = self.unary()?;
        let mut chain = 0;
        while let Some(op) = self.binary_operator() {
            let precedence = op.precedence();
            if precedence < floor {
                break;
            }
            chain += 1;
            if chain > CHAIN_MAX {
                return trouble(self.peek().span, format!("too many operators in a row, at most {CHAIN_MAX}"));
            }
            let op_span = self.next().span;
            let (return_bool, matching) = self.modifiers(op)?;
            // `^` groups to the right, everything else to the left.
            let right = self.expression(if op == BinaryOp::Pow { precedence } else { precedence + 1 })?;
            left = binary(op, op_span, left, right, return_bool, matching)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn binary_operator(&self) -> Option<BinaryOp> {
        let token = self.peek();
        if token.kind != Kind::Operator {
            return None;
        }
        BinaryOp::ALL.iter().find(|(_, symbol, _)| *symbol == token.word).map(|(op, ..)| *op)
    }

    /// `bool`, `on`/`ignoring`, `group_left`/`group_right`, `fill*` after an operator.
    fn modifiers(&mut self, op: BinaryOp) -> Parsed<(Option<Span>, Option<Matching>)> {
        let return_bool = self.accept("bool");
        let mut matching = Matching {
            cardinality: if op.is_set() { Cardinality::ManyToMany } else { Cardinality::OneToOne },
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        let mut given = false;
        let is_on = self.peek().is("on");
        if is_on || self.peek().is("ignoring") {
            self.next();
            (matching.on, given) = (is_on, true);
            matching.labels = self.grouping_labels()?;
            let group = self.peek().clone();
            if group.is("group_left") || group.is("group_right") {
                self.next();
                matching.cardinality =
                    if group.is("group_left") { Cardinality::ManyToOne } else { Cardinality::OneToMany };
                if self.peek().is("(") {
                    matching.include = self.grouping_labels()?;
                }
            }
        }
        while let Some(fill) = ["fill", "fill_left", "fill_right"].into_iter().find(|w| self.peek().is(w)) {
            let span = self.next().span;
            if !self.features.fill_modifiers {
                return trouble(span, "binop fill modifiers are experimental and not enabled");
            }
            if op.is_set() {
                return trouble(
                    span,
                    format!("filling in missing series not allowed for set operators, got {}", op.symbol()),
                );
            }
            let value = self.fill_value()?;
            given = true;
            if fill != "fill_right" && matching.fill_left.replace(value).is_some()
                || fill != "fill_left" && matching.fill_right.replace(value).is_some()
            {
                return trouble(span, "fill value may not be set multiple times");
            }
        }
        Ok((return_bool, (given || op.is_set()).then_some(matching)))
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        self.expect("(", "fill modifier", "\"(\"")?;
        let sign = self.peek().clone();
        let negative = sign.is("-");
        if negative || sign.is("+") {
            self.next();
        }
        let Expr::Number(number) = self.number()? else { return self.unexpected("fill modifier", "number") };
        self.expect(")", "fill modifier", "\")\"")?;
        Ok(if negative { -number.value } else { number.value })
    }

    /// `(a, b)` after `by`, `on` and their like.
    fn grouping_labels(&mut self) -> Parsed<Vec<String>> {
        self.expect("(", "grouping opts", "\"(\"")?;
        let mut labels = Vec::new();
        loop {
            if self.accept(")").is_some() {
                return Ok(labels);
            }
            let token = self.peek().clone();
            if token.names_label() {
                labels.push(token.text);
            } else if token.kind == Kind::String {
                let text = unquote(&token.text).or_else(|e| trouble(token.span, e))?;
                match text.as_str() {
                    Some(name) if !name.is_empty() => labels.push(name.into()),
                    _ => return trouble(token.span, format!("invalid label name for grouping: {}", text.quoted())),
                }
            } else {
                return self.unexpected("grouping opts", "label");
            }
            self.next();
            if self.accept(",").is_none() && !self.peek().is(")") {
                return self.unexpected("grouping opts", "\",\" or \")\"");
            }
        }
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let sign = self.peek().clone();
        if !sign.is("-") && !sign.is("+") {
            let expr = self.primary()?;
            return self.postfix(expr);
        }
        self.next();
        let minus = sign.is("-");
        // A sign binds looser than `^` and tighter than `*`.
        let expr = self.expression(BinaryOp::Pow.precedence())?;
        match expr {
            Expr::Number(mut n) => {
                if minus {
                    n.value = -n.value;
                }
                n.span.start = sign.span.start;
                Ok(Expr::Number(n))
            }
            expr => {
                let kind = expr.value_type();
                if !matches!(kind, ValueType::Scalar | ValueType::Vector) {
                    let got = go_quote(kind.documented().as_bytes());
                    let message = format!(
                        "unary expression only allowed on expressions of type scalar or instant vector, got {got}"
                    );
                    return trouble(sign.span.to(expr.span()), message);
                }
                Ok(Expr::Unary(Unary { minus, expr: Box::new(expr), start: sign.span.start }))
            }
        }
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let token = self.peek().clone();
        match token.kind {
            Kind::Number | Kind::Duration => self.number(),
            Kind::String => {
                self.next();
                let value = unquote(&token.text).or_else(|e| trouble(token.span, e))?;
                Ok(Expr::String(StringLiteral { value, span: token.span }))
            }
            Kind::Punctuation if token.is("(") => {
                self.next();
                let expr = self.expression(0)?;
                let end = self.expect(")", "", "")?;
                Ok(Expr::Paren(Paren { expr: Box::new(expr), span: token.span.to(end) }))
            }
            Kind::Punctuation if token.is("{") => self.selector(None),
            Kind::Aggregator => {
                let second = self.peek_second();
                if second.is("(") || second.is("by") || second.is("without") || !self.ends_metric(second) {
                    return self.aggregate();
                }
                self.selector(Some(token))
            }
            _ if self.peek_second().is("(") && matches!(token.kind, Kind::Identifier | Kind::Keyword) => {
                if token.kind == Kind::Keyword && functions::find(&token.word).is_none() {
                    return self.unexpected("", "");
                }
                self.call()
            }
            _ if token.names_metric() => self.selector(Some(token)),
            _ => self.unexpected("", ""),
        }
    }

    /// Whether `token` may follow a metric name, so that `sum` before it is a metric.
    fn ends_metric(&self, token: &Token) -> bool {
        matches!(token.kind, Kind::Eof | Kind::Error | Kind::Operator | Kind::Punctuation | Kind::Keyword)
    }

    pub(super) fn number(&mut self) -> Parsed<Expr> {
        let token = self.peek().clone();
        let (value, is_duration) = match token.kind {
            Kind::Number => (parse_number(&token.text), false),
            Kind::Duration => {
                let ms = parse_duration_ms(&token.text).or_else(|e| trouble(token.span, e))?;
                (Some(ms as f64 / 1000.0), true)
            }
            _ => return self.unexpected("", ""),
        };
        self.next();
        match value {
            Some(value) => Ok(Expr::Number(Number { value, is_duration, span: token.span })),
            None => trouble(token.span, format!("error parsing number: {}", go_quote(token.text.as_bytes()))),
        }
    }

    fn call(&mut self) -> Parsed<Expr> {
        let name = self.next();
        let (args, end) = self.arguments()?;
        let span = name.span.to(end);
        let Some(function) = functions::find(&name.text).or_else(|| functions::find(&name.word)) else {
            return trouble(name.span, format!("unknown function with name {}", go_quote(name.text.as_bytes())));
        };
        if function.experimental && !self.features.experimental_functions {
            let quoted = go_quote(name.text.as_bytes());
            return trouble(name.span, format!("function {quoted} is not enabled"));
        }
        Ok(Expr::Call(Call { function, args, span }))
    }

    fn arguments(&mut self) -> Parsed<(Vec<Expr>, Span)> {
        self.expect("(", "", "")?;
        let mut args = Vec::new();
        if let Some(end) = self.accept(")") {
            return Ok((args, end));
        }
        loop {
            args.push(self.expression(0)?);
            if let Some(end) = self.accept(")") {
                return Ok((args, end));
            }
            let Some(comma) = self.accept(",") else { return self.unexpected("", "") };
            if self.peek().is(")") {
                return trouble(comma, "trailing commas not allowed in function call args");
            }
        }
    }

    fn aggregate(&mut self) -> Parsed<Expr> {
        let name = self.next();
        let Some(op) = AggregateOp::from_name(&name.word) else { return self.unexpected("", "") };
        let (mut grouping, mut without, mut grouped) = (Vec::new(), false, false);
        if self.peek().is("by") || self.peek().is("without") {
            (without, grouped) = (self.next().word == "without", true);
            grouping = self.grouping_labels()?;
        }
        let (mut args, mut end) = self.arguments()?;
        if !grouped && (self.peek().is("by") || self.peek().is("without")) {
            without = self.next().word == "without";
            grouping = self.grouping_labels()?;
            end = self.tokens[self.at - 1].span;
        }
        let span = name.span.to(end);
        if op.is_experimental() && !self.features.experimental_functions {
            return trouble(
                span,
                format!(
                    "{}() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
                    op.name()
                ),
            );
        }
        let wanted = 1 + usize::from(op.param_type().is_some());
        if args.is_empty() {
            return trouble(span, "no arguments for aggregate expression provided");
        }
        if args.len() != wanted {
            let got = args.len();
            let message =
                format!("wrong number of arguments for aggregate expression provided, expected {wanted}, got {got}");
            return trouble(span, message);
        }
        let expr = args.pop().map(Box::new);
        let param = args.pop().map(Box::new);
        match expr {
            Some(expr) => Ok(Expr::Aggregate(Aggregate { op, param, expr, grouping, without, span })),
            None => trouble(span, "no arguments for aggregate expression provided"),
        }
    }
}

/// Joins two sides; scalars and vectors need not be told apart by the grammar, so what does not fit is refused here.
fn binary(
    op: BinaryOp,
    op_span: Span,
    left: Expr,
    right: Expr,
    return_bool: Option<Span>,
    mut matching: Option<Matching>,
) -> Parsed<Expr> {
    if return_bool.is_some() && !op.is_comparison() {
        return trouble(op_span, "bool modifier can only be used on comparison operators");
    }
    let (l, r) = (left.value_type(), right.value_type());
    if op.is_comparison() && return_bool.is_none() && l == ValueType::Scalar && r == ValueType::Scalar {
        return trouble(op_span, "comparisons between scalars must use BOOL modifier");
    }
    if let Some(m) = matching.as_ref().filter(|m| m.on)
        && let Some(twice) = m.include.iter().find(|l| m.labels.contains(l))
    {
        let quoted = go_quote(twice.as_bytes());
        return trouble(op_span, format!("label {quoted} must not occur in ON and GROUP clause at once"));
    }
    let whole = left.span().to(right.span());
    for (side, kind) in [(&left, l), (&right, r)] {
        if !matches!(kind, ValueType::Scalar | ValueType::Vector) {
            return trouble(side.span(), "binary expression must contain only scalar and instant vector types");
        }
    }
    let symbol = go_quote(op.symbol().as_bytes());
    if l == ValueType::Scalar || r == ValueType::Scalar {
        if matching.as_ref().is_some_and(|m| !m.labels.is_empty()) {
            return trouble(whole, "vector matching only allowed between instant vectors");
        }
        if matching.as_ref().is_some_and(|m| m.fill_left.is_some() || m.fill_right.is_some()) {
            return trouble(whole, "filling in missing series only allowed between instant vectors");
        }
        if op.is_set() {
            return trouble(whole, format!("set operator {symbol} not allowed in binary scalar expression"));
        }
        matching = None;
    } else if op.is_set() && matching.as_ref().is_some_and(|m| m.cardinality != Cardinality::ManyToMany) {
        return trouble(whole, format!("no grouping allowed for {symbol} operation"));
    } else if matching.is_none() {
        matching = Some(Matching {
            cardinality: Cardinality::OneToOne,
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        });
    }
    Ok(Expr::Binary(Binary {
        op,
        left: Box::new(left),
        right: Box::new(right),
        return_bool: return_bool.is_some(),
        matching,
    }))
}
