//! RE2's regular expressions for Rust's engine: the same syntax but for a few spellings that are rewritten here.
//!
//! RE2's `\d \w \s \b` are ASCII; a `{` that begins no repetition is itself; `[`, `&&`, `--` and `~~` have no special
//! meaning inside a class; `\Q…\E` quotes.

use regex::{Regex, RegexBuilder};

/// Compiled size allowed for one expression.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// Compiles `pattern` so that it must match a whole value, newlines included under `.`.
pub fn anchored(pattern: &str) -> Result<Regex, String> {
    // Checked alone first, so that `a)(b` is not made valid by the group around it.
    let translated = translate(pattern);
    let alone = regex_syntax::parse(&translated).map(|_| ()).map_err(|e| regex::Error::Syntax(e.to_string()));
    let compiled = alone.and_then(|()| build(&format!(r"\A(?s:{translated})\z")));
    compiled.map_err(|e| format!("error parsing regexp: {}", describe(&e, pattern)))
}

fn build(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(COMPILED_BYTES_MAX).build()
}

fn describe(error: &regex::Error, pattern: &str) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => format!("expression too large, at most {limit} bytes compiled"),
        other => {
            let text = other.to_string();
            let reason = text.lines().rfind(|l| l.starts_with("error: ")).map_or("invalid", |l| &l[7..]);
            // The commonest troubles in the words users of RE2 know.
            let known = match reason {
                "unclosed group" => "missing closing )",
                "unopened group" => "unexpected )",
                "unclosed character class" => "missing closing ]",
                "repetition operator missing expression" => "missing argument to repetition operator",
                other => other,
            };
            format!("{known}: `{pattern}`")
        }
    }
}

/// Rewrites RE2's spelling.
pub(super) fn translate(pattern: &str) -> String {
    let (mut out, mut chars) = (String::with_capacity(pattern.len() + 8), pattern.char_indices().peekable());
    let mut in_class = false;
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                let Some((_, escaped)) = chars.next() else {
                    out.push('\\');
                    break;
                };
                match escaped {
                    'd' => out.push_str(if in_class { "0-9" } else { "[0-9]" }),
                    'w' => out.push_str(if in_class { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
                    's' => out.push_str(if in_class { r"\t\n\f\r " } else { r"[\t\n\f\r ]" }),
                    'D' => out.push_str("[^0-9]"),
                    'W' => out.push_str("[^0-9A-Za-z_]"),
                    'S' => out.push_str(r"[^\t\n\f\r ]"),
                    'b' | 'B' if !in_class => out.push_str(&format!(r"(?-u:\{escaped})")),
                    'Q' => {
                        let rest = &pattern[at + 2..];
                        let quoted = rest.split_once(r"\E").map_or(rest, |(quoted, _)| quoted);
                        out.push_str(&regex::escape(quoted));
                        let end = (at + 2 + quoted.len() + 2).min(pattern.len());
                        while chars.next_if(|(i, _)| *i < end).is_some() {}
                    }
                    other => {
                        out.push('\\');
                        out.push(other);
                    }
                }
            }
            '[' if in_class => {
                if pattern[at..].starts_with("[:") {
                    out.push('[')
                } else {
                    out.push_str(r"\[")
                }
                if pattern[at..].starts_with("[:")
                    && let Some(len) = pattern[at..].find(":]")
                {
                    out.push_str(&pattern[at + 1..at + len + 2]);
                    while chars.next_if(|(i, _)| *i < at + len + 2).is_some() {}
                }
            }
            '[' => {
                in_class = true;
                out.push('[');
                if chars.next_if(|(_, c)| *c == '^').is_some() {
                    out.push('^');
                }
                if chars.next_if(|(_, c)| *c == ']').is_some() {
                    out.push_str(r"\]");
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '{' if !in_class && !begins_repetition(&pattern[at..]) => out.push_str(r"\{"),
            '}' if !in_class && !out_ends_repetition(&out) => out.push_str(r"\}"),
            c => out.push(c),
        }
    }
    out
}

/// Whether text that begins with `{` spells `{n}`, `{n,}` or `{n,m}`.
fn begins_repetition(text: &str) -> bool {
    let Some((inside, _)) = text[1..].split_once('}') else { return false };
    let (low, high) = inside.split_once(',').unwrap_or((inside, ""));
    !low.is_empty() && low.bytes().chain(high.bytes()).all(|b| b.is_ascii_digit())
}

/// Whether a `}` after `out` closes a repetition or a `\p{…}`, `\x{…}`.
fn out_ends_repetition(out: &str) -> bool {
    let Some(open) = out.rfind('{') else { return false };
    !out[..open].ends_with('\\') && !out[open..].contains('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn re2_spellings_keep_their_meaning() {
        for (pattern, value, expected) in [
            ("(?i:PRO).*", "production", true),
            (".*", "a\nb", true),
            ("foo", "foobar", false),
            ("a|ab", "ab", true),
            (r"\d+", "٣", false),
            (r"[\d.]+", "1.5", true),
            (r"a{", "a{", true),
            (r"a{2}", "aa", true),
            (r"[[]", "[", true),
            (r"[[:alpha:]]+", "abc", true),
            (r"[a&&b]", "&", true),
            (r"\Qa.b\E+", "a.bb", true),
            (r"{{.*}}", "{{x}}", true),
        ] {
            assert_eq!(anchored(pattern).expect(pattern).is_match(value), expected, "{pattern} {value}");
        }
        assert!(anchored("(.*").is_err());
        assert!(anchored("a)(b").is_err());
    }
}
