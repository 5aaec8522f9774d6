//! PostgreSQL's csvlog and jsonlog.

use serde_json::Value;

use super::{
    record::{Extra, Level, Record},
    timestamp,
};

// Columns of csvlog (PostgreSQL manual, error reporting and logging).
const LOG_TIME: usize = 0;
const USER: usize = 1;
const DATABASE: usize = 2;
const PID: usize = 3;
const CLIENT: usize = 4;
const SEVERITY: usize = 11;
const CODE: usize = 12;
const MESSAGE: usize = 13;
const APPLICATION: usize = 22;
const BACKEND: usize = 23;
const EXTRAS: [(usize, Extra); 6] = [
    (14, Extra::Detail),
    (15, Extra::Hint),
    (16, Extra::Query),
    (18, Extra::Context),
    (19, Extra::Statement),
    (21, Extra::Location),
];
const JSON_EXTRAS: [(&str, Extra); 5] = [
    ("detail", Extra::Detail),
    ("hint", Extra::Hint),
    ("internal_query", Extra::Query),
    ("context", Extra::Context),
    ("statement", Extra::Statement),
];
/// SQLSTATE of what is no error.
const SUCCESS: &str = "00000";

/// Reads a raw csvlog record; one that is none is not read.
pub fn parse_csv(raw: &str) -> Record {
    let fields = csv_fields(raw.trim_end_matches(['\n', '\r']));
    let field = |i: usize| fields.get(i).filter(|f| !f.is_empty()).cloned();
    let Some(level) = field(SEVERITY).and_then(|s| Level::of_postgresql(&s)) else {
        return Record::unread(raw);
    };
    Record {
        ts_ms: field(LOG_TIME).and_then(|t| timestamp::parse(&t)),
        level,
        message: field(MESSAGE).unwrap_or_default(),
        extras: EXTRAS.iter().filter_map(|(i, extra)| Some((*extra, field(*i)?))).collect(),
        pid: field(PID).and_then(|p| p.parse().ok()),
        database: field(DATABASE),
        user: field(USER),
        application: field(APPLICATION),
        client: field(CLIENT),
        code: field(CODE).filter(|c| c != SUCCESS),
        component: field(BACKEND),
        is_unread: false,
    }
}

fn csv_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let last = fields.len() - 1;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                fields[last].push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => fields[last].push(c),
        }
    }
    fields
}

/// Reads a raw jsonlog record; one that is none is not read.
pub fn parse_json(raw: &str) -> Record {
    let Ok(Value::Object(object)) = serde_json::from_str(raw) else {
        return Record::unread(raw);
    };
    let text = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
    Record {
        ts_ms: text("timestamp").and_then(|t| timestamp::parse(&t)),
        level: text("error_severity").and_then(|s| Level::of_postgresql(&s)).unwrap_or_default(),
        message: text("message").unwrap_or_default(),
        extras: JSON_EXTRAS.iter().filter_map(|(key, extra)| Some((*extra, text(key)?))).collect(),
        pid: object.get("pid").and_then(Value::as_i64),
        database: text("dbname"),
        user: text("user"),
        application: text("application_name"),
        client: text("remote_host"),
        code: text("state_code").filter(|c| c != SUCCESS),
        component: text("backend_type"),
        is_unread: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_with_quotes_commas_and_lines() {
        let raw = "2026-11-25 12:00:00.123 UTC,\"ann\",\"shop\",77,\"[local]\",65f.1a,3,\"INSERT\",2026-11-25 11:00:00 UTC,\
                   3/4,0,ERROR,23505,\"duplicate key value violates unique constraint \"\"t_pkey\"\"\",\"Key (id)=(1).\",,,,,\
                   \"insert into t\nvalues (1, 'a,b')\",,,\"psql\",\"client backend\",,0\n";
        let record = parse_csv(raw);
        assert_eq!((record.ts_ms, record.pid), (Some(1_795_608_000_123), Some(77)));
        assert_eq!(record.message, "duplicate key value violates unique constraint \"t_pkey\"");
        assert_eq!(record.statement(), Some("insert into t\nvalues (1, 'a,b')"));
        assert_eq!(record.code.as_deref(), Some("23505"));
        assert_eq!(
            (record.application.as_deref(), record.component.as_deref()),
            (Some("psql"), Some("client backend"))
        );
        assert!(parse_csv("no csv at all").is_unread);
    }

    #[test]
    fn json() {
        let raw = r#"{"timestamp":"2026-11-25 12:00:00.123 UTC","user":"ann","dbname":"shop","pid":77,"error_severity":"ERROR","state_code":"40P01","message":"deadlock detected","detail":"Process 1 waits","statement":"update t","backend_type":"client backend"}"#;
        let record = parse_json(raw);
        assert_eq!((record.ts_ms, record.level), (Some(1_795_608_000_123), Level::Error));
        assert_eq!((record.code.as_deref(), record.statement()), (Some("40P01"), Some("update t")));
        assert_eq!(record.extras[0], (Extra::Detail, "Process 1 waits".into()));
        assert!(parse_json("{broken").is_unread);
    }
}
