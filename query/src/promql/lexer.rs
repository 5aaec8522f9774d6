//! Text to tokens. A lexical error ends the token list, so that the parser meets it in its place and reports whichever
//! trouble comes first, as Prometheus does.

use super::position::Span;
use super::token::{Kind, Token};

/// Splits `text`; the last token is [`Kind::Eof`] or [`Kind::Error`]. Comments are left out.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        text,
        at: 0,
        start: 0,
        parens: 0,
        in_brackets: false,
        in_braces: false,
        got_colon: false,
        out: Vec::new(),
    };
    while lexer.step() {}
    lexer.out
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    start: usize,
    parens: usize,
    in_brackets: bool,
    in_braces: bool,
    got_colon: bool,
    out: Vec<Token>,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&keep) {
            self.bump();
        }
    }

    fn emit(&mut self, kind: Kind) -> bool {
        let text = self.text[self.start..self.at].to_string();
        let word = match kind {
            Kind::Operator | Kind::Aggregator | Kind::Keyword | Kind::Number => text.to_ascii_lowercase(),
            _ => text.clone(),
        };
        self.out.push(Token { kind, text, word, span: Span::new(self.start, self.at) });
        kind != Kind::Eof
    }

    fn error(&mut self, message: String) -> bool {
        let span = Span::new(self.start, self.at.max(self.start));
        self.out.push(Token { kind: Kind::Error, word: String::new(), text: message, span });
        false
    }

    /// Emits one token or skips one stretch of blanks; false at the end.
    fn step(&mut self) -> bool {
        self.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
        self.start = self.at;
        let Some(c) = self.bump() else { return self.end() };
        if c == '#' {
            self.take_while(|c| c != '\n');
            return true;
        }
        if self.in_braces { self.inside_braces(c) } else { self.statement(c) }
    }

    fn end(&mut self) -> bool {
        if self.in_braces {
            self.error("unexpected end of input inside braces".into())
        } else if self.parens > 0 {
            self.error("unclosed left parenthesis".into())
        } else if self.in_brackets {
            self.error("unclosed left bracket".into())
        } else {
            self.emit(Kind::Eof)
        }
    }

    fn follow(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.bump();
        }
        found
    }

    fn statement(&mut self, c: char) -> bool {
        match c {
            ',' | '@' => self.emit(Kind::Punctuation),
            '*' | '/' | '%' | '+' | '-' | '^' => self.emit(Kind::Operator),
            '=' if self.follow('=') => self.emit(Kind::Operator),
            '=' if self.peek() == Some('~') => self.error("unexpected character after '=': '~'".into()),
            '=' => self.emit(Kind::Punctuation),
            '!' if self.follow('=') => self.emit(Kind::Operator),
            '!' => {
                let next = self.peek().map_or_else(|| "'\\x00'".into(), go_char);
                self.error(format!("unexpected character after '!': {next}"))
            }
            '<' | '>' => {
                let _ = self.follow('=') || self.follow('/');
                self.emit(Kind::Operator)
            }
            '"' | '\'' | '`' => self.string(c),
            '(' => {
                self.parens += 1;
                self.emit(Kind::Punctuation)
            }
            ')' if self.parens == 0 => {
                self.start = self.at;
                self.error("unexpected right parenthesis ')'".into())
            }
            ')' => {
                self.parens -= 1;
                self.emit(Kind::Punctuation)
            }
            '{' => {
                self.in_braces = true;
                self.emit(Kind::Punctuation)
            }
            '[' if self.in_brackets => self.error("unexpected left bracket '['".into()),
            '[' => {
                (self.in_brackets, self.got_colon) = (true, false);
                self.emit(Kind::Punctuation)
            }
            ']' if !self.in_brackets => self.error("unexpected right bracket ']'".into()),
            ']' => {
                self.in_brackets = false;
                self.emit(Kind::Punctuation)
            }
            ':' if self.in_brackets && !self.got_colon => {
                self.got_colon = true;
                self.emit(Kind::Punctuation)
            }
            ':' if self.in_brackets => self.error("unexpected colon ':'".into()),
            c if c.is_ascii_digit() || (c == '.' && self.peek().is_some_and(|n| n.is_ascii_digit())) => self.number(),
            c if c.is_ascii_alphabetic() || c == '_' || c == ':' => self.word(),
            c => self.error(format!("unexpected character: {}", go_char(c))),
        }
    }

    fn inside_braces(&mut self, c: char) -> bool {
        match c {
            '{' => self.error("unexpected left brace '{'".into()),
            '}' => {
                self.in_braces = false;
                self.emit(Kind::Punctuation)
            }
            ',' => self.emit(Kind::Punctuation),
            '"' | '\'' | '`' => self.string(c),
            '=' => {
                self.follow('~');
                self.emit(Kind::Operator)
            }
            '!' if self.follow('~') || self.follow('=') => self.emit(Kind::Operator),
            '!' => {
                let next = self.peek().map_or_else(|| "'\\x00'".into(), go_char);
                self.error(format!("unexpected character after '!' inside braces: {next}"))
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                self.take_while(is_word);
                self.emit(Kind::Identifier)
            }
            c => self.error(format!("unexpected character inside braces: {}", go_char(c))),
        }
    }

    fn word(&mut self) -> bool {
        self.take_while(|c| is_word(c) || c == ':');
        let kind = Kind::of_word(&self.text[self.start..self.at]);
        let is_fill = kind == Kind::Keyword && self.text[self.start..self.at].to_ascii_lowercase().starts_with("fill");
        // `fill` is a word like any other unless a parenthesis follows.
        if is_fill && !self.rest().trim_start().starts_with('(') {
            return self.emit(Kind::Identifier);
        }
        self.emit(kind)
    }

    fn string(&mut self, quote: char) -> bool {
        loop {
            match self.bump() {
                None => {
                    let what = if quote == '`' { "raw" } else { "quoted" };
                    return self.error(format!("unterminated {what} string"));
                }
                Some('\\') if quote != '`' => {
                    if self.bump().is_none() {
                        return self.error("escape sequence not terminated".into());
                    }
                }
                Some('\n') if quote != '`' => return self.error("unterminated quoted string".into()),
                Some(c) if c == quote => return self.emit(Kind::String),
                Some(_) => {}
            }
        }
    }

    /// A number, or a duration if units follow. The first character is taken already.
    fn number(&mut self) -> bool {
        let bytes = &self.text.as_bytes()[self.start..];
        if let Some(len) = number_length(bytes) {
            self.at = self.start + len;
            return self.emit(Kind::Number);
        }
        if let Some(len) = duration_length(bytes) {
            self.at = self.start + len;
            return self.emit(Kind::Duration);
        }
        // What could still have become one of them, and the character that spoiled it.
        let valid = number_prefix(bytes).max(duration_prefix(bytes));
        self.at = self.start + valid;
        self.bump();
        let text = super::number::go_quote(&self.text.as_bytes()[self.start..self.at]);
        self.error(format!("bad number or duration syntax: {text}"))
    }
}

