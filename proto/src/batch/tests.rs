//! Round trips, bounds and hostile bytes.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::{EventsBuilder, Value, samples::SamplesBuilder};

fn batch(payload: Payload) -> Batch {
    Batch {
        source: Source { collector: "c1".into(), epoch: 7 },
        sequence: 42,
        tenant: "0".into(),
        sent_at_ms: 1_700_000_000_000,
        resource: Labels::from_pairs([("cluster", "main")]),
        payload,
    }
}

fn samples() -> Samples {
    let mut builder = SamplesBuilder::default();
    let up = Labels::from_pairs([("__name__", "up"), ("cluster", "main"), ("instance", "db1")]);
    builder.push(&up, 1000, 1.0);
    builder.push(&up, 2000, f64::from_bits(crate::samples::STALE_MARKER_BITS));
    builder.push(&Labels::from_pairs([("__name__", "load1"), ("cluster", "main")]), -5, -0.0);
    builder.build()
}

fn with_histograms() -> Samples {
    let shape = crate::histogram::Shape {
        schema: 2,
        zero_threshold: 0.5,
        positive: vec![crate::histogram::Span { offset: -1, length: 2 }],
        ..Default::default()
    };
    let layout = Arc::new(crate::histogram::Layout::new(shape).unwrap());
    let mut builder = SamplesBuilder::default();
    let labels = Labels::from_pairs([("__name__", "seconds"), ("cluster", "main")]);
    builder.push(&labels, 500, 3.0);
    for (ts, counts) in [(1000, vec![6, 1, 2, 3]), (2000, vec![9, 1, 5, 3])] {
        let counts = crate::histogram::Counts::Integers(counts);
        builder.push_histogram(&labels, ts, Histogram::new(layout.clone(), 1.5, counts).unwrap());
    }
    builder.build()
}

fn events() -> Events {
    let mut builder = EventsBuilder::new(Table::Logs);
    builder.row("db1", 1000, [("body", Value::from("deadlock detected")), ("pid", 12i64.into())]);
    builder.row("db1", 1001, [("body", Value::from("")), ("level", "error".into())]);
    builder.build()
}

#[test]
fn what_is_sent_is_what_arrives() {
    let empty = Events::new(Table::Gaps);
    for payload in [Payload::Samples(samples()), Payload::Events(events()), Payload::Events(empty)] {
        let sent = batch(payload);
        let arrived = Batch::decode(&sent.encode()).unwrap();
        if let (Payload::Samples(a), Payload::Samples(b)) = (&sent.payload, &arrived.payload) {
            let bits = |s: &Samples| s.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(
                (&a.labels, &a.series, &a.timestamps_ms, bits(a)),
                (&b.labels, &b.series, &b.timestamps_ms, bits(b))
            );
        } else {
            assert_eq!(sent, arrived);
        }
    }
}

#[test]
fn histograms_arrive_in_a_batch_that_older_readers_refuse() {
    let sent = batch(Payload::Samples(with_histograms()));
    let bytes = sent.encode();
    assert!(bytes.starts_with(b"TWB2"));
    assert_eq!(Batch::decode(&bytes).unwrap(), sent);
    let with = |change: &dyn Fn(&mut wire::Samples)| {
        let mut message = wire::Batch::decode(&decompress(&bytes[4..]).unwrap()[..]).unwrap();
        let Some(wire::batch::Columns::Samples(samples)) = &mut message.columns else { panic!("samples were encoded") };
        change(samples);
        let mut bytes = MAGIC_HISTOGRAMS.to_vec();
        bytes.extend(compress(&message.encode_to_vec()).unwrap());
        Batch::decode(&bytes).unwrap_err().to_string()
    };
    assert_eq!(with(&|s| s.histogram_series[1] = 1), "series 1 is past the batch's 1 series");
    assert_eq!(with(&|s| s.histograms[1].push(0)), "histogram 1: damaged: more bytes than it has");
    assert!(with(&|s| s.histogram_timestamps_ms.truncate(1)).starts_with("columns differ in length"));
}

#[test]
fn an_empty_text_is_not_a_null() {
    let arrived = Batch::decode(&batch(Payload::Events(events())).encode()).unwrap();
    let Payload::Events(events) = arrived.payload else { panic!("events were sent") };
    assert_eq!(events.get(1, "body"), Value::from(""));
    assert_eq!(events.get(1, "pid"), Value::Null);
}

