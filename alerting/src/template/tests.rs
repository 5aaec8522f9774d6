//! Templates as a table: text, expected text. Expectations follow Prometheus' documented functions; the differential test
//! in tests/promtool.rs asks a real promtool.

use super::*;

fn answers() -> QueryAnswers {
    let sample =
        |pairs: &[(&str, &str)], value| QueriedSample { labels: Labels::from_pairs(pairs.iter().copied()), value };
    let metric = vec![
        sample(&[("__name__", "metric"), ("instance", "b")], 21.0),
        sample(&[("__name__", "metric"), ("instance", "a"), ("__value__", "text")], 11.0),
    ];
    QueryAnswers::from([
        ("metric".into(), Ok(metric)),
        ("nothing".into(), Ok(Vec::new())),
        ("broken".into(), Err("1:3: parse error: unexpected end".into())),
    ])
}

fn expand(text: &str, value: f64) -> Expansion {
    let labels = Labels::from_pairs([("__name__", "m"), ("a", "1"), ("z", "2"), ("host", "db1.example.org:9104")]);
    let external = Labels::from_pairs([("region", "north")]);
    let scope = Scope {
        labels: &labels,
        value,
        external_labels: &external,
        external_url: "http://watch.example.org:7400/base",
        now_ms: 1_435_065_584_128,
        answers: &answers(),
        forecast: None,
    };
    match Template::parse(text) {
        Ok(template) => template.expand(&scope),
        Err(e) => Expansion::Failed(format!("parse: {e}")),
    }
}

fn check(text: &str, value: f64, expected: &str) {
    assert_eq!(expand(text, value), Expansion::Text(expected.into()), "{text}");
}

#[test]
fn values_and_labels() {
    for (text, value, expected) in [
        ("plain text", 0.0, "plain text"),
        ("{{ $value }}", 1_234_567.0, "1.234567e+06"),
        ("{{ $value }}", 1e6, "1e+06"),
        ("{{ $value }}", 999_999.0, "999999"),
        ("{{ $value }}", 1_000_001.0, "1.000001e+06"),
        ("{{ $value }}", 0.0001, "0.0001"),
        ("{{ $value }}", 0.00001, "1e-05"),
        ("{{ $value }}", 0.000_012_34, "1.234e-05"),
        ("{{ $value }}", 123_456_789_012_345_678_901_234.0, "1.2345678901234569e+23"),
        ("{{ $value }}", f64::NAN, "NaN"),
        ("{{ $value }}", f64::INFINITY, "+Inf"),
        ("{{ $value }}", f64::NEG_INFINITY, "-Inf"),
        ("{{ $value }}", 42.0, "42"),
        ("{{ .Value }}", 0.5, "0.5"),
        ("{{ $labels }}", 0.0, "map[__name__:m a:1 host:db1.example.org:9104 z:2]"),
        ("{{ $labels.a }}-{{ .Labels.z }}", 0.0, "1-2"),
        ("[{{ $labels.missing }}]", 0.0, "[]"),
        ("{{ $externalLabels.region }} {{ $externalURL }}", 0.0, "north http://watch.example.org:7400/base"),
        ("{{ externalURL }} {{ pathPrefix }}", 0.0, "http://watch.example.org:7400/base /base"),
        ("{{ if eq $labels.missing \"\" }}empty{{ end }}", 0.0, "empty"),
        ("{{ index $labels \"a\" }}{{ index $labels \"missing\" }}", 0.0, "1"),
        ("{{ range $k, $v := $externalLabels }}{{ $k }}={{ $v }};{{ end }}", 0.0, "region=north;"),
        ("a {{- \" b \" -}} c", 0.0, "a b c"),
        ("{{/* nothing */}}x", 0.0, "x"),
        ("{{ if gt $value 1.0 }}big{{ else }}small{{ end }}", 2.0, "big"),
        ("{{ with $labels.a }}<{{ . }}>{{ end }}", 0.0, "<1>"),
        ("{{ $x := $value }}{{ $x }}", 7.0, "7"),
        ("{{ define \"t\" }}[{{ . }}]{{ end }}{{ template \"t\" $value }}", 1e7, "[1e+07]"),
        ("{{ now }}", 0.0, "1.435065584128e+09"),
    ] {
        check(text, value, expected);
    }
}

