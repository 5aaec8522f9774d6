//! Takes values out of log records: literals, parameters, key values, row data, credentials. Names and numbers of the
//! server's own stay.
//!
//! What is quoted is masked unless the word before it says that it is a name: a list of what may pass, not of what may not.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::record::{Extra, Record};
use crate::{
    config::Engine,
    databases::{Dialect, mask_sql},
};

/// Words before a quoted name that is no value. Lower case; the word directly before the quote counts.
#[rustfmt::skip]
const NAMES_FOLLOW: [&str; 62] = [
    "relation", "table", "tables", "column", "columns", "database", "databases", "role", "user", "schema",
    "function", "procedure", "index", "constraint", "extension", "type", "sequence", "view", "trigger", "operator",
    "language", "parameter", "tablespace", "slot", "publication", "subscription", "server", "attribute", "policy",
    "domain", "cursor", "statement", "portal", "file", "directory", "host", "host:", "user:", "db:", "method",
    "library", "rule", "collation", "partition", "savepoint", "key", "plugin", "plugin:", "variable", "option",
    "engine", "socket", "socket:", "event", "segment", "worker", "standby", "timeline", "path", "address", "master",
    "source",
];
/// Statements that the server quotes inside its sentences follow these words.
const SQL_FOLLOWS: [&str; 4] = ["SQL statement ", "SQL expression ", "failed SQL command: ", "running query: "];
/// Longest body kept, bytes.
pub const BODY_BYTES_MAX: usize = 32 << 10;

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}")) // written here
}

/// `Key (a, b)=(1, x)`, `Partition key of the failing row contains (a) = (1)`: the list after the equal sign.
static KEY_VALUES: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(\([^()]*(?:\([^()]*\)[^()]*)*\)\s*=\s*)\((?s:.*?)\)(\s+(?:already exists|is not present|is still referenced|conflicts with|is duplicated)|\.?\s*$|\.\s)",
    )
});
static FAILING_ROW: LazyLock<Regex> = LazyLock::new(|| regex(r"(?s)(row contains \().*\)"));
static PARAMETERS: LazyLock<Regex> = LazyLock::new(|| regex(r"(?is)(\bparameters:\s*).*$"));
static COPY_VALUE: LazyLock<Regex> = LazyLock::new(|| regex(r#"(?s)(COPY [^,]+, line \d+(?:, column [^:]+)?: ).*$"#));
static CREDENTIALS: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"(?i)\b(password|passwd|pwd|secret|token|api_?key|identified by|passphrase)(\s*[=:]\s*|\s+)("[^"]*"|'[^']*'|[^\s,;)]+)"#,
    )
});
static URL_ACCOUNT: LazyLock<Regex> = LazyLock::new(|| regex(r"://[^\s/@]+@"));
static STATEMENT_IN_MESSAGE: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?s)^((?:duration: [0-9.]+ ms\s+)?(?:statement|execute [^:]{0,80}|parse [^:]{0,80}|bind [^:]{0,80}|fastpath function call|plan): ?\s*)(.+)$",
    )
});
/// Row data that InnoDB prints in its lock reports.
static HEX_DUMP: LazyLock<Regex> = LazyLock::new(|| regex(r"(?s)(\d+: len \d+; hex )[0-9a-f]*(?:\.\.\.)?; asc .*?;"));
static QUERY_ADDRESS: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?s)(Query \(0x[0-9a-f]+\): )(.*?)(\n\s*\n|\nConnection ID|$)"));

/// A replica's error with the statement it could not apply: quoted texts within quotes, so taken apart first.
static APPLY_ERROR: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"(?s)^(.*Error )'(.*)'( on query\. Default database: )'([^']*)'(\. Query: )'(.*)'(,? ?.*?)$")
});
/// A session's statement in PostgreSQL's report of a deadlock.
static DEADLOCK_PARTY: LazyLock<Regex> = LazyLock::new(|| regex(r"^\s*Process \d+: "));

/// The report of a deadlock with its statements masked; other texts as they are.
fn deadlock_report(text: &str) -> String {
    if !text.lines().any(|l| DEADLOCK_PARTY.is_match(l)) {
        return text.into();
    }
    let mut out: Vec<String> = Vec::new();
    let mut statement: Option<(String, String)> = None;
    let finish = |statement: &mut Option<(String, String)>, out: &mut Vec<String>| {
        if let Some((head, sql)) = statement.take() {
            out.push(format!("{head}{}", mask_sql(Dialect::Postgresql, &sql)));
        }
    };
    for line in text.lines() {
        match (DEADLOCK_PARTY.find(line), &mut statement) {
            (Some(head), _) => {
                finish(&mut statement, &mut out);
                statement = Some((head.as_str().into(), line[head.end()..].into()));
            }
            // a statement of several lines
            (None, Some((_, sql))) => {
                sql.push('\n');
                sql.push_str(line);
            }
            (None, None) => out.push(line.into()),
        }
    }
    finish(&mut statement, &mut out);
    out.join("\n")
}

/// Whether quotes of this kind hold values or names at the server, unless the word before says otherwise.
const QUOTES: [char; 2] = ['"', '\''];

fn dialect(engine: Engine) -> Dialect {
    match engine {
        Engine::Postgresql => Dialect::Postgresql,
        Engine::Mysql | Engine::Mariadb => Dialect::Mysql,
    }
}

