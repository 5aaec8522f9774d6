//! What a record is: the first row of its server's table whose pattern fits the masked text, and what the pattern names.
//!
//! A pattern is text with `{name}` for what is kept in `attributes` and `*` for what is not; it fits anywhere it begins.

use super::{classes_mysql, classes_postgresql};
use crate::config::Engine;

/// A row of a table of classes.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    /// The word in `logs.class`.
    pub name: &'static str,
    /// SQLSTATE (or its first two characters), or error number; empty: any.
    pub code: &'static str,
    /// Text that must occur; empty: any.
    pub pattern: &'static str,
}

/// A class with what its pattern named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classified {
    /// The class.
    pub name: &'static str,
    /// Name and text of each placeholder.
    pub captures: Vec<(&'static str, String)>,
}

/// The table of an engine, in the order it is tried.
pub fn table(engine: Engine) -> &'static [Class] {
    match engine {
        Engine::Postgresql => classes_postgresql::CLASSES,
        Engine::Mysql | Engine::Mariadb => classes_mysql::CLASSES,
    }
}

/// The class of a masked message, if it has one.
pub fn classify(engine: Engine, code: Option<&str>, masked: &str) -> Option<Classified> {
    table(engine).iter().find_map(|class| {
        let code_fits = class.code.is_empty() || code.is_some_and(|c| c.starts_with(class.code));
        if !code_fits {
            return None;
        }
        let captures = capture(class.pattern, masked)?;
        Some(Classified { name: class.name, captures })
    })
}

/// Fits a pattern anywhere in a text; returns what its placeholders stand for.
pub fn capture(pattern: &'static str, text: &str) -> Option<Vec<(&'static str, String)>> {
    let pieces = pieces(pattern);
    let mut captures = Vec::new();
    let mut rest = text;
    let mut pending: Option<&'static str> = None;
    for piece in pieces {
        match piece {
            Piece::Gap(name) => pending = Some(name),
            Piece::Text(literal) => {
                let at = rest.find(literal)?;
                if let Some(name) = pending.take().filter(|n| !n.is_empty()) {
                    captures.push((name, rest[..at].trim().to_owned()));
                }
                rest = &rest[at + literal.len()..];
            }
        }
    }
    if let Some(name) = pending.filter(|n| !n.is_empty()) {
        let line = rest.lines().next().unwrap_or("");
        captures.push((name, line.trim().to_owned()));
    }
    Some(captures)
}

enum Piece {
    Text(&'static str),
    /// A placeholder; empty for `*`.
    Gap(&'static str),
}

fn pieces(pattern: &'static str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '*']) {
        if at > 0 {
            pieces.push(Piece::Text(&rest[..at]));
        }
        if rest[at..].starts_with('*') {
            pieces.push(Piece::Gap(""));
            rest = &rest[at + 1..];
        } else {
            let end = rest[at..].find('}').map_or(rest.len() - 1, |e| at + e);
            pieces.push(Piece::Gap(&rest[at + 1..end]));
            rest = &rest[end + 1..];
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
