//! Questions over a real store in a private folder: SQL over event tables and samples, PromQL through the store, searches
//! for parts of texts, and limits.
#![allow(clippy::unwrap_used)]

use proto::{Events, EventsBuilder, Labels, Table, Value};
use query::{ErrorKind, Querier, QueryLimits};
use storage::{Append, Rows, SampleRows, Store, StoreConfig};

const NOW_MS: i64 = 1_767_225_600_000; // 2026-01-01T00:00:00Z

struct Site {
    _folder: tempfile::TempDir,
    querier: Querier,
}

async fn append(store: &Store, rows: Rows<'_>) {
    store.append(Append { tenant: "0", origin: None, rows, now_ms: NOW_MS }).unwrap().await.unwrap();
}

/// Appends `rows` of (place of the series, time, value).
async fn append_samples(store: &Store, series: &[Labels], rows: &[(u32, i64, f64)]) {
    let labels: Vec<&[u8]> = series.iter().map(Labels::as_bytes).collect();
    let (of, rest): (Vec<u32>, Vec<(i64, f64)>) = rows.iter().map(|(n, t, v)| (*n, (*t, *v))).unzip();
    let (timestamps_ms, values): (Vec<i64>, Vec<f64>) = rest.into_iter().unzip();
    let rows = SampleRows {
        labels: &labels,
        series: &of,
        timestamps_ms: &timestamps_ms,
        values: &values,
        histograms: &[],
        families: &[],
    };
    append(store, Rows::Samples(rows)).await;
}

fn logs() -> Events {
    let mut builder = EventsBuilder::new(Table::Logs);
    for i in 0..10 {
        let instance = if i % 2 == 0 { "db1" } else { "db2" };
        let level = if i < 3 { Value::from("error") } else { Value::Null };
        let attributes = format!(r#"{{"relation":"t{i}"}}"#);
        builder.row(
            instance,
            NOW_MS - 10_000 + i * 1_000,
            [
                ("body", format!("line {i}").into()),
                ("level", level),
                ("attributes", attributes.into()),
                ("pid", i.into()),
            ],
        );
    }
    builder.build()
}

async fn site(limits: QueryLimits) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig { data_dir: folder.path().join("data"), ..StoreConfig::default() };
    let store = Store::open(config, NOW_MS).await.unwrap();
    append(&store, Rows::Events(&logs())).await;
    let series = [
        Labels::from_pairs([("__name__", "pg_up"), ("instance", "db1")]),
        Labels::from_pairs([("__name__", "pg_up"), ("instance", "db2")]),
        Labels::from_pairs([("__name__", "commits_total"), ("instance", "db1")]),
    ];
    let row = |step: i64, of: u32| (of, NOW_MS - 600_000 + step * 10_000, [1.0, 0.0, 10.0 * step as f64][of as usize]);
    let rows: Vec<_> = (0..60).flat_map(|step| (0..3).map(move |of| row(step, of))).collect();
    append_samples(&store, &series, &rows).await;
    Site { _folder: folder, querier: Querier::new(store, limits) }
}

