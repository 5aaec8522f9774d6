//! Records keep every bit; damage is cut, said or skipped, and never read as something else.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use proto::{
    Batch, Class, Events, EventsBuilder, Histogram, Labels, Payload, Table, Value,
    histogram::{Counts, Layout, Shape, Span},
    samples::Family,
};

use super::{
    Log, Position, Replayed,
    frame::{self, FrameKind, GROUP_BYTES, HEADER_BYTES},
    record::{self, Head, OwnedConsumed, OwnedOrigin, Record, RecordRows, SamplesRecord},
    record_exemplars::{ExemplarsRecord, ExemplarsWriter, LoggedExemplar},
    replay, segment_name,
};
use crate::{Consumed, Exemplar, OnDamage, OpenError, Origin, disk::Files};

const ORIGIN: Origin<'static> = Origin { collector: "db1", epoch: 3, class: Class::Samples, sequence: 9 };

const fn consumed(offset: u64) -> Consumed<'static> {
    Consumed { stream: "cluster/tidewatch", partition: 3, offset }
}

fn owned_consumed(offset: u64) -> Option<OwnedConsumed> {
    let Consumed { stream, partition, offset } = consumed(offset);
    Some(OwnedConsumed { stream: stream.into(), partition, offset })
}

fn head(tenant: &str) -> Head<'_> {
    Head { tenant, ..Head::default() }
}

fn owned(origin: Origin<'_>) -> OwnedOrigin {
    OwnedOrigin {
        collector: origin.collector.into(),
        epoch: origin.epoch,
        class: origin.class,
        sequence: origin.sequence,
    }
}

fn encode(samples: &SamplesRecord, head: &Head<'_>) -> Vec<u8> {
    record::encode_samples(
        head,
        samples.definitions.iter().map(|(id, labels)| (*id, labels.as_bytes())),
        &samples.series,
        &samples.timestamps_ms,
        &samples.values,
        &samples.families.iter().collect::<Vec<_>>(),
        &samples.histograms.iter().map(|(id, ts, histogram)| (*id, *ts, histogram)).collect::<Vec<_>>(),
    )
}

fn logs(rows: &[(&str, i64, Option<&str>)]) -> Events {
    let mut builder = EventsBuilder::new(Table::Logs);
    for (instance, ts, body) in rows {
        builder.row(instance, *ts, [("body", body.map(str::to_owned).into()), ("pid", Value::Int(*ts % 7))]);
    }
    builder.build()
}

fn example() -> SamplesRecord {
    let labels = |name: &str| Labels::from_pairs([("__name__", name), ("instance", "db1")]);
    SamplesRecord {
        definitions: vec![(4, labels("up")), (9, labels("load"))],
        series: vec![4, 9, 4, 9],
        timestamps_ms: vec![1_795_305_600_000, 1_795_305_600_000, 1_795_305_601_000, 1_795_305_600_500],
        values: vec![1.0, -0.0, f64::from_bits(proto::samples::STALE_MARKER_BITS), 0.25],
        families: vec![Family { name: "up".into(), kind: "gauge".into(), help: "h".into(), unit: String::new() }],
        histograms: Vec::new(),
    }
}

fn with_histograms() -> SamplesRecord {
    let spans = vec![Span { offset: -2, length: 1 }, Span { offset: 3, length: 2 }];
    let layout = Layout::new(Shape { schema: 3, zero_threshold: 0.25, positive: spans, ..Shape::default() }).unwrap();
    let layout = Arc::new(layout);
    let integers = Counts::Integers(vec![10, 1, 2, 3, 4]);
    let floats = Counts::Floats(vec![2.5, 0.0, 0.5, 1.0, 1.0]);
    let stale = f64::from_bits(proto::samples::STALE_MARKER_BITS);
    let histogram = |sum, counts| Histogram::new(layout.clone(), sum, counts).unwrap();
    let histograms =
        vec![(9, 1_795_305_600_000, histogram(1.5, integers)), (4, 1_795_305_599_000, histogram(stale, floats))];
    SamplesRecord { histograms, ..example() }
}

/// What version 1 wrote is read: a segment with one record of samples and one of events.
#[test]
fn golden_bytes_of_version_1_are_read() {
    let golden = include_bytes!("../../testdata/log-v1");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(segment_name(1)), golden).unwrap();
    let (records, replayed) = read(dir.path(), OnDamage::Stop).unwrap();
    let events = logs(&[("db1", 5, Some("hello")), ("db2", 7, None)]);
    let samples = RecordRows::Samples(example());
    let expected = [
        Record { tenant: "0".into(), origin: Some(owned(ORIGIN)), consumed: None, rows: samples },
        Record { tenant: "acme".into(), origin: None, consumed: None, rows: RecordRows::Events(events) },
    ];
    assert_eq!(records, expected);
    assert_eq!(replayed.end, Position { segment: 1, offset: golden.len() as u64 });
}

