//! Pages, rules and limits as tables.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proto::{
    Histogram,
    histogram::{Counts, Layout, Shape},
    samples::{SamplesBuilder, is_stale},
};

use super::{
    discovery::files,
    exposition::{Format, LeftOut, Page, Sample, read},
    relabel::LabelMap,
    take::{Series, Taken, end_all, take},
    target::target,
};
use crate::config::{Config, HistogramParts, ScrapeConfig, ScrapeSource};

fn config(job: &str) -> Result<ScrapeConfig, String> {
    let text = format!("server: {{address: 'http://h:1'}}\ndata_dir: /tmp\nscrape_configs:\n  - {job}\n");
    Config::parse("c.yaml", &text).map(|mut c| c.scrapes.remove(0)).map_err(|e| e.to_string())
}

fn page(text: &str, format: Format) -> Vec<String> {
    let page = read(text, format).unwrap();
    page.samples
        .iter()
        .map(|s| {
            let labels: Vec<String> = s.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
            let at = s.ts_ms.map_or(String::new(), |t| format!(" @{t}"));
            format!("{}[{}] {}{at}", s.name, labels.join(","), s.value)
        })
        .collect()
}

#[test]
fn text_pages() {
    let text = "# HELP a_total Things\\nof a kind \\\\ x\n# TYPE a_total counter\na_total 3\n\
                a_total{x=\"1\",y=\"say \\\"hi\\\"\\n\\\\\",} 4.5e3 1700000000000\r\n\n  # any word\n\
                b { z = \"ü{}#,\" }   NaN\nc -Inf\nns:d{} +Inf\n";
    assert_eq!(
        page(text, Format::Text),
        [
            "a_total[] 3",
            "a_total[x=1,y=say \"hi\"\n\\] 4500 @1700000000000",
            "b[z=ü{}#,] NaN",
            "c[] -inf",
            "ns:d[] inf"
        ]
    );
    let families = read(text, Format::Text).unwrap().families;
    assert_eq!((families.len(), &*families[0].kind, &*families[0].help), (1, "counter", "Things\nof a kind \\ x"));
}

#[test]
fn openmetrics_pages() {
    let text = "# TYPE h histogram\n# UNIT h seconds\nh_bucket{le=\"1.0\"} 2 1700000000.25 # {trace_id=\"x\"} 0.5\n\
                # TYPE req counter\nreq_total 5\nreq_created 1.7e9\n# EOF\n";
    assert_eq!(
        page(text, Format::OpenMetrics),
        ["h_bucket[le=1.0] 2 @1700000000250", "req_total[] 5", "req_created[] 1700000000"]
    );
    let families = read(text, Format::OpenMetrics).unwrap().families;
    assert!(families.iter().any(|f| f.name == "req_total" && f.kind == "counter"), "{families:?}");
    assert!(families.iter().any(|f| f.name == "h" && f.unit == "seconds"), "{families:?}");
}

#[test]
fn a_bad_line_fails_the_page_with_its_number() {
    for (text, line, what) in [
        ("a 1\n1a 2", 2, "a metric name"),
        ("a{x=\"1\" 2", 1, "a comma or a closing brace"),
        ("a{x=1} 2", 1, "in quotes"),
        ("a{x=\"1} 2", 1, "closing quote"),
        ("a{x=\"1\",x=\"2\"} 2", 1, "twice"),
        ("a", 1, "a value"),
        ("a 0x1p3", 1, "a value"),
        ("a 1 2 3", 1, "nothing"),
        ("a 1 soon", 1, "milliseconds"),
    ] {
        let error = read(text, Format::Text).unwrap_err();
        assert!(error.line == line && error.what.contains(what), "{text}: {error}");
    }
    assert!(read("a 1\n", Format::OpenMetrics).unwrap_err().what.contains("cut"));
    assert!(read("# EOF\na 1\n", Format::OpenMetrics).unwrap_err().what.contains("follows"));
}

