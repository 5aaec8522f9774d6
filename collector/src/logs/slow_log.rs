//! The slow log of MySQL, Percona Server and MariaDB: lines of `# Key: value`, then the statement.
//!
//! Servers differ in the keys they write and in which lines they leave out; each key is read wherever it stands.

use std::sync::LazyLock;

use regex::Regex;

use super::{
    execution::Execution,
    record::{Extra, Record},
    timestamp,
};

/// `# User@Host: name[name] @ host [address]`, what follows it are keys.
static ACCOUNT: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"^# User@Host: (?P<user>[^\[]*)\[(?P<effective>[^\]]*)\] @ (?P<host>\S*) *\[(?P<address>[^\]]*)\]";
    Regex::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"))
});
/// `Query_time: 0.25`.
static KEY: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"([A-Za-z_]+): +(\S*)";
    Regex::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"))
});

/// Whether a record begins with this line, given the line before it. The time stands only where it changed.
pub fn begins_record(line: &str, before: Option<&str>) -> bool {
    line.starts_with("# Time: ")
        || (line.starts_with("# User@Host: ") && !before.is_some_and(|b| b.starts_with("# Time: ")))
        || line.contains(", Version: ") && line.trim_end().ends_with("started with:")
}

/// Reads a raw record; `None` if it tells of no statement (a server's start, an administrator's command).
pub fn parse(raw: &str) -> Option<Execution> {
    let mut execution = Execution { source: "slow_log", ..Execution::default() };
    let (mut at, mut zoned_ms, mut begun_ms, mut seconds) = (0, None, None, None);
    for line in raw.split_inclusive('\n') {
        let text = line.trim_end();
        if let Some(comment) = text.strip_prefix('#') {
            let comment = comment.trim_start();
            if comment.starts_with("administrator command: ") {
                return None;
            }
            if let Some(moment) = comment.strip_prefix("Time: ") {
                // Without a zone it is the server's own, which we don't know.
                let zoned = moment.ends_with('Z') || moment.rfind(['+', '-']).is_some_and(|i| i > 10);
                zoned_ms = zoned.then(|| timestamp::parse(moment)).flatten();
            } else {
                header(&mut execution, text, &mut seconds);
            }
        } else if let Some(schema) = own_statement(text, "use ") {
            execution.database = Some(schema.trim_matches('`').to_owned());
        } else if let Some(value) = own_statement(text, "SET timestamp=") {
            begun_ms = value.parse::<f64>().ok().map(|s| (s * 1000.0) as i64);
        } else if seconds.is_some() {
            break;
        }
        at += line.len();
    }
    let seconds: f64 = seconds?;
    let text = raw[at..].trim_end().trim_end_matches(';');
    if text.is_empty() {
        return None;
    }
    execution.duration_ms = seconds * 1000.0;
    execution.ts_ms = zoned_ms.or(begun_ms.map(|begun| begun + execution.duration_ms as i64));
    text.clone_into(&mut execution.text);
    Some(execution)
}

/// A raw record as a record of `logs`: its statement as such, of its head only that it was one.
pub fn as_record(raw: &str) -> Record {
    let Some(execution) = parse(raw) else { return Record::unread(raw) };
    Record {
        ts_ms: execution.ts_ms,
        message: format!("Query_time: {} s", execution.duration_ms / 1000.0),
        extras: vec![(Extra::Statement, execution.text)],
        pid: execution.pid,
        database: execution.database,
        user: execution.user,
        client: execution.client,
        ..Record::default()
    }
}

/// Statements the log puts before the real one, which has a line of its own.
fn own_statement<'a>(line: &'a str, begin: &str) -> Option<&'a str> {
    line.strip_prefix(begin)?.strip_suffix(';')
}

