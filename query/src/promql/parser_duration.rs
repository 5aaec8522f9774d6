//! Durations: literals, and arithmetic over them where the feature is on.

use super::ast::{BinaryOp, DurationExpr};
use super::number::{parse_duration_ms, parse_number};
use super::parser::{Parsed, Parser, trouble};
use super::token::Kind;

/// What may stand where a duration is wanted, for error messages.
const EXPECTED: &str = "number, duration, step(), or range()";

impl Parser<'_> {
    /// The duration inside brackets: any expression.
    pub(super) fn duration(&mut self, context: &str) -> Parsed<DurationExpr> {
        let expr = self.duration_expr(0, context)?;
        self.allowed(expr)
    }

    /// The duration after `offset`: one term, unless in parentheses.
    pub(super) fn offset_duration(&mut self) -> Parsed<DurationExpr> {
        let expr = self.duration_unary("offset")?;
        self.allowed(expr)
    }

    fn allowed(&self, expr: DurationExpr) -> Parsed<DurationExpr> {
        let plain = |e: &DurationExpr| matches!(e, DurationExpr::Literal(..));
        let is_plain = match &expr {
            DurationExpr::Unary(_, inner, _) => plain(inner),
            other => plain(other),
        };
        if !is_plain && !self.features.duration_expressions {
            return trouble(expr.span(), "experimental duration expression is not enabled");
        }
        Ok(expr)
    }

    fn duration_expr(&mut self, floor: u8, context: &str) -> Parsed<DurationExpr> {
        let mut left = self.duration_unary(context)?;
        loop {
            let token = self.peek().clone();
            let arithmetic = ["+", "-", "*", "/", "%", "^"];
            if token.kind != Kind::Operator || !arithmetic.contains(&token.word.as_str()) {
                return Ok(left);
            }
            let Some((op, _, precedence)) = BinaryOp::ALL.iter().find(|(_, s, _)| *s == token.word) else {
                return Ok(left);
            };
            if *precedence < floor {
                return Ok(left);
            }
            self.next();
            let right = self.duration_expr(if *op == BinaryOp::Pow { *precedence } else { precedence + 1 }, context)?;
            let by_zero = match op {
                BinaryOp::Div => Some("division by zero"),
                BinaryOp::Mod => Some("modulo by zero"),
                _ => None,
            };
            if let (Some(what), Some(0.0)) = (by_zero, right.literal()) {
                return trouble(token.span, what);
            }
            left = DurationExpr::Binary(*op, Box::new(left), Box::new(right));
        }
    }

    fn duration_unary(&mut self, context: &str) -> Parsed<DurationExpr> {
        let sign = self.peek().clone();
        if !sign.is("-") && !sign.is("+") {
            return self.duration_term(context);
        }
        self.next();
        // A sign binds looser than `^` inside brackets; after `offset` there is only the one term.
        let inner = if context == "offset" {
            self.duration_term(context)?
        } else {
            self.duration_expr(BinaryOp::Pow.precedence(), context)?
        };
        let span = sign.span.to(inner.span());
        Ok(DurationExpr::Unary(sign.is("-"), Box::new(inner), span))
    }

    fn duration_term(&mut self, context: &str) -> Parsed<DurationExpr> {
        let token = self.peek().clone();
        match token.kind {
            Kind::Number => {
                self.next();
                let seconds = parse_number(&token.text).filter(|s| s.is_finite());
                let Some(seconds) = seconds else { return trouble(token.span, "duration out of range") };
                Ok(DurationExpr::Literal(seconds, false, token.span))
            }
            Kind::Duration => {
                self.next();
                let ms = parse_duration_ms(&token.text).or_else(|e| trouble(token.span, e))?;
                Ok(DurationExpr::Literal(ms as f64 / 1000.0, true, token.span))
            }
            Kind::Punctuation if token.is("(") => {
                self.next();
                let inner = self.duration_expr(0, context)?;
                let end = self.expect(")", context, "\")\"")?;
                Ok(DurationExpr::Paren(Box::new(inner), token.span.to(end)))
            }
            Kind::Keyword if token.is("step") || token.is("range") => {
                self.next();
                self.expect("(", context, "\"(\"")?;
                let span = token.span.to(self.expect(")", context, "\")\"")?);
                Ok(if token.is("step") { DurationExpr::Step(span) } else { DurationExpr::Range(span) })
            }
            _ if matches!(token.word.as_str(), "min" | "max" | "min_of" | "max_of") && self.peek_second().is("(") => {
                self.next();
                self.next();
                let first = self.duration_expr(0, context)?;
                self.expect(",", context, "\",\"")?;
                let second = self.duration_expr(0, context)?;
                let span = token.span.to(self.expect(")", context, "\")\"")?);
                Ok(DurationExpr::Extreme(token.word.starts_with("max"), Box::new(first), Box::new(second), span))
            }
            _ => self.unexpected(context, EXPECTED),
        }
    }
}