/// Labels `a=1 b=2` through rules.
fn relabelled(rules: &str, labels: &str) -> Option<String> {
    let config =
        config(&format!("{{job_name: j, static_configs: [{{targets: ['h:1']}}], relabel_configs: [{rules}]}}"))
            .unwrap();
    let mut map: LabelMap =
        labels.split(' ').filter_map(|p| p.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    super::relabel::apply(&config.relabel, &mut map)
        .then(|| map.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" "))
}

#[test]
fn every_action_of_relabelling() {
    for (rules, labels, want) in [
        ("{source_labels: [a], target_label: c}", "a=1", Some("a=1 c=1")),
        // as Prometheus 2.42 has it: tests/tests/collector_databases/scrape_peers.rs asks one
        (
            "{action: hashmod, source_labels: [a, b], target_label: c, modulus: 8}",
            "a=foo b=bar",
            Some("a=foo b=bar c=6"),
        ),
        (
            "{source_labels: [a, b], target_label: c, separator: '-', regex: '(\\d)-(\\d)', replacement: '$2/${1}x'}",
            "a=1 b=2",
            Some("a=1 b=2 c=2/1x"),
        ),
        ("{source_labels: [a], regex: '2', target_label: c, replacement: x}", "a=12", Some("a=12")),
        ("{source_labels: [a], regex: '(.*)', target_label: a, replacement: ''}", "a=1 b=2", Some("b=2")),
        ("{source_labels: [a], regex: '(.*)', target_label: 'n_${1}', replacement: v}", "a=x", Some("a=x n_x=v")),
        ("{source_labels: [a], regex: '(.*)', target_label: '${1}', replacement: v}", "a=1-", Some("a=1-")),
        ("{action: keep, source_labels: [a], regex: '1|2'}", "a=1", Some("a=1")),
        ("{action: keep, source_labels: [a], regex: '1|2'}", "a=12", None),
        ("{action: drop, source_labels: [a, b], regex: '1;2'}", "a=1 b=2", None),
        ("{action: drop, source_labels: [missing], regex: ''}", "a=1", None),
        ("{action: keepequal, source_labels: [a], target_label: b}", "a=1 b=1", Some("a=1 b=1")),
        ("{action: dropequal, source_labels: [a], target_label: b}", "a=1 b=1", None),
        ("{action: labelmap, regex: 'm_(.+)'}", "m_x=1 y=2", Some("m_x=1 x=1 y=2")),
        ("{action: labeldrop, regex: 'm_.+'}", "m_x=1 y=2", Some("y=2")),
        ("{action: labelkeep, regex: 'm_.+'}", "m_x=1 y=2", Some("m_x=1")),
        ("{action: uppercase, source_labels: [a], target_label: a}", "a=xY", Some("a=XY")),
        ("{action: lowercase, source_labels: [a], target_label: a}", "a=xY", Some("a=xy")),
    ] {
        assert_eq!(relabelled(rules, labels).as_deref(), want, "{rules} on {labels}");
    }
}

#[test]
fn an_address_becomes_a_target() {
    let config = config(
        "{job_name: db, scheme: https, metrics_path: /m, params: {module: ['a b', c]}, static_configs: [{targets: ['h:9', 'x:1'], labels: {env: prod}}], \
         relabel_configs: [{action: drop, source_labels: [__address__], regex: 'x:.*'}, \
         {source_labels: [__param_module], target_label: module}, {source_labels: [__address__], regex: '(.*):9', target_label: __address__, replacement: '$1:10'}]}",
    )
    .unwrap();
    let ScrapeSource::Static(found) = &config.sources[0] else { panic!("static") };
    let first = target(&config, &found[0]).unwrap();
    assert_eq!(first.url, "https://h:10/m?module=a%20b&module=c");
    let labels: Vec<String> = first.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(labels, ["env=prod", "instance=h:10", "job=db", "module=a b"]);
    assert_eq!(target(&config, &found[1]), None);
}