fn exemplars() -> Vec<LoggedExemplar> {
    let row = |tenant: &str, timestamp_ms, value, trace| LoggedExemplar {
        tenant: tenant.into(),
        series: Labels::from_pairs([("__name__", "up"), ("instance", "db1")]),
        exemplar: Exemplar { labels: Labels::from_pairs([("trace_id", trace)]), timestamp_ms, value },
    };
    vec![row("0", 1_795_305_600_000, 0.25, "m"), row("acme", 1_795_305_599_000, f64::NAN, "n")]
}

fn encode_exemplars(rows: &[LoggedExemplar], is_whole: bool) -> Vec<u8> {
    let mut writer = ExemplarsWriter::new();
    rows.iter().for_each(|row| writer.put(&row.tenant, row.series.as_bytes(), &row.exemplar));
    writer.payload(is_whole)
}

/// The bytes of version 2, samples with origin and place, events with a place and without, a place alone, and of version 3,
/// the same with histograms, and of version 4, exemplars too, are read; those of version 5, a batch too, are written as well.
#[test]
fn golden_bytes_of_versions_2_to_5() {
    let v2 = include_bytes!("../../testdata/log-v2");
    let v3 = include_bytes!("../../testdata/log-v3");
    let v4 = include_bytes!("../../testdata/log-v4");
    let v5 = include_bytes!("../../testdata/log-v5");
    let all = [(&v2[..], example()), (v3, with_histograms()), (v4, with_histograms()), (v5, with_histograms())];
    for (golden, samples) in all {
        check_golden(golden, samples);
    }
}

/// Logs as they travelled.
const BATCH: &[u8] = include_bytes!("../../../proto/testdata/batch-v1-logs.twb");

fn batch_rows() -> RecordRows {
    match Batch::decode(BATCH).unwrap().payload {
        Payload::Events(events) => RecordRows::Events(events),
        Payload::Samples(_) => panic!("these are logs"),
    }
}

fn check_golden(golden: &[u8], samples: SamplesRecord) {
    let (has_exemplars, has_batch) = (golden[4] >= 4, golden[4] >= 5);
    let events = logs(&[("db1", 5, Some("hello")), ("db2", 7, None)]);
    let mut bytes = frame::header(1, 1).to_vec();
    let put = |kind, payload: &[u8], bytes: &mut Vec<u8>| {
        frame::put_frame(bytes, Position { segment: 1, offset: bytes.len() as u64 }, kind, payload);
    };
    let at = Position { segment: 1, offset: HEADER_BYTES as u64 };
    bytes.extend(frame::group(at, Position::default()));
    let of_samples = Head { tenant: "0", origin: Some(ORIGIN), consumed: Some(consumed(40)) };
    put(FrameKind::Samples, &encode(&samples, &of_samples), &mut bytes);
    let of_events = Head { consumed: Some(consumed(41)), ..head("acme") };
    put(FrameKind::Events, &record::encode_events(&of_events, &events, None), &mut bytes);
    put(FrameKind::Events, &record::encode_events(&head("acme"), &events, None), &mut bytes);
    put(FrameKind::Consumed, &record::encode_consumed(consumed(300)), &mut bytes);
    if has_exemplars {
        put(FrameKind::Exemplars, &encode_exemplars(&exemplars()[..1], false), &mut bytes);
        put(FrameKind::Exemplars, &encode_exemplars(&exemplars(), true), &mut bytes);
    }
    let of_batch = Head { tenant: "acme", origin: Some(ORIGIN), consumed: Some(consumed(301)) };
    if has_batch {
        put(FrameKind::Batch, &record::encode_batch(&of_batch, BATCH), &mut bytes);
    }
    let hex = |b: &[u8]| b.iter().map(|b| format!("{b:02x}")).collect::<String>();
    // older versions differ in their header alone, by which they are known
    assert_eq!(hex(&bytes[HEADER_BYTES..]), hex(&golden[HEADER_BYTES..]));
    assert!(golden[4] != frame::VERSION || hex(&bytes) == hex(golden));

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(segment_name(1)), golden).unwrap();
    let (records, replayed) = read(dir.path(), OnDamage::Stop).unwrap();
    let (samples, events) = (RecordRows::Samples(samples), RecordRows::Events(events));
    let mut expected = vec![
        Record { tenant: "0".into(), origin: Some(owned(ORIGIN)), consumed: owned_consumed(40), rows: samples },
        Record { tenant: "acme".into(), origin: None, consumed: owned_consumed(41), rows: events.clone() },
        Record { tenant: "acme".into(), origin: None, consumed: None, rows: events },
        Record { tenant: String::new(), origin: None, consumed: owned_consumed(300), rows: RecordRows::None },
    ];
    if has_exemplars {
        for (rows, is_whole) in [(exemplars()[..1].to_vec(), false), (exemplars(), true)] {
            let rows = RecordRows::Exemplars(ExemplarsRecord { is_whole, rows });
            expected.push(Record { tenant: String::new(), origin: None, consumed: None, rows });
        }
    }
    if has_batch {
        let (tenant, origin, consumed) = ("acme".into(), Some(owned(ORIGIN)), owned_consumed(301));
        expected.push(Record { tenant, origin, consumed, rows: batch_rows() });
    }
    assert_eq!(records, expected);
    assert_eq!(replayed.end, Position { segment: 1, offset: golden.len() as u64 });
}

