//! Rows and the place they were read at are one: before and after a flush, a reopening, and a crash anywhere in the log.

use super::*;

const STREAM: &str = "cluster/topic";

fn place(offset: u64) -> Consumed<'static> {
    Consumed { stream: STREAM, partition: 0, offset }
}

/// One row, the sequence of which is its offset plus one.
fn read_at(offset: u64) -> Sent {
    Sent {
        tenant: "0",
        collector: "c".into(),
        sequence: offset + 1,
        rows: SentRows::Logs(vec![(0, T0 + offset as i64, offset as i64)]),
    }
}

async fn next(store: &Store) -> u64 {
    store.offsets(STREAM).get(&0).copied().unwrap_or(0)
}

#[tokio::test]
async fn offsets_survive_flush_manifest_and_replay() {
    let dir = directory();
    let mut offset = 0;
    for round in 0..4 {
        let store = Store::open(config(dir.path()), T0).await.unwrap();
        assert_eq!(next(&store).await, offset, "round {round}");
        assert_eq!(store.offsets("another"), BTreeMap::new());
        for _ in 0..3 {
            let outcome = read_at(offset).send_read_at(&store, T0 + DAY_MS, Some(place(offset))).await.unwrap();
            assert!(matches!(outcome, Outcome::Stored { rows: 1, .. }), "{outcome:?}");
            offset += 1;
        }
        if round % 2 == 0 {
            store.flush(T0).await.unwrap();
        }
        assert_eq!(all_logs(&store, "0").await.len() as u64, offset);
    }
}

#[tokio::test]
async fn a_duplicate_and_a_place_without_rows_move_the_offset_and_count_nothing() {
    let dir = directory();
    let store = Store::open(config(dir.path()), T0).await.unwrap();
    read_at(0).send_read_at(&store, T0, Some(place(0))).await.unwrap();
    assert_eq!(read_at(0).send_read_at(&store, T0, Some(place(1))).await.unwrap(), Outcome::Duplicate);
    assert_eq!(next(&store).await, 2);
    store.consume(place(2), T0).unwrap().await.unwrap();
    drop(store);
    let store = Store::open(config(dir.path()), T0).await.unwrap();
    assert_eq!((next(&store).await, all_logs(&store, "0").await.len()), (3, 1));
    assert_eq!((store.last_sequence("c", 1, Class::Logs), store.last_sequence("c", 2, Class::Logs)), (1, 0));
    // they alone are reason enough for a flush to shorten the log
    store.flush(T0).await.unwrap();
    store.consume(place(3), T0).unwrap().await.unwrap();
    store.flush(T0).await.unwrap();
    drop(store);
    let store = Store::open(config(dir.path()), T0).await.unwrap();
    assert_eq!((store.stats().replayed_records, next(&store).await), (0, 4));
    let nameless = Consumed { stream: "", partition: 0, offset: 0 };
    assert!(matches!(store.consume(nameless, T0), Err(AppendError::Malformed(_))));
}

#[tokio::test]
async fn what_is_refused_moves_nothing() {
    let dir = directory();
    let store = Store::open(StoreConfig { head_bytes_max: 1, ..config(dir.path()) }, T0).await.unwrap();
    read_at(0).send_read_at(&store, T0, Some(place(0))).await.unwrap();
    let refused = read_at(1).send_read_at(&store, T0, Some(place(1))).await.unwrap_err();
    assert_eq!((refused.refusal(), next(&store).await), (Refusal::Full, 1));
    store.flush(T0).await.unwrap();
    read_at(1).send_read_at(&store, T0, Some(place(1))).await.unwrap();
    assert_eq!((next(&store).await, all_logs(&store, "0").await.len()), (2, 2));
}

/// A crash cuts the log anywhere: what is left has exactly the rows before the offset it goes on at.
#[tokio::test]
async fn after_any_cut_rows_and_offset_agree() {
    const ROWS: u64 = 12;
    let whole = directory();
    let store = Store::open(config(whole.path()), T0).await.unwrap();
    for offset in 0..ROWS {
        read_at(offset).send_read_at(&store, T0, Some(place(offset))).await.unwrap();
    }
    drop(store);
    let log = std::fs::read(whole.path().join("log/0000000000000001.log")).unwrap();
    let used = log.iter().rposition(|b| *b != 0).unwrap() + 1;
    let mut found = std::collections::BTreeSet::new();
    for cut in (0..=used).rev().step_by(11) {
        let dir = directory();
        std::fs::create_dir(dir.path().join("log")).unwrap();
        std::fs::write(dir.path().join("log/0000000000000001.log"), &log[..cut]).unwrap();
        let store = Store::open(config(dir.path()), T0).await.unwrap();
        let rows = all_logs(&store, "0").await.len() as u64;
        assert_eq!(next(&store).await, rows, "cut at {cut}");
        found.insert(rows);
    }
    assert_eq!(found.len() as u64, ROWS + 1, "cuts fell between all of them");
}

/// A directory of the version before: opened, read on from, and written in the new one.
#[tokio::test]
async fn a_directory_of_version_1_opens() {
    let dir = directory();
    std::fs::create_dir(dir.path().join("log")).unwrap();
    let golden = include_bytes!("../../testdata/log-v1");
    std::fs::write(dir.path().join("log/0000000000000001.log"), golden).unwrap();
    let store = Store::open(config(dir.path()), T0).await.unwrap();
    assert_eq!((store.stats().replayed_records, store.offsets(STREAM)), (2, BTreeMap::new()));
    assert_eq!(all_logs(&store, "acme").await.len(), 2);
    read_at(0).send_read_at(&store, T0, Some(place(0))).await.unwrap();
    drop(store);
    let store = Store::open(config(dir.path()), T0).await.unwrap();
    assert_eq!((store.stats().replayed_records, next(&store).await), (3, 1));
    store.flush(T0).await.unwrap();
    drop(store);
    let store = Store::open(config(dir.path()), T0).await.unwrap();
    assert_eq!((next(&store).await, all_logs(&store, "acme").await.len()), (1, 2));
}