fn samples(out: SamplesBuilder) -> Vec<String> {
    let samples = out.build();
    let one = |i: usize| {
        let value = samples.values[i];
        let value = if is_stale(value) { "ended".to_owned() } else { value.to_string() };
        format!("{} {value} @{}", samples.labels[samples.series[i] as usize], samples.timestamps_ms[i])
    };
    let native = samples.histograms.iter().map(|row| {
        let value = if row.histogram.is_stale() { "ended".to_owned() } else { format!("{:?}", row.histogram.counts()) };
        format!("{} {value} @{}", samples.labels[row.series as usize], row.timestamp_ms)
    });
    (0..samples.values.len()).map(one).chain(native).collect()
}

/// Native histograms of this many observations in the zero bucket.
fn natives(of: &[(&str, u64, Option<i64>)]) -> Vec<Sample<Histogram>> {
    let one = |&(name, count, ts_ms): &(&str, u64, Option<i64>)| {
        let layout = std::sync::Arc::new(Layout::new(Shape::default()).unwrap());
        let value = Histogram::new(layout, 1.5, Counts::Integers(vec![count, count])).unwrap();
        Sample { labels: LabelMap::from([("job".into(), "theirs".into())]), name: name.into(), value, ts_ms }
    };
    of.iter().map(one).collect()
}

