//! Configs as a table: text, what is wrong with it (empty: nothing).

use super::*;

fn check(text: &str) -> Result<Settings, String> {
    let raw: Config = serde_saphyr::from_str(text).map_err(|e| e.without_snippet().to_string())?;
    raw.check(Path::new("/nonexistent")).map_err(|e| e.to_string())
}

const ONE: &str = "receivers: [{name: a, webhooks: [{url: 'http://localhost:1/x'}]}]\n";
const MAIL: &str =
    "receivers: [{name: m, mails: [{to: [a@example.org], from: b@example.org, smarthost: 'mx.example.org:587'";

#[test]
fn what_is_accepted_and_what_is_refused() {
    for (text, expected) in [
        ("rules: []", ""),
        (ONE, ""),
        (&*format!("{ONE}route: {{receiver: a, routes: [{{matchers: ['team=\"db\"'], group_by: ['...']}}]}}"), ""),
        (&format!("{MAIL}}}]}}]"), ""),
        (&format!("{MAIL}, tls: tls, language: zh}}]}}]"), ""),
        ("ruls: []", "unknown field `ruls`"),
        ("evaluation_interval: 0s", "evaluation_interval: must be longer than 0"),
        ("evaluation_interval: soon", "evaluation_interval: not a valid duration string"),
        ("external_url: ftp://x", "external_url: \"ftp://x\" must begin with http:// or https://"),
        ("receivers: [{name: a, webhooks: [{url: x}]}]", "receivers[0].webhooks[0].url: \"x\" must begin with http"),
        ("receivers: [{name: a}, {name: a}]", "receivers[1].name: \"a\" must be set and unique"),
        ("receivers: [{name: a}, {name: b}]", "route: must be set where there are several receivers"),
        (&format!("{ONE}route: {{receiver: b}}"), "route.receiver: \"b\" is not a receiver; there are: a"),
        (&format!("{ONE}route: {{routes: []}}"), "route.receiver: must be set at the root"),
        (&format!("{ONE}route: {{receiver: a, matchers: [x=y]}}"), "route.matchers: the root takes every alert"),
        (
            &format!("{ONE}route: {{receiver: a, routes: [{{matchers: [x]}}]}}"),
            "route.routes[0].matchers: matcher \"x\"",
        ),
        (&format!("{ONE}route: {{receiver: a, repeat_interval: 0s}}"), "must be longer than 0"),
        (&format!("{MAIL}, tls: yes please}}]}}]"), "allowed are none, starttls, tls"),
        (&format!("{MAIL}, language: fr}}]}}]"), "allowed are en, zh"),
        (&format!("{MAIL}, username: u}}]}}]"), "username and password_file go together"),
        (&format!("{MAIL}, ca_file: none.pem}}]}}]"), "receivers[0].mails[0].ca_file: none.pem: "),
        (
            "receivers: [{name: m, mails: [{to: [nobody], from: b@example.org, smarthost: 'x:25'}]}]",
            "mails[0].to: \"nobody\" is not a mail address",
        ),
        (
            "receivers: [{name: m, mails: [{to: [a@example.org], from: b@example.org, smarthost: x}]}]",
            "must look like host:port",
        ),
        ("inhibit_rules: [{source_matchers: [a], target_matchers: []}]", "inhibit_rules[0].source_matchers: "),
    ] {
        let found = check(text).err().unwrap_or_default();
        assert_eq!(found.is_empty(), expected.is_empty(), "{text}\n{found}");
        assert!(found.contains(expected), "{text}\nfound: {found}\nexpected: {expected}");
    }
}

#[test]
fn routes_inherit() {
    let text = format!(
        "{ONE}route: {{receiver: a, group_by: [x], group_wait: 5s, routes: [{{matchers: ['t=\"db\"'], group_interval: 2m}}]}}"
    );
    let settings = check(&text).expect("a good config");
    let root = settings.route.expect("a route");
    let child = &root.routes[0];
    assert_eq!((child.group_wait_ms, child.group_interval_ms, child.repeat_interval_ms), (5_000, 120_000, 14_400_000));
    assert_eq!(child.group_by, Some(BTreeSet::from(["x".to_string()])));
    assert_eq!((root.key.as_str(), child.key.as_str()), ("{}", "{}/{t=\"db\"}"));
}