#[test]
fn resource_labels_reach_every_series_but_never_replace_its_own() {
    let mut sent = batch(Payload::Samples(samples()));
    sent.resource = Labels::from_pairs([("instance", "host1"), ("zone", "a")]);
    let Payload::Samples(got) = Batch::decode(&sent.encode()).unwrap().payload else { panic!("samples were sent") };
    assert_eq!(got.labels[0].get("instance"), Some("db1"));
    assert_eq!(got.labels[1].get("instance"), Some("host1"));
    assert_eq!(got.labels[1].get("zone"), Some("a"));
}

fn refused(change: impl FnOnce(&mut wire::Batch)) -> String {
    let bytes = batch(Payload::Samples(samples())).encode();
    let mut message = wire::Batch::decode(&decompress(&bytes[4..]).unwrap()[..]).unwrap();
    change(&mut message);
    let mut bytes = MAGIC.to_vec();
    bytes.extend(compress(&message.encode_to_vec()).unwrap());
    Batch::decode(&bytes).unwrap_err().to_string()
}

fn with_samples(change: impl FnOnce(&mut wire::Samples)) -> String {
    refused(|m| match m.columns.as_mut() {
        Some(wire::batch::Columns::Samples(s)) => change(s),
        _ => panic!("samples were encoded"),
    })
}

#[test]
fn broken_rules_are_named() {
    assert_eq!(refused(|m| m.sequence = 0), "sequence must be at least 1");
    assert_eq!(refused(|m| m.tenant = "../x".into()), "tenant must have at most 64 letters, digits, '-' or '_'");
    assert_eq!(refused(|m| m.source = None), "source.collector must have 1 to 128 bytes");
    assert_eq!(refused(|m| m.class = 7), "class 7 does not fit the columns sent");
    assert_eq!(refused(|m| m.class = 99), "class 99 does not fit the columns sent");
    assert_eq!(with_samples(|s| s.series[0] = 9), "series 9 is past the batch's 2 series");
    assert_eq!(with_samples(|s| s.label_refs[0] = 999), "string reference 999 is past the table's 8 entries");
    assert_eq!(with_samples(|s| s.label_counts[1] = 900), "label_counts ask for more labels than label_refs holds");
    assert!(
        with_samples(|s| {
            s.values.pop();
        })
        .starts_with("columns differ in length")
    );
}

#[test]
fn a_decompression_bomb_is_refused_at_its_bound() {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(compress(&vec![0u8; DECODED_BYTES_MAX + 10]).unwrap());
    assert!(bytes.len() < ENCODED_BYTES_MAX);
    let mut without_size = MAGIC.to_vec();
    without_size.extend(zstd::stream::encode_all(&vec![0u8; DECODED_BYTES_MAX + 10][..], 1).unwrap());
    assert!(matches!(Batch::decode(&without_size), Err(BatchError::TooLarge { what: "decoded bytes", .. })));
    assert!(matches!(Batch::decode(&bytes), Err(BatchError::TooLarge { what: "decoded bytes", .. })));
}

proptest::proptest! {
    #[test]
    fn damaged_bytes_never_panic_and_never_pass_for_the_original(at in 0usize..200, flip in 1u8..=255) {
        let sent = batch(Payload::Events(events()));
        let mut bytes = sent.encode();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        if let Ok(got) = Batch::decode(&bytes) {
            proptest::prop_assert_eq!(got, sent); // bits that zstd ignores
        }
    }

    #[test]
    fn random_protobuf_never_panics(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(compress(&body).unwrap());
        let _ = Batch::decode(&bytes);
    }
}

/// The files were written by hand after docs/formats/wire.md (fields in order, packed numbers) and compressed by Debian's
/// `zstd -3 --check`: they prove that the document says what this version reads and writes.
#[test]
fn bytes_of_version_1_are_read_forever() {
    for (file, payload) in [
        (&include_bytes!("../../testdata/batch-v1-samples.twb")[..], Payload::Samples(samples())),
        (include_bytes!("../../testdata/batch-v1-logs.twb"), Payload::Events(events())),
    ] {
        let want = batch(payload);
        assert_eq!(format!("{:?}", Batch::decode(file).unwrap()), format!("{want:?}"));
        assert_eq!(
            decompress(&file[4..]).unwrap(),
            decompress(&want.encode()[4..]).unwrap(),
            "the same bytes are written"
        );
    }
}
