//! Cuts SQL text into tokens the way the server's own lexer would, for fingerprints and masking.
//!
//! It never fails: an unterminated string or comment runs to the end of the text, so a statement that the server cut
//! short still gives tokens, and what may be half a literal is a literal. Whether a backslash escapes a quote is a setting
//! of the session (`standard_conforming_strings`, `NO_BACKSLASH_ESCAPES`): a text that makes no sense by the server's
//! default is read the other way. Sources: PostgreSQL manual §4.1 "Lexical Structure", MySQL reference manual §11
//! "Language Structure", MariaDB knowledge base "Comment Syntax".

/// Whose lexer to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// PostgreSQL: `"` quotes identifiers, dollar quotes, nested comments, `E''` escapes.
    Postgresql,
    /// MySQL and MariaDB: `"` quotes strings, backticks identifiers, `#` and executable comments, backslash escapes.
    Mysql,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Keyword or unquoted identifier.
    Word,
    /// Quoted identifier, quotes included in its range.
    QuotedWord,
    /// String literal of any spelling, prefix included.
    String,
    /// Numeric literal without sign.
    Number,
    /// `$1`, `?`: the place of a literal.
    Parameter,
    /// `...`: the place of several literals, as MySQL's digests write it.
    ParameterList,
    /// Operator or punctuation.
    Symbol,
    /// Comment; hints too.
    Comment,
}

/// One token: its kind and its bytes in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// First byte.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
}

impl Token {
    /// The token's own text.
    pub fn text<'a>(&self, sql: &'a str) -> &'a str {
        &sql[self.start..self.end]
    }
}

/// All tokens of `sql`, in order, white space left out. Every range lies on character boundaries.
pub fn tokens(dialect: Dialect, sql: &str) -> Vec<Token> {
    match readings(dialect, sql) {
        Readings::One(tokens) | Readings::Two(tokens, _) => tokens,
    }
}

/// The ways a text can be read.
pub enum Readings {
    /// There is no doubt.
    One(Vec<Token>),
    /// Both by the server's default and by the other rule for backslashes some string does not end where it should, as in
    /// a text that was cut short: the default first.
    Two(Vec<Token>, Vec<Token>),
}

/// Reads a text by the server's default rule for backslashes, or by the other where only that makes sense.
pub fn readings(dialect: Dialect, sql: &str) -> Readings {
    let escapes = dialect == Dialect::Mysql;
    let (usual, odd) = read(dialect, sql, escapes);
    let in_doubt = odd && (sql.contains("\\'") || escapes && sql.contains("\\\""));
    if !in_doubt {
        return Readings::One(usual);
    }
    match read(dialect, sql, !escapes) {
        (other, false) => Readings::One(other),
        (other, true) => Readings::Two(usual, other),
    }
}

/// One reading, and whether a string in it never ends or is followed by a word without a blank.
fn read(dialect: Dialect, sql: &str, escapes: bool) -> (Vec<Token>, bool) {
    let bytes = sql.as_bytes();
    let mut lexer =
        Lexer { dialect, escapes, bytes, at: 0, in_executable_comment: false, is_odd: false, out: Vec::new() };
    while lexer.at < lexer.bytes.len() {
        lexer.next();
    }
    (lexer.out, lexer.is_odd)
}

struct Lexer<'a> {
    dialect: Dialect,
    /// Whether a backslash in a plain string escapes.
    escapes: bool,
    bytes: &'a [u8],
    at: usize,
    in_executable_comment: bool,
    is_odd: bool,
    out: Vec<Token>,
}

const OPERATORS: &[u8] = b"+-*/<>=~!@#%^&|?:";

fn begins_word(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_' || b >= 0x80
}

