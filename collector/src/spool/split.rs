//! Cuts rows that are too many for one batch.

use std::ops::Range;

use proto::{Events, Payload, Samples, events::Cells, samples::SamplesBuilder};

/// Most samples in one batch: with labels of their own they stay below the wire's bound.
pub const SAMPLES_MAX: usize = 20_000;
/// Estimated bytes of event rows in one batch, before compression.
pub const EVENT_BYTES_MAX: usize = 4 << 20;
/// What a cell without text is taken for, bytes.
const CELL_BYTES: usize = 4;

const _: () = assert!(EVENT_BYTES_MAX * 2 <= proto::batch::ENCODED_BYTES_MAX);
const _: () = assert!(SAMPLES_MAX <= proto::batch::ROWS_MAX);

/// The payload in as many pieces as it needs, in order.
pub fn split(payload: Payload) -> Vec<Payload> {
    match payload {
        Payload::Samples(samples) if samples.len() > SAMPLES_MAX => split_samples(&samples, SAMPLES_MAX),
        Payload::Events(events) => {
            let ranges = event_ranges(&events);
            match ranges.len() {
                0 | 1 => vec![Payload::Events(events)],
                _ => ranges.into_iter().map(|range| Payload::Events(slice(&events, range))).collect(),
            }
        }
        whole => vec![whole],
    }
}

/// A payload in two pieces of like many rows, in order; `None` if it has but one.
pub fn halves(payload: &Payload) -> Option<(Payload, Payload)> {
    match payload {
        Payload::Samples(samples) if samples.len() > 1 => {
            let mut pieces = split_samples(samples, samples.len().div_ceil(2)).into_iter();
            Some((pieces.next()?, pieces.next()?))
        }
        Payload::Events(events) if events.rows() > 1 => {
            let middle = events.rows() / 2;
            let (first, second) = (slice(events, 0..middle), slice(events, middle..events.rows()));
            Some((Payload::Events(first), Payload::Events(second)))
        }
        _ => None,
    }
}

fn split_samples(samples: &Samples, rows_max: usize) -> Vec<Payload> {
    let mut pieces = Vec::new();
    for start in (0..samples.len()).step_by(rows_max) {
        let mut builder = SamplesBuilder::default();
        for row in start..(start + rows_max).min(samples.len()) {
            let labels = &samples.labels[samples.series[row] as usize];
            builder.push(labels, samples.timestamps_ms[row], samples.values[row]);
        }
        if start == 0 {
            samples.families.iter().cloned().for_each(|family| builder.family(family));
        }
        pieces.push(Payload::Samples(builder.build()));
    }
    pieces
}

fn event_ranges(events: &Events) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for row in 0..events.rows() {
        let row_bytes: usize = events.columns.iter().map(|cells| cell_bytes(cells, row)).sum();
        if row > start && bytes + row_bytes > EVENT_BYTES_MAX {
            ranges.push(start..row);
            (start, bytes) = (row, 0);
        }
        bytes += row_bytes;
    }
    if start < events.rows() {
        ranges.push(start..events.rows());
    }
    ranges
}

fn cell_bytes(cells: &Cells, row: usize) -> usize {
    match cells {
        Cells::Texts(v) => CELL_BYTES + v[row].as_ref().map_or(0, |t| t.len()),
        Cells::Blobs(v) => CELL_BYTES + v[row].as_ref().map_or(0, |b| b.len()),
        Cells::Ints(_) | Cells::Floats(_) => CELL_BYTES,
    }
}

fn slice(events: &Events, range: Range<usize>) -> Events {
    let columns = events.columns.iter().map(|cells| match cells {
        Cells::Ints(v) => Cells::Ints(v[range.clone()].to_vec()),
        Cells::Floats(v) => Cells::Floats(v[range.clone()].to_vec()),
        Cells::Texts(v) => Cells::Texts(v[range.clone()].to_vec()),
        Cells::Blobs(v) => Cells::Blobs(v[range.clone()].to_vec()),
    });
    Events { table: events.table, columns: columns.collect() }
}

#[cfg(test)]
mod tests {
    use proto::{EventsBuilder, Labels, Table, Value};

    use super::*;

    #[test]
    fn pieces_together_are_the_whole() {
        let mut builder = EventsBuilder::new(Table::Logs);
        for i in 0..100i64 {
            builder.row("db", i, [("body", Value::from("x".repeat(100_000))), ("pid", i.into())]);
        }
        let pieces = split(Payload::Events(builder.build()));
        assert!(pieces.len() > 2);
        let mut timestamps = Vec::new();
        for piece in &pieces {
            let Payload::Events(events) = piece else { panic!("events stay events") };
            timestamps.extend((0..events.rows()).map(|row| events.ts_ms(row)));
        }
        assert_eq!(timestamps, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn samples_are_cut_by_rows() {
        let mut builder = SamplesBuilder::default();
        let labels = Labels::from_pairs([("__name__", "up")]);
        (0..SAMPLES_MAX as i64 * 2 + 1).for_each(|i| builder.push(&labels, i, i as f64));
        let lengths: Vec<usize> = split(Payload::Samples(builder.build()))
            .iter()
            .map(|p| match p {
                Payload::Samples(s) => s.len(),
                Payload::Events(_) => 0,
            })
            .collect();
        assert_eq!(lengths, [SAMPLES_MAX, SAMPLES_MAX, 1]);
    }
}
