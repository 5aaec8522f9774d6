//! PromQL beside Debian's Prometheus 2.42: the same samples written to both, the same questions asked of both, all over HTTP,
//! and what they say compared: 1e-9 of a number's size, labels and kinds of errors exactly. docs/promql.md lists where
//! versions differ. Then the API with the requests of its other clients: Grafana, vmalert, our own command line.
#![allow(clippy::unwrap_used)]

mod blame;
mod book;
mod budget;
mod command_line;
mod dice;
mod exemplars;
mod grafana;
mod native;
mod own;
mod peers;
mod samples;
mod scraped;
mod vmalert;

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

use blame::Verdict;
use dice::Dice;
use futures::StreamExt;
use peers::{Peers, When, difference};
use samples::{FIRST_MS, OFF_EDGE_MS, Series};

/// Questions under way at a time.
const AT_ONCE: usize = 4;
/// Random queries unless `TIDEWATCH_QUERIES` says otherwise.
const RANDOM: usize = 400;
/// Of each series of the capture every this many samples are taken, unless `SOAK` is set.
const EVERY: usize = 5;
/// One answer in so many may differ by version.
const EXPLAINED_SHARE_MAX: usize = 20;
/// Failures shown.
const SHOWN_MAX: usize = 60;

fn at(second: i64) -> f64 {
    ((FIRST_MS + OFF_EDGE_MS) / 1000 + second) as f64 + OFF_EDGE_MS as f64 / 1000.0
}

/// A range over most of the samples, and a moment near their end.
fn whens() -> [When; 2] {
    [When::Range(at(240), at(1500), 90), When::At(at(1333))]
}

/// Says so if there is no Prometheus.
fn skipped() -> bool {
    let missing =
        Command::new("prometheus").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err();
    if missing {
        println!("skipped: prometheus is not installed (Debian package prometheus)");
    }
    missing
}

async fn start() -> Option<(Peers, Vec<Series>)> {
    if skipped() {
        return None;
    }
    let mut series = samples::shop();
    match std::env::var("CAPTURE_FILE").ok().filter(|f| !f.is_empty()) {
        Some(file) => {
            series.extend(samples::capture(&file, if std::env::var_os("SOAK").is_some() { 1 } else { EVERY }))
        }
        None => println!("CAPTURE_FILE is not set: the shop alone"),
    }
    let count: usize = series.iter().map(|s| s.samples.len()).sum();
    println!("{} series, {count} samples", series.len());
    Some((Peers::start(&series).await, series))
}

/// Asks every query at every time; says what differed and why.
async fn ask_all(peers: &Peers, queries: Vec<String>) -> Tally {
    let asked = queries.into_iter().flat_map(|query| whens().map(|when| (query.clone(), when)));
    let ask = async |(query, when): (String, When)| {
        let said = peers.ask(&query, when).await;
        let sorted = query.starts_with("sort") && matches!(when, When::At(_));
        let verdict = match difference(&said, sorted) {
            None if !said[0].good() => Verdict::SameError,
            None if said[0].rows().is_empty() => Verdict::Empty,
            None => Verdict::Equal,
            Some(words) => blame::of(peers, &query, when, words, said).await,
        };
        (query, when, verdict)
    };
    let mut tally = Tally::default();
    let mut answers = futures::stream::iter(asked).map(ask).buffer_unordered(AT_ONCE);
    while let Some((query, when, verdict)) = answers.next().await {
        tally.add(&query, when, verdict);
    }
    tally
}

#[derive(Default)]
struct Tally {
    equal: usize,
    empty: usize,
    errors: usize,
    explained: BTreeMap<&'static str, (usize, String)>,
    wrong: Vec<String>,
}

impl Tally {
    fn add(&mut self, query: &str, when: When, verdict: Verdict) {
        match verdict {
            Verdict::Equal => self.equal += 1,
            Verdict::Empty => self.empty += 1,
            Verdict::SameError => self.errors += 1,
            Verdict::Explained(reason) => {
                let (count, example) = self.explained.entry(reason).or_default();
                *count += 1;
                if *count == 1 {
                    *example = format!("{query} {when:?}");
                }
            }
            Verdict::Wrong(words) => self.wrong.push(format!("{query}\n    {when:?}: {words}")),
        }
    }

    fn check(&self, what: &str) {
        println!(
            "{what}: {} equal, {} equally empty, {} refused by both, {} different",
            self.equal,
            self.empty,
            self.errors,
            self.wrong.len()
        );
        for (reason, (count, example)) in &self.explained {
            println!("  {count} differ by version: {reason}; such as {example}");
        }
        let shown = &self.wrong[..self.wrong.len().min(SHOWN_MAX)];
        assert!(shown.is_empty(), "{} answers are not Prometheus':\n{}", self.wrong.len(), shown.join("\n"));
        let (explained, asked) = (self.explained.values().map(|e| e.0).sum::<usize>(), self.equal + self.errors);
        assert!(explained * EXPLAINED_SHARE_MAX <= asked, "{explained} of {asked} answers differ by version");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_says_the_same() {
    let Some((peers, series)) = start().await else { return };
    let queries = book::all();
    assert!(queries.len() >= 600, "{} queries", queries.len());
    let count = queries.len();
    let tally = ask_all(&peers, queries).await;
    tally.check(&format!("{count} written queries, each over a range and at a moment"));

    let number = |name: &str, default: usize| std::env::var(name).ok().map_or(default, |n| n.parse().expect(name));
    let (count, seed) = (number("TIDEWATCH_QUERIES", RANDOM), number("TIDEWATCH_SEED", 1));
    let mut dice = Dice::new(seed as u64, &series);
    let queries: Vec<String> = (0..count).map(|_| dice.query()).collect();
    for query in &queries {
        let read = query::promql::parse(query).map(|tree| tree.to_string());
        assert!(read.is_ok_and(|text| query::promql::parse(&text).is_ok()), "our parser refuses {query}");
    }
    let tally = ask_all(&peers, queries).await;
    let answered = tally.equal * 3;
    tally.check(&format!("{count} random queries of seed {seed}, each over a range and at a moment"));
    assert!(answered >= count, "most random queries find nothing");
    stats_are_the_same(&peers).await;
    peers.stop().await;
}

/// Samples looked at, in all and step by step, are counted as Prometheus counts them.
async fn stats_are_the_same(peers: &Peers) {
    for query in [
        "shop_stock",
        "shop_stock{shop=\"north\"} offset 90s",
        "shop_temperature_celsius",
        "-shop_stock + on (shop, kind) shop_stock",
        "sum by (shop) (rate(shop_orders_total[3m]))",
        "max_over_time(shop_stock[2m:10s])",
        "sum_over_time(max_over_time(shop_stock[1m])[2m:20s])",
        "shop_stock @ 1789999000",
        "sum by (kind) (max_over_time(shop_stock[3m] @ 1789999000))",
        "count(shop_odd) / scalar(sum(shop_info))",
        "timestamp(shop_stock)",
        "absent_over_time(shop_late[1m])",
        "vector(1)",
        "1 + 1",
    ] {
        for when in whens() {
            let [ours, theirs] = peers.stats(query, when).await;
            for field in ["totalQueryableSamples", "totalQueryableSamplesPerStep"] {
                let (a, b) = (&ours["samples"][field], &theirs["samples"][field]);
                assert!(!a.is_null() && a == b, "{query} {when:?} {field}: {a:.300} instead of {b:.300}");
            }
        }
    }
}
