//! Rule files as a table: text, what is wrong with it (empty: nothing).

use super::*;

const HEAD: &str = "groups:\n- name: g\n  rules:\n";

const FORECAST: &str = "horizon: 4d, crosses: {above: 90}";

fn forecast(rest: &str) -> String {
    format!("{HEAD}  - alert: A\n    forecast: {{expr: used, {rest}}}\n")
}

fn message(text: &str) -> String {
    parse("r.yml", text, 60_000).err().map(|e| e.to_string()).unwrap_or_default()
}

#[test]
fn what_is_accepted_and_what_is_refused_and_where() {
    for (text, expected) in [
        ("", ""),
        ("groups: []", ""),
        (&*format!("{HEAD}  - alert: A\n    expr: up == 0\n    for: 5m\n    labels: {{severity: page}}\n"), ""),
        (&format!("{HEAD}  - record: a:b\n    expr: sum(up)\n    labels: {{team: x}}\n"), ""),
        (&format!("{HEAD}  - alert: A\n    sql: SELECT 1 AS value\n"), ""),
        (&format!("{HEAD}  - alert: A\n    expr: up\n    keep_firing_for: 10m\n    annotations: {{n: 1}}\n"), ""),
        (
            &format!(
                "{HEAD}  - alert: A\n    expr: x\n    levels:\n      warning: {{above: 80, recover: 70, for: 2m}}\n      critical: {{above: 90}}\n"
            ),
            "",
        ),
        (
            &format!("{HEAD}  - alert: A\n    expr: sum(\n"),
            "r.yml:5: group \"g\", rule 1 \"A\": field expr: could not parse expression: 1:",
        ),
        (
            &format!("{HEAD}  - record: a\n    expr: up\n  - alert: A\n    expr: up\n    fro: 5m\n"),
            "r.yml:8: group \"g\", rule 2 \"A\": ",
        ),
        ("groups:\n- name: g\n  intervall: 5m\n", "r.yml:3: group \"g\": "),
        (&format!("{HEAD}  - alert: A\n    expr: up\n    fro: 5m\n"), "unknown field `fro`"),
        (&format!("{HEAD}  - alert: A\n    expr: up\n    fro: 5m\n"), "keep_firing_for"),
        (&format!("{HEAD}  - alert: A\n    expr: up\n    sparse: true\n"), ""),
        (
            &format!("{HEAD}  - record: a\n    expr: up\n    sparse: true\n"),
            "r.yml:6: group \"g\", rule 1 \"a\": field sparse is not allowed in a recording rule",
        ),
        (&format!("{HEAD}  - alert: A\n    record: b\n    expr: up\n"), "only one of record and alert may be set"),
        (&format!("{HEAD}  - expr: up\n"), "one of record and alert must be set"),
        (&format!("{HEAD}  - alert: A\n"), "field expr must be set"),
        (&format!("{HEAD}  - record: \"a{{b}}\"\n    expr: up\n"), "has braces"),
        (
            &format!("{HEAD}  - record: a\n    expr: up\n    for: 1m\n"),
            "r.yml:6: group \"g\", rule 1 \"a\": field for is not allowed in a recording rule",
        ),
        (&format!("{HEAD}  - record: a\n    expr: up\n    annotations: {{a: b}}\n"), "not allowed in a recording rule"),
        (&format!("{HEAD}  - alert: A\n    expr: up\n    for: 5 minutes\n"), "field for: "),
        (
            &format!("{HEAD}  - alert: A\n    expr: up\n    labels: {{__name__: x}}\n"),
            "\"__name__\" is not allowed as a label name",
        ),
        (
            &format!("{HEAD}  - alert: A\n    expr: up\n    annotations:\n      a: \"{{{{ $nosuch }}}}\"\n"),
            "r.yml:7: group \"g\", rule 1 \"A\": field annotations.a: template: 1:4: undefined variable",
        ),
        ("groups:\n- name: g\n- name: g\n", "r.yml:3: group \"g\" is there twice"),
        ("groups:\n- name: ''\n", "group name must not be empty"),
        ("groups:\n- name: g\n  interval: 0s\n", ""),
        ("groups:\n- name: g\n  interval: 5\n", "r.yml:3: group \"g\", field interval: "),
        (
            &format!("{HEAD}  - alert: A\n    expr: up\n    levels: {{fatal: {{above: 1}}}}\n"),
            "allowed are notice, warning, critical",
        ),
        (
            &format!("{HEAD}  - alert: A\n    expr: up\n    levels: {{warning: {{above: 1, below: 2}}}}\n"),
            "exactly one of above and below",
        ),
        (
            &format!("{HEAD}  - alert: A\n    expr: up\n    levels: {{warning: {{above: 1, recover: 2}}}}\n"),
            "lies beyond the threshold",
        ),
        (
            &format!(
                "{HEAD}  - alert: A\n    expr: up\n    levels: {{warning: {{above: 9}}, critical: {{above: 1}}}}\n"
            ),
            "must lie beyond level warning",
        ),
        (&forecast("horizon: 4d, crosses: {above: 90}, confidence: 0.9, history: 14d, step: 30m, series_max: 9"), ""),
        (&format!("{}    levels: {{warning: {{within: 2d}}, critical: {{within: 4h}}}}\n", forecast(FORECAST)), ""),
        (
            &forecast("horizon: 0s, crosses: {above: 90}"),
            "r.yml:5: group \"g\", rule 1 \"A\": field forecast.horizon: ",
        ),
        (&forecast("horizon: 4d, crosses: {}"), "field forecast.crosses: exactly one of above and below must be set"),
        (&forecast("horizon: 4d, crosses: {above: 1}, confidence: 1"), "field forecast.confidence: allowed is 0.5 to"),
        (&forecast("horizon: 4d, crosses: {above: 1}, step: 1s"), "field forecast.step: the past looked at has"),
        (&forecast("horizon: 4d, crosses: {above: 1}, history: x"), "field forecast.history: "),
        (&forecast("horizon: 4d, crosses: {above: 1}, sure: 1"), "unknown field `sure`"),
        (&forecast("horizon: 4d"), "missing field `crosses`"),
        (&format!("{}    expr: up\n", forecast(FORECAST)), "only one of expr, sql and forecast may be set"),
        (
            &format!("{}    levels: {{warning: {{above: 2}}}}\n", forecast(FORECAST)),
            "level warning: a level of a forecast has within",
        ),
        (
            &format!("{}    levels: {{warning: {{within: 9d}}}}\n", forecast(FORECAST)),
            "within must be longer than 0 and at most the horizon",
        ),
        (
            &format!("{}    levels: {{warning: {{within: 1h}}, critical: {{within: 2h}}}}\n", forecast(FORECAST)),
            "must lie beyond level warning",
        ),
        (
            &format!("{HEAD}  - alert: A\n    expr: x\n    levels: {{warning: {{within: 2d}}}}\n"),
            "within is for levels of a forecast",
        ),
        (
            &format!("{HEAD}  - record: a\n    forecast: {{expr: x, {FORECAST}}}\n"),
            "field forecast is not allowed in a recording rule",
        ),
    ] {
        let found = message(text);
        assert_eq!(found.is_empty(), expected.is_empty(), "{text}\n{found}");
        assert!(found.contains(expected), "{text}\nfound: {found}\nexpected: {expected}");
    }
}

