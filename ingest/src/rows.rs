//! The rows of a batch as the store takes them, and the instances they are of.

use std::collections::BTreeSet;

use proto::{Batch, Class, EventsBuilder, Payload, Table};
use storage::{Rows, SampleRows};

/// Hands the rows of a payload, borrowed, to `take`; `encoded`: the batch they were decoded from.
pub(crate) fn with_rows<T>(payload: &Payload, encoded: &[u8], take: impl FnOnce(Rows<'_>) -> T) -> T {
    match payload {
        Payload::Events(events) => take(Rows::Batch(events, encoded)),
        Payload::Samples(samples) => {
            let labels: Vec<&[u8]> = samples.labels.iter().map(|l| l.as_bytes()).collect();
            take(Rows::Samples(SampleRows {
                labels: &labels,
                series: &samples.series,
                timestamps_ms: &samples.timestamps_ms,
                values: &samples.values,
                histograms: &samples.histograms,
                families: &samples.families,
            }))
        }
    }
}

/// Hands no rows of a class to `take`: what is stored of a batch that was refused is its number.
pub(crate) fn with_no_rows<T>(class: Class, take: impl FnOnce(Rows<'_>) -> T) -> T {
    match Table::of_class(class) {
        Some(table) => take(Rows::Events(&EventsBuilder::new(table).build())),
        None => take(Rows::Samples(SampleRows::default())),
    }
}

/// The instances a batch has rows of. For samples the resource tells, or the labels.
pub(crate) fn instances(batch: &Batch) -> BTreeSet<&str> {
    match &batch.payload {
        Payload::Samples(samples) => samples.labels.iter().filter_map(|labels| labels.get("instance")).collect(),
        // one by one: a set that is collected sorts all of them first
        Payload::Events(events) => (0..events.rows()).fold(BTreeSet::new(), |mut all, row| {
            all.insert(events.instance(row));
            all
        }),
    }
}