/// The length of the number at the beginning of `bytes`, unless a letter follows it.
fn number_length(bytes: &[u8]) -> Option<usize> {
    let digit_run =
        |from: usize, ok: fn(&u8) -> bool| bytes[from..].iter().take_while(|b| ok(b) || **b == b'_').count();
    let mut at;
    if bytes.len() > 2 && bytes[0] == b'0' && bytes[1] | 0x20 == b'x' {
        at = 2 + digit_run(2, u8::is_ascii_hexdigit);
        if at == 2 {
            return None;
        }
    } else {
        at = digit_run(0, u8::is_ascii_digit);
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            at += digit_run(at, u8::is_ascii_digit);
        }
        if bytes.get(at).is_some_and(|b| b | 0x20 == b'e') {
            let sign = usize::from(bytes.get(at + 1).is_some_and(|b| matches!(b, b'+' | b'-')));
            let digits = digit_run(at + 1 + sign, u8::is_ascii_digit);
            if digits == 0 {
                return None;
            }
            at += 1 + sign + digits;
        }
    }
    let follows = bytes.get(at).copied().unwrap_or(b' ');
    (!follows.is_ascii_alphanumeric() && follows != b'_' && follows != b'.').then_some(at)
}

/// How far `bytes` could be the beginning of a number.
fn number_prefix(bytes: &[u8]) -> usize {
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit() || **b == b'_').count();
    let whole = digits(0);
    if bytes.get(whole) == Some(&b'.') { whole + 1 + digits(whole + 1) } else { whole }
}

/// How far `bytes` could be the beginning of a duration.
fn duration_prefix(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let digits = bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        let unit = &bytes[at + digits..];
        let letters = match unit {
            [b'm', b's', ..] => 2,
            [b's' | b'm' | b'h' | b'd' | b'w' | b'y', ..] => 1,
            _ => 0,
        };
        // A number at the end still lacks its unit: that is where it goes wrong.
        if digits == 0 || letters == 0 {
            return at + digits.saturating_sub(1);
        }
        at += digits + letters;
    }
}

/// The length of `1h30m` at the beginning of `bytes`, unless another letter or digit follows it.
fn duration_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let digits = bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        let unit = bytes[at + digits..].iter().take_while(|b| b.is_ascii_alphabetic()).count();
        let name = &bytes[at + digits..at + digits + unit];
        if digits == 0 || !matches!(name, b"ms" | b"s" | b"m" | b"h" | b"d" | b"w" | b"y") {
            return None;
        }
        at += digits + unit;
        match bytes.get(at) {
            Some(b) if b.is_ascii_digit() => {}
            Some(b'_' | b'.') => return None,
            _ => return Some(at),
        }
    }
}

/// A character as Go's `%q` writes a rune.
fn go_char(c: char) -> String {
    match c {
        '\'' => "'\\''".into(),
        '\\' => "'\\\\'".into(),
        '\n' => "'\\n'".into(),
        '\t' => "'\\t'".into(),
        c if (c as u32) < 0x20 => format!("'\\x{:02x}'", c as u32),
        c => format!("'{c}'"),
    }
}
