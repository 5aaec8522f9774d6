//! Selectors and what may follow an expression: `[range]`, `[range:step]`, `offset`, `@`, `anchored`, `smoothed`.

use proto::labels::METRIC_NAME;

use super::ast::{At, Edges, Expr, MatrixSelector, Selector, Subquery, ValueType};
use super::literal::{Text, unquote};
use super::matcher::{MatchOp, Matcher};
use super::number::{go_quote, parse_duration_ms, parse_number};
use super::parser::{Parsed, Parser, trouble};
use super::position::Span;
use super::token::{Kind, Token};

impl Parser<'_> {
    /// A selector that begins with a metric name or a brace.
    pub(super) fn selector(&mut self, name: Option<Token>) -> Parsed<Expr> {
        let start = self.peek().span;
        let mut selector =
            Selector { name: None, matchers: Vec::new(), offset: None, at: None, edges: Edges::Inside, span: start };
        if let Some(token) = name {
            self.next();
            selector.name = Some(token.text);
        }
        if self.peek().is("{") {
            self.next();
            self.braces(&mut selector)?;
        }
        if let Some(name) = &selector.name {
            let matcher = Matcher::new(METRIC_NAME, MatchOp::Eq, name).or_else(|e| trouble(start, e))?;
            selector.matchers.push(matcher);
        }
        Ok(Expr::Selector(selector))
    }

    /// Matchers up to the closing brace.
    fn braces(&mut self, selector: &mut Selector) -> Parsed<()> {
        loop {
            let token = self.peek().clone();
            if let Some(end) = self.accept("}") {
                selector.span = selector.span.to(end);
                return Ok(());
            }
            let label: Text = match token.kind {
                Kind::Identifier => Text::from(token.text.as_str()),
                Kind::String => unquote(&token.text).or_else(|e| trouble(token.span, e))?,
                _ => return self.unexpected("label matching", "identifier or \"}\""),
            };
            self.next();
            let Some(label) = label.as_str() else { return trouble(token.span, "invalid UTF-8 in label name") };
            if token.kind == Kind::String && (self.peek().is(",") || self.peek().is("}")) {
                if selector.name.as_ref().is_some_and(|n| !n.is_empty()) {
                    let (old, new) = (selector.name.clone().unwrap_or_default(), label);
                    return trouble(token.span, twice(&old, new));
                }
                selector.name = Some(label.into());
            } else {
                let matcher = self.matcher(label, token.span)?;
                selector.matchers.push(matcher);
            }
            if self.accept(",").is_none() && !self.peek().is("}") {
                return self.unexpected("label matching", "\",\" or \"}\"");
            }
        }
    }

    fn matcher(&mut self, label: &str, start: Span) -> Parsed<Matcher> {
        let op = match self.peek().word.as_str() {
            "=" => MatchOp::Eq,
            "!=" => MatchOp::Ne,
            "=~" => MatchOp::Re,
            "!~" => MatchOp::Nre,
            _ => return self.unexpected("label matching", "label matching operator"),
        };
        self.next();
        let value = self.peek().clone();
        if value.kind != Kind::String {
            return self.unexpected("label matching", "string");
        }
        self.next();
        let text = unquote(&value.text).or_else(|e| trouble(value.span, e))?;
        let Some(text) = text.as_str() else {
            return trouble(value.span, format!("invalid UTF-8 in label value {}", text.quoted()));
        };
        Matcher::new(label, op, text).or_else(|e| trouble(start.to(value.span), e))
    }

    /// Whatever may follow an expression.
    pub(super) fn postfix(&mut self, mut expr: Expr) -> Parsed<Expr> {
        loop {
            let token = self.peek().clone();
            if token.is("[") {
                expr = self.brackets(expr)?;
            } else if token.is("offset") {
                self.next();
                self.offset(&mut expr)?;
            } else if token.is("@") {
                self.next();
                self.at_modifier(&mut expr)?;
            } else if token.is("anchored") || token.is("smoothed") {
                self.next();
                self.edges(&mut expr, &token)?;
            } else {
                return Ok(expr);
            }
        }
    }

    fn brackets(&mut self, expr: Expr) -> Parsed<Expr> {
        let bracket = self.next().span;
        let range = self.duration("subquery or range selector")?;
        if let Some(end) = self.accept("]") {
            let span = expr.span().to(end);
            let Expr::Selector(selector) = expr else {
                return trouble(bracket, "ranges only allowed for vector selectors");
            };
            if selector.offset.is_some() {
                return trouble(bracket, "no offset modifiers allowed before range");
            }
            if selector.at.is_some() {
                return trouble(bracket, "no @ modifiers allowed before range");
            }
            return Ok(Expr::Matrix(MatrixSelector { selector, range, span }));
        }
        if self.accept(":").is_none() {
            return self.unexpected("subquery or range selector", "\":\" or \"]\"");
        }
        let step = if self.peek().is("]") { None } else { Some(self.duration("subquery selector")?) };
        let end = self.expect("]", "subquery selector", "\"]\"")?;
        let span = expr.span().to(end);
        if expr.value_type() != ValueType::Vector {
            let got = expr.value_type().api_name();
            return trouble(expr.span(), format!("subquery is only allowed on instant vector, got {got} instead"));
        }
        Ok(Expr::Subquery(Subquery { expr: Box::new(expr), range, step, offset: None, at: None, span }))
    }

    fn offset(&mut self, expr: &mut Expr) -> Parsed<()> {
        let duration = self.offset_duration()?;
        let span = expr.span();
        let end = duration.span();
        let (slot, whole) = match expr {
            Expr::Selector(s) => (&mut s.offset, &mut s.span),
            Expr::Matrix(m) => (&mut m.selector.offset, &mut m.span),
            Expr::Subquery(s) => (&mut s.offset, &mut s.span),
            _ => {
                return trouble(
                    span,
                    "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
                );
            }
        };
        if slot.replace(duration).is_some() {
            return trouble(span, "offset may not be set multiple times");
        }
        *whole = whole.to(end);
        Ok(())
    }

    fn at_modifier(&mut self, expr: &mut Expr) -> Parsed<()> {
        let sign = self.peek().clone();
        let (negative, signed) = (sign.is("-"), sign.is("-") || sign.is("+"));
        if signed {
            self.next();
        }
        let token = self.peek().clone();
        let seconds = match token.kind {
            Kind::Number => parse_number(&token.text),
            Kind::Duration => Some(parse_duration_ms(&token.text).or_else(|e| trouble(token.span, e))? as f64 / 1000.0),
            _ => None,
        };
        let at = match seconds {
            Some(seconds) => {
                self.next();
                At::Time(timestamp_ms(if negative { -seconds } else { seconds }, expr.span())?)
            }
            None if !signed && (token.is("start") || token.is("end")) => {
                self.next();
                self.expect("(", "@", "\"(\"")?;
                self.expect(")", "@", "\")\"")?;
                if token.is("start") { At::Start } else { At::End }
            }
            None => return self.unexpected("@", "timestamp"),
        };
        let span = expr.span();
        let slot = match expr {
            Expr::Selector(s) => &mut s.at,
            Expr::Matrix(m) => &mut m.selector.at,
            Expr::Subquery(s) => &mut s.at,
            _ => {
                return trouble(
                    span,
                    "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
                );
            }
        };
        if slot.replace(at).is_some() {
            return trouble(span, "@ <timestamp> may not be set multiple times");
        }
        Ok(())
    }

    fn edges(&mut self, expr: &mut Expr, word: &Token) -> Parsed<()> {
        if !self.features.extended_range_selectors {
            return trouble(word.span, format!("{} modifier is experimental and not enabled", word.word));
        }
        let edges = if word.is("anchored") { Edges::Anchored } else { Edges::Smoothed };
        let span = expr.span();
        let slot = match expr {
            Expr::Selector(s) => &mut s.edges,
            Expr::Matrix(m) => &mut m.selector.edges,
            Expr::Subquery(_) => {
                return trouble(span, format!("{} modifier is not supported for subqueries", word.word));
            }
            _ => return trouble(span, format!("{} modifier not implemented", word.word)),
        };
        match *slot {
            Edges::Inside => *slot = edges,
            old if old == edges => return trouble(span, format!("{} may not be set multiple times", word.word)),
            _ => return trouble(span, "anchored and smoothed modifiers cannot be used together"),
        }
        Ok(())
    }
}

fn timestamp_ms(seconds: f64, span: Span) -> Parsed<i64> {
    let ms = seconds * 1000.0;
    if !seconds.is_finite() || ms >= i64::MAX as f64 || ms <= i64::MIN as f64 {
        return trouble(span, format!("timestamp out of bounds for @ modifier: {}", super::number::format_f(seconds)));
    }
    Ok(ms.round() as i64)
}

/// The complaint about a second metric name.
pub(super) fn twice(first: &str, second: &str) -> String {
    format!("metric name must not be set twice: {} or {}", go_quote(first.as_bytes()), go_quote(second.as_bytes()))
}