fn read(dir: &std::path::Path, on_damage: OnDamage) -> Result<(Vec<Record>, Replayed), OpenError> {
    let mut records = Vec::new();
    let replayed = replay(&Files, dir, 1, on_damage, |_, record| {
        records.push(record);
        Ok(())
    })?;
    Ok((records, replayed))
}

proptest! {
    #[test]
    fn samples_keep_every_bit(
        rows in proptest::collection::vec((any::<u32>(), any::<i64>(), any::<u64>()), 0..40),
        integers in proptest::collection::vec(any::<i64>(), 0..40),
        is_regular in any::<bool>(),
    ) {
        let mut samples = SamplesRecord::default();
        for (i, (series, ts, bits)) in rows.into_iter().enumerate() {
            samples.series.push(if is_regular { i as u32 } else { series });
            samples.timestamps_ms.push(if is_regular { 5 } else { ts });
            samples.values.push(integers.get(i).map_or(f64::from_bits(bits), |n| (*n >> (i % 64)) as f64));
        }
        let decoded = record::decode(FrameKind::Samples, &encode(&samples, &head("0"))).unwrap();
        prop_assert_eq!(decoded.rows, RecordRows::Samples(samples));
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = record::decode(FrameKind::Samples, &bytes);
        let _ = record::decode(FrameKind::Events, &bytes);
        let _ = record::decode(FrameKind::Consumed, &bytes);
        let _ = record::decode(FrameKind::Exemplars, &bytes);
        let _ = record::decode(FrameKind::Batch, &bytes);
    }

    #[test]
    fn a_damaged_record_is_refused_or_well_formed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = encode(&with_histograms(), &Head { tenant: "0", origin: Some(ORIGIN), consumed: Some(consumed(7)) });
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let _ = record::decode(FrameKind::Samples, &bytes);
        let mut bytes = record::encode_events(&head("0"), &logs(&[("a", 1, Some("x")), ("b", 2, None)]), None);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let _ = record::decode(FrameKind::Events, &bytes);
        let mut bytes = encode_exemplars(&exemplars(), true);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let _ = record::decode(FrameKind::Exemplars, &bytes);
        let mut bytes = record::encode_batch(&head("0"), BATCH);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let _ = record::decode(FrameKind::Batch, &bytes);
    }
}

#[test]
fn only_the_rows_to_keep_are_written() {
    let events = logs(&[("a", 1, Some("x")), ("b", 2, None), ("c", 3, Some(&"long ".repeat(500)))]);
    let encoded = record::encode_events(&head("0"), &events, Some(&[0, 2]));
    let decoded = record::decode(FrameKind::Events, &encoded).unwrap();
    let kept = logs(&[("a", 1, Some("x")), ("c", 3, Some(&"long ".repeat(500)))]);
    assert_eq!(decoded.rows, RecordRows::Events(kept));
}

/// A log of `groups` groups of two records each, written and synced group by group; where each group begins.
fn write_log(dir: &std::path::Path, groups: usize, segment_bytes: u64) -> Vec<Position> {
    let replayed = replay(&Files, dir, 1, OnDamage::Stop, |_, _| Ok(())).unwrap();
    let log = Log::start(Arc::new(Files), dir, &replayed, segment_bytes, 0).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut begins = Vec::new();
    for group in 0..groups {
        let mut end = Position::default();
        for n in 0..2 {
            let events = logs(&[("a", (group * 2 + n) as i64, Some("some text of a log line"))]);
            end = log.append(FrameKind::Events, &record::encode_events(&head("0"), &events, None)).unwrap();
        }
        begins.push(end);
        let mut progress = log.progress();
        runtime.block_on(async { progress.wait_for(|p| p.synced >= end).await.map(|_| ()) }).unwrap();
    }
    begins
}

