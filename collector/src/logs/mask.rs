//! Takes values out of log records: literals, parameters, key values, row data, credentials. Names and numbers of the
//! server's own stay.
//!
//! What is quoted is masked unless the word before it says that it is a name: a list of what may pass, not of what may not.
//! A record that can't be taken apart may be the middle of anything: of it only the length is told. What a user's own code
//! raised is the user's text, and goes as a whole. The configuration can keep kinds of values ([`Unmasked`]), never
//! credentials.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::record::{Extra, Record};
use crate::{
    config::{Engine, Unmasked},
    databases::{Dialect, mask_credentials, mask_sql},
};

/// Words before a quoted name that is no value. Lower case; the word directly before the quote counts.
#[rustfmt::skip]
const NAMES_FOLLOW: [&str; 60] = [
    "relation", "table", "tables", "column", "columns", "database", "databases", "role", "user", "schema",
    "function", "procedure", "index", "constraint", "extension", "type", "sequence", "view", "trigger", "operator",
    "language", "parameter", "tablespace", "slot", "publication", "subscription", "server", "attribute", "policy",
    "domain", "cursor", "statement", "portal", "file", "directory", "host", "host:", "user:", "db:", "method",
    "library", "rule", "collation", "partition", "savepoint", "plugin", "plugin:", "variable",
    "engine", "socket", "socket:", "event", "segment", "worker", "standby", "timeline", "path", "address", "master",
    "source",
];
/// The same at MySQL and MariaDB alone; PostgreSQL has keys of JSON and options of connections.
const NAMES_FOLLOW_MYSQL: [&str; 2] = ["key", "option"];
/// Statements that the server quotes inside its sentences follow these words.
const SQL_FOLLOWS: [&str; 6] = [
    "SQL statement ",
    "SQL expression ",
    "PL/pgSQL assignment ",
    "PL/pgSQL expression ",
    "failed SQL command: ",
    "running query: ",
];
/// Sentences of the server's own that it quotes inside another follow these words.
const SENTENCES_FOLLOW: [&str; 2] = ["data from binary log: ", "lugin group_replication reported: "];
/// Longest body kept, bytes.
pub const BODY_BYTES_MAX: usize = 32 << 10;

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}")) // written here
}

/// `Key (a, b)=(1, x)`, `Partition key of the failing row contains (a) = (1)`: the list after the equal sign, up to words that
/// are the server's, or to the end.
static KEY_VALUES: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(\([^()]*(?:\([^()]*\)[^()]*)*\)\s*=\s*)\((?s:.*?)(?:\)(\s+(?:already exists|is not present|is still referenced|conflicts with|is duplicated)|\.?\s*$)|$)",
    )
});
static FAILING_ROW: LazyLock<Regex> = LazyLock::new(|| regex(r"(?s)(row contains \().*$"));
static PARAMETERS: LazyLock<Regex> = LazyLock::new(|| regex(r"(?is)(\bparameters:\s*).*$"));
/// Row data that COPY and the JSON reader show.
static ROW_TEXT: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"(?s)((?:COPY [^\n]+?, line \d+(?:, column [^:\n]+)?|JSON data, line \d+): ).*$"#));
/// `password=x`, `PASSWORD 'x'`, `"token": "x"`.
static CREDENTIALS: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"(?i)\b(\w*(?:password|passwd|pwd|secret|token|api_?key|passphrase)|identified by)("?\s*[=:]\s*|\s+)("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.|'')*'|[^\s,;)]+)"#,
    )
});
/// The account of a URL; a password that should have been encoded may hold anything but blanks.
static URL_ACCOUNT: LazyLock<Regex> = LazyLock::new(|| regex(r#"://[^\s"']*@"#));
static STATEMENT_IN_MESSAGE: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?s)^((?:duration: [0-9.]+ ms\s+)?(?:statement|(?:execute|parse|bind) [^\n]{0,300}?|fastpath function call|plan): ?\s*)(.+)$",
    )
});
/// auto_explain's line of parameters, up to the first line of the plan.
static PLAN_PARAMETERS: LazyLock<Regex> = LazyLock::new(|| regex(r"(?s)(\nQuery Parameters: ).*?(\n[^\n]*\(cost=|$)"));
/// pgaudit: type, two numbers, class, command, kind and name of the object; then statement and parameters.
static AUDIT: LazyLock<Regex> = LazyLock::new(|| regex(r#"(?s)^(AUDIT: (?:(?:"(?:[^"]|"")*"|[^,"]*),){7}).*$"#));
/// Row data that InnoDB prints in its lock reports, each field on its line.
static HEX_DUMP: LazyLock<Regex> = LazyLock::new(|| regex(r"(\d+: len \d+; hex )[^\n]*"));
/// A value with quotes of its own inside: what follows it is known.
static DUPLICATE: LazyLock<Regex> = LazyLock::new(|| regex(r"(?s)(Duplicate entry ')(.*?)(' for key ')"));
static WRONG_VALUE: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?s)((?:Incorrect|Truncated incorrect|Illegal) [^\n']{0,60}?value:? ')(.*?)('(?: for (?:column|function)|$))",
    )
});
static QUERY_ADDRESS: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?s)(Query \((?:0x)?[0-9a-f]+\): )(.*?)(\n\s*Connection ID|$)"));
/// A statement that the server warns of.
static UNSAFE_STATEMENT: LazyLock<Regex> = LazyLock::new(|| regex(r"(?s)( Statement: )(.+)$"));

