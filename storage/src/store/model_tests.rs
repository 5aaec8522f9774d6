//! Random operations against maps: whatever is flushed, merged, expired or reopened, the answer is the model's.

use super::{
    places::{Place, places, s3},
    *,
};

/// Seeds in a usual run; `TIDEWATCH_SEEDS` asks for more, `TIDEWATCH_SEED` for exactly one.
const SEEDS: u64 = 300;
/// The same with parts in S3, where each request goes through a server; as many as asked for if more are.
const S3_SEEDS: u64 = 12;
const OPERATIONS: usize = 30;
const KEEP_MS: i64 = 3 * DAY_MS;
const STREAM: &str = "cluster/topic";

#[derive(Default)]
struct Model {
    samples: BTreeMap<&'static str, Metrics>,
    logs: BTreeMap<&'static str, Vec<(String, i64, i64)>>,
    sequences: BTreeMap<(String, bool), u64>,
    sent: Vec<Sent>,
    offsets: BTreeMap<u32, u64>,
    now_ms: i64,
}

impl Model {
    fn add(&mut self, sent: &Sent) {
        match &sent.rows {
            SentRows::Samples(rows) => {
                for (series, ts, bits) in rows {
                    let of = self.samples.entry(sent.tenant).or_default();
                    put(of.entry(series_labels(*series)).or_default(), *series, *ts, *bits);
                }
            }
            SentRows::Logs(rows) => {
                let of = self.logs.entry(sent.tenant).or_default();
                of.extend(rows.iter().map(|(i, ts, pid)| (format!("db{i}"), *ts, *pid)));
            }
        }
        self.sent.push(sent.clone());
    }

    /// Where the next one was read, for some of them: behind the last of its partition.
    fn place(&mut self, random: &mut fastrand::Rng) -> Option<Consumed<'static>> {
        let partition = random.u32(0..4);
        if partition == 3 {
            return None;
        }
        let next = self.offsets.entry(partition).or_default();
        *next += 1;
        Some(Consumed { stream: STREAM, partition, offset: *next - 1 })
    }

    fn random(&mut self, random: &mut fastrand::Rng) -> Sent {
        let tenant = if random.u8(0..5) == 0 { "other" } else { "0" };
        let collector = format!("c{}", random.u8(0..2));
        let is_samples = random.u8(0..3) > 0;
        let sequence = self.sequences.entry((collector.clone(), is_samples)).or_default();
        *sequence += 1;
        // mostly now, sometimes late, seldom a day or more
        let late_ms = |random: &mut fastrand::Rng| match random.u8(0..10) {
            0 => random.i64(0..2 * DAY_MS),
            1 | 2 => random.i64(0..600_000),
            _ => 0,
        };
        let base = self.now_ms - late_ms(random);
        let ts = |random: &mut fastrand::Rng| base - random.i64(0..20) * 1000;
        let sequence = *sequence;
        let n = random.usize(1..60);
        let rows = match is_samples {
            true => SentRows::Samples(
                (0..n)
                    .map(|_| {
                        let bits = match random.u8(0..6) {
                            0 => random.u64(..),
                            1 => proto::samples::STALE_MARKER_BITS,
                            2 => random.f64().to_bits(),
                            _ => f64::from(random.i32(-3..1000)).to_bits(),
                        };
                        (random.u32(0..25), ts(random), bits)
                    })
                    .collect(),
            ),
            false => SentRows::Logs((0..n).map(|_| (random.u32(0..4), ts(random), random.i64(..))).collect()),
        };
        Sent { tenant, collector, sequence, rows }
    }

    /// Some series lose what lies in some range.
    async fn delete(&mut self, store: &Store, random: &mut fastrand::Rng) {
        let tenant = if random.u8(0..3) == 0 { "other" } else { "0" };
        let metrics = format!("metric_[{}-{}]", random.u8(0..3), random.u8(2..5));
        let instance = format!("db{}", random.u8(0..5));
        let metrics = Matcher::new("__name__", MatchOp::Regex, &metrics).unwrap();
        let selectors = [vec![metrics, Matcher::equal("instance", &instance)]];
        let (from, to) = match random.u8(0..3) {
            0 => (i64::MIN, i64::MAX),
            _ => (self.now_ms - random.i64(0..DAY_MS), self.now_ms - random.i64(0..60_000)),
        };
        store.delete_series(tenant, &selectors, from, to).await.unwrap();
        let goes = |labels: &Labels| selectors[0].iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")));
        for (_, samples) in self.samples.entry(tenant).or_default().iter_mut().filter(|(labels, _)| goes(labels)) {
            samples.retain(|ts, _| *ts < from || *ts > to);
        }
    }

    /// A snapshot is sound, and a store made of it holds the same; the running one is none the worse.
    async fn back_up(&mut self, store: &Store, config: &StoreConfig, random: &mut fastrand::Rng) {
        let place = directory();
        let to = place.path().join("snapshot");
        store.back_up(&to, &[]).await.unwrap();
        if random.bool() {
            store.maintain(self.now_ms).await.unwrap();
        }
        // to local files, wherever its parts were: a bucket would have to be empty
        let object_store = crate::ObjectStoreConfig::Local;
        let restored = StoreConfig { data_dir: place.path().join("restored"), object_store, ..config.clone() };
        crate::restore(&to, &restored, &["alerting"]).await.unwrap();
        self.check(&Store::open(restored, self.now_ms).await.unwrap()).await;
    }

    /// Rows older than retention may be gone or not; all others must be there, and nothing else.
    async fn check(&mut self, store: &Store) {
        assert_eq!(store.offsets(STREAM), self.offsets);
        let horizon = self.now_ms - KEEP_MS;
        for tenant in ["0", "other"] {
            let expected = self.samples.get(tenant).cloned().unwrap_or_default();
            let found = all_samples(store, tenant).await;
            for (labels, samples) in &expected {
                for (ts, bits) in samples.range(horizon..) {
                    let got = found.get(labels).and_then(|s| s.get(ts));
                    assert_eq!(got, Some(bits), "{tenant} {labels} at {ts}");
                }
            }
            for (labels, samples) in &found {
                for (ts, bits) in samples {
                    assert_eq!(expected.get(labels).and_then(|s| s.get(ts)), Some(bits), "{tenant} {labels} at {ts}");
                }
            }
            let mut expected = self.logs.get(tenant).cloned().unwrap_or_default();
            let mut found = all_logs(store, tenant).await;
            let all = found.len();
            expected.sort();
            found.retain(|row| expected.binary_search(row).is_ok());
            assert_eq!(found.len(), all, "rows that nobody sent");
            expected.retain(|row| row.1 >= horizon);
            found.retain(|row| row.1 >= horizon);
            assert_eq!(found, expected, "{tenant}");
        }
    }
}

