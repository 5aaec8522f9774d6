//! PostgreSQL's stderr format: a `log_line_prefix` of the user's choice, a severity, the message.

use regex::Regex;

use super::{
    record::{Extra, Level, Record},
    timestamp,
};

const SEVERITY: &str = r"(?P<severity>DEBUG[1-5]?|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC|DETAIL|HINT|CONTEXT|STATEMENT|QUERY|LOCATION|BACKTRACE):\s+";
/// Longest prefix recognised without knowing `log_line_prefix`, bytes.
const UNKNOWN_PREFIX_BYTES_MAX: usize = 250;

/// How lines of one server begin.
#[derive(Clone, Debug)]
pub struct Prefix {
    line: Regex,
    /// For lines whose prefix is not known beforehand: what is looked for in it.
    within: Option<Within>,
}

#[derive(Clone, Debug)]
struct Within {
    moment: Regex,
    pid: Regex,
    account: Regex,
    pairs: Regex,
}

/// One line taken apart.
struct Line<'a> {
    severity: &'a str,
    text: &'a str,
    record: Record,
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}")) // written here, or built from escaped parts
}

impl Prefix {
    /// For a server whose `log_line_prefix` is known.
    pub fn known(prefix: &str) -> Prefix {
        let mut pattern = String::from("^");
        let mut optional = false;
        let mut seen = std::collections::HashSet::new();
        let mut chars = prefix.chars().peekable();
        while let Some(c) = chars.next() {
            if c != '%' {
                // padding and blanks may differ from what was configured
                pattern.push_str(&if c == ' ' { r"\s*".to_owned() } else { regex::escape(&c.to_string()) });
                continue;
            }
            let mut padded = false;
            while chars.peek().is_some_and(|c| *c == '-' || c.is_ascii_digit()) {
                padded = true;
                chars.next();
            }
            let Some(escape) = chars.next() else { break };
            if escape == 'q' {
                if !optional {
                    pattern.push_str("(?:");
                    optional = true;
                }
                continue;
            }
            let (name, value) = escape_pattern(escape);
            let blank = if padded { r"\s*" } else { "" };
            let group = match name {
                Some(name) if seen.insert(name) => format!("{blank}(?P<{name}>{value}){blank}"),
                _ => format!("{blank}(?:{value}){blank}"),
            };
            pattern.push_str(&group);
        }
        if optional {
            pattern.push_str(")?");
        }
        pattern.push_str(r"\s*");
        pattern.push_str(SEVERITY);
        match Regex::new(&pattern) {
            Ok(line) => Prefix { line, within: None },
            Err(_) => Prefix::unknown(), // a prefix too large for a pattern
        }
    }

