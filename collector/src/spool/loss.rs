//! What was lost, as rows of `gaps`: per instance, from when to when, how many, why.

use std::collections::BTreeMap;

use proto::{Batch, Class, Events, EventsBuilder, Payload, Table, Value, tables::class_name};

/// Most instances one loss is told apart by; the rest is counted under the collector's host.
const INSTANCES_MAX: usize = 512;

/// Rows of one instance that were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lost {
    from_ms: i64,
    to_ms: i64,
    rows: u64,
}

/// Adds up what was lost of one class.
#[derive(Clone, Debug)]
pub struct Loss {
    class: Class,
    by_instance: BTreeMap<String, Lost>,
}

impl Loss {
    /// Nothing yet.
    pub fn new(class: Class) -> Loss {
        Loss { class, by_instance: BTreeMap::new() }
    }

    /// Whose rows.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Whether nothing was lost.
    pub fn is_empty(&self) -> bool {
        self.by_instance.is_empty()
    }

    /// How many rows.
    pub fn rows(&self) -> u64 {
        self.by_instance.values().map(|l| l.rows).sum()
    }

    /// Adds rows of one instance.
    pub fn add(&mut self, instance: &str, from_ms: i64, to_ms: i64, rows: u64) {
        let known = self.by_instance.contains_key(instance) || self.by_instance.len() < INSTANCES_MAX;
        let instance = if known { instance } else { "" };
        let lost = self.by_instance.entry(instance.into()).or_insert(Lost { from_ms, to_ms, rows: 0 });
        lost.from_ms = lost.from_ms.min(from_ms);
        lost.to_ms = lost.to_ms.max(to_ms);
        lost.rows += rows;
    }

    /// Adds every row of a payload.
    pub fn add_payload(&mut self, payload: &Payload) {
        match payload {
            Payload::Samples(samples) => {
                let instances: Vec<&str> = samples.labels.iter().map(|l| l.get("instance").unwrap_or("")).collect();
                for (&series, &ts_ms) in samples.series.iter().zip(&samples.timestamps_ms) {
                    self.add(instances.get(series as usize).copied().unwrap_or(""), ts_ms, ts_ms, 1);
                }
            }
            Payload::Events(events) => {
                for row in 0..events.rows() {
                    self.add(events.instance(row), events.ts_ms(row), events.ts_ms(row), 1);
                }
            }
        }
    }

    /// Adds every row of an encoded batch; by the numbers beside it if it can't be read.
    pub fn add_encoded(&mut self, bytes: &[u8], rows: u64, from_ms: i64, to_ms: i64) {
        match Batch::decode(bytes) {
            Ok(batch) => self.add_payload(&batch.payload),
            Err(_) => self.add("", from_ms, to_ms, rows),
        }
    }

    /// The rows of `gaps`; what bears no instance is told of the collector's host.
    pub fn to_gaps(&self, now_ms: i64, collector: &str, host: &str, reason: &str, detail: &str) -> Events {
        let mut builder = EventsBuilder::new(Table::Gaps);
        for (instance, lost) in &self.by_instance {
            let instance = if instance.is_empty() { host } else { instance };
            let row = [
                ("collector", Value::from(collector)),
                ("class", class_name(self.class).into()),
                ("from_ts", lost.from_ms.into()),
                ("to_ts", lost.to_ms.into()),
                ("rows", lost.rows.into()),
                ("reason", reason.into()),
                ("detail", detail.into()),
            ];
            builder.row(instance, now_ms, row);
        }
        builder.build()
    }
}

/// Oldest and newest timestamp of a payload's rows, milliseconds; `None` if it has none.
pub fn time_range(payload: &Payload) -> Option<(i64, i64)> {
    match payload {
        Payload::Samples(samples) => Some((*samples.timestamps_ms.iter().min()?, *samples.timestamps_ms.iter().max()?)),
        Payload::Events(events) => {
            let all = || (0..events.rows()).map(|row| events.ts_ms(row));
            Some((all().min()?, all().max()?))
        }
    }
}

/// The class of a payload.
pub fn class_of(payload: &Payload) -> Class {
    match payload {
        Payload::Samples(_) => Class::Samples,
        Payload::Events(events) => events.table.class(),
    }
}

/// How many rows it has.
pub fn rows_of(payload: &Payload) -> u64 {
    match payload {
        Payload::Samples(samples) => samples.len() as u64,
        Payload::Events(events) => events.rows() as u64,
    }
}