fn header(execution: &mut Execution, line: &str, seconds: &mut Option<f64>) {
    let present = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mut rest = line;
    if let Some(account) = ACCOUNT.captures(line) {
        execution.user = present(account["user"].trim()).or_else(|| present(account["effective"].trim()));
        execution.client = present(&account["address"]).or_else(|| present(&account["host"]));
        rest = &line[account.get(0).map_or(0, |m| m.end())..];
    } else if line.starts_with("# explain:") {
        return;
    }
    for key in KEY.captures_iter(rest) {
        let value = &key[2];
        match &key[1] {
            "Query_time" => *seconds = value.parse().ok(),
            "Lock_time" => execution.lock_ms = value.parse().ok().map(|s: f64| s * 1000.0),
            "Rows_sent" => execution.rows = value.parse().ok(),
            // Of a change the rows sent are none.
            "Rows_affected" if execution.rows.is_none_or(|r| r == 0) => execution.rows = value.parse().ok(),
            "Rows_examined" => execution.rows_examined = value.parse().ok(),
            "Thread_id" | "Id" => execution.pid = value.parse().ok(),
            "Schema" => execution.database = present(value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn mariadb_with_and_without_a_time() {
        let raw = "# Time: 261125 12:00:00\n# User@Host: app[app] @ localhost []\n# Thread_id: 8  Schema: shop  QC_hit: No\n\
                   # Query_time: 1.500000  Lock_time: 0.000050  Rows_sent: 1  Rows_examined: 10\n# Rows_affected: 0  Bytes_sent: 63\n\
                   # Full_scan: Yes  Full_join: No  Tmp_table: No  Tmp_table_on_disk: No\n# explain: id\tselect_type\ttable\n#\n\
                   use shop;\nSET timestamp=1795608000;\nselect a\nfrom t where b = '# x';\n";
        let execution = parse(raw).unwrap();
        assert_eq!(execution.text, "select a\nfrom t where b = '# x'");
        assert_eq!((execution.ts_ms, execution.duration_ms), (Some(1_795_608_001_500), 1_500.0));
        assert_eq!((execution.user.as_deref(), execution.client.as_deref()), (Some("app"), Some("localhost")));
        assert_eq!((execution.database.as_deref(), execution.pid), (Some("shop"), Some(8)));
        assert_eq!((execution.rows, execution.rows_examined), (Some(1), Some(10)));
        assert!((execution.lock_ms.unwrap() - 0.05).abs() < 1e-9);
        let again = parse(&raw[raw.find("# User").unwrap()..]).unwrap();
        assert_eq!(again, execution);
    }

    #[test]
    fn mysql_8_and_what_is_no_statement() {
        let raw = "# Time: 2026-11-25T12:00:00.250000Z\n# User@Host: root[root] @  [10.1.2.3]  Id:    12\n\
                   # Query_time: 0.250000  Lock_time: 0.000000 Rows_sent: 0  Rows_examined: 0 Rows_affected: 3 Errno: 0\n\
                   SET timestamp=1795607999;\nupdate t set a = 1;\n";
        let execution = parse(raw).unwrap();
        assert_eq!((execution.ts_ms, execution.pid), (Some(1_795_608_000_250), Some(12)));
        assert_eq!((execution.client.as_deref(), execution.rows), (Some("10.1.2.3"), Some(3)));
        assert_eq!(execution.text, "update t set a = 1");
        for nothing in [
            "/usr/sbin/mariadbd, Version: 10.11 (Debian). started with:\nTcp port: 3306  Unix socket: /x\nTime\t\t    Id Command\tArgument\n",
            "# User@Host: a[a] @ localhost []\n# Query_time: 0.1  Lock_time: 0.0  Rows_sent: 0  Rows_examined: 0\n# administrator command: Quit;\n",
            "# User@Host: a[a] @ localhost []\n",
        ] {
            assert_eq!(parse(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn where_records_begin() {
        for (line, before, want) in [
            ("# Time: 261125 12:00:00", Some("select 1;"), true),
            ("# User@Host: a[a] @ h []", Some("# Time: 261125 12:00:00"), false),
            ("# User@Host: a[a] @ h []", Some("select 1;"), true),
            ("# User@Host: a[a] @ h []", None, true),
            ("# Query_time: 1", Some("# User@Host: a[a] @ h []"), false),
            ("/usr/sbin/mysqld, Version: 8.0.40 (x). started with:", Some("select 1;"), true),
            ("select 1;", Some("SET timestamp=1;"), false),
        ] {
            assert_eq!(begins_record(line, before), want, "{line}");
        }
    }
}