    /// For a server whose `log_line_prefix` is not known: time, pid and account are looked for where they usually stand.
    pub fn unknown() -> Prefix {
        let pattern = format!(r"^(?:(?P<prefix>[^\t ].{{0,{UNKNOWN_PREFIX_BYTES_MAX}}}?)[\s:\]])?{SEVERITY}");
        Prefix {
            line: regex(&pattern),
            within: Some(Within {
                moment: regex(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? [A-Za-z0-9+:-]+"),
                pid: regex(r"\[(\d+)(?:-\d+)?\]|\bpid=(\d+)"),
                account: regex(r"(?:^|[\s\]])([^\s@=\[\]]+)@([^\s@,]+)"),
                pairs: regex(r"\b(user|db|database|app|application|client|host)=([^,\s]*)"),
            }),
        }
    }

    /// Whether a record begins with this line; false for continuations and for DETAIL, HINT and the like.
    pub fn begins_record(&self, line: &str) -> bool {
        self.line.captures(line).is_some_and(|c| Extra::from_word(&c["severity"]).is_none())
    }

    fn take_apart<'a>(&self, line: &'a str) -> Option<Line<'a>> {
        let captures = self.line.captures(line)?;
        let all = captures.get(0)?;
        let severity = captures.name("severity")?.as_str();
        let mut record = Record::default();
        let group = |name: &str| captures.name(name).map(|m| m.as_str().trim()).filter(|t| !t.is_empty());
        match &self.within {
            None => {
                record.ts_ms = group("moment").and_then(timestamp::parse).or_else(|| epoch_ms(group("epoch")?));
                record.pid = group("pid").and_then(|p| p.parse().ok());
                record.user = group("user").map(str::to_owned);
                record.database = group("database").map(str::to_owned);
                record.application = group("application").map(str::to_owned);
                record.client = group("client").or(group("host")).map(str::to_owned);
                record.code = group("code").filter(|c| *c != "00000").map(str::to_owned);
                record.component = group("backend").map(str::to_owned);
            }
            Some(within) => within.fill(group("prefix").unwrap_or(""), &mut record),
        }
        Some(Line { severity, text: &line[all.end()..], record })
    }

    /// Reads a whole raw record. One whose first line begins none is not read.
    pub fn parse(&self, raw: &str) -> Record {
        let mut lines = raw.lines();
        let first = lines.next().unwrap_or("");
        let mut record = match self.take_apart(first) {
            Some(line) => {
                let mut record = line.record;
                match Extra::from_word(line.severity) {
                    // the rest of a record whose beginning is not there
                    Some(extra) => record.extras.push((extra, line.text.into())),
                    None => {
                        record.level = Level::of_postgresql(line.severity).unwrap_or_default();
                        record.message = line.text.into();
                    }
                }
                record
            }
            None => return Record::unread(raw),
        };
        for line in lines {
            if !line.starts_with('\t')
                && let Some(part) = self.take_apart(line)
                && let Some(extra) = Extra::from_word(part.severity)
            {
                record.extras.push((extra, part.text.into()));
                continue;
            }
            let text = match record.extras.last_mut() {
                Some((_, text)) => text,
                None => &mut record.message,
            };
            text.push('\n');
            text.push_str(line.strip_prefix('\t').unwrap_or(line));
        }
        record
    }
}

impl Within {
    fn fill(&self, prefix: &str, record: &mut Record) {
        record.ts_ms = self.moment.find(prefix).and_then(|m| timestamp::parse(m.as_str()));
        record.pid =
            self.pid.captures(prefix).and_then(|c| c.get(1).or(c.get(2))).and_then(|m| m.as_str().parse().ok());
        if let Some(account) = self.account.captures(prefix) {
            record.user = Some(account[1].into());
            record.database = Some(account[2].into());
        }
        for pair in self.pairs.captures_iter(prefix) {
            let value = Some(pair[2].to_owned()).filter(|v| !v.is_empty());
            match &pair[1] {
                "user" => record.user = value,
                "db" | "database" => record.database = value,
                "app" | "application" => record.application = value,
                _ => record.client = value,
            }
        }
    }
}

fn epoch_ms(text: &str) -> Option<i64> {
    text.parse::<f64>().ok().map(|s| (s * 1000.0) as i64)
}