/// The rows as `a|b`, nulls empty.
async fn ask(site: &Site, sql: &str) -> Vec<String> {
    let answer = site.querier.sql("0", sql).await.unwrap();
    let mut rows = Vec::new();
    for batch in &answer.batches {
        for row in 0..batch.num_rows() {
            let cell = |c| arrow::util::display::array_value_to_string(batch.column(c), row).unwrap();
            rows.push((0..batch.num_columns()).map(cell).collect::<Vec<_>>().join("|"));
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_reads_every_table_with_and_without_a_flush() {
    let site = site(QueryLimits::default()).await;
    let cases: &[(&str, &[&str])] = &[
        ("SELECT count(*) FROM logs", &["10"]),
        ("SELECT instance, count(*) FROM logs GROUP BY instance ORDER BY instance", &["db1|5", "db2|5"]),
        ("SELECT body FROM logs WHERE instance = 'db2' AND level = 'error'", &["line 1"]),
        ("SELECT count(*) FROM logs WHERE ts >= '2025-12-31T23:59:55Z'", &["5"]),
        (
            "SELECT count(*) FROM logs WHERE ts < timestamp '2025-12-31T23:59:55Z' AND instance IN ('db1', 'db3')",
            &["3"],
        ),
        (
            "SELECT body FROM logs WHERE ts BETWEEN '2025-12-31T23:59:51Z' AND '2025-12-31T23:59:52Z' ORDER BY ts",
            &["line 1", "line 2"],
        ),
        ("SELECT json_get(attributes, 'relation') FROM logs WHERE pid = 4", &["t4"]),
        ("SELECT count(*), min(value), max(value) FROM metrics WHERE metric = 'commits_total'", &["60|0.0|590.0"]),
        (
            "SELECT DISTINCT json_get(labels, 'instance') AS i FROM metrics WHERE metric IN ('pg_up', 'x') ORDER BY i",
            &["db1", "db2"],
        ),
        ("SELECT count(*) FROM statements", &["0"]),
        ("SELECT count(*) FROM logs a JOIN logs b ON a.pid = b.pid", &["10"]),
    ];
    for pass in ["in the head", "in parts"] {
        for (sql, expected) in cases {
            assert_eq!(ask(&site, sql).await, *expected, "{pass}: {sql}");
        }
        site.querier.store().flush(NOW_MS).await.unwrap();
    }
    assert_eq!(
        ask(&site, "SELECT table_name FROM information_schema.tables WHERE table_name = 'plans'").await,
        ["plans"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_can_change_nothing_and_says_what_is_wrong() {
    let site = site(QueryLimits::default()).await;
    for (sql, part) in [
        ("SELEC 1", "SELEC"),
        ("SELECT nope FROM logs", "nope"),
        ("SELECT * FROM nope", "nope"),
        ("DROP TABLE logs", "DDL not supported"),
        ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", "DDL not supported"),
        ("INSERT INTO logs (instance) VALUES ('x')", "DML not supported"),
        ("COPY logs TO '/tmp/x.csv'", "DML not supported"),
        ("SET datafusion.execution.batch_size = 1", "Statement not supported"),
    ] {
        let error = site.querier.sql("0", sql).await.expect_err(sql);
        assert_eq!(error.kind(), ErrorKind::BadData, "{sql}: {error}");
        assert!(error.to_string().contains(part), "{sql}: {error}");
    }
    assert_eq!(ask(&site, "SELECT count(*) FROM logs").await, ["10"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_too_large_is_cut_or_refused_and_says_so() {
    let site =
        site(QueryLimits { sql_rows_max: 7, samples_max: 100, text_bytes_max: 200, ..QueryLimits::default() }).await;
    let answer = site.querier.sql("0", "SELECT * FROM logs").await.unwrap();
    assert_eq!((answer.rows(), answer.truncated), (7, true));
    let error = site.querier.range("0", "commits_total + on() group_left pg_up", NOW_MS - 600_000, NOW_MS, 1_000).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Execution);
    let error = site.querier.instant("0", &"x".repeat(300), NOW_MS).await.unwrap_err();
    assert_eq!(error.to_string(), "query has 300 bytes, more than the 200 allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn promql_reads_the_store() {
    let site = site(QueryLimits::default()).await;
    let json = async |query: &str| {
        let answer = site.querier.instant("0", query, NOW_MS - 10_000).await.unwrap();
        format!("{:?}", answer.value)
    };
    for pass in ["in the head", "in parts"] {
        assert!(json("sum(pg_up)").await.contains("Float(1.0)"), "{pass}: {}", json("sum(pg_up)").await);
        assert!(
            json("irate(commits_total[5m])").await.contains("Float(1.0)"),
            "{pass}: {}",
            json("irate(commits_total[5m])").await
        );
        assert!(json("count({__name__=~\"pg_.*|commits.*\"})").await.contains("Float(3.0)"), "{pass}");
        site.querier.store().flush(NOW_MS).await.unwrap();
    }
    let error = site.querier.instant("0", "sum(", NOW_MS).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadData);
    assert!(error.to_string().starts_with("1:5: parse error"), "{error}");
}

/// A text out of words that differ in case, script and length, so that parts of it are in others or nearly so.
fn text(random: &mut fastrand::Rng) -> String {
    let words = [
        "dead",
        "LOCK",
        "deadlock",
        "\u{212a}elvin",
        "mi\u{17f}s",
        "\u{130}D",
        "caf\u{e9}",
        "锁等待",
        "a.b",
        "100%",
        "x_y",
        "\\d",
    ];
    let mut out = String::new();
    for _ in 0..random.usize(0..6) {
        match random.u8(0..4) {
            0 => out += &random.u32(..).to_string(),
            1 => out.push([' ', '-', '(', '\n'][random.usize(0..4)]),
            _ => out += words[random.usize(0..words.len())],
        }
    }
    out
}

fn quoted(text: &str) -> String {
    text.replace('\'', "''")
}

/// As a LIKE pattern.
fn liked(text: &str) -> String {
    quoted(&text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_"))
}

/// As a regular expression.
fn exact(text: &str) -> String {
    quoted(
        &text.chars().flat_map(|c| if c.is_ascii_punctuation() { vec!['\\', c] } else { vec![c] }).collect::<String>(),
    )
}

/// A condition on `$` (a column) made of a part of a text, mostly of one that is there.
fn condition(random: &mut fastrand::Rng, texts: &[String]) -> String {
    let whole = if random.u8(0..5) == 0 { text(random) } else { texts[random.usize(0..texts.len())].clone() };
    let chars: Vec<char> = whole.chars().collect();
    let from = random.usize(0..=chars.len());
    let to = random.usize(from..=chars.len());
    let part: String = chars[from..to].iter().collect();
    let part = match random.u8(0..4) {
        0 => part.to_uppercase(),
        1 => part.to_lowercase(),
        _ => part,
    };
    let middle = part.char_indices().map(|(at, _)| at).nth(part.chars().count() / 2).unwrap_or(0);
    let (a, b) = part.split_at(middle);
    let hole = ["|", ".?", ".*", "[a-z]*", "(x|y)?"][random.usize(0..5)];
    let one = match random.u8(0..10) {
        0 => format!("$ LIKE '%{}%'", liked(&part)),
        1 => format!("$ ILIKE '%{}%'", liked(&part)),
        2 => format!("$ LIKE '%{}%{}%'", liked(a), liked(b)),
        3 => format!("$ = '{}'", quoted(&whole)),
        4 => format!("$ IN ('{}', '{}')", quoted(&whole), quoted(&text(random))),
        5 => format!("$ ~ '{}'", exact(&part)),
        6 => format!("$ ~* '{}'", exact(&part)),
        7 => format!("$ ~ '({}{hole}{})'", exact(a), exact(b)),
        8 => format!("lower($) LIKE '%{}%'", liked(&part.to_lowercase())),
        _ => format!("$ NOT LIKE '%{}%'", liked(&part)),
    };
    match random.u8(0..6) {
        0 => format!("({one}) OR ({})", condition(random, texts)),
        1 => format!("({one}) AND ({})", condition(random, texts)),
        _ => one,
    }
}

/// Needles in blocks of a few rows each, found as by comparing every row: `CASE` hides the column from what chooses blocks.
#[tokio::test(flavor = "multi_thread")]
async fn searches_find_what_comparing_every_row_finds() {
    let seed = std::env::var("TIDEWATCH_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("TIDEWATCH_SEED={seed}");
    let conditions = if std::env::var_os("SOAK").is_some() { 20_000 } else { 400 };
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig { data_dir: folder.path().join("data"), ..StoreConfig::default() };
    let store = Store::open(config, NOW_MS).await.unwrap();
    let mut texts = Vec::new();
    for _ in 0..30 {
        let mut builder = EventsBuilder::new(Table::Logs);
        for _ in 0..8 {
            let body = text(&mut random);
            builder.row("db", NOW_MS, [("body", body.clone().into()), ("pid", 1.into())]);
            texts.push(body);
        }
        builder.row("db", NOW_MS, [("pid", 1.into())]);
        append(&store, Rows::Events(&builder.build())).await;
        store.flush(NOW_MS).await.unwrap();
    }
    let site = Site { _folder: folder, querier: Querier::new(store, QueryLimits::default()) };
    let mut found = 0;
    for _ in 0..conditions {
        let condition = condition(&mut random, &texts);
        let sql =
            |column: &str| format!("SELECT body FROM logs WHERE {} ORDER BY body", condition.replace('$', column));
        let searched = ask(&site, &sql("body")).await;
        assert_eq!(searched, ask(&site, &sql("(CASE WHEN pid > 0 THEN body END)")).await, "{condition}");
        found += searched.len();
    }
    assert!(found > conditions, "only {found} rows were found: the conditions prove little");
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_of_chunks_answer_what_samples_do() {
    const SERIES: u32 = 24;
    const SAMPLES: i64 = 400;
    let start = NOW_MS - 6 * 3_600_000;
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig { data_dir: folder.path().join("data"), ..StoreConfig::default() };
    let store = Store::open(config, NOW_MS).await.unwrap();
    let series: Vec<Labels> =
        (0..SERIES).map(|n| Labels::from_pairs([("__name__", "m"), ("n", &format!("{n:02}"))])).collect();
    let mut rng = fastrand::Rng::with_seed(7);
    let value = |rng: &mut fastrand::Rng, n: u32, i: i64| match n % 8 {
        0 => i as f64,
        1 => (i % 150) as f64,
        2 => rng.f64() * 100.0 - 50.0,
        3 => 42.0,
        4 if i % 90 == 7 => f64::NAN,
        4 => (i / 10) as f64,
        5 if i % 200 == 199 => f64::from_bits(query::promql::STALE_NAN_BITS),
        5 => (i / 7) as f64,
        6 if i % 30 == 0 => -0.0,
        6 => 0.0,
        _ => *rng.choice(&[f64::INFINITY, -1.0, 7.5]).unwrap(),
    };
    // three parts, and the newest in memory
    for piece in 0..4 {
        let times = piece * SAMPLES..(piece + 1) * SAMPLES;
        let mut rows: Vec<(u32, i64, f64)> = (0..SERIES)
            .flat_map(|n| times.clone().map(move |i| (n, i)))
            .map(|(n, i)| (n, start + i * 10_000, value(&mut rng, n, i)))
            .collect();
        if piece == 2 {
            // late ones into the part before, a duplicate among them
            rows.extend([(8, start + 150 * 10_000 + 1, 1e6), (9, start + 150 * 10_000, 1e6), (10, start + 5, 3.0)]);
        }
        append_samples(&store, &series, &rows).await;
        if piece < 3 {
            store.flush(NOW_MS).await.unwrap();
        }
    }
    let querier = Querier::new(store.clone(), QueryLimits::default());
    let functions = "count_over_time present_over_time first_over_time last_over_time min_over_time max_over_time ts_of_first_over_time \
         ts_of_last_over_time delta rate increase";
    let ask = async |text: &str, at: i64, per_step_stats: bool| {
        let when = query::When::At(at);
        let answer = querier.ask(query::Ask { per_step_stats, ..query::Ask::new("0", text, when) }).await.unwrap();
        (answer.stats.queried, format!("{:?}", answer.value))
    };
    for merged in [false, true] {
        if merged {
            store.maintain(NOW_MS).await.unwrap();
        }
        for function in functions.split(' ') {
            for (range_s, end) in
                [(16_000, 1599), (16_000, 1400), (5_000, 1100), (9_000, 900), (100, 700), (40_000, 2000)]
            {
                let text = format!("{function}(m[{range_s}s])");
                let at = start + end * 10_000 + rng.i64(0..2) * 3_000;
                assert_eq!(ask(&text, at, false).await, ask(&text, at, true).await, "{text} at {at}, merged: {merged}");
            }
        }
        let text = "sum(max_over_time(m[3h] offset 1h)) - sum(min_over_time(m[3h] @ 1767220000)) + sum(m)";
        assert_eq!(ask(text, NOW_MS - 7_200_000, false).await, ask(text, NOW_MS - 7_200_000, true).await, "{text}");
    }
    // they are not read: a question is answered whose samples are more than it may load
    let narrow = Querier::new(store, QueryLimits { samples_max: 20_000, ..QueryLimits::default() });
    let text = "max_over_time(m[7h])";
    let ask = |per_step_stats| query::Ask { per_step_stats, ..query::Ask::new("0", text, query::When::At(NOW_MS)) };
    let found = narrow.ask(ask(false)).await.unwrap();
    assert!(found.stats.queried > 20_000, "{} samples were looked at", found.stats.queried);
    assert!(narrow.ask(ask(true)).await.is_err(), "sample by sample it is too much");
}