#[test]
fn numbers_in_words() {
    for (text, value, expected) in [
        ("{{ humanize $value }}", 1_234_567.0, "1.235M"),
        ("{{ humanize $value }}", 1e6, "1M"),
        ("{{ humanize $value }}", 1.234e-5, "12.34u"),
        ("{{ humanize $value }}", 0.0, "0"),
        ("{{ humanize $value }}", -3e9, "-3G"),
        ("{{ humanize $value }}", f64::INFINITY, "+Inf"),
        ("{{ humanize \"12345\" }}", 0.0, "12.35k"),
        ("{{ $value | humanize }}", 999.0, "999"),
        ("{{ humanize1024 $value }}", 1_048_576.0, "1Mi"),
        ("{{ humanize1024 $value }}", 1000.0, "1000"),
        ("{{ humanize1024 $value }}", 0.5, "0.5"),
        ("{{ humanize1024 $value }}", 12_345.0, "12.06ki"),
        ("{{ humanizeDuration $value }}", 0.0, "0s"),
        ("{{ humanizeDuration $value }}", 1.0, "1s"),
        ("{{ humanizeDuration $value }}", 59.25, "59.25s"),
        ("{{ humanizeDuration $value }}", 60.0, "1m 0s"),
        ("{{ humanizeDuration $value }}", 3661.0, "1h 1m 1s"),
        ("{{ humanizeDuration $value }}", 90_061.0, "1d 1h 1m 1s"),
        ("{{ humanizeDuration $value }}", -3600.0, "-1h 0m 0s"),
        ("{{ humanizeDuration $value }}", 0.1, "100ms"),
        ("{{ humanizeDuration $value }}", 0.000_012_5, "12.5us"),
        ("{{ humanizePercentage $value }}", 0.12345, "12.35%"),
        ("{{ humanizePercentage $value }}", 1.0, "100%"),
        ("{{ humanizePercentage $value }}", -0.22, "-22%"),
        ("{{ humanizeTimestamp $value }}", 1_435_065_584.128, "2015-06-23 13:19:44.128 +0000 UTC"),
        ("{{ humanizeTimestamp $value }}", 0.0, "1970-01-01 00:00:00 +0000 UTC"),
        ("{{ toDuration $value }}", 3661.5, "1h1m1.5s"),
        ("{{ toDuration $value }}", 0.25, "250ms"),
        ("{{ parseDuration \"1h30m\" }}", 0.0, "5400"),
        ("{{ printf \"%.2f\" $value }}", 1.005e3, "1005.00"),
        ("{{ printf \"%v|%s|%d\" $value \"x\" 3 }}", 2e6, "2e+06|x|3"),
        ("{{ printf \"%5.1f%%\" $value }}", 99.25, " 99.2%"),
        ("{{ printf \"%q\" \"a\" }}", 0.0, "\"a\""),
        ("{{ print $value \" \" 1 }}", 1e6, "1e+06 1"),
    ] {
        check(text, value, expected);
    }
}

#[test]
fn texts_and_queries() {
    for (text, expected) in [
        ("{{ toUpper \"abc\" }}{{ toLower \"ABC\" }}", "ABCabc"),
        ("{{ title \"hello big world\" }}", "Hello Big World"),
        ("{{ match \"a+\" \"caat\" }}", "true"),
        ("{{ reReplaceAll \"(a)b\" \"x$1\" \"cab\" }}", "cxa"),
        ("{{ reReplaceAll \"localhost:(.*)\" \"my.domain:$1\" \"localhost:9090\" }}", "my.domain:9090"),
        ("{{ stripPort $labels.host }}", "db1.example.org"),
        ("{{ stripPort \"[::1]:80\" }}", "::1"),
        ("{{ stripDomain $labels.host }}", "db1:9104"),
        ("{{ stripDomain \"10.0.0.1:80\" }}", "10.0.0.1:80"),
        ("{{ graphLink \"up == 1\" }}", "/graph?g0.expr=up+%3D%3D+1&g0.tab=0"),
        ("{{ tableLink \"up\" }}", "/graph?g0.expr=up&g0.tab=1"),
        ("{{ urlQueryEscape \"a b&c\" }}", "a+b%26c"),
        ("{{ query \"metric\" | first | value }}", "21"),
        ("{{ query \"metric\" | first | label \"instance\" }}", "b"),
        ("{{ query \"metric\" | sortByLabel \"instance\" | first | strvalue }}", "text"),
        ("{{ range query \"metric\" }}{{ .Labels.instance }}:{{ .Value }} {{ end }}", "b:21 a:11 "),
        ("{{ with query \"nothing\" }}some{{ else }}none{{ end }}", "none"),
        ("{{ len (query \"metric\") }}", "2"),
        ("{{ $a := args 1 \"two\" }}{{ $a.arg0 }}{{ $a.arg1 }}", "1two"),
        ("{{ safeHtml \"<b>\" }}", "<b>"),
    ] {
        check(text, 0.0, expected);
    }
}

#[test]
fn faults_say_what_and_where() {
    for (text, part) in [
        ("{{ nosuch 1 }}", "parse: 1:4: function \"nosuch\" not defined"),
        ("line\n  {{ $nosuch }}", "parse: 2:6: undefined variable \"$nosuch\""),
        ("{{ $value ", "parse: 1:"),
        ("{{ end }}", "parse: 1:"),
        ("{{ if $value }}", "parse: 1:"),
        ("{{ first (query \"nothing\") }}", "first() called on vector with no elements"),
        ("{{ query \"broken\" }}", "unexpected end"),
        ("{{ humanize \"x\" }}", "strconv.ParseFloat: parsing \"x\": invalid syntax"),
        ("{{ .Nosuch }}", "can't evaluate field Nosuch"),
        ("{{ reReplaceAll \"(\" \"\" \"\" }}", "regular expression"),
        ("{{ range $i, $x := query \"metric\" }}{{ $x.Missing }}{{ end }}", "can't evaluate field Missing"),
    ] {
        match expand(text, 1.0) {
            Expansion::Failed(message) => assert!(message.contains(part), "{text}: {message}"),
            other => panic!("{text} gave {other:?}"),
        }
    }
    assert_eq!(expand("{{ query \"unasked\" }}", 0.0), Expansion::Needs("unasked".into()));
}