fn timestamps(records: &[Record]) -> Vec<i64> {
    let ts = |r: &Record| match &r.rows {
        RecordRows::Events(e) => e.ts_ms(0),
        RecordRows::Samples(_) | RecordRows::Exemplars(_) | RecordRows::None => -1,
    };
    records.iter().map(ts).collect()
}

#[test]
fn replays_over_segments_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), 60, 4096);
    let (records, replayed) = read(dir.path(), OnDamage::Stop).unwrap();
    assert_eq!(timestamps(&records), (0..120).collect::<Vec<_>>());
    assert!(replayed.next_segment > 2, "{replayed:?}");
    write_log(dir.path(), 3, 4096);
    let (records, again) = read(dir.path(), OnDamage::Stop).unwrap();
    assert_eq!(records.len(), 126);
    assert!(again.generation > replayed.generation);
    assert_eq!(replay(&Files, dir.path(), again.next_segment, OnDamage::Stop, |_, _| Ok(())).unwrap().records, 0);
}

/// Every flipped byte of every kind of place: before what a later group proves it stops the start and names the place;
/// behind it the tail is cut; and in no case is a record read that was not written.
#[test]
fn every_damaged_byte_is_said_or_cut() {
    let dir = tempfile::tempdir().unwrap();
    let ends = write_log(dir.path(), 4, 1 << 20);
    let path = dir.path().join(segment_name(1));
    let whole = std::fs::read(&path).unwrap();
    let used = ends.last().unwrap().offset as usize + GROUP_BYTES; // the group frame of a clean close
    let proven = ends.last().unwrap().offset as usize;
    for at in 0..used {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        std::fs::write(&path, &damaged).unwrap();
        match read(dir.path(), OnDamage::Stop) {
            Err(OpenError::Damaged { offset, .. }) => {
                assert!(offset as usize <= at && at < proven, "{offset} for {at}")
            }
            Err(OpenError::Version { .. }) => panic!("a damaged header is no version"),
            Err(e) => panic!("{e}"),
            Ok((records, _)) => {
                assert!(at >= proven, "damage at {at} passed in silence");
                assert_eq!(timestamps(&records), (0..8).collect::<Vec<_>>());
            }
        }
        std::fs::write(&path, &damaged).unwrap();
        let (records, replayed) = read(dir.path(), OnDamage::Skip).unwrap();
        assert!(at >= proven || replayed.skipped_bytes > 0);
        let found = timestamps(&records);
        assert!(found.is_sorted() && found.len() >= if at < HEADER_BYTES { 0 } else { 7 }, "{found:?} for {at}");
    }
}

/// A crash cuts the file anywhere: what was proven before the cut must be there, the rest may go.
#[test]
fn every_cut_leaves_a_prefix_or_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let ends = write_log(dir.path(), 3, 1 << 20);
    let path = dir.path().join(segment_name(1));
    let whole = std::fs::read(&path).unwrap();
    for len in 0..=ends[2].offset as usize {
        std::fs::write(&path, &whole[..len]).unwrap();
        let (records, _) = read(dir.path(), OnDamage::Stop).unwrap();
        let complete = ends.iter().filter(|e| e.offset as usize <= len).count();
        assert!(records.len() >= complete * 2, "{} records of a file of {len}", records.len());
        assert_eq!(timestamps(&records), (0..records.len() as i64).collect::<Vec<_>>());
        // and what was cut stays cut: nothing of the old tail comes back behind new records
        write_log(dir.path(), 1, 1 << 20);
        assert_eq!(read(dir.path(), OnDamage::Stop).unwrap().0.len(), records.len() + 2, "cut at {len}");
        std::fs::remove_file(dir.path().join(segment_name(2))).unwrap();
    }
}

#[test]
fn a_lost_segment_is_said() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), 60, 4096);
    std::fs::remove_file(dir.path().join(segment_name(1))).unwrap();
    match read(dir.path(), OnDamage::Stop) {
        Err(OpenError::Damaged { file, offset: 0, .. }) => assert!(file.ends_with(&segment_name(1)), "{file}"),
        other => panic!("{other:?}"),
    }
    assert!(read(dir.path(), OnDamage::Skip).unwrap().1.skipped_bytes > 0);
}

#[test]
fn a_later_version_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let mut header = frame::header(1, 1);
    header[4] = 6;
    let crc = crc32c::crc32c(&header[..24]);
    header[24..].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(dir.path().join(segment_name(1)), header).unwrap();
    assert!(matches!(read(dir.path(), OnDamage::Skip), Err(OpenError::Version { found: 6, known: 5, .. })));
}
