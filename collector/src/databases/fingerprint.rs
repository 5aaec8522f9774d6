//! One identity for a statement, whatever source and server version it was read from.
//!
//! Rules of version 2, applied to the tokens of the statement's own dialect:
//! 1. Comments and hints are dropped, white space and a last `;` too; executable comments of MySQL are code.
//! 2. Words are lower-cased; quotes around an identifier are dropped unless it would need them: `"Orders"` is not `orders`
//!    in PostgreSQL, `"user"` is not `user`. MySQL compares names without case. What follows a dot is a name.
//! 3. Every literal, parameter, `null`, `true` and `false` is `?`; signs before a literal belong to it, and so does
//!    PostgreSQL's `uescape`. After `is` and `is not` the last three stay, and `not null` stays. Names of MySQL's user
//!    variables are `?` too, as in its digests.
//! 4. Two or more literals in a row of commas are `...`; in a list of `in` or of an array constructor, so is one.
//! 5. Rows of `values`, of `in` and of an array that are equal after this are written once.
//!    The field of PostgreSQL's `extract` is a literal, as its own parser has it.
//! 6. `<>` is `!=`; MySQL words that its parser takes for one are one (`schema` and `database`).
//! 7. A MySQL text with double quotes where only a name can stand comes from a session with ANSI_QUOTES: all of them are
//!    names. Else they are strings.
//!
//! The id is the first 64 bits of XXH3 over the normalised text, 16 hex digits. The text normalises to itself.

use std::sync::Arc;

use super::{
    sql_tokens::{Dialect, Token, TokenKind, tokens},
    sql_words::is_reserved,
};

/// Version of the rules above; changes whenever an id may change.
pub const FINGERPRINT_VERSION: i64 = 2;
/// Longest normalised text kept, bytes; ids are made before it is cut.
pub const NORMALIZED_TEXT_BYTES_MAX: usize = 16 * 1024;
/// Most tables reported for one statement.
const TABLES_MAX: usize = 32;

/// What a statement is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// 16 hex digits.
    pub id: Arc<str>,
    /// The statement without its literals.
    pub normalized_text: Arc<str>,
    /// Tables it names, in order of appearance, each once, as normalised.
    pub tables: Vec<String>,
    /// Its verb in capitals: SELECT, INSERT …; empty if there is none.
    pub command: String,
    /// `traceparent` of a sqlcommenter comment.
    pub trace_parent: Option<String>,
}

/// Makes the identity of a statement.
pub fn fingerprint(dialect: Dialect, sql: &str) -> Fingerprint {
    let mut all = tokens(dialect, sql);
    let trace_parent = all.iter().filter(|t| t.kind == TokenKind::Comment).find_map(|t| trace_parent(t.text(sql)));
    all.retain(|t| t.kind != TokenKind::Comment);
    if dialect == Dialect::Mysql {
        quotes_to_names(sql, &mut all);
    }
    let mut pieces = literals_to_marks(&extract_fields(dialect, pieces(dialect, sql, &all)));
    while pieces.last().is_some_and(|p| p.text == ";") {
        pieces.pop();
    }
    let pieces = rows_once(lists_to_marks(pieces));
    let text = join(&pieces);
    let id = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
    let command = command(&pieces);
    let tables = tables(&pieces);
    Fingerprint {
        id: id.into(),
        normalized_text: cut(&text, NORMALIZED_TEXT_BYTES_MAX).into(),
        tables,
        command,
        trace_parent,
    }
}

/// Cuts at a character boundary.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    Word,
    Name,
    Literal,
    List,
    Symbol,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    text: String,
    role: Role,
}

impl Piece {
    fn is(&self, text: &str) -> bool {
        self.text == text
    }
}