/// A replica's error with the statement it could not apply: quoted texts within quotes, so taken apart first.
static APPLY_ERROR: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"(?s)^(.*Error )'(.*)'( on query\. Default database: )'([^']*)'(\. Query: )'(.*)'(,? ?.*?)$")
});
/// A session's statement in PostgreSQL's report of a deadlock.
static DEADLOCK_PARTY: LazyLock<Regex> = LazyLock::new(|| regex(r"^\s*Process \d+: "));

/// Stands in quotes for a value that is masked already, until all are.
const MARK: char = '\u{e000}';
/// What lines of PostgreSQL's CONTEXT begin with: a quoted statement ends before such a line.
const CONTEXT_BEGINS: [&str; 10] = [
    "PL/pgSQL ",
    "SQL statement ",
    "SQL expression ",
    "SQL function ",
    "COPY ",
    "JSON data",
    "while ",
    "unnamed portal",
    "portal ",
    "parallel worker",
];
const QUOTES: [char; 2] = ['"', '\''];

/// Masks what one server writes, by what its configuration keeps.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    /// Whose words and quotes.
    pub engine: Engine,
    /// Values that stay.
    pub unmasked: Unmasked,
}

impl Mask {
    /// The lexer of its statements.
    pub fn dialect(&self) -> Dialect {
        match self.engine {
            Engine::Postgresql => Dialect::Postgresql,
            Engine::Mysql | Engine::Mariadb => Dialect::Mysql,
        }
    }

    /// A statement without literals, or with those that may stay.
    pub fn sql(&self, text: &str) -> String {
        match self.unmasked.literals {
            true => mask_credentials(self.dialect(), text),
            false => mask_sql(self.dialect(), text),
        }
    }

    /// The whole body of a record: the message, then each further part behind its word.
    pub fn body(&self, record: &Record) -> String {
        if record.is_unread {
            return format!("? ({} bytes that begin no record)", record.message.len());
        }
        let raised = record.is_raised();
        let mut body = if raised { "?".into() } else { self.message(&record.message) };
        for (extra, text) in &record.extras {
            if !body.is_empty() {
                body.push('\n');
            }
            body.push_str(extra.word());
            body.push_str(": ");
            match extra {
                Extra::Statement | Extra::Query => body.push_str(&self.sql(text)),
                Extra::Location => body.push_str(text),
                Extra::Detail | Extra::Hint if raised => body.push('?'),
                Extra::Detail | Extra::Hint | Extra::Context => body.push_str(&self.message(text)),
            }
        }
        cut(body, BODY_BYTES_MAX)
    }