/// The whole body of a record, masked: the message, then each further part behind its word.
pub fn body(engine: Engine, record: &Record) -> String {
    let mut body = message(engine, &record.message);
    for (extra, text) in &record.extras {
        body.push('\n');
        body.push_str(extra.word());
        body.push_str(": ");
        match extra {
            Extra::Statement | Extra::Query => body.push_str(&mask_sql(dialect(engine), text)),
            Extra::Location => body.push_str(text),
            Extra::Detail | Extra::Hint | Extra::Context => body.push_str(&message(engine, text)),
        }
    }
    cut(body, BODY_BYTES_MAX)
}

/// The text without its end past `bytes_max`.
pub fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A message, DETAIL, HINT or CONTEXT, masked.
pub fn message(engine: Engine, text: &str) -> String {
    if let Some(captures) = STATEMENT_IN_MESSAGE.captures(text).filter(|_| engine == Engine::Postgresql) {
        return format!("{}{}", &captures[1], mask_sql(dialect(engine), &captures[2]));
    }
    if let Some(c) = APPLY_ERROR.captures(text).filter(|_| engine != Engine::Postgresql) {
        let (error, query) = (message(engine, &c[2]), mask_sql(Dialect::Mysql, &c[6]));
        return format!("{}'{error}'{}'{}'{}'{query}'{}", &c[1], &c[3], &c[4], &c[5], message(engine, &c[7]));
    }
    let text = match engine {
        Engine::Postgresql => {
            let text = deadlock_report(text);
            let text = PARAMETERS.replace(&text, "${1}?");
            let text = KEY_VALUES.replace_all(&text, "${1}(?)${2}");
            let text = FAILING_ROW.replace_all(&text, "${1}?)");
            COPY_VALUE.replace(&text, "${1}?").into_owned()
        }
        Engine::Mysql | Engine::Mariadb => {
            let text = HEX_DUMP.replace_all(text, "${1}?; asc ?;");
            let with_query = |c: &Captures<'_>| format!("{}{}{}", &c[1], mask_sql(Dialect::Mysql, &c[2]), &c[3]);
            let text = QUERY_ADDRESS.replace_all(&text, with_query);
            lock_report(&text)
        }
    };
    let text = URL_ACCOUNT.replace_all(&text, "://?@");
    let text = CREDENTIALS.replace_all(&text, |c: &Captures<'_>| match &c[3] {
        harmless @ ("YES" | "NO" | "authentication" | "for" | "expired" | "has" | "is" | "of") => {
            format!("{}{}{harmless}", &c[1], &c[2])
        }
        _ => format!("{}{}?", &c[1], &c[2]),
    });
    quotes(engine, &text)
}

/// In InnoDB's reports the statement follows the line that names its thread, up to the next section.
fn lock_report(text: &str) -> String {
    if !text.contains("thread id ") {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut statement: Option<String> = None;
    for line in text.split_inclusive('\n') {
        let section = ["***", "---", "RECORD LOCKS", "TABLE LOCK", "Record lock", "TRANSACTION ", "====="];
        let ends = section.iter().any(|s| line.starts_with(s));
        if let Some(sql) = statement.take() {
            if ends {
                out.push_str(&mask_sql(Dialect::Mysql, &sql));
                if !out.ends_with('\n') {
                    out.push('\n');
                }
            } else {
                statement = Some(sql + line);
                continue;
            }
        }
        out.push_str(line);
        if line.starts_with("MySQL thread id ") || line.starts_with("MariaDB thread id ") {
            statement = Some(String::new());
        }
    }
    if let Some(sql) = statement {
        out.push_str(&mask_sql(Dialect::Mysql, &sql));
    }
    out
}

/// Masks what stands in quotes, unless it is a name; a statement in quotes is masked as one.
fn quotes(engine: Engine, text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(QUOTES) {
        let (before, quoted) = rest.split_at(at);
        let quote = quoted.chars().next().unwrap_or('"');
        let inner_start = &quoted[1..];
        if quote == '\'' && is_apostrophe(before, inner_start) {
            out.push_str(before);
            out.push(quote);
            rest = inner_start;
            continue;
        }
        let sql = SQL_FOLLOWS.iter().any(|words| before.ends_with(words));
        // a statement may hold quotes itself: it ends at the last one of its line
        let end = match sql {
            true => inner_start.rfind(quote),
            false => inner_start.find(quote),
        };
        out.push_str(before);
        let Some(end) = end else {
            out.push(quote);
            out.push('?'); // never closed: cut by the server, so all of it may be a value
            return out;
        };
        let inner = &inner_start[..end];
        out.push(quote);
        let word = before.trim_end_matches([' ', '@']).rsplit([' ', '(', '\n', ',']).next().unwrap_or("");
        let is_account_part = engine != Engine::Postgresql && before.ends_with('@');
        if sql {
            out.push_str(&mask_sql(dialect(engine), inner));
        } else if is_account_part || NAMES_FOLLOW.contains(&word.to_lowercase().as_str()) {
            out.push_str(inner);
        } else {
            out.push('?');
        }
        out.push(quote);
        rest = &inner_start[end + 1..];
    }
    out.push_str(rest);
    out
}

/// `server's`, `can't`: no quote.
fn is_apostrophe(before: &str, after: &str) -> bool {
    before.ends_with(|c: char| c.is_alphanumeric()) && after.starts_with(|c: char| c.is_alphabetic())
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