/// Rule 7: what stands in double quotes becomes names, if one of them can be nothing else.
fn quotes_to_names(sql: &str, all: &mut [Token]) {
    let quoted = |t: &Token| t.kind == TokenKind::String && t.text(sql).starts_with('"');
    let text = |i: Option<usize>| i.and_then(|i| all.get(i)).map_or("", |t| t.text(sql));
    if text(Some(0)).eq_ignore_ascii_case("prepare") {
        return; // its `from` is followed by a statement's text
    }
    let names = (0..all.len()).filter(|i| quoted(&all[*i])).any(|i| {
        let (before, after) = (text(i.checked_sub(1)).to_lowercase(), text(Some(i + 1)));
        match before.as_str() {
            "." | "join" | "into" | "update" | "table" => true,
            "from" => after != ")", // else a function's argument, as of trim
            _ => after == ".",
        }
    });
    if names {
        all.iter_mut().filter(|t| quoted(t)).for_each(|t| t.kind = TokenKind::QuotedWord);
    }
}

fn pieces(dialect: Dialect, sql: &str, all: &[Token]) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::with_capacity(all.len());
    for (i, token) in all.iter().enumerate() {
        let text = token.text(sql);
        let (text, role) = match token.kind {
            TokenKind::Comment => continue,
            TokenKind::Word | TokenKind::QuotedWord
                if dialect == Dialect::Mysql && out.last().is_some_and(|p| p.is("@")) =>
            {
                ("?".into(), Role::Literal) // digests leave the names of user variables out
            }
            TokenKind::Word if out.last().is_some_and(|p| p.is(".")) => {
                (name(dialect, &folded(dialect, text)), Role::Name)
            }
            TokenKind::Word => {
                let called = all.get(i + 1).is_some_and(|next| next.text(sql) == "(");
                (word(dialect, text, called), Role::Word)
            }
            TokenKind::QuotedWord => (quoted_word(dialect, text), Role::Name),
            TokenKind::String | TokenKind::Number | TokenKind::Parameter => ("?".into(), Role::Literal),
            TokenKind::ParameterList => ("...".into(), Role::List),
            TokenKind::Symbol if text == "<>" => ("!=".into(), Role::Symbol),
            TokenKind::Symbol => (text.to_owned(), Role::Symbol),
        };
        out.push(Piece { text, role });
    }
    out
}

/// As each server folds it: PostgreSQL only ASCII.
fn folded(dialect: Dialect, text: &str) -> String {
    match dialect {
        Dialect::Postgresql => text.to_ascii_lowercase(),
        Dialect::Mysql => text.to_lowercase(),
    }
}

fn word(dialect: Dialect, text: &str, called: bool) -> String {
    let lower = folded(dialect, text);
    if dialect == Dialect::Postgresql {
        return lower;
    }
    match lower.as_str() {
        "schema" => "database".into(),
        "schemas" => "databases".into(),
        "fields" => "columns".into(),
        "integer" => "int".into(),
        "substr" | "mid" if called => "substring".into(),
        "distinctrow" => "distinct".into(),
        "localtime" | "localtimestamp" | "current_timestamp" => "now".into(),
        "curdate" if called => "current_date".into(),
        "curtime" if called => "current_time".into(),
        "regexp" => "rlike".into(),
        // Units of intervals, as digests write them.
        _ => lower.strip_prefix("sql_tsi_").map_or_else(|| lower.clone(), str::to_owned),
    }
}

fn quoted_word(dialect: Dialect, text: &str) -> String {
    let quote = if text.starts_with('`') { '`' } else { '"' };
    let inner = &text[text.find(quote).map_or(0, |i| i + 1)..];
    name(dialect, inner.strip_suffix(quote).unwrap_or(inner))
}

/// A name without its quotes, or with them where it needs them to be read as the same name again.
fn name(dialect: Dialect, inner: &str) -> String {
    let inner = if dialect == Dialect::Mysql { inner.to_lowercase() } else { inner.to_owned() };
    let is_word =
        matches!(tokens(dialect, &inner)[..], [Token { kind: TokenKind::Word, start: 0, end }] if end == inner.len());
    let is_folded = folded(dialect, &inner) == inner;
    match dialect {
        _ if is_word && is_folded && !is_reserved(dialect, &inner) => inner,
        Dialect::Mysql => format!("`{inner}`"),
        Dialect::Postgresql => format!("\"{inner}\""),
    }
}