    /// A message, DETAIL, HINT or CONTEXT.
    pub fn message(&self, text: &str) -> String {
        let postgresql = self.engine == Engine::Postgresql;
        if let Some(c) = STATEMENT_IN_MESSAGE.captures(text).filter(|_| postgresql) {
            let statement = match self.unmasked.parameters {
                true => c[2].into(),
                false => PLAN_PARAMETERS.replace(&c[2], "${1}?${2}"),
            };
            return format!("{}{}", &c[1], self.sql(&statement));
        }
        if let Some(c) = AUDIT.captures(text).filter(|_| postgresql) {
            return format!("{}?", &c[1]);
        }
        if let Some(c) = APPLY_ERROR.captures(text).filter(|_| !postgresql) {
            let (error, query) = (self.message(&c[2]), self.sql(&c[6]));
            return format!("{}'{error}'{}'{}'{}'{query}'{}", &c[1], &c[3], &c[4], &c[5], self.message(&c[7]));
        }
        let text = text.replace(MARK, "?");
        let text = if postgresql { self.postgresql(&text) } else { self.mysql(&text) };
        let text = if self.unmasked.literals { text } else { self.quotes(&text) };
        let text = text.replace(MARK, "?");
        let text = URL_ACCOUNT.replace_all(&text, "://?@");
        CREDENTIALS
            .replace_all(&text, |c: &Captures<'_>| match &c[3] {
                harmless @ ("YES" | "NO" | "authentication" | "for" | "expired" | "has" | "is" | "of" | "?"
                | "\"?\"" | "'?'") => {
                    format!("{}{}{harmless}", &c[1], &c[2])
                }
                _ => format!("{}{}?", &c[1], &c[2]),
            })
            .into_owned()
    }

    fn postgresql(&self, text: &str) -> String {
        let mut text = self.deadlock_report(text);
        if !self.unmasked.parameters {
            text = PARAMETERS.replace(&text, "${1}?").into_owned();
        }
        if !self.unmasked.row_values {
            text = KEY_VALUES.replace_all(&text, "${1}(?)${2}").into_owned();
            text = FAILING_ROW.replace_all(&text, "${1}?).").into_owned();
            text = ROW_TEXT.replace(&text, "${1}?").into_owned();
        }
        text
    }

    fn mysql(&self, text: &str) -> String {
        let mut text = text.to_owned();
        if !self.unmasked.row_values {
            text = HEX_DUMP.replace_all(&text, "${1}?; asc ?;;").into_owned();
            text = DUPLICATE.replace_all(&text, format!("${{1}}{MARK}${{3}}")).into_owned();
        }
        if !self.unmasked.literals {
            text = WRONG_VALUE.replace_all(&text, format!("${{1}}{MARK}${{3}}")).into_owned();
        }
        let with_query = |c: &Captures<'_>| format!("{}{}{}", &c[1], self.sql(&c[2]), &c[3]);
        let text = QUERY_ADDRESS.replace_all(&text, with_query);
        let text = UNSAFE_STATEMENT.replace(&text, |c: &Captures<'_>| format!("{}{}", &c[1], self.sql(&c[2])));
        self.lock_report(&text)
    }

    /// PostgreSQL's report of a deadlock with its statements masked; other texts as they are.
    fn deadlock_report(&self, text: &str) -> String {
        if !text.lines().any(|l| DEADLOCK_PARTY.is_match(l)) {
            return text.into();
        }
        let mut out: Vec<String> = Vec::new();
        let mut statement: Option<(String, String)> = None;
        let finish = |statement: &mut Option<(String, String)>, out: &mut Vec<String>| {
            if let Some((head, sql)) = statement.take() {
                out.push(format!("{head}{}", self.sql(&sql)));
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

    /// In InnoDB's reports the statement follows the line that names its thread, up to the next section.
    fn lock_report(&self, text: &str) -> String {
        if !text.contains("thread id ") {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        let mut statement: Option<String> = None;
        for line in text.split_inclusive('\n') {
            if let Some(sql) = statement.take() {
                if ends_statement(line) {
                    out.push_str(&self.sql(&sql));
                    if !out.ends_with('\n') {
                        out.push('\n');
                    }
                } else {
                    statement = Some(sql + line);
                    continue;
                }
            }
            out.push_str(line);
            if names_thread(line) {
                statement = Some(String::new());
            }
        }
        if let Some(sql) = statement {
            out.push_str(&self.sql(&sql));
        }
        out
    }

    /// Masks what stands in quotes, unless it is a name; a statement in quotes is masked as one.
    fn quotes(&self, text: &str) -> String {
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
            let word = before.trim_end_matches([' ', '@']).rsplit([' ', '(', '\n', ',']).next().unwrap_or("");
            let is_account_part = self.engine != Engine::Postgresql && before.ends_with('@');
            let name = is_account_part || self.name_follows(&word.to_lowercase());
            // what is no name may hold quotes itself, as it is written: it ends at the last one
            let sentence = SENTENCES_FOLLOW.iter().any(|words| before.ends_with(words));
            let name = name || names_error(before);
            let masked = inner_start.strip_prefix(MARK).is_some_and(|rest| rest.starts_with(quote));
            let end = match (sql, name || masked) {
                (true, _) => end_of_statement(inner_start, quote),
                (false, true) => inner_start.find(quote),
                (false, false) => inner_start.rfind(quote),
            };
            out.push_str(before);
            let Some(end) = end else {
                out.push(quote);
                out.push('?'); // never closed: cut by the server, so all of it may be a value
                return out;
            };
            let inner = &inner_start[..end];
            out.push(quote);
            if sql {
                out.push_str(&self.sql(inner));
            } else if sentence {
                out.push_str(&self.quotes(inner));
            } else if name {
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

    fn name_follows(&self, word: &str) -> bool {
        NAMES_FOLLOW.contains(&word) || self.engine != Engine::Postgresql && NAMES_FOLLOW_MYSQL.contains(&word)
    }
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

/// Settings that are a credential themselves.
const SECRET_SETTINGS: [&str; 3] = ["wsrep_sst_auth", "report_password", "loose_report_password"];

/// A value of a server's setting: credentials in connection strings and commands go, and so does what a user's own setting
/// (one with a dot in its name) keeps under the name of one; the rest stays.
pub fn setting(name: &str, value: &str) -> String {
    let words = ["password", "secret", "token", "private_key", "api_key"];
    let own = name.contains('.') && !name.starts_with("validate_password") && words.iter().any(|w| name.contains(w));
    if (own || SECRET_SETTINGS.contains(&name)) && !value.is_empty() {
        return "?".into();
    }
    let value = URL_ACCOUNT.replace_all(value, "://?@");
    CREDENTIALS.replace_all(&value, "${1}${2}?").into_owned()
}

/// Whether the lines after this one are a session's statement, in a report of InnoDB.
pub(super) fn names_thread(line: &str) -> bool {
    line.starts_with("MySQL thread id ") || line.starts_with("MariaDB thread id ")
}

/// Whether this line is none of a statement, in a report of InnoDB.
pub(super) fn ends_statement(line: &str) -> bool {
    const SECTIONS: [&str; 7] = ["***", "---", "RECORD LOCKS", "TABLE LOCK", "Record lock", "TRANSACTION ", "====="];
    SECTIONS.iter().any(|s| line.starts_with(s))
}

/// The quote that ends a statement: the first before a line that PostgreSQL itself begins, or the last.
fn end_of_statement(inner: &str, quote: char) -> Option<usize> {
    let ends = |at: &usize| {
        let next = inner[at + 1..].strip_prefix('\n');
        next.is_some_and(|line| CONTEXT_BEGINS.iter().any(|words| line.starts_with(words)))
    };
    inner.match_indices(quote).map(|(at, _)| at).find(ends).or_else(|| inner.rfind(quote))
}

/// `(errno: 24 "Too many open files")`: the system's own words.
fn names_error(before: &str) -> bool {
    let mut words = before.trim_end().rsplit([' ', '(']);
    let number = words.next().is_some_and(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_digit()));
    number && words.next().is_some_and(|w| matches!(w, "errno:" | "Errcode:" | "error:"))
}

/// `server's`, `can't`: no quote.
fn is_apostrophe(before: &str, after: &str) -> bool {
    before.ends_with(|c: char| c.is_alphanumeric()) && after.starts_with(|c: char| c.is_alphabetic())
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
