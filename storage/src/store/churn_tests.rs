//! Series that come and go: what an old day costs stays what it was when it was new. Costs are counts, never times.

use super::*;

/// Series that are there every day.
const LASTING: u32 = 500;
/// Days whose series are new.
const DAYS: i64 = 3;
/// Rows of one append.
const ROWS: usize = 10_000;

/// New series a day; a million in the long form.
fn new_a_day() -> u32 {
    if std::env::var_os("SOAK").is_some() { 1_000_000 } else { 20_000 }
}

/// What questions about one day cost.
#[derive(Debug, PartialEq)]
struct Cost {
    /// Footers, indexes and bodies of parts that were looked at.
    pieces: u64,
    /// Memory that they take, the postings that were built among them, bytes.
    bytes: u64,
    /// Series, label values and samples found.
    found: (usize, usize, usize),
}

async fn open(dir: &Path, now_ms: i64) -> Store {
    let limits = Limits { series_per_source_max: usize::MAX, series_max: 4_000_000, ..Limits::default() };
    Store::open(StoreConfig { limits, fsync_interval_ms: 0, ..StoreConfig::at(dir) }, now_ms).await.unwrap()
}

/// A sample of each lasting series and of each of the day's own, flushed.
async fn live_a_day(store: &Store, day: i64, sequence: &mut u64) {
    let now_ms = T0 + day * DAY_MS;
    let own = LASTING + day as u32 * new_a_day();
    let series: Vec<u32> = (0..LASTING).chain(own..own + new_a_day()).collect();
    for some in series.chunks(ROWS) {
        *sequence += 1;
        let rows = SentRows::Samples(some.iter().map(|n| (*n, now_ms, 1.0f64.to_bits())).collect());
        let sent = Sent { tenant: "0", collector: "c".into(), sequence: *sequence, rows };
        let Outcome::Stored { rows, refused } = sent.send(store, now_ms).await.unwrap() else { panic!("a duplicate") };
        assert_eq!((rows, refused), (some.len() as u64, Vec::new()));
    }
    store.flush(now_ms).await.unwrap();
    while store.maintain(now_ms).await.unwrap().compacted_parts > 0 {}
}

/// Asks the questions of a page about the first day.
async fn ask_first_day(store: &Store) -> Cost {
    let pieces = || {
        let cache = store.stats().read_cache;
        cache.hits + cache.misses
    };
    let before = pieces();
    let snapshot = store.snapshot("0");
    let range = (T0, T0 + DAY_MS - 1);
    let one = [Matcher::equal("__name__", "metric_3"), Matcher::equal("instance", "db7")];
    let metric = |name: &str| [Matcher::equal("__name__", name)];
    let values = snapshot.label_values("instance", &metric("metric_0"), range.0, range.1, 100).await.unwrap().len();
    let series = snapshot.series(&metric("metric_1"), range.0, range.1, 5_000_000).await.unwrap().len();
    let query = SeriesQuery { matchers: &one, min_ms: range.0, max_ms: range.1, series_max: 10, samples_max: 10 };
    let samples = snapshot.select(&query).await.unwrap().iter().map(|s| s.values.len()).sum();
    Cost { pieces: pieces() - before, bytes: store.stats().read_cache.bytes, found: (series, values, samples) }
}

#[tokio::test]
async fn a_churn_of_series_does_not_grow_what_old_days_cost() {
    let dir = directory();
    let mut sequence = 0;
    let store = open(dir.path(), T0).await;
    live_a_day(&store, 0, &mut sequence).await;
    store.close().await;
    let store = open(dir.path(), T0).await; // nothing of the day is in memory
    let before = ask_first_day(&store).await;
    assert_eq!(before.found, ((LASTING + new_a_day()) as usize / 5, 100, 1));
    assert!(before.pieces > 0 && before.bytes > 0);
    for day in 1..=DAYS {
        live_a_day(&store, day, &mut sequence).await;
        let known = store.stats().head_series;
        assert!(known <= u64::from(LASTING + new_a_day()), "{known} series are known once the next day's have come");
    }
    let parts = store.stats().tables["metrics"];
    assert_eq!(parts.rows, (DAYS as u64 + 1) * u64::from(LASTING + new_a_day()), "a series is in its own days alone");
    store.close().await;
    let store = open(dir.path(), T0 + DAYS * DAY_MS).await;
    let after = ask_first_day(&store).await;
    println!("questions about the first day, {} series later: {after:?}", DAYS * i64::from(new_a_day()));
    assert_eq!(after, before);
}