fn continues_word(b: u8) -> bool {
    begins_word(b) || b.is_ascii_digit() || b == b'$'
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn rest_begins(&self, what: &[u8]) -> bool {
        self.bytes[self.at..].starts_with(what)
    }

    fn push(&mut self, kind: TokenKind, start: usize) {
        self.out.push(Token { kind, start, end: self.at });
    }

    fn next(&mut self) {
        let start = self.at;
        let mysql = self.dialect == Dialect::Mysql;
        match self.peek(0) {
            b if b.is_ascii_whitespace() || b == 0 => self.at += 1,
            b'-' if self.peek(1) == b'-' && (!mysql || self.peek(2).is_ascii_whitespace() || self.peek(2) == 0) => {
                self.line_comment(start);
            }
            b'#' if mysql => self.line_comment(start),
            b'/' if self.peek(1) == b'*' => self.block_comment(start),
            b'*' if self.in_executable_comment && self.peek(1) == b'/' => {
                self.in_executable_comment = false;
                self.at += 2;
            }
            b'\'' => self.string(start, self.escapes),
            b'"' if mysql => {
                self.quoted(b'"', self.escapes);
                self.is_odd |= begins_word(self.peek(0));
                self.push(TokenKind::String, start);
            }
            b'"' => {
                self.quoted(b'"', false);
                self.push(TokenKind::QuotedWord, start);
            }
            b'`' if mysql => {
                self.quoted(b'`', false);
                self.push(TokenKind::QuotedWord, start);
            }
            b'(' if mysql && !self.after_name() && self.rest_begins(b"(unknown)") => {
                // what MariaDB's digests write for a hexadecimal or bit literal
                self.at += b"(unknown)".len();
                self.push(TokenKind::Number, start);
            }
            b'(' if mysql && self.rest_begins(b"(_charset)") => {
                // and for the character set before a string
                self.at += b"(_charset)".len();
                self.push(TokenKind::Comment, start);
            }
            b'$' if !mysql => self.dollar(start),
            b'.' if self.rest_begins(b"...") => {
                self.at += 3;
                self.push(TokenKind::ParameterList, start);
            }
            b'0'..=b'9' => self.number(start),
            b'.' if self.peek(1).is_ascii_digit() && !self.after_name() => self.number(start),
            b if begins_word(b) => self.word(start),
            b if OPERATORS.contains(&b) => self.operator(start),
            _ => {
                self.at += 1;
                self.push(TokenKind::Symbol, start);
            }
        }
    }

    /// `t.1` does not begin a number after a name.
    fn after_name(&self) -> bool {
        self.out.last().is_some_and(|t| t.end == self.at && matches!(t.kind, TokenKind::Word | TokenKind::QuotedWord))
    }

    fn line_comment(&mut self, start: usize) {
        while self.at < self.bytes.len() && self.bytes[self.at] != b'\n' {
            self.at += 1;
        }
        self.push(TokenKind::Comment, start);
    }

    fn block_comment(&mut self, start: usize) {
        let mysql = self.dialect == Dialect::Mysql;
        if mysql && (self.rest_begins(b"/*!") || self.rest_begins(b"/*M!")) {
            // An executable comment is code: step over its opening and version number.
            self.at += if self.peek(2) == b'!' { 3 } else { 4 };
            while self.peek(0).is_ascii_digit() {
                self.at += 1;
            }
            self.in_executable_comment = true;
            return;
        }
        self.at += 2;
        let mut depth = 1;
        while self.at < self.bytes.len() && depth > 0 {
            if self.rest_begins(b"*/") {
                depth -= 1;
                self.at += 2;
            } else if !mysql && self.rest_begins(b"/*") {
                depth += 1;
                self.at += 2;
            } else {
                self.at += 1;
            }
        }
        self.push(TokenKind::Comment, start);
    }

    /// A string in single quotes that begins here; in PostgreSQL one that goes on in a later line is the same string.
    fn string(&mut self, start: usize, backslash: bool) {
        self.quoted(b'\'', backslash);
        while self.dialect == Dialect::Postgresql {
            let rest = &self.bytes[self.at..];
            let blanks = rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
            if rest.get(blanks) != Some(&b'\'') || !rest[..blanks].contains(&b'\n') {
                break;
            }
            self.at += blanks;
            self.quoted(b'\'', backslash);
        }
        self.is_odd |= begins_word(self.peek(0));
        self.push(TokenKind::String, start);
    }

    /// Steps over a quoted run that begins here; a doubled quote stays inside, and so does an escaped one if asked.
    fn quoted(&mut self, quote: u8, backslash: bool) {
        self.at += 1;
        while self.at < self.bytes.len() {
            let b = self.bytes[self.at];
            if b == b'\\' && backslash {
                self.at = (self.at + 2).min(self.bytes.len());
            } else if b == quote {
                self.at += 1;
                if self.peek(0) != quote || self.at >= self.bytes.len() {
                    return;
                }
                self.at += 1;
            } else {
                self.at += 1;
            }
        }
        self.is_odd = true;
        // The step over an escape may have stopped inside a character.
        while self.at < self.bytes.len() && self.bytes[self.at] & 0xc0 == 0x80 {
            self.at += 1;
        }
    }

    /// `$1`, `$$text$$`, `$tag$text$tag$`.
    fn dollar(&mut self, start: usize) {
        let mut end = self.at + 1;
        if self.peek(1).is_ascii_digit() {
            while end < self.bytes.len() && self.bytes[end].is_ascii_digit() {
                end += 1;
            }
            self.at = end;
            return self.push(TokenKind::Parameter, start);
        }
        while end < self.bytes.len() && continues_word(self.bytes[end]) && self.bytes[end] != b'$' {
            end += 1;
        }
        if self.bytes.get(end) != Some(&b'$') {
            self.at += 1;
            return self.push(TokenKind::Symbol, start);
        }
        let tag = &self.bytes[start..=end];
        let body = end + 1;
        self.at = self.bytes[body..]
            .windows(tag.len())
            .position(|w| w == tag)
            .map_or(self.bytes.len(), |found| body + found + tag.len());
        self.push(TokenKind::String, start);
    }

    fn number(&mut self, start: usize) {
        let hex = self.peek(0) == b'0' && matches!(self.peek(1), b'x' | b'X' | b'b' | b'B' | b'o' | b'O');
        if hex {
            self.at += 2;
            while self.peek(0).is_ascii_alphanumeric() || self.peek(0) == b'_' {
                self.at += 1;
            }
            let digit = |b: &u8| match self.bytes[start + 1] {
                b'x' | b'X' => b.is_ascii_hexdigit(),
                b'b' | b'B' => matches!(b, b'0' | b'1'),
                _ => false,
            };
            // 0xyz, 0b12 and 0o7 are names there
            let named = self.dialect == Dialect::Mysql && !self.bytes[start + 2..self.at].iter().all(digit);
            return self.push(if named { TokenKind::Word } else { TokenKind::Number }, start);
        }
        while self.peek(0).is_ascii_digit() || self.peek(0) == b'_' {
            self.at += 1;
        }
        if self.peek(0) == b'.' && self.peek(1) != b'.' {
            self.at += 1;
            while self.peek(0).is_ascii_digit() || self.peek(0) == b'_' {
                self.at += 1;
            }
        }
        if matches!(self.peek(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if self.peek(1 + sign).is_ascii_digit() {
                self.at += 1 + sign;
                while self.peek(0).is_ascii_digit() {
                    self.at += 1;
                }
            }
        }
        if self.dialect == Dialect::Mysql && begins_word(self.peek(0)) {
            // MySQL lets an identifier begin with digits: 2020_orders
            while continues_word(self.peek(0)) && self.at < self.bytes.len() {
                self.at += 1;
            }
            return self.push(TokenKind::Word, start);
        }
        self.push(TokenKind::Number, start);
    }

    fn word(&mut self, start: usize) {
        while self.at < self.bytes.len() && continues_word(self.bytes[self.at]) {
            self.at += 1;
        }
        let mysql = self.dialect == Dialect::Mysql;
        let word = &self.bytes[start..self.at];
        let quote = self.peek(0);
        let is = |s: &str| word.eq_ignore_ascii_case(s.as_bytes());
        if quote == b'\'' && (is("e") && !mysql) {
            return self.string(start, true);
        }
        let charset = mysql && word[0] == b'_' && word.len() > 1;
        if quote == b'\'' && (is("b") || is("x") || is("n") || charset) {
            return self.string(start, self.escapes);
        }
        if quote == b'"' && charset {
            self.quoted(b'"', self.escapes);
            return self.push(TokenKind::String, start);
        }
        if !mysql && is("u") && quote == b'&' && matches!(self.peek(1), b'\'' | b'"') {
            self.at += 1;
            if self.peek(0) == b'\'' {
                return self.string(start, false);
            }
            self.quoted(b'"', false);
            return self.push(TokenKind::QuotedWord, start);
        }
        self.push(TokenKind::Word, start);
    }

    fn operator(&mut self, start: usize) {
        if self.dialect == Dialect::Mysql {
            for long in
                [&b"<=>"[..], b"->>", b"<=", b">=", b"<>", b"!=", b"<<", b">>", b"||", b"&&", b":=", b"->", b"@@"]
            {
                if self.rest_begins(long) {
                    self.at += long.len();
                    return self.push(TokenKind::Symbol, start);
                }
            }
            self.at += 1;
            let kind = if self.bytes[start] == b'?' { TokenKind::Parameter } else { TokenKind::Symbol };
            return self.push(kind, start);
        }
        if self.peek(0) == b':' {
            self.at += if matches!(self.peek(1), b':' | b'=') { 2 } else { 1 };
            return self.push(TokenKind::Symbol, start);
        }
        while OPERATORS.contains(&self.peek(0)) && self.peek(0) != b':' {
            if self.at > start && (self.rest_begins(b"--") || self.rest_begins(b"/*")) {
                break;
            }
            self.at += 1;
        }
        // PostgreSQL §4.1.3: an operator of several characters can't end in + or - unless it also holds one of ~!@#%^&|`?
        let special = |b: &u8| b"~!@#%^&|?".contains(b);
        while self.at - start > 1
            && matches!(self.bytes[self.at - 1], b'+' | b'-')
            && !self.bytes[start..self.at].iter().any(special)
        {
            self.at -= 1;
        }
        let kind = if &self.bytes[start..self.at] == b"?" { TokenKind::Parameter } else { TokenKind::Symbol };
        self.push(kind, start);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tokens_follow_each_server() {
        use Dialect::{Mysql, Postgresql};
        let table: &[(Dialect, &str, &[&str])] = &[
            (Postgresql, "a=-1", &["a", "=", "-", "1"]),
            (Postgresql, "a@>'{}'::jsonb", &["a", "@>", "'{}'", "::", "jsonb"]),
            (Postgresql, r"E'it\'s' 'it''s' 'c:\'", &[r"E'it\'s'", "'it''s'", r"'c:\'"]),
            (Postgresql, "$$a'b$$ $t$x$$y$t$ $12", &["$$a'b$$", "$t$x$$y$t$", "$12"]),
            (Postgresql, "/* a /* b */ c */ x --y\nz", &["/* a /* b */ c */", "x", "--y", "z"]),
            (Postgresql, "1.5e-3+.5 t.5 1", &["1.5e-3", "+", ".5", "t", ".", "5", "1"]),
            (Postgresql, r#"U&"d" u&'x' "a""b""#, &[r#"U&"d""#, "u&'x'", r#""a""b""#]),
            (Postgresql, "x'ff", &["x'ff"]),
            (Postgresql, "'a'\n 'b' 'c'", &["'a'\n 'b'", "'c'"]),
            (Postgresql, r"a = 'it\'s' and b", &["a", "=", r"'it\'s'", "and", "b"]),
            (Postgresql, r"a = 'c:\' and b = 'd'", &["a", "=", r"'c:\'", "and", "b", "=", "'d'"]),
            (Mysql, r"a = 'c:\' and b = 'd'", &["a", "=", r"'c:\'", "and", "b", "=", "'d'"]),
            (Mysql, "0xfg 0b12 0b01", &["0xfg", "0b12", "0b01"]),
            (Mysql, r#"'a\'b' "c""d" `e``f`"#, &[r"'a\'b'", r#""c""d""#, "`e``f`"]),
            (Mysql, "a--1 -- x\n# y\nb", &["a", "-", "-", "1", "-- x", "# y", "b"]),
            (Mysql, "/*!40101 SET a=1 */;", &["SET", "a", "=", "1", ";"]),
            (
                Mysql,
                "select 2020_orders.x, _utf8mb4'y', 0xFF",
                &["select", "2020_orders", ".", "x", ",", "_utf8mb4'y'", ",", "0xFF"],
            ),
            (Mysql, "in (...) /* , ... */", &["in", "(", "...", ")", "/* , ... */"]),
            (Mysql, "@@session.x := @y", &["@@", "session", ".", "x", ":=", "@", "y"]),
        ];
        for (dialect, sql, want) in table {
            let got: Vec<&str> = tokens(*dialect, sql).iter().map(|t| t.text(sql)).collect();
            assert_eq!(&got, want, "{sql}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_cut_in_order_and_on_character_boundaries(sql in "[ -~é\n'\"`$/*\\\\]{0,80}") {
            for dialect in [Dialect::Postgresql, Dialect::Mysql] {
                let mut last = 0;
                for token in tokens(dialect, &sql) {
                    proptest::prop_assert!(token.start >= last && token.end > token.start);
                    proptest::prop_assert!(sql.get(token.start..token.end).is_some());
                    last = token.end;
                }
            }
        }
    }
}
