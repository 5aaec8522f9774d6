//! Event rows through head, file, merge and scan.
#![allow(clippy::unwrap_used)]

use arrow::array::AsArray;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use proto::{EventsBuilder, Value};

use super::{
    merge::{Input, merge},
    read::{Scan, open},
    write::{timestamps, write_parts},
    *,
};
use crate::{EventQuery, ReadError};

const DAY_MS: i64 = crate::config::DAY_MS;

fn rows(table: Table, rows: &[(&str, i64)]) -> RecordBatch {
    let mut builder = EventsBuilder::new(table);
    for (n, (instance, ts)) in rows.iter().enumerate() {
        builder.row(instance, *ts, [("fingerprint", Value::from(format!("f{n}")))]);
    }
    to_batch(&builder.build(), None).unwrap()
}

fn pairs(batches: &[RecordBatch]) -> Vec<(String, i64)> {
    let of = |b: &RecordBatch| {
        let instances = b.column(0).as_string::<i32>().clone();
        timestamps(b).iter().enumerate().map(|(i, ts)| (instances.value(i).to_owned(), *ts)).collect::<Vec<_>>()
    };
    batches.iter().flat_map(of).collect()
}

#[test]
fn every_kind_of_cell_becomes_its_arrow_type() {
    for table in Table::ALL {
        let mut builder = EventsBuilder::new(table);
        let cells = table.columns()[2..].iter().map(|c| {
            let value = match c.kind {
                Kind::Timestamp | Kind::Int => Value::Int(-7),
                Kind::Bool => Value::Int(1),
                Kind::Float => Value::Float(0.5),
                Kind::Text => "é".into(),
                Kind::Bytes => vec![0u8, 255].into(),
            };
            (c.name, value)
        });
        builder.row("a", 1, cells);
        builder.row("b", 2, []);
        let batch = to_batch(&builder.build(), None).unwrap();
        assert_eq!((batch.schema(), batch.num_rows()), (event_schema(table), 2));
        for column in &batch.columns()[2..] {
            assert_eq!((column.is_null(0), column.is_null(1)), (false, true), "{}", table.name());
        }
    }
}

#[test]
fn a_head_of_many_small_batches_stays_few_and_in_order() {
    let head = EventHead::new(Table::Logs);
    for ts in 0..20_000 {
        let mut builder = EventsBuilder::new(Table::Logs);
        builder.row("a", ts, [("body", "text".into())]);
        head.push(to_batch(&builder.build(), None).unwrap()).unwrap();
    }
    let batches = head.first(usize::MAX);
    assert!(batches.len() < 20, "{} batches", batches.len());
    assert_eq!(pairs(&batches), (0..20_000).map(|ts| ("a".to_owned(), ts)).collect::<Vec<_>>());
    assert_eq!(pairs(&head.first(12_345)).len(), 12_345);
    assert!(head.bytes() > 20_000 * 12 && head.bytes() < 20_000 * 600, "{}", head.bytes());
}

async fn put(store: &InMemory, path: &str, bytes: &bytes::Bytes) -> Input {
    store.put(&Path::from(path), bytes.clone().into()).await.unwrap();
    Input { path: path.into(), bytes: bytes.len() as u64 }
}