#[test]
fn what_a_rule_says_is_kept() {
    let text = "groups:\n- name: g\n  interval: 30s\n  query_offset: 5s\n  limit: 7\n  labels: {team: db, tier: x}\n  rules:\n  - alert: A\n    expr: up == 0\n    for: 1m30s\n    labels: {tier: y}\n";
    let groups = parse("r.yml", text, 60_000).expect("a good file");
    let group = &groups[0];
    assert_eq!((group.interval_ms, group.query_offset_ms, group.limit), (30_000, 5_000, 7));
    let labels: Vec<(&str, &str)> = group.rules[0].labels.iter().map(|(n, t)| (n.as_str(), t.source())).collect();
    assert_eq!(labels, [("team", "db"), ("tier", "y")], "the rule's own label wins");
    assert_eq!(group.rules[0].alerting().map(|a| a.for_ms), Some(90_000));
}

#[test]
fn one_bad_file_and_nothing_is_loaded() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    write("b.yml", &format!("{HEAD}  - alert: B\n    expr: up\n"));
    write("a.yml", &format!("{HEAD}  - alert: A\n    expr: up\n"));
    write("c.txt", "not: rules");
    let patterns = ["*.yml".to_string()];
    let groups = load(&patterns, folder.path(), 1000).expect("two good files");
    assert_eq!(groups.iter().map(|g| g.rules[0].name.as_str()).collect::<Vec<_>>(), ["A", "B"]);
    write("d.yml", "groups: 5");
    let error = load(&patterns, folder.path(), 1000).expect_err("a bad file");
    assert!(error.file.ends_with("d.yml"), "{error}");
    let missing = load(&["none.yml".to_string()], folder.path(), 1000).expect_err("a missing file");
    assert!(missing.message.contains("can't be read"), "{missing}");
}

#[test]
fn a_forecast_without_levels_and_texts_has_both() {
    let text = format!("{}    labels: {{severity: critical}}\n    for: 2m\n", forecast(FORECAST));
    let groups = parse("r.yml", &text, 30_000).expect("a good file");
    let rule = &groups[0].rules[0];
    let alerting = rule.alerting().expect("an alert");
    let level = alerting.levels[0];
    assert_eq!(
        (level.level, level.threshold, level.recover, level.for_ms),
        (Level::Critical, 345_600.0, 432_000.0, 120_000)
    );
    assert!(level.holds(345_000.0) && !level.holds(345_600.0) && level.stays(430_000.0) && !level.stays(f64::INFINITY));
    let names: Vec<&str> = alerting.annotations.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["summary", "summary_zh", "description", "description_zh"]);
    let Source::Forecast(source) = &rule.source else { panic!("a forecast") };
    assert_eq!((source.ask.horizon_ms, source.ask.finest_ms, source.refresh_ms()), (432_000_000, 30_000, 600_000));
}