async fn run(seed: u64, place: &Place) {
    let mut random = fastrand::Rng::with_seed(seed);
    let dir = directory();
    let retention = Retention {
        metrics: Keep { age_ms: Some(KEEP_MS), bytes: None },
        events: Keep { age_ms: Some(KEEP_MS), bytes: None },
        ..Retention::default()
    };
    let config = StoreConfig { retention, part_bytes_max: random.u64(5_000..200_000), ..place.config(dir.path()) };
    let mut model = Model { now_ms: T0, ..Model::default() };
    let mut store = Store::open(config.clone(), T0).await.unwrap();
    for _ in 0..OPERATIONS {
        match random.u8(0..20) {
            0..=9 => {
                let sent = model.random(&mut random);
                let place = model.place(&mut random);
                match sent.send_read_at(&store, model.now_ms, place).await.unwrap() {
                    Outcome::Stored { refused, .. } => assert!(refused.is_empty(), "{refused:?}"),
                    Outcome::Duplicate => panic!("{sent:?} is no duplicate"),
                }
                model.add(&sent);
            }
            10 => {
                if let Some(sent) = random.choice(&model.sent).cloned() {
                    let place = model.place(&mut random);
                    let outcome = sent.send_read_at(&store, model.now_ms, place).await.unwrap();
                    assert_eq!(outcome, Outcome::Duplicate);
                }
            }
            11 | 12 => drop(store.flush(model.now_ms).await.unwrap()),
            13 if random.bool() => model.delete(&store, &mut random).await,
            13 => model.back_up(&store, &config, &mut random).await,
            14 | 15 => {
                model.now_ms += random.i64(0..DAY_MS / 2);
                store.maintain(model.now_ms).await.unwrap();
            }
            16 | 17 => {
                if random.bool() {
                    store.close().await;
                } else {
                    drop(store);
                }
                store = Store::open(config.clone(), model.now_ms).await.unwrap();
                assert_eq!(store.offsets(STREAM), model.offsets);
            }
            _ => model.check(&store).await,
        }
    }
    model.check(&store).await;
    store.close().await;
    let report = crate::verify(&config).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
}

fn run_seeds(of_usual: u64, place: impl Fn() -> Option<Place>) {
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let seeds = match number("TIDEWATCH_SEED") {
        Some(one) => one..one + 1,
        None => 0..number("TIDEWATCH_SEEDS").map_or(of_usual, |asked| asked / SEEDS.div_ceil(of_usual)),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for seed in seeds {
        let Some(place) = place() else { return };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run(seed, &place))));
        if let Err(panic) = result {
            eprintln!("failing seed: TIDEWATCH_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn equals_a_map_whatever_happens() {
    run_seeds(SEEDS, || places().into_iter().next());
}

#[test]
fn equals_a_map_whatever_happens_with_parts_in_s3() {
    run_seeds(S3_SEEDS, s3);
}
