//! The language beyond what test scripts can say: printing, the API's JSON, limits, stopping, and texts nobody would write.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use futures::executor::block_on;
use proptest::prelude::{ProptestConfig, prop, proptest};
use proto::Labels;
use query::promql::json::write_value;
use query::promql::{
    Engine, Features, Limits, MemorySource, Options, Point, QueryError, Stop, never_stop, parse, pretty,
};

/// A query and how it is printed.
#[test]
fn queries_are_printed_as_prometheus_prints_them() {
    for (query, printed) in [
        ("a+b", "a + b"),
        ("sum(a)by(x,y)", "sum by (x, y) (a)"),
        ("sum without()(a)", "sum without () (a)"),
        ("topk(5,a)", "topk(5, a)"),
        ("a{z='1',b!~\"x.*\"}", r#"a{b!~"x.*",z="1"}"#),
        ("rate(a[300]offset -1h)", "rate(a[5m] offset -1h)"),
        ("a @ 10", "a @ 10.000"),
        ("a @ start() offset 5m", "a @ start() offset 5m"),
        ("a[90m:30s] @ end()", "a[1h30m:30s] @ end()"),
        ("a*on(x)group_left(y)b", "a * on (x) group_left (y) b"),
        ("a==bool 1", "a == bool 1"),
        ("-a^2", "-a ^ 2"),
        ("(a)", "(a)"),
        ("1e6", "1e+06"),
        ("5m", "5m"),
        (r#"{"my.metric",x="1"}"#, r#"{"my.metric",x="1"}"#),
        ("a[step()*2]", "a[step() * 2]"),
        ("a + fill(0) b", "a + fill (0) b"),
        ("rate(a[5m] anchored)", "rate(a[5m] anchored)"),
        (r#"label_replace(a,"x",'y',"z",`\d`)"#, r#"label_replace(a, "x", "y", "z", "\\d")"#),
    ] {
        let expr = parse(query).unwrap();
        assert_eq!(expr.to_string(), printed, "{query}");
        assert_eq!(parse(printed).unwrap().to_string(), printed, "{query} printed is another query");
    }
}

#[test]
fn long_queries_are_broken_into_lines() {
    let query = "sum by (instance) (rate(a_metric_with_a_long_name_total{job=\"some-job\"}[5m])) \
                 / sum by (instance) (rate(another_metric_with_a_long_name_total[5m]))";
    let expected = "  sum by (instance) (rate(a_metric_with_a_long_name_total{job=\"some-job\"}[5m]))\n/\n  \
                    sum by (instance) (rate(another_metric_with_a_long_name_total[5m]))";
    assert_eq!(pretty(&parse(query).unwrap()), expected);
    assert_eq!(pretty(&parse("sum(a)").unwrap()), "sum(a)");
}

/// Two series: `m{i="0"}` and `m{i="1"}`, one sample a second for 100 s.
fn data() -> MemorySource {
    let mut source = MemorySource::new();
    for i in ["0", "1"] {
        let labels = Labels::from_pairs([("__name__", "m"), ("i", i)]);
        for s in 0..100 {
            source.insert(&labels, s * 1000, Point::Float(s as f64 * 1.5), 0);
        }
    }
    source
}

fn json(query: &str, range: Option<(i64, i64, i64)>) -> String {
    let engine = Engine::new(Options { features: Features::all(), ..Options::default() });
    let answer = match range {
        None => block_on(engine.evaluate_instant(&data(), query, 10_500, &never_stop)),
        Some(range) => block_on(engine.evaluate_range(&data(), query, range, &never_stop)),
    };
    let mut out = String::new();
    write_value(&mut out, &answer.unwrap().value);
    out
}

#[test]
fn answers_are_written_as_the_api_has_them() {
    let cases = [
        ("1 / 0", None, r#"{"resultType":"scalar","result":[10.500,"+Inf"]}"#),
        ("\"a\\\"\\n\"", None, r#"{"resultType":"string","result":[10.500,"a\"\n"]}"#),
        (
            "m{i=\"1\"}",
            None,
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"m","i":"1"},"value":[10.500,"15"]}]}"#,
        ),
        ("vector(1e-7)", None, r#"{"resultType":"vector","result":[{"metric":{},"value":[10.500,"1e-07"]}]}"#),
        ("vector(1e21)", None, r#"{"resultType":"vector","result":[{"metric":{},"value":[10.500,"1e+21"]}]}"#),
        ("nothing", None, r#"{"resultType":"vector","result":[]}"#),
        (
            "m{i=\"0\"}[2s]",
            None,
            r#"{"resultType":"matrix","result":[{"metric":{"__name__":"m","i":"0"},"values":[[9,"13.5"],[10,"15"]]}]}"#,
        ),
        (
            "sum by (i) (m)",
            Some((0, 2000, 1000)),
            r#"{"resultType":"matrix","result":[{"metric":{"i":"0"},"values":[[0,"0"],[1,"1.5"],[2,"3"]]},{"metric":{"i":"1"},"values":[[0,"0"],[1,"1.5"],[2,"3"]]}]}"#,
        ),
    ];
    for (query, range, expected) in cases {
        assert_eq!(json(query, range), expected, "{query}");
    }
}

#[test]
fn what_costs_too_much_is_an_error_that_says_so() {
    let small = |limits: Limits| Engine::new(Options { limits, ..Options::default() });
    let limits = Limits::default();
    for (limits, expected) in [
        (
            Limits { samples_max: 50, ..limits },
            "query processing would load too many samples into memory in query execution",
        ),
        (Limits { series_max: 1, ..limits }, "query would touch more than 1 series"),
        (Limits { bytes_max: 1000, ..limits }, "query would need more than 1000 bytes of memory"),
        (Limits { steps_max: 10, ..limits }, "query would evaluate more than 10 steps"),
    ] {
        let error =
            block_on(small(limits).evaluate_range(&data(), "m * 2", (0, 99_000, 1000), &never_stop)).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.api_type()), (expected, "execution"));
    }
}

#[test]
fn a_stopped_query_ends() {
    let engine = Engine::default();
    for (stop, api_type) in [(Stop::Cancelled, "canceled"), (Stop::TimedOut, "timeout")] {
        let asked = AtomicUsize::new(0);
        let check = || (asked.fetch_add(1, Relaxed) > 2).then_some(stop);
        let error = block_on(engine.evaluate_range(&data(), "m + m + m + m + m", (0, 9000, 1000), &check)).unwrap_err();
        assert_eq!((&error, error.api_type()), (&QueryError::Stopped(stop), api_type));
    }
}

#[test]
fn nesting_has_an_end_before_the_stack_has() {
    let engine = Engine::default();
    for (open, close, times) in [("(", ")", 200), ("-", "", 200), ("abs(", ")", 200), ("m or ", "", 450)] {
        let query = open.repeat(times) + "m" + &close.repeat(times);
        block_on(engine.evaluate_instant(&data(), &query, 0, &never_stop)).unwrap_or_else(|e| panic!("{open}: {e}"));
    }
    for (open, close) in [("(", ")"), ("-", ""), ("abs(", ")"), ("m or ", "")] {
        let query = open.repeat(10_000) + "m" + &close.repeat(10_000);
        let error = parse(&query).unwrap_err().to_string();
        assert!(error.contains("at most"), "{error}");
    }
}

#[test]
fn experimental_parts_are_off_unless_asked_for() {
    let engine = Engine::default();
    for query in
        ["limitk(1, m)", "mad_over_time(m[1m])", "m + fill(0) m", "rate(m[1m] anchored)", "rate(m[1m * 2])", "info(m)"]
    {
        let error = block_on(engine.evaluate_instant(&data(), query, 0, &never_stop)).unwrap_err();
        assert_eq!(error.api_type(), "bad_data", "{query}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Words in any order are a query or an error; a query prints as a query that prints the same, and can be evaluated.
    #[test]
    fn no_text_breaks_the_engine(words in prop::collection::vec(prop::sample::select(WORDS), 1..14)) {
        let text = words.join(" ");
        if let Ok(expr) = parse(&text) {
            let printed = expr.to_string();
            let again = parse(&printed).unwrap_or_else(|e| panic!("{text} is printed as {printed}: {e}"));
            assert_eq!(again.to_string(), printed, "{text}");
            let engine = Engine::new(Options { features: Features::all(), ..Options::default() });
            let _ = block_on(engine.evaluate_range(&data(), &text, (0, 20_000, 7000), &never_stop));
            let _ = block_on(engine.evaluate_instant(&data(), &text, 20_000, &never_stop));
        }
    }

    #[test]
    fn any_characters_are_read_or_refused(text in "\\PC{0,40}") {
        let _ = parse(&text);
    }
}

const WORDS: &[&str] = &[
    "m",
    "m",
    "m",
    "{",
    "}",
    "(",
    ")",
    "[5s]",
    "[10s:2s]",
    "[5s",
    "]",
    "i=\"0\"",
    "i!=\"0\"",
    ",",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "==",
    "> bool",
    "<",
    "and",
    "or",
    "unless",
    "on (i)",
    "ignoring (i)",
    "group_left",
    "group_right ()",
    "fill (1)",
    "1",
    "2.5",
    "\"x\"",
    "offset 3s",
    "offset -2s",
    "@ 5",
    "@ end()",
    "sum",
    "sum by (i)",
    "topk (1,",
    "quantile (0.5,",
    "count_values (\"v\",",
    "rate",
    "rate(",
    "increase(",
    "sum_over_time(",
    "histogram_quantile(0.9,",
    "label_replace(",
    "absent(",
    "vector(",
    "scalar(",
    "time()",
    "abs(",
    "clamp(",
    "anchored",
    "smoothed",
    "stddev(",
    "limit_ratio(0.5,",
    "</",
    ">/",
    "atan2",
    "step()",
    "max_of(",
];