/// Name of the group and pattern of an escape of `log_line_prefix` (PostgreSQL manual, error reporting and logging).
fn escape_pattern(escape: char) -> (Option<&'static str>, &'static str) {
    const MOMENT: &str = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? [A-Za-z0-9+:-]+";
    match escape {
        't' | 'm' => (Some("moment"), MOMENT),
        's' => (None, MOMENT),
        'n' => (Some("epoch"), r"\d+\.\d+"),
        'p' => (Some("pid"), r"\d+"),
        'P' => (None, r"\d*"),
        'u' => (Some("user"), r".*?"),
        'd' => (Some("database"), r".*?"),
        'a' => (Some("application"), r".*?"),
        'h' => (Some("host"), r"[^\s(]*?"),
        'r' => (Some("client"), r"[^\s(]*?(?:\(\d+\))?"),
        'L' => (None, r"\S*?"),
        'b' => (Some("backend"), r"[A-Za-z ]*?"),
        'e' => (Some("code"), r"[0-9A-Z]{5}"),
        'l' | 'x' => (None, r"\d+"),
        'v' => (None, r"(?:-?\d+/\d+)?"),
        'c' => (None, r"[0-9a-f]+\.[0-9a-f]+"),
        'Q' => (None, r"-?\d+"),
        'i' => (None, r"[A-Za-z ]*?"),
        '%' => (None, "%"),
        _ => (None, ""),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MOMENT_MS: i64 = 1_795_608_000_123;

    #[test]
    fn prefixes_of_every_kind() {
        let at = "2026-11-25 12:00:00.123 UTC";
        for (prefix, line, user, database, application, code) in [
            ("%m [%p] %q%u@%d ", format!("{at} [77] ann@shop ERROR:  no"), "ann", "shop", "", ""),
            ("%m [%p] ", format!("{at} [77] ERROR:  no"), "", "", "", ""),
            (
                "%m [%p]: user=%u,db=%d,app=%a,client=%h ",
                format!("{at} [77]: user=ann,db=shop,app=my app,client=10.0.0.1 ERROR:  no"),
                "ann",
                "shop",
                "my app",
                "",
            ),
            ("%e %m %-8p|%a|%% ", format!("40P01 {at} 77      |psql|% ERROR:  no"), "", "", "psql", "40P01"),
            (
                "%t;%p;%l;%x;%v;%c;%Q;%b;%r;",
                format!("{at};77;1;0;3/4;65f.1a;-5;client backend;[local];ERROR:  no"),
                "",
                "",
                "",
                "",
            ),
        ] {
            let record = Prefix::known(prefix).parse(&line);
            assert_eq!((record.ts_ms, record.pid, record.level), (Some(MOMENT_MS), Some(77), Level::Error), "{line}");
            assert_eq!(record.message, "no", "{line}");
            let text = |t: &Option<String>| t.clone().unwrap_or_default();
            assert_eq!((text(&record.user).as_str(), text(&record.database).as_str()), (user, database), "{line}");
            assert_eq!(
                (text(&record.application).as_str(), text(&record.code).as_str()),
                (application, code),
                "{line}"
            );
        }
        let quiet = Prefix::known("%m [%p] %q%u@%d ").parse(&format!("{at} [5] LOG:  checkpoint starting: time"));
        assert_eq!((quiet.pid, quiet.user, quiet.message.as_str()), (Some(5), None, "checkpoint starting: time"));
    }

    #[test]
    fn a_statement_without_its_record_stays_a_statement() {
        let raw = "2026-11-25 12:00:00.123 UTC [77] ann@shop STATEMENT:  select 'a\n\tb', 7";
        let record = Prefix::known("%m [%p] %q%u@%d ").parse(raw);
        assert_eq!((record.message.as_str(), record.pid), ("", Some(77)));
        assert_eq!(record.extras, [(Extra::Statement, "select 'a\nb', 7".to_owned())]);
    }

    #[test]
    fn an_unknown_prefix_is_understood_where_it_is_usual() {
        let prefix = Prefix::unknown();
        let record = prefix.parse("2026-11-25 12:00:00.123 UTC [77] ann@shop FATAL:  no");
        assert_eq!((record.ts_ms, record.pid), (Some(MOMENT_MS), Some(77)));
        assert_eq!((record.user.as_deref(), record.database.as_deref()), (Some("ann"), Some("shop")));
        let record = prefix.parse("2026-11-25 12:00:00.123 UTC [77]: user=ann,db=shop,app=x,client=::1 LOG:  hi");
        assert_eq!((record.user.as_deref(), record.application.as_deref()), (Some("ann"), Some("x")));
        assert!(!prefix.begins_record("\tERROR:  a continuation that quotes one"));
        assert!(prefix.begins_record("LOG:  no prefix at all"));
    }

    #[test]
    fn a_record_of_many_lines() {
        let at = "2026-11-25 12:00:00.123 UTC [77] ann@shop";
        let raw = format!(
            "{at} ERROR:  duplicate key\n{at} DETAIL:  Key (id)=(1)\n{at} STATEMENT:  insert into t\n\tvalues (1)\n"
        );
        let prefix = Prefix::known("%m [%p] %q%u@%d ");
        let starts: Vec<bool> = raw.lines().map(|l| prefix.begins_record(l)).collect();
        assert_eq!(starts, [true, false, false, false]);
        let record = prefix.parse(&raw);
        assert_eq!(record.extras[0], (Extra::Detail, "Key (id)=(1)".into()));
        assert_eq!(record.statement(), Some("insert into t\nvalues (1)"));
    }
}
