//! Label matchers of routes, silences and inhibition, in Alertmanager's text form: `a="b"`, `a!="b"`, `a=~"b.*"`, `a!~"b"`.

use proto::Labels;
use query::promql::matcher::{MatchOp, Matcher as LabelMatcher};

/// A set of conditions; all must hold. A label that is absent has the empty value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matchers(Vec<LabelMatcher>);

impl Matchers {
    /// Parses one text per entry; an entry may hold several matchers between braces or separated by commas.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Matchers, String> {
        let mut all = Vec::new();
        for text in texts {
            let text = text.as_ref().trim();
            let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
            for part in split(inner) {
                all.push(one(part.trim())?);
            }
        }
        Ok(Matchers(all))
    }

    /// Conditions in the form of Alertmanager's API.
    pub fn of_conditions(conditions: &[crate::silence::Condition]) -> Result<Matchers, String> {
        let one = |c: &crate::silence::Condition| {
            let op = match (c.is_regex, c.is_equal) {
                (false, true) => MatchOp::Eq,
                (false, false) => MatchOp::Ne,
                (true, true) => MatchOp::Re,
                (true, false) => MatchOp::Nre,
            };
            if c.name.is_empty() {
                return Err("a matcher has no name".to_string());
            }
            LabelMatcher::new(&c.name, op, &c.value).map_err(|e| format!("matcher {:?}: {e}", c.name))
        };
        conditions.iter().map(one).collect::<Result<_, _>>().map(Matchers)
    }

    /// The conditions, in order.
    pub fn iter(&self) -> impl Iterator<Item = &LabelMatcher> {
        self.0.iter()
    }

    /// Whether every condition holds.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")))
    }

    /// Whether there are no conditions.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Display for Matchers {
    /// `{a="b",c=~"d"}`, by name and value, as group keys have it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sorted: Vec<&LabelMatcher> = self.0.iter().collect();
        sorted.sort_by_key(|m| (m.name(), m.value()));
        f.write_str("{")?;
        for (i, m) in sorted.into_iter().enumerate() {
            write!(f, "{}{}{}{:?}", if i > 0 { "," } else { "" }, m.name(), m.op().symbol(), m.value())?;
        }
        f.write_str("}")
    }
}

/// Splits at commas outside quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.retain(|p| !p.trim().is_empty());
    parts
}

fn one(text: &str) -> Result<LabelMatcher, String> {
    let expected = || format!("matcher {text:?} must look like name=\"value\", with =, !=, =~ or !~");
    let at = text.find(['=', '!']).ok_or_else(expected)?;
    let (name, rest) = (text[..at].trim(), &text[at..]);
    let operators = [("=~", MatchOp::Re), ("!~", MatchOp::Nre), ("!=", MatchOp::Ne), ("=", MatchOp::Eq)];
    let (symbol, op) = operators.into_iter().find(|(s, _)| rest.starts_with(s)).ok_or_else(expected)?;
    if name.is_empty() {
        return Err(expected());
    }
    let value = rest[symbol.len()..].trim();
    let value = match value.strip_prefix('"') {
        Some(_) => serde_json::from_str(value).map_err(|_| expected())?,
        None if value.contains('"') => return Err(expected()),
        None => value.to_string(),
    };
    LabelMatcher::new(name, op, &value).map_err(|e| format!("matcher {text:?}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_by_text() {
        let labels = Labels::from_pairs([("team", "db"), ("severity", "critical")]);
        for (texts, expected) in [
            (&[r#"team="db""#][..], true),
            (&["team=db"], true),
            (&[r#"team = "db""#, r#"severity!="critical""#], false),
            (&[r#"severity=~"crit.*|page""#], true),
            (&[r#"severity=~"crit""#], false),
            (&[r#"missing="""#], true),
            (&[r#"missing!~".+""#], true),
            (&[r#"{team="db",severity="critical"}"#], true),
            (&[r#"team="a,b""#], false),
            (&[], true),
        ] {
            assert_eq!(Matchers::parse(texts).map(|m| m.matches(&labels)), Ok(expected), "{texts:?}");
        }
        for bad in ["team", "=x", r#"a="b"#, r#"a=~"(""#, r#"a=b"c"#] {
            assert!(Matchers::parse(&[bad]).is_err(), "{bad}");
        }
        let printed = Matchers::parse(&[r#"a="b",c=~"d""#]).map(|m| m.to_string());
        assert_eq!(printed.as_deref(), Ok(r#"{a="b",c=~"d"}"#));
    }
}
