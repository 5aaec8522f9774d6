//! A loss that the door noticed, kept as a row of `gaps`: what is missing is data too.

use proto::{EventsBuilder, Table, Value};
use storage::Rows;

use crate::{Admission, Door};

/// What is missing.
pub(crate) struct Gap<'a> {
    /// The instance that is told of it: a host, where no other is known.
    pub about: &'a str,
    /// Whose rows.
    pub collector: &'a str,
    /// Of what class, as a word; empty where it is unknown.
    pub class: &'a str,
    /// How many rows, where it is known.
    pub rows: Option<u64>,
    /// Why, as a word.
    pub reason: &'a str,
    /// Why, in words.
    pub detail: &'a str,
}

impl Gap<'_> {
    /// Appends the row. If it is lost itself, the counter and the log line of whoever noticed remain.
    pub(crate) fn note(&self, admission: &Admission, tenant: &str) {
        let mut gap = EventsBuilder::new(Table::Gaps);
        let rows = self.rows.map_or(Value::Null, Value::from);
        gap.row(
            self.about,
            admission.now_ms(),
            [
                ("collector", self.collector.into()),
                ("class", self.class.into()),
                ("rows", rows),
                ("reason", self.reason.into()),
                ("detail", self.detail.into()),
            ],
        );
        if let Ok(landing) = admission.admit(Door::Own, tenant, None, Rows::Events(&gap.build())) {
            tokio::spawn(landing);
        }
    }
}