/// PostgreSQL takes the field of `extract(year from …)` for a literal, so it is one.
fn extract_fields(dialect: Dialect, mut pieces: Vec<Piece>) -> Vec<Piece> {
    if dialect == Dialect::Postgresql {
        for i in 2..pieces.len().saturating_sub(1) {
            if pieces[i - 2].is("extract") && pieces[i - 1].is("(") && pieces[i + 1].is("from") {
                pieces[i] = Piece { text: "?".into(), role: Role::Literal };
            }
        }
    }
    pieces
}

/// `null`, `true`, `false`, signs and `uescape` become part of literals.
fn literals_to_marks(pieces: &[Piece]) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::with_capacity(pieces.len());
    let mut at = 0;
    while let Some(piece) = pieces.get(at) {
        let word_back = |back: usize, what: &str| {
            out.len().checked_sub(back).is_some_and(|i| out[i].role == Role::Word && out[i].is(what))
        };
        let keeps_its_word = word_back(1, "is")
            || word_back(1, "not") && (piece.is("null") || word_back(2, "is"))
            || word_back(1, "set") && piece.is("null");
        if is_value_word(piece) && !keeps_its_word {
            out.push(Piece { text: "?".into(), role: Role::Literal });
            at += 1;
            continue;
        }
        let value = |p: &Piece| p.role == Role::Literal || is_value_word(p);
        if piece.role == Role::Word
            && piece.is("uescape")
            && out.last().is_some_and(value)
            && pieces.get(at + 1).is_some_and(value)
        {
            at += 2;
            continue;
        }
        let signs = pieces[at..].iter().take_while(|p| p.role == Role::Symbol && (p.is("-") || p.is("+"))).count();
        let value_next = pieces.get(at + signs).is_some_and(value);
        if signs > 0 && value_next {
            // of several signs only the first can be an operator between two values
            if !out.last().is_none_or(sign_may_follow) {
                out.push(piece.clone());
            }
            at += signs;
            continue;
        }
        out.push(piece.clone());
        at += 1;
    }
    out
}

fn is_value_word(piece: &Piece) -> bool {
    piece.role == Role::Word && matches!(piece.text.as_str(), "null" | "true" | "false")
}

fn sign_may_follow(before: &Piece) -> bool {
    match before.role {
        Role::Symbol => !matches!(before.text.as_str(), ")" | "]"),
        Role::Word => matches!(
            before.text.as_str(),
            "select"
                | "where"
                | "and"
                | "or"
                | "not"
                | "in"
                | "between"
                | "like"
                | "limit"
                | "offset"
                | "then"
                | "else"
                | "when"
                | "case"
                | "return"
                | "returning"
                | "values"
                | "by"
                | "on"
                | "having"
                | "distinct"
                | "all"
                | "interval"
                | "set"
                | "default"
                | "xor"
                | "div"
                | "mod"
                | "is"
        ),
        Role::Name | Role::Literal | Role::List => false,
    }
}

/// Where the element of a list that begins at `at` ends: a literal or a mark, with casts behind it.
fn element(pieces: &[Piece], at: usize) -> Option<usize> {
    let first = pieces.get(at)?;
    if !matches!(first.role, Role::Literal | Role::List) {
        return None;
    }
    let mut end = at + 1;
    while pieces.get(end).is_some_and(|p| p.is("::")) {
        end += 1;
        while pieces.get(end).is_some_and(|p| matches!(p.role, Role::Word | Role::Name) || p.is(".")) {
            end += 1;
        }
        if pieces.get(end).is_some_and(|p| p.is("(")) {
            end += pieces[end..].iter().position(|p| p.is(")")).map_or(0, |n| n + 1);
        }
        while pieces.get(end).is_some_and(|p| p.is("[")) && pieces.get(end + 1).is_some_and(|p| p.is("]")) {
            end += 2;
        }
    }
    Some(end)
}

