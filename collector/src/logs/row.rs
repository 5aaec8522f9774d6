//! From a record to its row in `logs`: masked, classified, joined to its statement.

use std::{borrow::Cow, sync::Arc};

use proto::{EventsBuilder, Value};
use serde_json::{Map, json};

use super::{classify, execution, innodb_deadlock, mask::Mask, record::Record, stitch::Stitch};
use crate::{
    config::{Engine, Unmasked},
    databases::fingerprint,
};

/// Whose records they are.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The instance.
    pub instance: Arc<str>,
    /// What writes them.
    pub engine: Engine,
    /// The file's path, as configured or announced.
    pub stream: Arc<str>,
    /// What the configuration lets through.
    pub unmasked: Unmasked,
}

impl Origin {
    /// How its texts are masked.
    pub fn mask(&self) -> Mask {
        Mask { engine: self.engine, unmasked: self.unmasked }
    }
}

/// Reads a raw record by its format.
pub fn read(stitch: &Stitch, raw: &str) -> Record {
    match stitch {
        Stitch::Stderr(prefix) => prefix.parse(raw),
        Stitch::Csv => super::postgres_structured::parse_csv(raw),
        Stitch::Json => super::postgres_structured::parse_json(raw),
        Stitch::MysqlError => super::mysql_error::parse(raw),
        Stitch::MysqlJson => super::mysql_error::parse_json(raw),
        Stitch::SlowLog => super::slow_log::as_record(raw),
    }
}

/// Adds a record's row. A record without a time of its own bears `fallback_ts_ms`.
pub fn add(builder: &mut EventsBuilder, origin: &Origin, record: &Record, fallback_ts_ms: i64) {
    let engine = origin.engine;
    let mask = origin.mask();
    let body = match execution::without_plan_literals(&record.message).filter(|_| engine == Engine::Postgresql) {
        Some(message) => mask.body(&Record { message, ..record.clone() }),
        None => mask.body(record),
    };
    let class = classify::classify(engine, record.code.as_deref(), &body);
    let mut attributes = Map::new();
    for (name, value) in class.iter().flat_map(|c| &c.captures) {
        attributes.insert((*name).to_owned(), json!(value));
    }
    let is_deadlock = engine != Engine::Postgresql && class.as_ref().is_some_and(|c| c.name == "deadlock");
    if let Some(deadlock) = innodb_deadlock::parse(&record.message).filter(|_| is_deadlock) {
        attributes.extend(deadlock.to_json(&mask).into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    for (name, value) in [("client", &record.client), ("component", &record.component)] {
        if let Some(value) = value {
            attributes.insert(name.to_owned(), json!(value));
        }
    }
    if record.ts_ms.is_none() {
        attributes.insert("time".to_owned(), json!("of reading"));
    }
    let attributes = (!attributes.is_empty()).then(|| serde_json::Value::Object(attributes).to_string());
    let statement = record.statement().map(Cow::Borrowed).or_else(|| execution::statement_of_message(&record.message));
    let id = statement.map(|sql| fingerprint(mask.dialect(), &sql).id);
    let cells = [
        ("stream", Value::from(origin.stream.clone())),
        ("engine", engine.as_str().into()),
        ("level", record.level.as_str().into()),
        ("class", class.as_ref().map(|c| c.name).into()),
        ("body", body.into()),
        ("pid", record.pid.into()),
        ("database", record.database.as_deref().into()),
        ("user", record.user.as_deref().into()),
        ("application", record.application.as_deref().into()),
        ("code", record.code.as_deref().into()),
        ("fingerprint", id.into()),
        ("attributes", attributes.into()),
    ];
    builder.row(&origin.instance, record.ts_ms.unwrap_or(fallback_ts_ms), cells);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proto::Table;

    use super::*;
    use crate::{databases::Dialect, logs::postgres_stderr::Prefix};

    #[test]
    fn a_row_joins_its_statement_and_keeps_no_literal() {
        let at = "2026-11-25 12:00:00.123 UTC [77] ann@shop";
        let raw = format!(
            "{at} ERROR:  duplicate key value violates unique constraint \"t_pkey\"\n\
             {at} DETAIL:  Key (id)=(4111) already exists.\n{at} STATEMENT:  insert into t values (4111, 'x')\n"
        );
        let record = read(&Stitch::Stderr(Prefix::known("%m [%p] %q%u@%d ")), &raw);
        let unmasked = Unmasked::default();
        let origin = Origin { instance: "db".into(), engine: Engine::Postgresql, stream: "/l".into(), unmasked };
        let mut builder = EventsBuilder::new(Table::Logs);
        add(&mut builder, &origin, &record, 5);
        let events = builder.build();
        assert_eq!((events.instance(0), events.ts_ms(0)), ("db", 1_795_608_000_123));
        assert_eq!(events.get(0, "class"), "unique_violation".into());
        let id = fingerprint(Dialect::Postgresql, "INSERT INTO t VALUES (1, 'other')").id;
        assert_eq!(events.get(0, "fingerprint"), Value::Text(id));
        let Value::Text(body) = events.get(0, "body") else { panic!("a body") };
        assert!(!body.contains("4111") && body.contains("DETAIL: Key (id)=(?)"), "{body}");
        assert_eq!(events.get(0, "attributes"), r#"{"constraint":"t_pkey"}"#.into());
    }
}
