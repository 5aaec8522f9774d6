//! Cuts rows that are too many for one batch.

use std::ops::Range;

use proto::{Events, Payload, Samples, events::Cells, samples::SamplesBuilder};

/// Most samples in one batch: with labels of their own they stay below the wire's bound.
pub const SAMPLES_MAX: usize = 20_000;
/// Estimated bytes of event rows, or of native histograms, in one batch, before compression.
pub const EVENT_BYTES_MAX: usize = 4 << 20;
/// What a cell without text is taken for, bytes.
const CELL_BYTES: usize = 4;

const _: () = assert!(EVENT_BYTES_MAX * 2 <= proto::batch::ENCODED_BYTES_MAX);
const _: () = assert!(SAMPLES_MAX <= proto::batch::ROWS_MAX);

/// The payload in as many pieces as it needs, in order.
pub fn split(payload: Payload) -> Vec<Payload> {
    match payload {
        Payload::Samples(samples) if samples.len() > SAMPLES_MAX || !samples.histograms.is_empty() => {
            split_samples(&samples, SAMPLES_MAX, EVENT_BYTES_MAX)
        }
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
            let mut pieces = split_samples(samples, samples.len().div_ceil(2), usize::MAX).into_iter();
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

fn split_samples(samples: &Samples, rows_max: usize, histogram_bytes_max: usize) -> Vec<Payload> {
    let mut pieces = Vec::new();
    let (mut builder, mut bytes) = (SamplesBuilder::default(), 0);
    samples.families.iter().cloned().for_each(|family| builder.family(family));
    let mut cut = |builder: &mut SamplesBuilder| pieces.push(Payload::Samples(std::mem::take(builder).build()));
    for (row, series) in samples.series.iter().enumerate() {
        if builder.len() >= rows_max {
            cut(&mut builder);
        }
        builder.push(&samples.labels[*series as usize], samples.timestamps_ms[row], samples.values[row]);
    }
    for row in &samples.histograms {
        if builder.len() >= rows_max || bytes >= histogram_bytes_max {
            cut(&mut builder);
            bytes = 0;
        }
        bytes += row.histogram.bytes();
        builder.push_histogram(&samples.labels[row.series as usize], row.timestamp_ms, row.histogram.clone());
    }
    cut(&mut builder);
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
    #![allow(clippy::unwrap_used)]
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

    #[test]
    fn histograms_are_cut_by_bytes() {
        let spans = vec![proto::histogram::Span { offset: 0, length: 4000 }];
        let shape = proto::histogram::Shape { positive: spans, ..Default::default() };
        let layout = std::sync::Arc::new(proto::histogram::Layout::new(shape).unwrap());
        let counts = proto::histogram::Counts::Integers(vec![0; layout.columns()]);
        let large = proto::Histogram::new(layout, 0.0, counts).unwrap();
        let mut builder = SamplesBuilder::default();
        let labels = Labels::from_pairs([("__name__", "seconds")]);
        builder.push(&labels, -1, 1.0);
        (0..300).for_each(|i| builder.push_histogram(&labels, i, large.clone()));
        let pieces = split(Payload::Samples(builder.build()));
        assert!(pieces.len() > 1);
        let mut times = Vec::new();
        for piece in &pieces {
            let Payload::Samples(samples) = piece else { panic!("samples stay samples") };
            assert!(samples.histograms.iter().map(|row| row.histogram.bytes()).sum::<usize>() < 2 * EVENT_BYTES_MAX);
            times.extend(samples.timestamps_ms.iter().copied());
            times.extend(samples.histograms.iter().map(|row| row.timestamp_ms));
        }
        assert_eq!(times, (-1..300).collect::<Vec<_>>());
    }
}