/// Runs of literals become `...`; in lists of `in` and arrays, so does one.
fn lists_to_marks(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::with_capacity(pieces.len());
    let mut at = 0;
    while at < pieces.len() {
        let Some(first_end) = element(&pieces, at) else {
            out.push(pieces[at].clone());
            at += 1;
            continue;
        };
        let mut end = first_end;
        let mut count = 1;
        while pieces.get(end).is_some_and(|p| p.is(",")) {
            let Some(next_end) = element(&pieces, end + 1) else { break };
            end = next_end;
            count += 1;
        }
        let closes = |what: &str| pieces.get(end).is_none_or(|p| p.is(what));
        let before = |back: usize, what: &str| out.len().checked_sub(back).is_some_and(|i| out[i].is(what));
        let always =
            (before(1, "(") && before(2, "in") && closes(")")) || (before(1, "[") && closes("]") && before(2, "array"));
        if count > 1 || always || pieces[at].role == Role::List {
            out.push(Piece { text: "...".into(), role: Role::List });
            at = end;
        } else {
            out.extend_from_slice(&pieces[at..first_end]);
            at = first_end;
        }
    }
    out
}

/// Equal neighbours among the rows of `values`, of `in` and of an array are written once.
fn rows_once(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::with_capacity(pieces.len());
    let mut at = 0;
    while at < pieces.len() {
        out.push(pieces[at].clone());
        let back = |back: usize, what: &str| out.len().checked_sub(back).is_some_and(|i| out[i].is(what));
        let word = pieces[at].role == Role::Word;
        let values = word && (back(1, "values") || back(1, "value"));
        let list = back(1, "(") && back(2, "in");
        let array = back(1, "[") && (back(2, "array") || back(2, "["));
        at += 1;
        let (open, close) = if array { ("[", "]") } else { ("(", ")") };
        if !(values || list || array) {
            continue;
        }
        let mut last: Option<std::ops::Range<usize>> = None;
        while pieces.get(at).is_some_and(|p| p.is(open)) {
            let Some(end) = closing(&pieces, at, open, close) else { break };
            let same = last.as_ref().is_some_and(|l| pieces[l.clone()] == pieces[at..end]);
            if same {
                // drop the comma in front of it
                out.pop();
            } else {
                out.extend_from_slice(&pieces[at..end]);
            }
            last = Some(at..end);
            at = end;
            if pieces.get(at).is_some_and(|p| p.is(",")) && pieces.get(at + 1).is_some_and(|p| p.is(open)) {
                out.push(pieces[at].clone());
                at += 1;
            } else {
                break;
            }
        }
    }
    out
}

/// One past the bracket that closes the one at `at`.
fn closing(pieces: &[Piece], at: usize, open: &str, close: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (i, piece) in pieces.iter().enumerate().skip(at) {
        if piece.is(open) {
            depth += 1;
        } else if piece.is(close) {
            depth -= 1;
            if depth == 0 {
                return Some(i + 1);
            }
        }
    }
    None
}

fn join(pieces: &[Piece]) -> String {
    let mut text = String::new();
    let mut last: Option<&Piece> = None;
    for piece in pieces {
        let tight_after = |p: &Piece| matches!(p.text.as_str(), "(" | "." | "[" | "::");
        let tight_before = matches!(piece.text.as_str(), ")" | "," | ";" | "." | "]" | "[" | "::");
        // dots of their own must not become the mark of a list
        let dots = |p: &Piece| p.is(".") || p.role == Role::List;
        let apart = dots(piece) && last.is_some_and(dots);
        if last.is_some_and(|l| !tight_after(l)) && !tight_before || apart {
            text.push(' ');
        }
        text.push_str(&piece.text);
        last = Some(piece);
    }
    text
}

/// The verb: of `with`, that of its main statement.
fn command(pieces: &[Piece]) -> String {
    let Some(first) = pieces.iter().find(|p| p.role == Role::Word) else { return String::new() };
    if !first.is("with") {
        return first.text.to_uppercase();
    }
    let mut depth = 0i32;
    for piece in pieces {
        match piece.text.as_str() {
            "(" => depth += 1,
            ")" => depth -= 1,
            "select" | "insert" | "update" | "delete" | "merge" | "values" | "replace"
                if depth == 0 && piece.role == Role::Word =>
            {
                return piece.text.to_uppercase();
            }
            _ => {}
        }
    }
    "WITH".into()
}

