//! What is shipped fits its versions and only reads; what a user writes is taken, inherits, or is refused with its place.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::databases::template::{ServerRole, Status};

fn with(texts: &[&str]) -> Result<Arc<Templates>, ConfigError> {
    Templates::with(texts.iter().enumerate().map(|(i, t)| (format!("t{i}.yaml"), (*t).to_owned())).collect())
}

#[test]
fn shipped_templates_are_valid_and_fit_their_versions() {
    for (name, version, least, status) in [
        ("postgresql", 150_018, 20, Status::Verified),
        ("mariadb", 101_119, 8, Status::Verified),
        ("galera", 101_119, 10, Status::Verified),
        ("pgbouncer", 11_800, 5, Status::Verified),
        ("mysql", 80_040, 8, Status::Derived),
        ("opengauss", 90_204, 8, Status::Derived),
        ("kingbasees", 120_001, 12, Status::Derived),
        ("polardb-postgresql", 140_000, 20, Status::Derived),
        ("polardb-mysql", 80_040, 8, Status::Derived),
        ("tidb", 80_011, 6, Status::Derived),
        ("oceanbase", 50_725, 6, Status::Derived),
        ("goldendb", 80_025, 8, Status::Derived),
    ] {
        let template = Templates::shipped().get(name).unwrap();
        assert_eq!(template.status, status, "{name}");
        let groups = template.groups_for(version, ServerRole::Primary).count();
        assert!(groups >= least, "{name}: {groups} groups");
    }
    assert_eq!(Templates::shipped().names().len(), 12);
    let postgresql = Template::shipped(Engine::Postgresql);
    let names = |version| -> Vec<&str> {
        postgresql.groups_for(version, ServerRole::Primary).map(|g| g.name.as_str()).collect()
    };
    assert!(names(150_018).contains(&"bgwriter") && !names(150_018).contains(&"checkpointer"));
    assert!(names(170_004).contains(&"checkpointer") && !names(170_004).contains(&"bgwriter"));
}

#[test]
fn what_does_not_fit_is_refused_with_its_place() {
    let head = "template: t\nengine: postgresql\ngroups:\n";
    for (text, want) in [
        (
            "  - {name: a, interval_s: 0, sql: select 1, every_column: true}",
            "t0.yaml:4:27: group \"a\": interval_s: 1 to 86400",
        ),
        (
            "  - {name: a, interval_s: 1, sql: select 1}",
            "t0.yaml:4:5: group \"a\": one of metrics, pairs, every_column",
        ),
        ("  - {name: a, interval_s: 1, sql: select 1, every_column: true, colour: red}", "colour"),
        (
            "  - {name: a, interval_s: 1, sql: select 1, prefix: p, metrics: [{column: a-b, kind: gauge, help: h}]}",
            "metric \"p_a-b\" is not a valid name; allowed",
        ),
        (
            "  - {name: a, interval_s: 1, sql: select 1, every_column: true}\n  - {name: a, interval_s: 1, sql: select 1, every_column: true}",
            "t0.yaml:5:12: groups.name: \"a\" is not allowed; allowed: a name no other group",
        ),
        (
            "  - {name: a, interval_s: 1, sql: delete from t, every_column: true}",
            "t0.yaml:4:35: group \"a\": sql: DELETE is not allowed here; allowed: one SELECT",
        ),
        (
            "  - {name: a, interval_s: 1, sql: select pg_reload_conf(), every_column: true}",
            "pg_reload_conf() could act; allowed",
        ),
        ("  - {name: a, interval_s: 1, sql: select 1; drop table t, every_column: true}", "2 statements"),
        (
            "  - {name: a, interval_s: 1, sql: selec 1, every_column: true}",
            "t0.yaml:4:35: group \"a\": sql: not parsed",
        ),
        (
            "  - {name: a, interval_s: 1, sql: select 1, role: boss, every_column: true}",
            "role: \"boss\" is not allowed; allowed: primary, replica",
        ),
    ] {
        let error = with(&[&format!("{head}{text}\n")]).unwrap_err().to_string();
        assert!(error.contains(want), "\n got: {error}\nwant: {want}");
    }
    for (text, want) in [
        ("template: t\ngroups: []\n", "t0.yaml:1:11: engine: is missing; allowed: postgresql, mysql, mariadb"),
        ("template: T x\nengine: mysql\n", "t0.yaml:1:11: template: \"T x\" is not allowed"),
        (
            "template: t\ninherit: oracle\n",
            "t0.yaml:2:10: inherit: \"oracle\" is not allowed; allowed: galera, goldendb",
        ),
        ("template: t\ninherit: mariadb\nengine: postgresql\n", "t0.yaml:3:9: engine: \"postgresql\" is not allowed"),
        (
            "template: t\ninherit: mariadb\nremove: [nothing]\n",
            "t0.yaml:3:10: remove: \"nothing\" is not allowed; allowed: a group of",
        ),
        (
            "template: t\ninherit: mariadb\nsession: [\"a=1; drop\"]\n",
            "t0.yaml:3:11: session: \"a=1; drop\" is not allowed",
        ),
        ("template: t\nengine: mysql\nidentity: drop table t\n", "t0.yaml:3:11: identity: DROP is not allowed here"),
    ] {
        let error = with(&[text]).unwrap_err().to_string();
        assert!(error.starts_with(want), "\n got: {error}\nwant: {want}");
    }
}

#[test]
fn a_template_inherits_overrides_and_removes() {
    let base = Template::shipped(Engine::Postgresql);
    let set = with(&[
        "template: child\ninherit: parent\ngroups:\n  - {name: orders, interval_s: 7}\n",
        "template: parent\ninherit: postgresql\nremove: [roles]\ngroups:\n  - {name: connections, interval_s: 60}\n  \
         - {name: orders, interval_s: 30, sql: 'select count(*) as open from orders', prefix: shop_orders, metrics: [{column: open, kind: gauge, help: h}]}\n",
    ])
    .unwrap();
    let (parent, child) = (set.get("parent").unwrap(), set.get("child").unwrap());
    assert_eq!((parent.engine, parent.status), (Engine::Postgresql, Status::Own));
    assert_eq!(parent.groups.len(), base.groups.len(), "one removed, one added");
    let group = |t: &Template, name: &str| t.groups.iter().find(|g| g.name == name).cloned();
    assert!(group(&parent, "roles").is_none());
    let (theirs, ours) = (group(&base, "connections").unwrap(), group(&parent, "connections").unwrap());
    assert_eq!((ours.interval_s, &ours.sql, &ours.metrics), (60, &theirs.sql, &theirs.metrics));
    let (given, inherited) = (group(&parent, "orders").unwrap(), group(&child, "orders").unwrap());
    assert_eq!((given.interval_s, inherited.interval_s), (30, 7));
    assert_eq!((given.sql, given.metrics), (inherited.sql, inherited.metrics));
    // The name of a shipped one takes its place, and what is shipped stays what it was.
    let replaced = with(&["template: postgresql\ninherit: postgresql\nremove: [roles]\n"]).unwrap();
    assert!(group(&replaced.of(Engine::Postgresql), "roles").is_none());
    assert!(group(&Template::shipped(Engine::Postgresql), "roles").is_some());
    let circle = with(&["template: a\ninherit: b\n", "template: b\ninherit: a\n"]).unwrap_err().to_string();
    assert!(circle.contains("no circle"), "{circle}");
    let twice = with(&["template: a\ninherit: mysql\n", "template: a\ninherit: mysql\n"]).unwrap_err().to_string();
    assert!(twice.starts_with("t1.yaml:1:11:"), "{twice}");
}
