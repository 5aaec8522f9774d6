//! Debian's promtool as the yardstick: which rule files load, and what templates print.

use std::process::Command;

use alerting::template::{Expansion, QueryAnswers, Scope, Template};
use proto::Labels;
use serde_json::json;

pub fn promtool(args: &[&str]) -> Option<(bool, String)> {
    match Command::new("promtool").args(args).output() {
        Ok(out) => {
            let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
            Some((out.status.success(), text))
        }
        Err(e) => {
            println!("skipped: promtool can't be run: {e}");
            None
        }
    }
}

#[test]
fn the_same_rule_files_load() {
    let head = "groups:\n- name: g\n  rules:\n";
    let folder = tempfile::tempdir().unwrap();
    let (mut cases, mut wrong) = (0, Vec::new());
    for (i, text) in [
        format!("{head}  - alert: A\n    expr: up == 0\n    for: 5m\n    labels: {{severity: page}}\n    annotations: {{a: '{{{{ $value }}}}'}}\n"),
        format!("{head}  - record: a:b\n    expr: sum by (job) (rate(x[5m]))\n"),
        format!("{head}  - alert: A\n    expr: up ==\n"),
        format!("{head}  - alert: A\n    expr: up\n    fro: 5m\n"),
        format!("{head}  - record: a\n    expr: up\n    for: 1m\n"),
        format!("{head}  - record: 'a{{b=\"c\"}}'\n    expr: up\n"),
        format!("{head}  - alert: A\n    record: b\n    expr: up\n"),
        format!("{head}  - alert: A\n"),
        format!("{head}  - alert: A\n    expr: up\n    for: 5 minutes\n"),
        format!("{head}  - alert: A\n    expr: up\n    annotations: {{a: '{{{{ $nosuch }}}}'}}\n"),
        format!("{head}  - alert: A\n    expr: up\n    annotations: {{a: '{{{{ nosuch 1 }}}}'}}\n"),
        format!("{head}  - alert: A\n    expr: up\n    annotations: {{a: '{{{{ if $value }}}}'}}\n"),
        format!("{head}  - alert: A\n    expr: up\n    annotations: {{a: '{{{{ end }}}}'}}\n"),
        format!("{head}  - alert: A\n    expr: up\n    labels: {{__name__: x}}\n"),
        "groups:\n- name: g\n  interval: 0s\n  rules: []\n".to_string(),
        "groups:\n- name: g\n  interval: 60\n  rules: []\n".to_string(),
        "groups:\n- name: g\n  limit: -1\n  rules:\n".to_string(),
        "groups:\n- name: 5\n  rules: []\n".to_string(),
        "groups:\n- rules: []\n".to_string(),
        "groups:\n- name: g\n\trules: []\n".to_string(),
        "groups:\n- name: g\n  foo: 1\n".to_string(),
        "groups: []\nfoo: 1\n".to_string(),
        "- name: g\n".to_string(),
        "groups:\n".to_string(),
        String::new(),
        "# nothing\n".to_string(),
        "\u{feff}groups: []\n".to_string(),
        format!("{head}  - alert: A\n    expr: up\n    for: 0\n"),
        format!("{head}  - alert: A\n    expr: up\n    for: 5\n"),
        format!("{head}  - alert: A\n    expr: up\n    for: -5m\n"),
        format!("{head}  - alert: A\n    expr: up\n    for: 1y1w1d\n"),
        format!("{head}  - alert: A\n    expr: up\n    for: 1m1h\n"),
        format!("{head}  - alert: A\n    expr: up\n    labels: {{a: }}\n"),
        format!("{head}  - alert: A\n    expr: up\n    labels: {{a: 5, b: true, c: 1.50, d: 2020-01-01, e: ~}}\n"),
        format!("{head}  - alert: A\n    expr: up\n    labels:\n    annotations:\n"),
        format!("{head}  - alert: A\n    expr: up\n    annotations: {{'': c}}\n"),
        format!("{head}  - alert: A\n    expr: up\n    labels: {{alertname: c}}\n"),
        format!("{head}  - alert: A\n    expr: up\n    labels: [a, b]\n"),
        format!("{head}  - alert: A\n    expr: up\n  - alert: A\n    expr: up\n"),
        format!("{head}  - alert: A\n    expr: up\n    expr: down\n"),
        format!("{head}  - &x\n    alert: A\n    expr: up\n  - <<: *x\n    alert: B\n"),
        format!("{head}  - alert: A\n    expr: up\n    labels: &l {{a: b}}\n  - alert: B\n    expr: up\n    labels: *l\n"),
        format!("{head}  - alert: A\n    expr: up\n---\nfoo: bar\n"),
        format!("{head}  - alert: A\n    expr: up\n---\n{{{{{{bad\n"),
        format!("{head}  - alert: A\n    expr: 1\n"),
        format!("{head}  - alert: A\n    expr: true\n"),
        format!("{head}  - alert: A\n    expr: up[5m]\n"),
        format!("{head}  - alert: A\n    expr: '\"x\"'\n"),
        format!("{head}  - alert: A\n    expr: ' '\n"),
        format!("{head}  - alert: A\n    expr: |\n      up\n      == 0 # comment\n    for: 1m\n"),
        format!("{head}  - alert: ''\n    expr: up\n"),
        format!("{head}  - alert: 5\n    expr: up\n"),
        format!("{head}  - record: a\n    expr: up\n    keep_firing_for: 1m\n"),
        format!("{head}  - record: a\n    expr: up\n    for: 0s\n"),
        format!("{head}  - record: a\n    expr: up\n    annotations: {{a: b}}\n"),
        format!("{head}  - record: a\n    expr: up\n    annotations: {{}}\n"),
        format!("{head}  - record: a\n    expr: up\n    labels: {{a: '{{{{ nosuch }}}}', b: '{{{{ '}}\n"),
        format!("{head}  - alert: A\n    expr: up\n    labels: {{x: '{{{{ $labels.foo'}}\n"),
        format!("{head}  - alert: A\n    expr: up\n    annotations: {{x: '{{{{ .Foo }}}}'}}\n"),
        format!("{head}  - alert: A\n    expr: up\n    annotations: {{x: '{{{{ query \"sum(\" }}}}'}}\n"),
        format!("{head}  - alert: A\n    expr: up\n").replace('\n', "\r\n"),
        "groups:\n- name: g\n- name: g\n".to_string(),
        "groups:\n- name: ''\n".to_string(),
        "groups:\n- name: g\n  rules: []\n  limit: 5\n  interval: 30s\n".to_string(),
        "groups: []\n".to_string(),
    ]
    .iter()
    .enumerate()
    {
        let path = folder.path().join(format!("{i}.yml"));
        std::fs::write(&path, text).unwrap();
        let Some((theirs, words)) = promtool(&["check", "rules", path.to_str().unwrap()]) else { return };
        let ours = alerting::rule_file::parse("r.yml", text, 60_000);
        if ours.is_ok() != theirs {
            wrong.push(format!("{text}\nours: {:?}\npromtool: {words}", ours.err()));
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{cases} rule files: accepted and refused as promtool does");
}

const TEMPLATES: [&str; 44] = [
    "{{ $value }}",
    "{{ .Value }}",
    "{{ $labels }}",
    "{{ $labels.a }}/{{ .Labels.host }}",
    "[{{ $labels.missing }}]",
    "{{ humanize $value }}",
    "{{ humanize1024 $value }}",
    "{{ humanizeDuration $value }}",
    "{{ humanizePercentage $value }}",
    "{{ humanizeTimestamp $value }}",
    "{{ printf \"%.2f\" $value }}",
    "{{ printf \"%v\" $value }}",
    "{{ printf \"%g\" $value }}",
    "{{ printf \"%e\" $value }}",
    "{{ printf \"%5.1f|%-8s|%08.3f\" $value $labels.a $value }}",
    "{{ printf \"%s %d %q %t %%\" \"x\" 5 \"q\" true }}",
    "{{ printf \"%v %v\" $labels.a $labels }}",
    "{{ $value | humanize | printf \"%s!\" }}",
    "{{ print $value \" \" 1 2 }}",
    "{{ title \"hello big wORLD\" }}",
    "{{ toUpper $labels.host }} {{ toLower \"ABC\" }}",
    "{{ match \"d.[0-9]\" $labels.host }}",
    "{{ reReplaceAll \"(.*)\\\\.example.*\" \"$1\" $labels.host }}",
    "{{ stripPort $labels.host }}",
    "{{ graphLink \"up{a=\\\"b\\\"} == 1\" }}",
    "{{ tableLink \"up\" }}",
    "{{ if gt $value 10.0 }}big{{ else if gt $value 1.0 }}middle{{ else }}small{{ end }}",
    "{{ if eq $labels.a \"1\" }}one{{ end }}",
    "{{ if and $labels.a (not $labels.missing) }}yes{{ end }}",
    "{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}",
    "{{ with $labels.missing }}some{{ else }}none{{ end }}",
    "{{- \" trimmed \" -}}  ",
    "{{ $x := 5 }}{{ $x }} {{ len $labels }}",
    "{{ define \"t\" }}[{{ . }}]{{ end }}{{ template \"t\" 3 }}",
    "{{ index $labels \"a\" }}{{ index $labels \"nosuch\" }}",
    "{{ $a := args 1 \"two\" }}{{ $a.arg0 }}{{ $a.arg1 }}",
    "{{ html \"<a&b>\" }} {{ urlquery \"a b&c\" }} {{ js \"it's\" }}",
    "{{ slice \"abcdef\" 1 3 }}",
    "{{ parseDuration \"1h30m\" }}",
    "{{ query \"m{case='0'}\" | first | value }}",
    "{{ query \"m{case='0'}\" | first | label \"a\" }}",
    "{{ range query \"m{case='0'}\" }}{{ .Labels.a }}:{{ .Value }}{{ end }}",
    "{{ with query \"nosuch\" }}some{{ else }}none{{ end }}",
    "{{/* nothing */}}plain {{ `raw` }}",
];

const VALUES: [f64; 12] =
    [0.0, 1.0, -1.5, 42.0, 999_999.0, 1e6, 1_234_567.0, 0.000_012_34, 0.1, 61.5, 100_000.25, 1_435_065_584.128];

/// Every template with every value: promtool compares what it prints with what we print.
#[test]
fn templates_print_what_promtool_prints() {
    let first_value = VALUES[0];
    let series = |case: usize| {
        let case = case.to_string();
        Labels::from_pairs([("__name__", "m"), ("a", "1"), ("case", case.as_str()), ("host", "db1.example.org:9104")])
    };
    let (mut rules, mut input, mut tests) = (Vec::new(), Vec::new(), Vec::new());
    for (case, (template, value)) in TEMPLATES.iter().flat_map(|t| VALUES.map(|v| (*t, v))).enumerate() {
        let labels = series(case);
        let queried = alerting::template::QueriedSample { labels: series(0), value: first_value };
        let answers =
            QueryAnswers::from([("m{case='0'}".into(), Ok(vec![queried])), ("nosuch".into(), Ok(Vec::new()))]);
        let none = Labels::empty();
        let scope = Scope {
            labels: &labels,
            value,
            external_labels: &none,
            external_url: "",
            now_ms: 0,
            answers: &answers,
            forecast: None,
        };
        let Expansion::Text(ours) = Template::parse(template).unwrap().expand(&scope) else {
            panic!("{template} failed: {:?}", Template::parse(template).unwrap().expand(&scope))
        };
        rules.push(json!({ "alert": format!("A{case}"), "expr": format!("m{{case=\"{case}\"}}"), "annotations": { "text": template } }));
        input.push(json!({
            "series": format!("m{{a=\"1\",case=\"{case}\",host=\"db1.example.org:9104\"}}"),
            "values": format!("{value} {value}"),
        }));
        tests.push(json!({
            "eval_time": "1m", "alertname": format!("A{case}"),
            "exp_alerts": [{
                "exp_labels": { "a": "1", "case": case.to_string(), "host": "db1.example.org:9104" },
                "exp_annotations": { "text": ours },
            }],
        }));
    }
    let cases = rules.len();
    let folder = tempfile::tempdir().unwrap();
    let (rule_path, test_path) = (folder.path().join("rules.yml"), folder.path().join("test.yml"));
    let rule_file = json!({ "groups": [{ "name": "g", "rules": rules }] });
    let test_file = json!({
        "rule_files": [rule_path.to_str().unwrap()], "evaluation_interval": "1m",
        "tests": [{ "interval": "1m", "input_series": input, "alert_rule_test": tests }],
    });
    std::fs::write(&rule_path, rule_file.to_string()).unwrap();
    std::fs::write(&test_path, test_file.to_string()).unwrap();
    let Some((same, words)) = promtool(&["test", "rules", test_path.to_str().unwrap()]) else { return };
    assert!(same, "{}", words.chars().take(6000).collect::<String>());
    println!("{cases} expansions equal promtool's");
}