fn tables(pieces: &[Piece]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut local: Vec<&str> = Vec::new(); // names of common table expressions
    let mut brackets: Vec<bool> = Vec::new(); // of each open one: does `from` inside mean something else
    for (i, piece) in pieces.iter().enumerate() {
        let previous = i.checked_sub(1).map(|p| &pieces[p]);
        match piece.text.as_str() {
            "(" => {
                let function = previous.is_some_and(|p| {
                    p.role == Role::Word
                        && matches!(p.text.as_str(), "extract" | "substring" | "trim" | "overlay" | "position")
                });
                brackets.push(function);
                continue;
            }
            ")" => {
                brackets.pop();
                continue;
            }
            _ => {}
        }
        if piece.role != Role::Word {
            continue;
        }
        let is_name = |p: &Piece| matches!(p.role, Role::Word | Role::Name);
        if piece.is("as") && previous.is_some_and(is_name) {
            let opens = pieces[i + 1..].iter().take(3).position(|p| p.is("("));
            let only_hints = opens.is_some_and(|n| {
                pieces[i + 1..i + 1 + n].iter().all(|p| matches!(p.text.as_str(), "materialized" | "not"))
            });
            if only_hints && let Some(name) = previous {
                local.push(&name.text);
            }
        }
        let starts = match piece.text.as_str() {
            "from" => !brackets.last().copied().unwrap_or(false) && !previous.is_some_and(|p| p.is("distinct")),
            "join" | "into" | "straight_join" => true,
            "update" => !previous.is_some_and(|p| matches!(p.text.as_str(), "for" | "key" | "do" | "on" | "no")),
            "table" => i > 0 && !previous.is_some_and(|p| p.is("lock")),
            _ => false,
        };
        if starts {
            table_list(pieces, i + 1, piece.is("from"), &mut found);
        }
    }
    found.retain(|name| !local.contains(&name.as_str()));
    found.truncate(TABLES_MAX);
    found
}

fn table_list(pieces: &[Piece], mut at: usize, list: bool, found: &mut Vec<String>) {
    const SKIP: &[&str] = &[
        "only",
        "lateral",
        "if",
        "not",
        "exists",
        "low_priority",
        "ignore",
        "quick",
        "concurrently",
        "outfile",
        "dumpfile",
    ];
    const NEVER: &[&str] = &["select", "values", "set", "unnest", "dual", "where"];
    loop {
        while pieces.get(at).is_some_and(|p| p.role == Role::Word && SKIP.contains(&p.text.as_str())) {
            at += 1;
        }
        let Some(first) = pieces.get(at) else { return };
        let word = matches!(first.role, Role::Word | Role::Name);
        if !word || (first.role == Role::Word && NEVER.contains(&first.text.as_str())) {
            return;
        }
        let mut name = first.text.clone();
        at += 1;
        while pieces.get(at).is_some_and(|p| p.is(".")) {
            let Some(part) = pieces.get(at + 1).filter(|p| matches!(p.role, Role::Word | Role::Name)) else { break };
            name = format!("{name}.{}", part.text);
            at += 2;
        }
        let function = list && pieces.get(at).is_some_and(|p| p.is("("));
        if !function && !found.contains(&name) {
            found.push(name);
        }
        if !list || function {
            return;
        }
        // An alias, then a comma: the list goes on.
        if pieces.get(at).is_some_and(|p| p.is("as")) {
            at += 1;
        }
        if pieces.get(at).is_some_and(|p| matches!(p.role, Role::Word | Role::Name))
            && pieces.get(at + 1).is_some_and(|p| p.is(","))
        {
            at += 1;
        }
        if !pieces.get(at).is_some_and(|p| p.is(",")) {
            return;
        }
        at += 1;
    }
}

/// `traceparent='00-…-…-01'` (W3C trace context; sqlcommenter writes it URL-encoded, in which it looks the same).
fn trace_parent(comment: &str) -> Option<String> {
    let rest = &comment[comment.find("traceparent='")? + "traceparent='".len()..];
    let value = &rest[..rest.find('\'')?];
    let parts: Vec<&str> = value.split('-').collect();
    let hex = |s: &str, len: usize| s.len() == len && s.bytes().all(|b| b.is_ascii_hexdigit());
    let ok = matches!(parts[..], [v, t, s, f] if hex(v, 2) && hex(t, 32) && hex(s, 16) && hex(f, 2));
    ok.then(|| value.to_owned())
}

#[cfg(test)]
#[path = "fingerprint_tests.rs"]
mod tests;