#[test]
fn native_histograms_are_samples_that_end_as_such() {
    let config = config(
        "{job_name: j, static_configs: [{targets: ['h:1']}], sample_limit: 3, metric_relabel_configs: [{action: drop, source_labels: [__name__], regex: 'go_.*'}]}",
    )
    .unwrap();
    let labels = LabelMap::from([("job".into(), "j".into())]);
    let of = |name: &str| format!(r#"{{__name__="{name}", exported_job="theirs", job="j"}}"#);
    let mut series = Series::default();
    let mut taken = |page: Page, now_ms: i64| {
        let mut out = SamplesBuilder::default();
        let taken = take(&config, &labels, page, now_ms, &mut series, &mut out);
        (taken, samples(out))
    };
    let first = Page {
        histograms: natives(&[("a", 3, None), ("b", 4, Some(77)), ("go_x", 1, None)]),
        left_out: LeftOut { not_asked_for: 1, broken: 2, why: None },
        ..text_page("c 1\n")
    };
    let (what, out) = taken(first, 1_000);
    let counts = Taken { scraped: 4, kept: 3, added: 2, native_not_asked_for: 1, native_broken: 2 };
    assert_eq!(what, Ok(counts));
    let c = r#"{__name__="c", job="j"}"#;
    assert_eq!(out, [format!("{c} 1 @1000"), of("a") + " Integers([3, 3]) @1000", of("b") + " Integers([4, 4]) @77"]);
    // over a limit with the floats together
    let many = Page { histograms: natives(&[("a", 3, None), ("d", 3, None)]), ..text_page("c 1\ne 1\n") };
    let (what, out) = taken(many, 2_000);
    assert_eq!((what.unwrap_err().limit, out.len()), ("sample_limit", 0));
    // the one without a time of its own has ended, as a histogram; the other has not
    let (what, out) = taken(text_page("c 2\n"), 3_000);
    assert_eq!((what.unwrap().added, out), (0, vec![format!("{c} 2 @3000"), of("a") + " ended @3000"]));
    // a series that goes on as the other kind has not ended
    let (_, out) = taken(text_page("a{job=\"theirs\"} 5\n"), 4_000);
    assert_eq!(out, [format!("{c} ended @4000"), of("a") + " 5 @4000"]);
    let (what, out) = taken(Page { histograms: natives(&[("a", 6, None)]), ..Page::default() }, 5_000);
    assert_eq!((what.unwrap().added, out), (0, vec![of("a") + " Integers([6, 6]) @5000"]));
    let mut out = SamplesBuilder::default();
    end_all(&mut series, 6_000, &mut out);
    assert_eq!(samples(out), [of("a") + " ended @6000"]);
}

fn text_page(text: &str) -> Page {
    read(text, Format::Text).unwrap()
}

#[test]
fn samples_bear_the_targets_labels_and_ended_series_are_marked() {
    let config = config(
        "{job_name: j, static_configs: [{targets: ['h:1']}], metric_relabel_configs: [{action: drop, source_labels: [__name__], regex: 'go_.*'}]}",
    )
    .unwrap();
    let labels = LabelMap::from([("job".into(), "j".into()), ("instance".into(), "h:1".into())]);
    let mut series = Series::default();
    let mut out = SamplesBuilder::default();
    let first = text_page("a{job=\"theirs\"} 1\ngo_x 5\nb 2 77\n");
    let taken = take(&config, &labels, first, 1_000, &mut series, &mut out).unwrap();
    assert_eq!(taken, Taken { scraped: 3, kept: 2, added: 1, ..Taken::default() });
    assert_eq!(
        samples(out),
        [
            r#"{__name__="a", exported_job="theirs", instance="h:1", job="j"} 1 @1000"#,
            r#"{__name__="b", instance="h:1", job="j"} 2 @77"#
        ]
    );
    let mut out = SamplesBuilder::default();
    let taken = take(&config, &labels, text_page("c 3\n"), 2_000, &mut series, &mut out).unwrap();
    assert_eq!(taken, Taken { scraped: 1, kept: 1, added: 1, ..Taken::default() });
    assert_eq!(
        samples(out),
        [
            r#"{__name__="a", exported_job="theirs", instance="h:1", job="j"} ended @2000"#,
            r#"{__name__="c", instance="h:1", job="j"} 3 @2000"#
        ]
    );
    let mut out = SamplesBuilder::default();
    end_all(&mut series, 3_000, &mut out);
    end_all(&mut series, 4_000, &mut out);
    assert_eq!(samples(out), [r#"{__name__="c", instance="h:1", job="j"} ended @3000"#]);
}

#[test]
fn a_page_over_a_limit_gives_nothing() {
    let labels = BTreeMap::from([("job".to_owned(), "j".to_owned())]);
    for (limits, text, limit) in [
        ("sample_limit: 1", "a 1\nb 2\n", "sample_limit"),
        ("label_limit: 2", "a{x=\"1\"} 1\n", "label_limit"),
        ("label_name_length_limit: 8", "a{long_name=\"1\"} 1\n", "label_name_length_limit"),
        ("label_value_length_limit: 3", "a{x=\"long\"} 1\n", "label_value_length_limit"),
    ] {
        let config = config(&format!("{{job_name: j, static_configs: [{{targets: ['h:1']}}], {limits}}}")).unwrap();
        let mut out = SamplesBuilder::default();
        let error = take(&config, &labels, text_page(text), 1, &mut Series::default(), &mut out).unwrap_err();
        assert_eq!(error.limit, limit);
        assert!(out.is_empty());
    }
}

#[test]
fn what_is_wrong_is_said_with_its_field() {
    let target = "static_configs: [{targets: ['h:1']}]";
    for (job, want) in [
        ("{job_name: j}".to_owned(), "scrape_configs[0].job_name: one of static_configs"),
        (format!("{{job_name: j, {target}, scrape_interval: 5s, scrape_timeout: 6s}}"), "scrape_timeout"),
        (format!("{{job_name: j, {target}, scheme: ftp}}"), "allowed: http, https"),
        (format!("{{job_name: j, {target}, sample_limit: 0}}"), "allowed: 1 to 200000"),
        ("{job_name: j, dns_sd_configs: [{names: [a], type: A}]}".to_owned(), "dns_sd_configs.port: is missing"),
        ("{job_name: j, dns_sd_configs: [{names: [a], type: MX}]}".to_owned(), "allowed: SRV, A, AAAA"),
        (format!("{{job_name: j, {target}, colour: red}}"), "colour"),
        (format!("{{job_name: j, {target}, relabel_configs: [{{action: hash}}]}}"), "allowed: replace, keep"),
        (
            format!("{{job_name: j, {target}, relabel_configs: [{{action: hashmod, target_label: a}}]}}"),
            "modulus: is missing",
        ),
        (format!("{{job_name: j, {target}, scrape_native_histograms: 1}}"), "invalid boolean"),
        (format!("{{job_name: j, {target}, scrape_classic_histograms: true}}"), "always_scrape_classic_histograms"),
        (
            format!("{{job_name: j, {target}, scrape_protocols: [Proto]}}"),
            "allowed: PrometheusProto, OpenMetricsText1.0.0",
        ),
        (format!("{{job_name: j, {target}, scrape_protocols: []}}"), "scrape_protocols: is empty"),
        (
            format!("{{job_name: j, {target}, scrape_protocols: [PrometheusProto, PrometheusProto]}}"),
            "each protocol once",
        ),
        (format!("{{job_name: j, {target}, relabel_configs: [{{regex: '('}}]}}"), "relabel_configs.regex"),
        (format!("{{job_name: j, {target}, relabel_configs: [{{action: replace}}]}}"), "target_label: is missing"),
        (format!("{{job_name: j, {target}, tls_config: {{cert_file: /c}}}}"), "tls_config.key_file: is missing"),
        (format!("{{job_name: j, {target}, tls_config: {{key_file: /k}}}}"), "tls_config.cert_file: is missing"),
        (format!("{{job_name: j, {target}, tls_config: {{server_name: 10.0.0.1}}}}"), "allowed: a name, no address"),
        (format!("{{job_name: j, {target}, tls_config: {{server_name: ''}}}}"), "tls_config.server_name"),
        ("{job_name: j, static_configs: [{targets: ['http://h:1/']}]}".to_owned(), "host:port without scheme"),
    ] {
        let error = config(&job).unwrap_err();
        assert!(error.contains(want) && error.starts_with("c.yaml:"), "{error}");
    }
}

#[test]
fn native_histograms_are_asked_for_by_the_protocol_that_has_them() {
    let first = |more: &str| {
        let job = config(&format!("{{job_name: j, static_configs: [{{targets: ['h:1']}}]{more}}}")).unwrap();
        (job.protocols[0].split(';').next().unwrap(), job.protocols.len(), job.histograms)
    };
    let parts = |native, classic_too| HistogramParts { native, classic_too };
    assert_eq!(first(""), ("application/openmetrics-text", 4, parts(false, false)));
    let wanted = ", scrape_native_histograms: true";
    assert_eq!(first(wanted), ("application/vnd.google.protobuf", 4, parts(true, false)));
    let both = format!("{wanted}, always_scrape_classic_histograms: true");
    assert_eq!(first(&both), ("application/vnd.google.protobuf", 4, parts(true, true)));
    // as it is written, if it is written
    let text = format!("{wanted}, scrape_protocols: [PrometheusText0.0.4]");
    assert_eq!(first(&text), ("text/plain", 1, parts(true, false)));
}

#[test]
fn target_files_are_json_or_yaml() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.json"), r#"[{"targets": ["h:1", "h:2"], "labels": {"env": "x"}}]"#).unwrap();
    std::fs::write(dir.path().join("b.yaml"), "- targets: [h:3]\n").unwrap();
    let pattern = dir.path().join("*");
    let found = files([pattern.as_path()].into_iter()).unwrap();
    let addresses: Vec<&str> = found.iter().map(|f| f.address.as_str()).collect();
    assert_eq!(addresses, ["h:1", "h:2", "h:3"]);
    assert_eq!(found[0].labels["env"], "x");
    assert!(found[2].labels["__meta_filepath"].ends_with("b.yaml"));
    std::fs::write(dir.path().join("c.json"), "{broken").unwrap();
    assert!(files([pattern.as_path()].into_iter()).unwrap_err().contains("c.json"));
}