#[tokio::test]
async fn parts_are_sorted_split_by_day_and_merge_in_order() {
    let store = Arc::new(InMemory::new());
    let first = rows(Table::StatementStats, &[("b", 5), ("a", 9), ("a", 5), ("b", DAY_MS + 1), ("a", -1)]);
    let parts = write_parts(Table::StatementStats, &[first]).unwrap();
    assert_eq!(
        parts.iter().map(|p| (p.day, p.rows, p.min_ts_ms, p.max_ts_ms)).collect::<Vec<_>>(),
        [(-1, 1, -1, -1), (0, 3, 5, 9), (1, 1, DAY_MS + 1, DAY_MS + 1)]
    );
    let second = rows(Table::StatementStats, &[("a", 5), ("c", 1), ("a", 1)]);
    let second = write_parts(Table::StatementStats, &[second]).unwrap();
    let inputs = [put(&store, "1", &parts[1].bytes).await, put(&store, "2", &second[0].bytes).await];
    let merged = merge(store.clone(), Table::StatementStats, 0, &inputs).await.unwrap();
    assert_eq!((merged.rows, merged.min_ts_ms, merged.max_ts_ms), (6, 1, 9));
    let merged = put(&store, "3", &merged.bytes).await;
    let stream = open(store, "3", merged.bytes, Table::StatementStats, None, |_| true).await.unwrap();
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    let expected = [("a", 1), ("a", 5), ("a", 5), ("a", 9), ("b", 5), ("c", 1)].map(|(i, t)| (i.to_owned(), t));
    assert_eq!(pairs(&batches), expected);
    let fingerprint = Table::StatementStats.column_index("fingerprint").unwrap();
    let fingerprints = batches[0].column(fingerprint).as_string::<i32>();
    assert_eq!((fingerprints.value(1), fingerprints.value(2)), ("f2", "f0"), "the earlier part's row comes first");
}

#[tokio::test]
async fn large_merges_keep_every_row() {
    let store = Arc::new(InMemory::new());
    let mut inputs = Vec::new();
    let mut expected = Vec::new();
    for part in 0..5i64 {
        let of: Vec<(String, i64)> =
            (0..9000).map(|n| (format!("i{}", n * 7 % 11), (n * 31 + part * 17) % 80_000)).collect();
        let of_str: Vec<(&str, i64)> = of.iter().map(|(i, t)| (i.as_str(), *t)).collect();
        let bytes = &write_parts(Table::Logs, &[rows(Table::Logs, &of_str)]).unwrap()[0].bytes.clone();
        inputs.push(put(&store, &part.to_string(), bytes).await);
        expected.extend(of);
    }
    expected.sort();
    let merged = merge(store.clone(), Table::Logs, 0, &inputs).await.unwrap();
    let merged = put(&store, "m", &merged.bytes).await;
    let stream = open(store, "m", merged.bytes, Table::Logs, None, |_| true).await.unwrap();
    assert_eq!(pairs(&stream.try_collect::<Vec<_>>().await.unwrap()), expected);
}

#[tokio::test]
async fn scans_prune_and_project() {
    let store: Arc<InMemory> = Arc::new(InMemory::new());
    let all: Vec<(String, i64)> = (0..100_000).map(|n| (format!("db{}", n / 25_000), n % 25_000)).collect();
    let all: Vec<(&str, i64)> = all.iter().map(|(i, t)| (i.as_str(), *t)).collect();
    let bytes = write_parts(Table::Logs, &[rows(Table::Logs, &all)]).unwrap()[0].bytes.clone();
    let part = put(&store, "p", &bytes).await;
    let query = EventQuery {
        instances: Some(vec!["db2".into(), "nobody".into()]),
        min_ms: 10,
        max_ms: 19,
        columns: Some(vec![1, 11]),
    };
    let scan = Scan::new(Table::Logs, &query).unwrap();
    let read = |scan: Scan| {
        let stream = scan.part(store.clone() as Arc<dyn ObjectStore>, "p".into(), part.bytes);
        stream.try_collect::<Vec<RecordBatch>>()
    };
    let found = read(scan).await.unwrap();
    assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), 10);
    let schema = found[0].schema();
    assert_eq!(schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), ["ts", "code"]);
    let none = EventQuery { min_ms: 90_000, ..EventQuery::default() };
    assert!(read(Scan::new(Table::Logs, &none).unwrap()).await.unwrap().is_empty());
    assert!(Scan::new(Table::Logs, &EventQuery { columns: Some(vec![99]), ..EventQuery::default() }).is_err());

    store.put(&Path::from("p"), bytes.slice(..bytes.len() / 2).into()).await.unwrap();
    let error = read(Scan::new(Table::Logs, &EventQuery::default()).unwrap()).await.unwrap_err();
    assert!(matches!(error, ReadError::Damaged { .. } | ReadError::Unreadable { .. }), "{error}");
}
