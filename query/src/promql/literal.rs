//! String literals: Go's escapes, and values that need not be UTF-8.

use super::number::go_quote;

/// The value of a string literal: bytes, because escapes can spell anything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Text(Vec<u8>);

impl Text {
    /// The value if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The value, with broken bytes replaced.
    pub fn to_lossy(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// The value in double quotes.
    pub fn quoted(&self) -> String {
        go_quote(&self.0)
    }
}

impl From<&str> for Text {
    fn from(s: &str) -> Text {
        Text(s.as_bytes().to_vec())
    }
}

/// Takes the quotes and escapes off a string token. The error is Prometheus' wording.
pub fn unquote(token: &str) -> Result<Text, String> {
    let quote = token.chars().next().unwrap_or('"');
    let inner = token.get(1..token.len().saturating_sub(1)).unwrap_or_default();
    if quote == '`' {
        return Ok(Text(inner.as_bytes().to_vec()));
    }
    let (mut out, mut chars) = (Vec::with_capacity(inner.len()), inner.chars());
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = chars.next().ok_or("invalid syntax")?;
        match escape {
            'a' => out.push(7),
            'b' => out.push(8),
            'f' => out.push(0xc),
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            'v' => out.push(0xb),
            '\\' => out.push(b'\\'),
            c if c == quote => out.push(quote as u8),
            'x' => out.push(number(&mut chars, 2, 16, String::new())? as u8),
            'u' | 'U' => {
                let code = number(&mut chars, if escape == 'u' { 4 } else { 8 }, 16, String::new())?;
                let c = char::from_u32(code).ok_or("escape sequence is an invalid Unicode code point")?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            '0'..='7' => {
                let code = number(&mut chars, 2, 8, escape.to_string())?;
                out.push(u8::try_from(code).map_err(|_| "escape sequence is an invalid byte")?);
            }
            other => return Err(format!("unknown escape sequence U+{:04X} {other:?}", other as u32)),
        }
    }
    Ok(Text(out))
}

fn number(chars: &mut std::str::Chars<'_>, digits: usize, radix: u32, mut text: String) -> Result<u32, String> {
    text.extend(chars.by_ref().take(digits));
    u32::from_str_radix(&text, radix).map_err(|_| "illegal character in escape sequence".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_follow_go() {
        for (token, value) in [
            (r#""a\tb""#, &b"a\tb"[..]),
            (r#"'it\'s'"#, b"it's"),
            ("`raw\\n`", b"raw\\n"),
            (r#""\xc5\101\u00e9""#, b"\xc5A\xc3\xa9"),
        ] {
            assert_eq!(unquote(token).expect("valid").0, value, "{token}");
        }
        assert_eq!(unquote(r#""\c""#), Err("unknown escape sequence U+0063 'c'".into()));
    }
}
