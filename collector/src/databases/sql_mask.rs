//! A statement without its literals, and what stays in it where the configuration keeps them: never a credential.

use super::sql_tokens::{Dialect, Readings, Token, TokenKind, readings};

/// Words, or parts of words, of statements that hold credentials. Lower case.
const CREDENTIAL_WORDS: [&str; 14] = [
    "password",
    "passwd",
    "pwd",
    "identified",
    "secret",
    "token",
    "crypt",
    "hmac",
    "apikey",
    "api_key",
    "passphrase",
    "credential",
    "private_key",
    "access_key",
];

/// The statement with every literal replaced by `?` and comments left out; the rest stays as it was written.
pub fn mask_sql(dialect: Dialect, sql: &str) -> String {
    let tokens = masked_tokens(dialect, sql);
    let mut out = String::with_capacity(sql.len());
    let mut last = 0;
    for token in tokens {
        let replacement = match token.kind {
            TokenKind::String | TokenKind::Number => "?",
            TokenKind::Comment => " ",
            _ => continue,
        };
        out.push_str(&sql[last..token.start]);
        if !(replacement == " " && out.ends_with(|c: char| c.is_whitespace())) {
            out.push_str(replacement);
        }
        last = token.end;
    }
    out.push_str(&sql[last..]);
    out.trim().to_owned()
}

/// The statement with its literals, for a configuration that keeps them. One that names a password, a key or an account's
/// secret anywhere is masked all the same; comments never stay.
pub fn mask_credentials(dialect: Dialect, sql: &str) -> String {
    let lower = sql.to_lowercase();
    let account_in_url = lower.find("://").is_some_and(|at| lower[at..].contains('@'));
    if account_in_url || CREDENTIAL_WORDS.iter().any(|word| lower.contains(word)) {
        return mask_sql(dialect, sql);
    }
    let mut out = String::with_capacity(sql.len());
    let mut last = 0;
    for comment in masked_tokens(dialect, sql).iter().filter(|t| t.kind == TokenKind::Comment) {
        out.push_str(&sql[last..comment.start]);
        out.push(' ');
        last = comment.end;
    }
    out.push_str(&sql[last..]);
    out.trim().to_owned()
}

/// Literals and comments; of a text that can be read in two ways, what is one in either.
fn masked_tokens(dialect: Dialect, sql: &str) -> Vec<Token> {
    let goes = |t: &Token| matches!(t.kind, TokenKind::String | TokenKind::Number | TokenKind::Comment);
    match readings(dialect, sql) {
        Readings::One(tokens) => tokens.into_iter().filter(goes).collect(),
        Readings::Two(usual, other) => {
            let mut all: Vec<Token> = usual.into_iter().chain(other).filter(goes).collect();
            all.sort_by_key(|t| (t.start, std::cmp::Reverse(t.end)));
            let mut union: Vec<Token> = Vec::with_capacity(all.len());
            for token in all {
                match union.last_mut() {
                    Some(last) if token.start < last.end => {
                        if token.end > last.end {
                            // a comment in one reading may be a string in the other: leave a mark
                            last.kind = TokenKind::String;
                            last.end = token.end;
                        }
                    }
                    _ => union.push(token),
                }
            }
            union
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dialect::{Mysql, Postgresql};

    #[test]
    fn masks_take_literals_and_comments_and_leave_the_rest() {
        for (dialect, sql, want) in [
            (Postgresql, "SELECT * FROM T WHERE a = 'x' AND b=5 -- secret", "SELECT * FROM T WHERE a = ? AND b=?"),
            (Postgresql, "select $$secret$$, \"Name\" /* secret */ from t", "select ?, \"Name\"  from t"),
            (Postgresql, "select 'cut short", "select ?"),
            (Postgresql, "select a = $1", "select a = $1"),
            (Postgresql, r"select 'it\'s secret' from t", "select ? from t"),
            (Postgresql, r"select 'it\'s secret', 'cut", "select ?"),
            (Postgresql, r"select 'c:\', 'x' from t", "select ?, ? from t"),
            (Mysql, "select \"secret\", `a` from t # secret", "select ?, `a` from t"),
            (Mysql, "select /* cut short 'secret'", "select"),
            (Mysql, r"select 'c:\', 'secret' from t", "select ?, ? from t"),
        ] {
            assert_eq!(mask_sql(dialect, sql), want, "{sql}");
        }
    }

    #[test]
    fn credentials_go_even_where_literals_stay() {
        for (dialect, sql, want) in [
            (Postgresql, "select a from t where b = 'x' -- why", "select a from t where b = 'x'"),
            (Postgresql, "alter role a PASSWORD 'x' valid until '2030-01-01'", "alter role a PASSWORD ? valid until ?"),
            (Postgresql, "select dblink('host=h password=x', 'select 1')", "select dblink(?, ?)"),
            (Postgresql, "select f('postgres://u:x@h/d')", "select f(?)"),
            (Mysql, "create user a identified by 'x'", "create user a identified by ?"),
            (Mysql, "change master to master_password = 'x'", "change master to master_password = ?"),
            (Mysql, "select aes_encrypt(a, 'key') from t", "select aes_encrypt(a, ?) from t"),
        ] {
            assert_eq!(mask_credentials(dialect, sql), want, "{sql}");
        }
    }
}
